//! What the edge would decide, request by request.

use crate::attempt::*;

const TENANT_APP: &str = "spiffe://acme.example/tenant/t1/app";
const DNS_APP: &str = "dns:app.acme.example";
const STRANGER: &str = "spiffe://rival.example/app";
const ACME: &str = "/tenants/acme/connections";
const RIVAL: &str = "/tenants/rival/connections";

/// The rows beside the headline, as `name value`.
fn rows(out: &str) -> Vec<String> {
    let rows = out.lines().skip(1);
    rows.map(|row| row.split_whitespace().collect::<Vec<_>>().join(" ")).collect()
}

#[track_caller]
fn check(policy: &str, (principal, method, path): (&str, &str, &str), code: u8, expected: &[&str]) {
    let said = call_on(("policy.json", policy), &ask(principal, method, path));
    assert_eq!(said.code, code, "{principal} {method} {path}: {said:?}");
    assert!(said.err.is_empty(), "{}", said.err);
    let headline = if code == 0 { "permitted\n" } else { "refused: " };
    assert!(said.out.starts_with(headline), "{}", said.out);
    let rows = rows(&said.out);
    for row in expected {
        assert!(rows.iter().any(|said| said.starts_with(row)), "no {row} in {}", said.out);
    }
}

#[test]
fn a_permitted_request_is_told_with_the_grant_that_permits_it() {
    for (principal, method, path, route, action, tenant, grant) in [
        (APP, "GET", "/tenants/acme/connections/1", "get", "read", "acme", 0),
        (APP, "HEAD", ACME, "list", "read", "acme", 0),
        (APP, "GET", "/tenants/acme/connections?limit=2", "list", "read", "acme", 0),
        (APP, "POST", ACME, "start", "connect", "acme", 0),
        (APP, "GET", "/tenants/acme-1/connections", "list", "read", "acme-1", 0),
        (APP, "GET", "/tenants/acme/destination", "destination_get", "notify", "acme", 1),
        (TENANT_APP, "GET", "/tenants/t1/events", "events", "read", "t1", 2),
        (DNS_APP, "GET", "/tenants/acme/audit", "audit", "audit", "acme", 3),
        ("dns:App.Acme.example", "GET", "/tenants/acme/audit", "audit", "audit", "acme", 3),
    ] {
        let rows = [
            format!("route {route}"),
            format!("action {action}"),
            format!("tenant {tenant}"),
            format!("grant grants[{grant}] {{\"principal\":"),
        ];
        let rows: Vec<&str> = rows.iter().map(String::as_str).collect();
        check(CLIENTS, (principal, method, path), 0, &rows);
    }
}

#[test]
fn a_refused_request_is_told_with_the_reason_that_the_log_would_have() {
    for (principal, method, path, reason, status, code) in [
        (APP, "GET", RIVAL, "edge_no_grant", 403, "no_grant"),
        (APP, "GET", "/tenants/acmes/connections", "edge_no_grant", 403, "no_grant"),
        (APP, "DELETE", "/tenants/acme/connections/1", "edge_no_grant", 403, "no_grant"),
        (APP, "GET", "/tenants/acme-1/destination", "edge_no_grant", 403, "no_grant"),
        (TENANT_APP, "GET", "/tenants/t2/events", "edge_no_grant", 403, "no_grant"),
        (TENANT_APP, "POST", "/tenants/t1/connections", "edge_no_grant", 403, "no_grant"),
        (DNS_APP, "GET", ACME, "edge_no_grant", 403, "no_grant"),
        (STRANGER, "GET", ACME, "edge_no_grant", 403, "no_grant"),
        (STRANGER, "GET", "/providers", "edge_no_grant", 403, "no_grant"),
        (APP, "GET", "/nowhere", "edge_no_route", 404, "no_route"),
        (APP, "POST", "/webhooks/nango", "edge_no_route", 404, "no_route"),
        (APP, "PATCH", ACME, "edge_method_not_allowed", 405, "method_not_allowed"),
        (APP, "get", ACME, "edge_method_not_allowed", 405, "method_not_allowed"),
        (APP, "GET", "/tenants//connections", "edge_path_malformed", 400, "malformed_path"),
        (APP, "GET", "/tenants/acme%2f/connections", "edge_path_malformed", 400, "malformed_path"),
        (APP, "GET", "tenants", "edge_path_malformed", 400, "malformed_path"),
        (APP, "GET", "/health?a b", "edge_path_malformed", 400, "malformed_path"),
        ("", "GET", ACME, "edge_no_identity", 403, "no_identity"),
        ("", "GET", "/health", "edge_no_identity", 403, "no_identity"),
        ("", "GET", "/nowhere", "edge_no_identity", 403, "no_identity"),
    ] {
        let rows = [format!("reason {reason}"), format!("status {status}"), format!("code {code}")];
        let rows: Vec<&str> = rows.iter().map(String::as_str).collect();
        check(CLIENTS, (principal, method, path), 3, &rows);
    }
}

#[test]
fn an_answer_says_everything_once() {
    let said = call_on(("policy.json", CLIENTS), &ask(APP, "GET", "/tenants/acme/destination"));
    let permitted = r#"permitted
  grant           grants[1] {"principal":"spiffe://acme.example/app", "tenants":["acme"], "actions":["notify"]}
  policy          version 7, listener clients
  principal       spiffe://acme.example/app
  route           destination_get
  action          notify
  tenant          acme
"#;
    assert_eq!(said, Said { code: 0, out: permitted.to_owned(), err: String::new() });
    let said = call_on(("policy.json", CLIENTS), &ask(APP, "PATCH", "/tenants/acme/destination"));
    let refused = "refused: the route has other methods
  reason          edge_method_not_allowed
  status          405
  code            method_not_allowed
  allow           GET, HEAD, PUT, DELETE, OPTIONS
  policy          version 7, listener clients
  principal       spiffe://acme.example/app
";
    assert_eq!(said, Said { code: 3, out: refused.to_owned(), err: String::new() });
}

#[test]
fn what_asks_for_no_action_is_told_so() {
    check(CLIENTS, (STRANGER, "GET", "/health"), 0, &["route health", "grant none needed"]);
    check(CLIENTS, (APP, "GET", "/providers"), 0, &["route providers", "grant grants[0]"]);
    check(CLIENTS, (TENANT_APP, "GET", "/providers"), 0, &["grant grants[2]"]);
}

#[test]
fn the_question_which_methods_a_path_has_is_answered_at_the_edge() {
    let said = call_on(("policy.json", CLIENTS), &ask(STRANGER, "OPTIONS", ACME));
    assert_eq!(said.code, 0);
    assert!(said.out.starts_with("answered by the edge\n"), "{}", said.out);
    assert_eq!(rows(&said.out)[..2], ["status 204", "allow POST, GET, HEAD, OPTIONS"]);
}

#[test]
fn the_public_listener_asks_for_no_principal_and_a_webhook_for_a_signature() {
    let signature = "needs a signature of its body by a webhook key";
    let json = "needs content-type: application/json";
    let webhook = ["route webhook", "grant none needed", signature, json];
    check(PUBLIC, ("", "POST", "/webhooks/nango"), 0, &webhook);
    check(PUBLIC, (APP, "POST", "/webhooks/nango"), 0, &webhook);
    check(PUBLIC, ("", "GET", "/oauth/callback?state=s&code=c"), 0, &["route callback"]);
    check(PUBLIC, ("", "GET", "/health"), 0, &["route health"]);
    check(PUBLIC, ("", "GET", "/webhooks/nango"), 3, &["reason edge_method_not_allowed"]);
    check(PUBLIC, ("", "HEAD", "/oauth/callback"), 3, &["reason edge_method_not_allowed"]);
    check(PUBLIC, (APP, "GET", ACME), 3, &["reason edge_no_route"]);
}

#[test]
fn what_a_real_request_must_have_besides_is_said() {
    let needs = |method, path| {
        let said = call_on(("policy.json", CLIENTS), &ask(APP, method, path));
        rows(&said.out).into_iter().filter(|row| row.starts_with("needs")).collect::<Vec<_>>()
    };
    assert_eq!(needs("POST", ACME), ["needs content-type: application/json"]);
    assert_eq!(
        needs("POST", "/tenants/acme/connections/1/check"),
        ["needs content-type: application/json, if it has a body"]
    );
    assert_eq!(needs("GET", ACME), [""; 0]);
}

#[test]
fn a_dry_run_is_told_and_decides_nothing() {
    let policy = with_dry_run(
        r#"[{"principal":"spiffe://acme.example/app","tenants":["rival","acme-*"],"actions":["read"]}]"#,
    );
    let refuse = ["dryRun is on, and would do: refuse", "grant grants[0]"];
    check(&policy, (APP, "GET", ACME), 0, &refuse);
    check(&policy, (APP, "GET", RIVAL), 3, &["dryRun is on, and would do: forward"]);
    let same = ["dryRun is on, and would do: same"];
    check(&policy, (APP, "GET", "/tenants/acme-1/connections"), 0, &same);
    check(&policy, (APP, "GET", "/tenants/third/connections"), 3, &same);
    check(&policy, (APP, "GET", "/nowhere"), 3, &same);
    let said = call_on(("policy.json", CLIENTS), &ask(APP, "GET", ACME));
    assert!(!said.out.contains("dryRun"), "{}", said.out);
}
