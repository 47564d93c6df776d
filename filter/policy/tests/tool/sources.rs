//! A principal is shown to the filter where the policy looks for it, and nowhere else.

use crate::attempt::*;

const PATH: &str = "/tenants/acme/connections";
const AUDIT: &str = "/tenants/acme/audit";
const DNS_APP: &str = "dns:app.acme.example";

/// The reason of the refusal, or nothing.
#[track_caller]
fn check(identity: &str, principal: &str, path: &str, expected: Option<&str>) {
    let arguments = [ask(principal, "GET", path), vec!["--json"]].concat();
    let said = call_on(("policy.json", &with_identity(identity)), &arguments);
    let answer: serde_json::Value = serde_json::from_str(&said.out).unwrap();
    let reason = answer.get("reason").and_then(serde_json::Value::as_str);
    assert_eq!(reason, expected, "{identity} {principal}");
    assert_eq!(said.code, if expected.is_some() { 3 } else { 0 });
}

#[test]
fn a_certificate_is_read_by_the_kinds_of_names_that_the_policy_takes() {
    let uri = r#"{"certificate":{"names":["uri"]}}"#;
    check(uri, APP, PATH, None);
    check(uri, DNS_APP, AUDIT, Some("edge_no_identity"));
    let dns = r#"{"certificate":{"names":["dns"]}}"#;
    check(dns, DNS_APP, AUDIT, None);
    check(dns, APP, PATH, Some("edge_no_identity"));
}

#[test]
fn a_forwarded_certificate_comes_from_the_hop_that_the_policy_names() {
    for hop in ["spiffe://acme.example/gateway", "dns:gateway.acme.example"] {
        let forwarded = format!(r#"{{"forwardedCertificate":{{"hop":"{hop}"}}}}"#);
        check(&forwarded, APP, PATH, None);
        check(&forwarded, "spiffe://rival.example/app", PATH, Some("edge_no_grant"));
        // DNS names in a forwarded certificate are not believed.
        check(&forwarded, DNS_APP, AUDIT, Some("edge_no_identity"));
        check(&forwarded, "", PATH, Some("edge_no_identity"));
    }
}

#[test]
fn istios_peer_has_a_spiffe_id_or_is_nobody() {
    let istio = r#"{"istioPeer":{}}"#;
    check(istio, APP, PATH, None);
    check(istio, DNS_APP, AUDIT, Some("edge_no_identity"));
    check(istio, "", PATH, Some("edge_no_identity"));
}
