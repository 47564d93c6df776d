//! What Nango, browsers and strangers may and may not do.

use crate::attempt::*;
use contract::assertion::Vouched;
use filter::pipeline::{Secrets, Step};

#[test]
fn edge_headers_from_outside_never_reach_upstream() {
    let spoofed = Try::public("GET", "/oauth/callback?state=s&code=c%2F")
        .with("x-connections-principal", APP)
        .with("x-connections-tenant", "acme")
        .with("x-connections-action", "delete")
        .with("x-connections-webhook-key", "w")
        .with("x-connections-assertion", "v1,a,1,00")
        .with("x-connections-of-a-later-version", "1");
    let headers = check_forwarded(spoofed, nobody());
    assert!(!headers.contains_key("x-connections-of-a-later-version"));
    assert_eq!(headers[":path"], "/oauth/callback?state=s&code=c%2F");
}

#[test]
fn a_signed_webhook_is_vouched_for_with_the_key_that_verified_it() {
    let vouched = Vouched { webhook_key: Some("w".parse().unwrap()), ..nobody() };
    check_forwarded(Try::webhook(), vouched.clone());
    let (first, second) = BODY.split_at(4);
    check_forwarded(Try { chunks: vec![first, b"", second], ..Try::webhook() }, vouched);
}

#[test]
fn a_webhook_that_nobody_signed_is_refused() {
    let header = "x-nango-hmac-sha256";
    check_refused(Try::webhook().without(header), 401, "edge_signature_missing");
    check_refused(
        Try::webhook().without(header).with("x-nango-signature", &"0".repeat(64)),
        401,
        "edge_signature_missing",
    );
    check_refused(Try::webhook().with(header, &"0".repeat(64)), 401, "edge_signature_duplicated");
    check_refused(
        Try::webhook().without(header).with(header, "junk"),
        401,
        "edge_signature_malformed",
    );
    check_refused(Try { chunks: vec![b"{}"], ..Try::webhook() }, 401, "edge_signature_mismatch");
    // No body at all: no body callback will come, and the answer comes with the head.
    check_refused(Try { chunks: vec![], ..Try::webhook() }, 401, "edge_signature_mismatch");
}

#[test]
fn a_webhook_over_the_limit_is_refused() {
    let large: &'static [u8] = &[b' '; 65];
    check_refused(Try { chunks: vec![large], ..Try::webhook() }, 413, "edge_body_too_large");
    check_refused(Try::webhook().with("content-length", "65"), 413, "edge_body_too_large");
}

#[test]
fn a_body_that_is_not_declared_as_json_is_refused() {
    let plain = Try::webhook().without("content-type");
    check_refused(plain.clone(), 415, "edge_not_json");
    check_refused(plain.clone().with("content-type", "text/plain"), 415, "edge_not_json");
    let vouched = Vouched { webhook_key: Some("w".parse().unwrap()), ..nobody() };
    check_forwarded(plain.with("content-type", "application/JSON; charset=utf-8"), vouched);
}

/// An answer before the end of the body is an answer that some clients never read.
#[test]
fn a_refusal_waits_for_a_small_body_and_for_no_other() {
    let waits = |request: Try| match request.begin().0 {
        Step::Refuse(_) => false,
        Step::RefuseAfterBody(_) => true,
        step @ (Step::Forward(_) | Step::Answer(_) | Step::Hold(_)) => panic!("{step:?}"),
    };
    let refused = Try { chunks: vec![BODY], ..Try::client("POST", "/nowhere") };
    assert!(waits(refused.clone().with("content-length", "15")));
    assert!(waits(refused.clone().with("content-length", "16384")));
    assert!(!waits(refused.clone().with("content-length", "16385")));
    assert!(!waits(refused.clone().with("content-length", "-1")));
    assert!(!waits(refused.with("transfer-encoding", "chunked")));
    assert!(!waits(Try::client("GET", "/nowhere").with("content-length", "0")));
}

/// Where Envoy lacks the flag, no callback follows a head that was held: the refusal would never be read.
#[test]
fn where_no_head_can_be_held_a_refusal_waits_for_nothing() {
    const UNHELD: &str = r#"{"version":"1","listener":"clients","assertionKeys":{"filterState":"a"},"holdsHead":false,
        "identity":{"certificate":{"names":["uri"]}},"grants":[]}"#;
    let refused = Try { chunks: vec![BODY], ..Try::client("POST", "/nowhere") };
    let refused = Try { policy: UNHELD, ..refused }.with("content-length", "15");
    assert!(matches!(refused.begin().0, Step::Refuse(_)));
    check_refused(refused, 404, "edge_no_route");
}

#[test]
fn a_missing_or_guessable_key_is_our_fault_and_never_a_pass() {
    for key in [None, Some(b"-".as_slice()), Some(b"".as_slice()), Some(b"short".as_slice())] {
        let without_webhook_key = Try { webhook_keys: key, ..Try::webhook() };
        check_refused(without_webhook_key, 503, "edge_no_webhook_key");
        let without_assertion_key = Try { assertion_keys: key, ..Try::client("GET", "/health") };
        check_refused(without_assertion_key, 503, "edge_no_assertion_key");
    }
}

#[test]
fn a_request_does_not_print_its_keys() {
    let secrets =
        Secrets { assertion_keys: Some(ASSERTION_KEYS), webhook_keys: Some(WEBHOOK_KEYS) };
    assert_eq!(format!("{secrets:?}"), "Secrets(..)");
}

#[test]
fn a_malformed_head_is_refused_before_anything_is_asked_of_it() {
    check_refused(Try::public("GET", "/webhooks/../health"), 400, "edge_path_malformed");
    check_refused(Try::public("GET", "/health%2f"), 400, "edge_path_malformed");
    let upgrade = Try::public("GET", "/health").with("connection", "upgrade");
    check_refused(upgrade.with("upgrade", "websocket"), 400, "edge_upgrade");
    check_refused(Try::public("GET", "/health").with(":path", "/x"), 400, "edge_header_duplicated");
}

#[test]
fn a_value_that_is_not_text_is_refused_but_for_a_signed_webhook_that_nobody_may_lose() {
    let call = Try::client("GET", "/tenants/acme/connections/1");
    check_refused(call.with_bytes("x-bin", b"\xff"), 400, "edge_header_not_text");
    check_refused(
        Try::public("GET", "/oauth/callback").with_bytes("cookie", b"\xff"),
        400,
        "edge_header_not_text",
    );
    let vouched = Vouched { webhook_key: Some("w".parse().unwrap()), ..nobody() };
    check_forwarded(Try::webhook().with_bytes("x-bin", b"\xff").with("upgrade", "h2c"), vouched);
    let unsigned = Try::webhook().without("x-nango-hmac-sha256");
    check_refused(
        unsigned.with_bytes("x-nango-hmac-sha256", b"\xff"),
        401,
        "edge_signature_malformed",
    );
}

#[test]
fn of_a_webhooks_head_only_what_control_needs_goes_on() {
    let vouched = Vouched { webhook_key: Some("w".parse().unwrap()), ..nobody() };
    let strangers = Try::webhook()
        .with("x-github-event", "issues")
        .with("x-forwarded-client-cert", "URI=spiffe://evil")
        .with("x-connections-principal", APP)
        .with("authorization", "Bearer evil")
        .with("traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01");
    let headers = check_forwarded(strangers, vouched);
    let names: Vec<&str> = headers.keys().map(String::as_str).collect();
    assert_eq!(
        names,
        [
            ":method",
            ":path",
            "content-type",
            "traceparent",
            "x-connections-assertion",
            "x-connections-webhook-key",
            "x-request-id"
        ]
    );
}
