//! What client applications may and may not do.

use crate::attempt::*;
use contract::{action::Action, assertion::Vouched};

#[test]
fn a_granted_call_is_vouched_for_with_principal_tenant_and_action() {
    check_forwarded(Try::client("GET", "/tenants/acme/connections/1?wait=3"), app(Action::Read));
    let start =
        Try::client("POST", "/tenants/acme/connections").with("content-type", "application/json");
    check_forwarded(start, app(Action::Connect));
}

#[test]
fn a_call_without_its_grant_is_refused() {
    check_refused(Try::client("GET", "/tenants/rival/connections/1"), 403, "edge_no_grant");
    check_refused(Try::client("DELETE", "/tenants/acme/connections/1"), 403, "edge_no_grant");
    let stranger = Try {
        uri_names: "spiffe://acme.example/other",
        ..Try::client("GET", "/tenants/acme/connections/1")
    };
    check_refused(stranger, 403, "edge_no_grant");
}

#[test]
fn a_caller_without_identity_learns_nothing_about_the_routes() {
    for path in ["/tenants/acme/connections/1", "/nowhere", "/health"] {
        let nameless = Try { uri_names: "-", ..Try::client("GET", path) };
        check_refused(nameless, 403, "edge_no_identity");
    }
    let two = Try {
        uri_names: "spiffe://acme.example/app,spiffe://acme.example/b",
        ..Try::client("GET", "/tenants/acme/connections/1")
    };
    check_refused(two, 403, "edge_identity_ambiguous");
}

#[test]
fn no_identity_is_taken_from_a_header() {
    let spoofed = Try { uri_names: "-", ..Try::client("GET", "/tenants/acme/connections/1") }
        .with("x-connections-principal", APP)
        .with("x-forwarded-client-cert", "URI=spiffe://acme.example/app");
    check_refused(spoofed, 403, "edge_no_identity");
}

#[test]
fn options_are_answered_to_whoever_may_ask() {
    let allow = |methods: &str| End::Answered(204, vec![("allow", methods.to_owned())]);
    let (end, _) = Try::public("OPTIONS", "/webhooks/nango").run();
    assert_eq!(end, allow("POST, OPTIONS"));
    let (end, _) = Try::client("OPTIONS", "/tenants/rival/connections/1").run();
    assert_eq!(end, allow("GET, HEAD, DELETE, OPTIONS"));
    let nameless = Try { uri_names: "-", ..Try::client("OPTIONS", "/health") };
    check_refused(nameless, 403, "edge_no_identity");
    check_refused(Try::public("OPTIONS", "/nowhere"), 404, "edge_no_route");
}

#[test]
fn a_body_where_none_is_needed_must_be_json_too() {
    let check = Try::client("POST", "/tenants/acme/connections/1/check");
    check_forwarded(check.clone(), app(Action::Read));
    let with_body = Try { chunks: vec![b"{}"], ..check };
    check_refused(with_body.clone(), 415, "edge_not_json");
    check_forwarded(with_body.with("content-type", "application/json"), app(Action::Read));
}

#[test]
fn the_providers_are_for_whoever_has_a_grant() {
    let none = Vouched { principal: Some(APP.parse().unwrap()), ..nobody() };
    check_forwarded(Try::client("GET", "/providers"), none);
    let stranger =
        Try { uri_names: "spiffe://acme.example/other", ..Try::client("GET", "/providers") };
    check_refused(stranger, 403, "edge_no_grant");
}

#[test]
fn a_forwarded_certificate_is_read_by_policy_and_goes_no_further() {
    const FORWARDED: &str = r#"{"version":"1","listener":"clients","assertionKeys":{"filterState":"a"},
        "identity":{"forwardedCertificate":{"hop":"spiffe://acme.example/gateway"}},
        "grants":[{"principal":"spiffe://acme.example/app","tenants":["acme"],"actions":["read"]}]}"#;
    let certificate = format!("Hash=0a;Subject=\"O=Acme\\, Inc\";URI={APP}");
    let direct = Try::client("GET", "/tenants/acme/connections/1")
        .with("x-forwarded-client-cert", &certificate);
    let through =
        Try { policy: FORWARDED, uri_names: "spiffe://acme.example/gateway", ..direct.clone() };
    for forwarded in [direct.clone(), through] {
        let headers = check_forwarded(forwarded, app(Action::Read));
        assert!(!headers.contains_key("x-forwarded-client-cert"));
    }
    check_refused(Try { policy: FORWARDED, ..direct }, 403, "edge_identity_hop_unknown");
}

#[test]
fn a_certificate_that_ended_is_refused_whatever_it_was_granted() {
    for (end, status, reason) in [
        (Some(b"1795339999".as_slice()), 403, "edge_certificate_expired"),
        (Some(b"-"), 503, "edge_certificate_end_unknown"),
        (None, 503, "edge_certificate_end_unknown"),
    ] {
        for path in ["/tenants/acme/connections/1", "/health", "/nowhere"] {
            let expired = Try { certificate_end: end, ..Try::client("GET", path) };
            check_refused(expired, status, reason);
        }
    }
    // Strangers have none, and need none.
    let stranger = Try { certificate_end: None, ..Try::public("GET", "/health") };
    check_forwarded(stranger, nobody());
}

#[test]
fn a_dry_run_is_told_where_it_differs_and_changes_nothing() {
    const DRY_RUN: &str = r#"{"version":"1","listener":"clients","assertionKeys":{"filterState":"a"},
        "identity":{"certificate":{"names":["uri"]}},
        "grants":[{"principal":"spiffe://acme.example/app","tenants":["acme"],"actions":["read"]}],
        "dryRun":{"grants":[{"principal":"spiffe://acme.example/app","tenants":["rival"],"actions":["read","delete"]}]}}"#;
    let run = |path| Try { policy: DRY_RUN, ..Try::client("GET", path) }.run();
    let (end, facts) = run("/tenants/acme/connections/1");
    assert!(matches!(end, End::Forwarded(_)), "{end:?}");
    assert_eq!(facts.dry_run, Some("refuse"));
    let (end, facts) = run("/tenants/rival/connections/1");
    assert_eq!(end, End::Refused(403, "edge_no_grant"));
    assert_eq!((facts.dry_run, facts.tenant), (Some("forward"), None));
    for path in ["/health", "/providers", "/tenants/third/connections/1", "/nowhere"] {
        assert_eq!(run(path).1.dry_run, None, "{path}");
    }
}

#[test]
fn the_log_learns_the_tenant_only_once_its_grant_passed() {
    let (_, facts) = Try::client("GET", "/tenants/acme/connections/1").run();
    assert_eq!(facts.tenant.as_deref(), Some("acme"));
    assert_eq!((facts.route, facts.principal.as_deref()), (Some("get"), Some(APP)));
    let (_, facts) = Try::client("GET", "/tenants/rival/connections/1").run();
    assert_eq!(facts.tenant, None);
    assert_eq!((facts.route, facts.principal.as_deref()), (Some("get"), Some(APP)));
}
