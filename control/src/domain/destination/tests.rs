//! What a destination may be, and what not.

use super::*;
use serde_json::{Value, json};

fn egress(networks: &str) -> Egress {
    Egress::new(Egress::read_networks(networks).unwrap(), BTreeSet::from([443, 8443]))
}

fn read(body: &Value, networks: &str) -> Result<NewDestination, BadDestination> {
    serde_json::from_value::<DestinationRequest>(body.clone()).unwrap().check(&egress(networks))
}

#[track_caller]
fn check_url_is(url: &str, networks: &str, expected: Result<(), BadDestination>) {
    assert_eq!(read(&json!({ "url": url }), networks).map(|_| ()), expected, "{url}");
}

fn address(text: &str) -> Result<(), BadDestination> {
    Err(BadDestination::Address(text.parse().unwrap()))
}

#[test]
fn a_url_is_https_and_public() {
    for url in [
        "https://app.example/hooks?a=b",
        "https://app.example:8443/",
        "https://1.1.1.1/",
        "https://[2606:4700::1111]/",
        "https://b\u{fc}cher.example/",
    ] {
        check_url_is(url, "", Ok(()));
    }
    for url in [
        "",
        "app.example",
        "//app.example/",
        "ftp://app.example/",
        "file:///etc/passwd",
        "https://user@app.example/",
        "https://app.example@127.0.0.1/",
        "https://:password@app.example/",
        "https://app.example/#a",
        "https://app.example./",
        "https://app.example/?a={b}",
    ] {
        check_url_is(url, "", Err(BadDestination::Url));
    }
    check_url_is(
        &format!("https://app.example/{}", "a".repeat(2048)),
        "",
        Err(BadDestination::Url),
    );
}

#[test]
fn a_literal_address_is_looked_at_however_it_is_written() {
    for url in [
        "https://127.0.0.1/",
        "https://2130706433/",
        "https://0x7f000001/",
        "https://0x7f.1/",
        "https://0177.0.0.1/",
        "https://127.1/",
        "https://127.0.0.1./",
        "https://%31%32%37.0.0.1/",
        "https://\u{ff11}27.0.0.1/",
        "https://127\u{3002}0\u{3002}0\u{3002}1/",
        "https:\\\\127.0.0.1\\",
    ] {
        check_url_is(url, "", address("127.0.0.1"));
    }
    check_url_is("https://[::1]/", "", address("::1"));
    check_url_is("https://[::ffff:127.0.0.1]/", "", address("::ffff:127.0.0.1"));
    check_url_is("https://[::ffff:7f00:1]/", "", address("::ffff:127.0.0.1"));
    check_url_is("https://[2002:7f00:1::]/", "", address("2002:7f00:1::"));
    check_url_is("https://[64:ff9b::7f00:1]/", "", address("64:ff9b::7f00:1"));
    check_url_is("https://169.254.169.254/latest/", "", address("169.254.169.254"));
}

#[test]
fn a_network_that_the_operator_named_may_be_called_and_without_tls_too() {
    check_url_is("https://10.1.2.3/", "10.0.0.0/8", Ok(()));
    check_url_is("https://10.1.2.3/", "", address("10.1.2.3"));
    check_url_is("http://10.1.2.3:8443/", "10.0.0.0/8", Ok(()));
    check_url_is("http://app.internal:8443/", "10.0.0.0/8", Ok(()));
    check_url_is("http://app.example:8443/", "", Err(BadDestination::Plain));
    check_url_is("http://1.1.1.1:8443/", "10.0.0.0/8", Err(BadDestination::Plain));
    check_url_is("http://127.0.0.1:8443/", "10.0.0.0/8", address("127.0.0.1"));
}

#[test]
fn a_port_is_one_of_those_allowed() {
    let refused = || Err(BadDestination::Port("443, 8443".to_owned()));
    for port in ["22", "25", "80", "5432", "65535"] {
        check_url_is(&format!("https://app.example:{port}/"), "", refused());
    }
    check_url_is("https://app.example:443/", "", Ok(()));
}

#[track_caller]
fn check(field: &str, value: Value, expected: Result<(), BadDestination>) {
    let body = json!({"url": "https://app.example/", field: value});
    assert_eq!(read(&body, "").map(|_| ()), expected, "{body}");
}

#[test]
fn unknown_types_are_refused_with_those_there_are() {
    check("eventTypes", json!(["connection.activated", "connection.deleted"]), Ok(()));
    check("eventTypes", json!([]), Ok(()));
    for types in [json!(["connection.*"]), json!(["connection.activated", "activated"])] {
        let body = json!({"url": "https://app.example/", "eventTypes": types});
        let refused = read(&body, "").unwrap_err().to_string();
        assert!(
            refused.contains("connection.reauthorization_failed, connection.updated"),
            "{refused}"
        );
    }
}

#[test]
fn a_browser_comes_back_to_https_or_to_its_own_machine() {
    check("returnOrigins", json!(["https://app.example", "https://b.example:8443/"]), Ok(()));
    check("returnOrigins", json!(["http://localhost:5173", "http://127.0.0.1:3000"]), Ok(()));
    for origin in [
        "http://app.example",
        "https://app.example/path",
        "https://user@app.example",
        "https://*.example/?a",
        "javascript:alert(1)",
        "null",
        "",
    ] {
        check("returnOrigins", json!([origin]), Err(BadDestination::ReturnOrigins));
    }
    check(
        "returnOrigins",
        json!(vec!["https://a.example"; 21]),
        Err(BadDestination::ReturnOrigins),
    );
}

#[test]
fn a_ca_and_a_name_are_what_tls_can_use() {
    let ca = rcgen::generate_simple_self_signed(["ca.example".to_owned()]).unwrap().cert.pem();
    check("ca", json!(ca), Ok(()));
    check("ca", json!(ca.repeat(9)), Err(BadDestination::Ca));
    for kind in ["", "RSA ", "EC ", "ENCRYPTED "] {
        let key =
            format!("-----BEGIN {kind}PRIVATE KEY-----\nAAAA\n-----END {kind}PRIVATE KEY-----\n");
        check("ca", json!(format!("{ca}{key}")), Err(BadDestination::CaKey));
    }
    let broken = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    for pem in ["", "no pem", broken, &format!("{ca}{broken}"), &"a".repeat(20_000)] {
        check("ca", json!(pem), Err(BadDestination::Ca));
    }
    check("serverName", json!("receiver.mesh.internal"), Ok(()));
    check("serverName", json!("10.0.0.1"), Ok(()));
    for name in ["", "a b", "https://a.example", "a.example.", "*"] {
        check("serverName", json!(name), Err(BadDestination::ServerName));
    }
    let plain = json!({"url": "http://10.0.0.1:8443/", "serverName": "a.example"});
    assert_eq!(read(&plain, "10.0.0.0/8"), Err(BadDestination::ServerName));
}

#[test]
fn secrets_are_good_and_few_and_do_not_print() {
    let secret = new_secret([7; 32]);
    check("secrets", json!([secret]), Ok(()));
    check("secrets", json!([secret, secret]), Ok(()));
    for secrets in [json!([]), json!(["whsec_short"]), json!(vec![secret.clone(); 5])] {
        check("secrets", secrets, Err(BadDestination::Secrets));
    }
    let body = json!({"url": "https://app.example/", "secrets": [secret]});
    let request = serde_json::from_value::<DestinationRequest>(body.clone()).unwrap();
    let printed = format!("{request:?}{:?}", read(&body, "").unwrap());
    assert!(!printed.contains("whsec") && !printed.contains("BwcH"), "{printed}");
    let lines = Secrets::generate([7; 32]).expose().join("\n");
    assert_eq!(Secrets::from_lines(&lines).unwrap().len(), 1);
}

#[test]
fn a_version_that_none_can_have_is_refused() {
    for version in [0, 1, i64::MAX] {
        check("version", json!(version), Ok(()));
    }
    check("version", json!(-1), Err(BadDestination::Version));
}

#[test]
fn unknown_fields_are_refused() {
    let body = json!({"url": "https://app.example/", "redirect": true});
    assert!(serde_json::from_value::<DestinationRequest>(body).is_err());
}

#[test]
fn a_ca_that_grows_when_it_is_written_anew_has_the_same_bound() {
    let one_line = |pem: &str| {
        let body: String = pem.lines().filter(|line| !line.starts_with('-')).collect();
        format!("-----BEGIN CERTIFICATE-----\n{body}\n-----END CERTIFICATE-----\n")
    };
    let with_names = |count: usize| {
        let names: Vec<String> =
            (0..count).map(|nth| format!("a-long-name-{nth:04}.example")).collect();
        rcgen::generate_simple_self_signed(names).unwrap().cert.pem().replace("\r\n", "\n")
    };
    let fits = with_names(300);
    assert_eq!(check_ca(&one_line(&fits)), Ok(fits));
    let too_long = (301..1000).map(with_names).find(|pem| pem.len() > 16 * 1024).unwrap();
    let as_written = one_line(&too_long);
    assert!(as_written.len() <= 16 * 1024, "it fits as it comes");
    assert_eq!(check_ca(&as_written), Err(BadDestination::Ca));
}

#[test]
fn the_trail_is_told_an_address_without_its_secrets() {
    for (url, expected) in [
        ("https://app.example/hooks?token=1", "https://app.example/hooks"),
        ("https://user:password@app.example:8443/#a", "https://app.example:8443/"),
    ] {
        assert_eq!(shown(&url.parse().unwrap()), expected);
    }
}
