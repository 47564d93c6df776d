//! Every setting that is a secret: one that is empty, too short or damaged is refused by its name, and not passed over.

use super::{Config, Environment, InvalidConfig, read_parts};
use std::collections::BTreeSet;

const PEM: &[u8] = b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n\
    -----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n";

/// Kept by this service and checked by nobody else: they must not be guessed.
const KEYS: [&str; 6] = [
    "DATA_ENCRYPTION_KEY",
    "EDGE_ASSERTION_KEY",
    "NANGO_PROFILE_KEY",
    "NANGO_SECRET_KEY",
    "NANGO_WEBHOOK_SECRET",
    "NOTIFICATION_SIGNING_SECRET",
];

/// Made and judged by others, alone or within an address or a list: they may be short.
const PASSWORDS: [&str; 5] = [
    "DATABASE_URL",
    "DB_PASSWORD",
    "NANGO_PROXY_URL",
    "OTEL_EXPORTER_OTLP_HEADERS",
    "OTEL_EXPORTER_OTLP_TRACES_HEADERS",
];

const FILES: [&str; 3] = ["MTLS_CA_PATH", "MTLS_CERT_PATH", "MTLS_KEY_PATH"];

/// What is no secret wherever it stands, and damages one that it stands in.
const BLANKS: [&str; 8] =
    [" ", "\n", "\t \r\n", "\u{feff}", "\u{feff}\n", "\u{a0}", "\u{fffd}", "\u{200b}"];

fn complete() -> Environment {
    let long = "0123456789abcdef0123456789abcdef";
    let mut environment: Environment = [
        ("DB_HOST", "localhost"),
        ("DB_USER", "u"),
        ("DB_DATABASE", "d"),
        ("DB_PASSWORD", "short"),
        ("PUBLIC_URL", "https://connections.example"),
        ("GITHUB_INTEGRATION_KEY", "github"),
        ("CLIENT_API_URL", "https://app.example/"),
        ("NOTIFICATION_SIGNING_SECRET", "whsec_MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY="),
        ("NANGO_PROXY_URL", "http://u:p@proxy.example:3128"),
        ("OTEL_EXPORTER_OTLP_HEADERS", "authorization=Bearer t,a=b"),
        ("MTLS_CERT_PATH", "/tls/pem"),
        ("MTLS_KEY_PATH", "/tls/pem"),
        ("MTLS_CA_PATH", "/tls/pem"),
    ]
    .map(|(name, value)| (name.to_owned(), value.to_owned()))
    .into();
    let others = KEYS.into_iter().filter(|name| *name != "NOTIFICATION_SIGNING_SECRET");
    environment.extend(others.map(|name| (name.to_owned(), long.to_owned())));
    environment
}

/// What is refused, by serving or by the doctor, which has a secret of its own. No value is in it.
fn refused(name: &str, value: &str) -> BTreeSet<String> {
    let mut environment = complete();
    environment.insert(name.to_owned(), value.to_owned());
    let read_file = |path: &std::path::Path| match path.to_str() {
        Some("/tls/pem") => Ok(PEM.to_vec()),
        Some("/tls/marked") => Ok([b"\xef\xbb\xbf", PEM].concat()),
        Some("/tls/utf-16") => Ok([b"\xff\xfe", PEM].concat()),
        Some("/tls/blank") => Ok(b" \n".to_vec()),
        Some("/tls/no-key") => {
            Ok(b"-----BEGIN PRIVATE KEY-----\n-----END PRIVATE KEY-----\n".to_vec())
        }
        _ => Ok(Vec::new()),
    };
    let problems = read_parts(&environment, &read_file).problems;
    if name != "NANGO_WEBHOOK_SECRET" {
        let served = Config::read(&environment, &read_file).err();
        let served = served.map(|InvalidConfig(problems)| problems).unwrap_or_default();
        assert_eq!(served, problems, "{name}");
    }
    problems.into_keys().collect()
}

#[track_caller]
fn check_refused(name: &str, value: &str) {
    assert_eq!(refused(name, value), [name.to_owned()].into(), "{name}={value:?}");
}

#[track_caller]
fn check_taken(name: &str, value: &str) {
    assert_eq!(refused(name, value), BTreeSet::new(), "{name}={value:?}");
}

#[test]
fn a_key_that_is_blank_short_or_damaged_is_refused_by_its_name() {
    let good = "whsec_MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=";
    for name in KEYS {
        for blank in BLANKS {
            check_refused(name, blank);
            if !blank.trim().is_empty() {
                check_refused(name, &format!("{blank}{good}"));
                check_refused(name, &format!("{good}{blank}"));
            }
        }
        for short in ["x", "whsec_", "whsec_ ", "whsec_0123456789abcd", "0123456789abcde", "-"] {
            check_refused(name, short);
        }
        check_taken(name, good);
        check_taken(name, &format!(" {good}\n"));
    }
    for list in ["DATA_ENCRYPTION_KEY", "EDGE_ASSERTION_KEY", "NOTIFICATION_SIGNING_SECRET"] {
        for entry in ["", "whsec_", " ", "\u{feff}"] {
            check_refused(list, &format!("1:{good},2:{entry}"));
        }
        check_taken(list, &format!("1:{good},2:{good}"));
    }
}

/// Whoever does what the first refusal says is not refused for it again.
#[test]
fn a_key_that_is_missing_is_asked_for_in_the_form_that_is_taken() {
    let said = |name: &str, value: Option<&str>| {
        let mut environment = complete();
        environment.insert("OAUTH_CALLBACK".to_owned(), "complete".to_owned());
        let _before = environment.remove(name);
        environment.extend(value.map(|value| (name.to_owned(), value.to_owned())));
        let read_file = |_: &std::path::Path| Ok(PEM.to_vec());
        read_parts(&environment, &read_file).problems.remove(name).unwrap_or_default()
    };
    for (name, form) in [
        ("DATA_ENCRYPTION_KEY", "a random text of at least 16 characters"),
        ("EDGE_ASSERTION_KEY", "a random text of at least 16 characters"),
        ("NANGO_SECRET_KEY", "Nango's API key"),
        ("NANGO_WEBHOOK_SECRET", "Nango's webhook signing key"),
        ("NOTIFICATION_SIGNING_SECRET", "whsec_<base64 of 24 to 64 random bytes>"),
    ] {
        // The doctor's own secret need not be there.
        if name != "NANGO_WEBHOOK_SECRET" {
            let missing = said(name, None);
            assert!(
                missing.starts_with(&format!("is missing; set it to {form}")),
                "{name} {missing}"
            );
        }
        let short = said(name, Some("short"));
        assert!(short.contains(&format!("set it to {form}")), "{name} {short}");
    }
    let text = said("NOTIFICATION_SIGNING_SECRET", Some("a random text of many characters"));
    assert!(text.contains("whsec_"), "{text}");
}

#[test]
fn a_password_that_is_blank_or_damaged_is_refused_by_the_name_of_its_setting() {
    let within = |name: &str, password: &str| match name {
        "DATABASE_URL" => format!("postgres://u:{password}@localhost:5432/d"),
        "NANGO_PROXY_URL" => format!("http://u:{password}@proxy.example:3128"),
        "DB_PASSWORD" => password.to_owned(),
        _ => format!("a=b,authorization={password}"),
    };
    for name in PASSWORDS {
        for damaged in ["\u{feff}", "\u{feff}secret", "secret\u{fffd}", " "] {
            check_refused(name, &within(name, damaged));
        }
        check_taken(name, &within(name, "s"));
        // Nothing at all is not set, and then another way to log in is meant; `DB_…` has none.
        let none = if name == "DB_PASSWORD" { [name.to_owned()].into() } else { BTreeSet::new() };
        assert_eq!(refused(name, ""), none, "{name}");
    }
    for url in ["DATABASE_URL", "NANGO_PROXY_URL"] {
        for damaged in ["", "%20", "%EF%BB%BF", "a%00"] {
            check_refused(url, &within(url, damaged));
        }
        check_taken(url, &within(url, "a%20b+c%26"));
    }
    check_taken("DATABASE_URL", "postgres://u@localhost:5432/d");
    check_refused("OTEL_EXPORTER_OTLP_HEADERS", "authorization");
}

#[test]
fn a_file_that_is_empty_or_damaged_is_refused_by_the_name_of_its_setting() {
    for name in FILES {
        for path in ["/tls/empty", "/tls/blank", "/tls/marked", "/tls/utf-16", "/tls/no-key"] {
            check_refused(name, path);
        }
        check_taken(name, "/tls/pem");
    }
}

/// Whoever adds a secret adds it above.
#[test]
fn the_table_has_every_secret_that_the_settings_name() {
    let readme = include_str!("../../README.md");
    let names =
        readme.split(|it: char| !(it.is_ascii_uppercase() || it.is_ascii_digit() || it == '_'));
    let secret = |name: &&str| {
        ["_KEY", "_SECRET", "_PASSWORD"].iter().any(|end| name.ends_with(end))
            && !name.ends_with("_INTEGRATION_KEY")
    };
    let named: BTreeSet<&str> = names.filter(secret).collect();
    let known: BTreeSet<&str> = KEYS.into_iter().chain(PASSWORDS).collect();
    assert_eq!(named.difference(&known).collect::<Vec<_>>(), Vec::<&&str>::new());
}
