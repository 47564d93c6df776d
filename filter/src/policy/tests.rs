//! What a policy may say, what it may not, and what its grants allow.

use super::*;
use contract::action::Action;

const CLIENTS: &str = r#"{"version":"1","listener":"clients","assertionKeys":{"filterState":"a"},
    "identity":{"certificate":{"names":["uri"]}},
    "grants":[{"principal":"spiffe://acme.example/app","tenants":["acme"],"actions":["read"]}]}"#;
const PUBLIC: &str = r#"{"version":"1","listener":"public","assertionKeys":{"environment":"A"},
    "webhook":{"keys":{"filterState":"w"},"maxBodyBytes":1024}}"#;
const APP: &str = "spiffe://acme.example/app";

#[track_caller]
fn check_refused(json: &str, because: &str) {
    let UnusablePolicy(problems) = Policy::parse(json.as_bytes()).unwrap_err();
    assert!(problems.iter().any(|problem| problem.contains(because)), "{problems:?}");
}

fn with_identity(identity: &str) -> String {
    CLIENTS.replace(r#"{"certificate":{"names":["uri"]}}"#, identity)
}

fn with_grants(grants: &str) -> String {
    let (before, _) = CLIENTS.split_once("\"grants\":").unwrap();
    format!("{before}\"grants\":{grants}}}")
}

fn grants(text: &str) -> Grants {
    match Policy::parse(with_grants(text).as_bytes()).unwrap().listener {
        Listener::Clients { grants, .. } => grants,
        Listener::Public { .. } => panic!("the policy is for clients"),
    }
}

#[track_caller]
fn check_found(
    grants: &Grants,
    (principal, tenant): (&str, &str),
    action: Action,
    expected: Option<usize>,
) {
    let found = grants.find(&principal.parse().unwrap(), &tenant.parse().unwrap(), action);
    assert_eq!(found, expected.map(GrantIndex), "{principal} {action} {tenant}");
}

#[test]
fn a_policy_of_either_listener_loads() {
    let clients = Policy::parse(CLIENTS.as_bytes()).unwrap();
    assert_eq!(clients.listener.kind(), ListenerKind::Clients);
    let public = Policy::parse(PUBLIC.as_bytes()).unwrap();
    let keys = SecretSource::FilterState("w".to_owned());
    let webhook = Webhook { keys, max_body_bytes: 1024 };
    assert_eq!(public.listener, Listener::Public { webhook });
    assert_eq!(public.assertion_keys, SecretSource::Environment("A".to_owned()));
}

#[test]
fn a_head_is_held_unless_the_policy_says_that_it_cannot_be() {
    let with = |json: &str, holds: &str| {
        json.replace("\"version\"", &format!("\"holdsHead\":{holds},\"version\""))
    };
    let holds = |json: &str| Policy::parse(json.as_bytes()).map(|policy| policy.holds_head);
    assert_eq!(holds(CLIENTS), Ok(true));
    assert_eq!(holds(&with(CLIENTS, "true")), Ok(true));
    assert_eq!(holds(&with(CLIENTS, "false")), Ok(false));
    assert_eq!(holds(&with(PUBLIC, "true")), Ok(true));
    // Control would be called with what nobody verified.
    check_refused(&with(PUBLIC, "false"), "holdsHead: the public listener verifies webhooks");
    check_refused(&with(CLIENTS, "null"), "invalid type");
}

#[test]
fn an_identity_has_one_source_and_it_is_named() {
    let identity = |json: &str| match Policy::parse(with_identity(json).as_bytes())?.listener {
        Listener::Clients { identity, .. } => Ok::<_, UnusablePolicy>(identity),
        Listener::Public { .. } => panic!("the policy is for clients"),
    };
    assert_eq!(
        identity(r#"{"certificate":{"names":["uri","dns"]}}"#),
        Ok(IdentitySource::Certificate { names: vec![NameKind::Uri, NameKind::Dns] })
    );
    let hop = "spiffe://acme.example/gateway".parse().unwrap();
    assert_eq!(
        identity(r#"{"forwardedCertificate":{"hop":"spiffe://acme.example/gateway"}}"#),
        Ok(IdentitySource::ForwardedCertificate { hop })
    );
    assert_eq!(identity(r#"{"istioPeer":{}}"#), Ok(IdentitySource::IstioPeer));
    for (json, because) in [
        (r#"{"certificate":{"names":[]}}"#, "identity.names: name at least one"),
        (r#"{"certificate":{"names":["email"]}}"#, "unknown variant `email`"),
        (r#"{"certificate":{"name":["uri"]}}"#, "unknown field `name`"),
        (r#"{"certificate":{"names":["uri"]},"istioPeer":{}}"#, "expected"),
        (r#"{"istioPeer":{"names":["uri"]}}"#, "unknown field `names`"),
        (r#"{"forwardedCertificate":{}}"#, "missing field `hop`"),
        (r#"{"forwardedCertificate":{"hop":"gateway"}}"#, "identity.hop"),
        (r#"{"header":{}}"#, "unknown variant `header`"),
        (r#"["uri"]"#, "expected"),
        ("null", "identity: required"),
    ] {
        check_refused(&with_identity(json), because);
    }
}

#[test]
fn a_grant_allows_what_it_says_and_nothing_beside_it() {
    let grants = grants(
        r#"[{"principal":"spiffe://acme.example/app","tenants":["acme","acme-*"],"actions":["read"]},
            {"principal":"spiffe://acme.example/app","tenants":["acme"],"actions":["delete"]},
            {"principal":"spiffe://acme.example/tenant/{tenant}/app","actions":["connect"]},
            {"principal":"dns:app.acme.example","tenants":["acme"],"actions":["audit"]}]"#,
    );
    let check = |principal, tenant, action, expected| {
        check_found(&grants, (principal, tenant), action, expected);
    };
    check(APP, "acme", Action::Read, Some(0));
    check(APP, "acme-1", Action::Read, Some(0));
    check(APP, "acme", Action::Delete, Some(1));
    check("spiffe://acme.example/tenant/t1/app", "t1", Action::Connect, Some(2));
    check("dns:app.acme.example", "acme", Action::Audit, Some(3));
    check(APP, "acme-1", Action::Delete, None);
    check(APP, "acme", Action::Connect, None);
    check(APP, "rival", Action::Read, None);
    check(APP, "Acme", Action::Read, None);
    check("spiffe://acme.example/application", "acme", Action::Read, None);
    check("spiffe://rival.example/app", "acme", Action::Read, None);
    check("dns:acme.example", "acme", Action::Read, None);
    check("spiffe://acme.example/tenant/t1/app", "t2", Action::Connect, None);
    check("spiffe://acme.example/tenant/t1/app", "t1", Action::Read, None);
    check(
        "spiffe://acme.example/tenant/{tenant}/app".replace("{tenant}", "acme").as_str(),
        "acme-1",
        Action::Connect,
        None,
    );
}

#[test]
fn any_grant_of_a_principal_is_some_grant() {
    let grants = grants(
        r#"[{"principal":"spiffe://acme.example/app","tenants":["acme-*"],"actions":["read"]},
            {"principal":"spiffe://acme.example/tenant/{tenant}/app","actions":["connect"]}]"#,
    );
    let find_any = |principal: &str| grants.find_any(&principal.parse().unwrap());
    assert_eq!(find_any(APP), Some(GrantIndex(0)));
    assert_eq!(find_any("spiffe://acme.example/tenant/t1/app"), Some(GrantIndex(1)));
    assert_eq!(find_any("spiffe://acme.example/tenant/app"), None);
    assert_eq!(find_any("dns:acme.example"), None);
}

#[test]
fn whatever_is_misspelt_is_refused() {
    check_refused("", "EOF");
    check_refused(&CLIENTS.replace("grants", "grant"), "unknown field `grant`");
    check_refused(&CLIENTS.replace("tenants", "tenant"), "unknown field `tenant`");
    check_refused(&CLIENTS.replace("read", "raed"), "unknown variant `raed`");
    check_refused(&CLIENTS.replace("clients", "client"), "unknown variant `client`");
    check_refused(&CLIENTS.replace("acme\"]", "ac me\"]"), "TenantId must be");
    check_refused(&CLIENTS.replace("acme\"]", "acme*\"]"), "a prefix ends with a separator");
    check_refused(&CLIENTS.replace("spiffe:", "spifee:"), "grants[0].principal");
    check_refused(
        &CLIENTS.replace("example/app", "example/{t}/app"),
        "a template has {tenant} once",
    );
    check_refused(&PUBLIC.replace("keys", "key"), "unknown field `key`");
    check_refused(&PUBLIC.replace("1024", "-1"), "invalid value");
    for version in ["", "1 2", &"1".repeat(65), "a/b"] {
        let policy = PUBLIC.replace("\"version\":\"1\"", &format!("\"version\":\"{version}\""));
        check_refused(&policy, "version: 1 to 64");
    }
}

#[test]
fn whatever_is_missing_or_out_of_place_is_refused() {
    check_refused(&CLIENTS.replace("\"acme\"", ""), "grants[0].tenants: name at least one");
    check_refused(&CLIENTS.replace("\"read\"", ""), "grants[0].actions: name at least one");
    check_refused(&CLIENTS.replace("\"read\"", "\"read\",\"read\""), "each once");
    check_refused(&CLIENTS.replace("\"clients\"", "\"public\""), "webhook: required");
    check_refused(&CLIENTS.replace("\"clients\"", "\"public\""), "belong to the clients listener");
    check_refused(&PUBLIC.replace("\"public\"", "\"clients\""), "belongs to the public listener");
    check_refused(&PUBLIC.replace("\"public\"", "\"clients\""), "grants: required, if empty");
    check_refused(&PUBLIC.replace("1024", "0"), "maxBodyBytes of at least 1");
    let with_both = CLIENTS.replace("example/app", "example/{tenant}/app");
    check_refused(&with_both, "grants[0].tenants: the template says which");
}

#[test]
fn two_grants_that_overlap_are_refused() {
    let principals = |one: &str, other: &str| with_grants(&format!("[{one},{other}]"));
    let exact = |tenant: &str, action: &str| {
        format!(
            r#"{{"principal":"{APP}","tenants":["{tenant}"],"actions":["connect","{action}"]}}"#
        )
    };
    let template = |action: &str| {
        format!(r#"{{"principal":"spiffe://acme.example/{{tenant}}","actions":["{action}"]}}"#)
    };
    let because = "grants[1]: grants connect where grant 0 does already";
    check_refused(&principals(&exact("acme", "read"), &exact("acme", "delete")), because);
    check_refused(&principals(&exact("acme-1", "read"), &exact("acme-*", "delete")), because);
    check_refused(&principals(&exact("acme-*", "read"), &exact("acme-1", "delete")), because);
    check_refused(&principals(&exact("acme-*", "read"), &exact("acme-a-*", "delete")), because);
    // The principal's last segment is `app`: the template grants it the tenant `app`.
    check_refused(&principals(&exact("app", "read"), &template("connect")), because);
    check_refused(&principals(&template("connect"), &exact("app", "read")), because);
    check_refused(&principals(&template("connect"), &template("connect")), because);
    for (one, other) in [
        (exact("acme", "read"), exact("rival", "read")),
        (exact("acme", "read"), exact("acme-*", "delete")),
        (exact("acme", "read"), template("connect")),
        (exact("app", "read"), template("delete")),
        (template("read"), template("connect")),
    ] {
        let loaded = Policy::parse(principals(&one, &other).as_bytes());
        assert!(loaded.is_ok(), "{one} {other}: {loaded:?}");
    }
}

#[test]
fn a_dry_run_is_checked_like_what_holds() {
    let dry_run = r#""dryRun":{"grants":[{"principal":"app","tenants":["acme"],"actions":["read"]}]},"grants""#;
    check_refused(&CLIENTS.replace("\"grants\"", dry_run), "dryRun.grants[0].principal");
    check_refused(
        &PUBLIC.replace("\"webhook\"", "\"dryRun\":{\"grants\":[]},\"webhook\""),
        "dryRun: belong",
    );
}

#[test]
fn all_problems_are_reported_at_once() {
    let json = with_identity(r#"{"certificate":{"names":[]}}"#).replace("spiffe:", "spifee:");
    let UnusablePolicy(problems) = Policy::parse(json.as_bytes()).unwrap_err();
    assert_eq!(problems.len(), 2, "{problems:?}");
}

#[test]
fn a_secret_of_the_environment_that_cannot_be_used_is_refused_by_its_name() {
    let policy = Policy::parse(
        br#"{"version":"1","listener":"public","assertionKeys":{"environment":"ASSERTION"},
            "webhook":{"keys":{"environment":"WEBHOOK"},"maxBodyBytes":1}}"#,
    )
    .unwrap();
    let good = || b"0123456789abcdef".to_vec();
    assert_eq!(policy.check_environment(|_| Some(good())), Ok(()));
    let unusable: [Option<&[u8]>; 9] = [
        None,
        Some(b""),
        Some(b" \n\t"),
        Some(b"-"),
        Some(b"0123456789abcde"),
        Some(b"whsec_"),
        Some(b"whsec_0123456789"),
        Some(b"\xef\xbb\xbf"),
        Some(b"\xef\xbb\xbf0123456789abcdef"),
    ];
    for text in unusable {
        let text = || text.map(<[u8]>::to_vec);
        for (bad, other) in [("ASSERTION", "WEBHOOK"), ("WEBHOOK", "ASSERTION")] {
            let read = |name: &str| if name == bad { text() } else { Some(good()) };
            let UnusablePolicy(problems) = policy.check_environment(read).unwrap_err();
            let [problem] = problems.as_slice() else { panic!("{problems:?}") };
            assert!(problem.contains(bad) && !problem.contains(other), "{problem}");
            assert!(!problem.contains("0123456789"), "{problem}");
        }
        let UnusablePolicy(problems) = policy.check_environment(|_| text()).unwrap_err();
        assert_eq!(problems.len(), 2);
    }
    // What comes by filter state is not there yet.
    let policy = Policy::parse(
        br#"{"version":"1","listener":"public","assertionKeys":{"filterState":"a"},
            "webhook":{"keys":{"filterState":"w"},"maxBodyBytes":1}}"#,
    );
    assert_eq!(policy.unwrap().check_environment(|_| None::<Vec<u8>>), Ok(()));
}
