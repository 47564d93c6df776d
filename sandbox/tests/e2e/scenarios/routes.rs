//! Where a request may go, and by which method.

use super::{
    table::{End, Row},
    worlds::Who,
};
use crate::support::Http;
use sandbox::pki::APP;

pub fn rows() -> Vec<Row> {
    [calls(), others(), cross_origin()].concat()
}

fn calls() -> Vec<Row> {
    let call = Row::client;
    vec![
        call("a connection is started", "POST", "/tenants/acme/connections").json(b"{}"),
        call("connections are listed", "GET", "/tenants/acme/connections?limit=2&cursor=a%2Fb"),
        call("a connection is read, and waited for", "GET", "/tenants/acme/connections/1?wait=1"),
        call("a connection is looked at", "HEAD", "/tenants/acme/connections/1"),
        call("a connection is deleted", "DELETE", "/tenants/acme/connections/1"),
        call("a connection is reconnected", "POST", "/tenants/acme/connections/1/reconnect"),
        call("a callback is completed", "POST", "/tenants/acme/connections/1/complete").json(b"{}"),
        call("a connection is checked", "POST", "/tenants/acme/connections/1/check"),
        call("deliveries are read", "GET", "/tenants/acme/connections/1/deliveries"),
        call("a delivery is repeated", "POST", "/tenants/acme/deliveries/1/redeliver"),
        call("deliveries are repeated", "POST", "/tenants/acme/deliveries/redeliver").json(b"{}"),
        call("a redelivery is read", "GET", "/tenants/acme/deliveries/redeliveries/1"),
        call("events are read", "GET", "/tenants/acme/events?after=1"),
        call("a destination is read", "GET", "/tenants/acme/destination"),
        call("a destination is set", "PUT", "/tenants/acme/destination").json(b"{}"),
        call("a destination is taken out", "DELETE", "/tenants/acme/destination"),
        call("a destination is tried", "POST", "/tenants/acme/destination/test"),
    ]
    .into_iter()
    .map(Row::forwarded)
    .chain([
        call("health is asked over mTLS", "GET", "/health")
            .ends(End::Forwarded { principal: Some(APP), tenant: None }),
        Row::public("health is asked without a certificate", "GET", "/health")
            .forwarded_of_nobody(),
        call("whoever is refused is led to a page", "GET", "/errors")
            .ends(End::Forwarded { principal: Some(APP), tenant: None }),
        Row::public("strangers are led there, too", "GET", "/errors").forwarded_of_nobody(),
        Row::public("health may be a HEAD", "HEAD", "/health").forwarded_of_nobody(),
        Row::public(
            "the callback's query goes on byte for byte",
            "GET",
            "/oauth/callback?code=a%2fb+c%zz&state=1&&='[]{}|^`\\",
        )
        .forwarded_of_nobody(),
        Row::public("a form of 16 KiB comes back from a provider", "POST", "/oauth/callback")
            .header("content-type", "application/x-www-form-urlencoded")
            .bytes("a".repeat(16 << 10).as_bytes())
            .forwarded_of_nobody(),
        Row::public("a form over 16 KiB is for control to refuse", "POST", "/oauth/callback")
            .header("content-type", "application/x-www-form-urlencoded; charset=utf-8")
            .bytes("a".repeat(100 << 10).as_bytes())
            .forwarded_of_nobody(),
        Row::public("the trace context of a caller is kept", "GET", "/oauth/callback?state=1")
            .header("tracestate", "vendor=1")
            .arrives("tracestate", "vendor=1")
            .forwarded_of_nobody(),
    ])
    .collect()
}

fn others() -> Vec<Row> {
    let no_route = |row: Row| row.refused(404, "no_route", "edge_no_route");
    let no_method = |row: Row| row.refused(405, "method_not_allowed", "edge_method_not_allowed");
    let not_json = |row: Row| row.refused(415, "unsupported_media_type", "edge_not_json");
    vec![
        no_route(Row::client("a path that is not in the API is 404", "GET", "/nowhere")),
        no_route(Row::client("a path is another in another case", "GET", "/Health")),
        no_route(Row::client("clients have no webhooks", "POST", "/webhooks/nango").json(b"{}")),
        no_route(Row::client("clients have no callback", "GET", "/oauth/callback")),
        no_route(Row::client("a tenant's name is a tenant id", "GET", "/tenants/-a/connections")),
        no_route(Row::public("strangers have no tenants", "GET", "/tenants/acme/connections/1")),
        no_route(Row::public("strangers have no providers", "GET", "/providers")),
        no_route(Row::public("Envoy's own paths are not served", "GET", "/ready")),
        no_method(Row::client("another method is 405", "PATCH", "/tenants/acme/connections/1"))
            .answers("allow", "GET, HEAD, DELETE, OPTIONS"),
        no_method(Row::client("TRACE is no method of ours", "TRACE", "/health")),
        no_method(Row::client(
            "a method is another in another case, over HTTP/2",
            "get",
            "/health",
        ))
        .over(&[Http::Two]),
        Row::client("a method is another in another case, over HTTP/1.1", "get", "/health")
            .over(&[Http::One])
            .ends(End::ByEnvoy(400, "malformed_request")),
        no_method(Row::public("a webhook is a POST", "GET", "/webhooks/nango"))
            .answers("allow", "POST, OPTIONS"),
        Row::public("a callback is no HEAD, which a preview would send", "HEAD", "/oauth/callback")
            .ends(End::Answered(405, "edge_method_not_allowed"))
            .answers("allow", "GET, POST, OPTIONS"),
        Row::public("a callback by POST is a form", "POST", "/oauth/callback")
            .header("content-type", "application/json")
            .bytes(b"{}")
            .refused(415, "unsupported_media_type", "edge_not_form"),
        Row::public("a callback by POST declares its form", "POST", "/oauth/callback")
            .bytes(b"state=1")
            .refused(415, "unsupported_media_type", "edge_not_form"),
        no_route(Row::client("clients have no callback by POST", "POST", "/oauth/callback")),
        Row::client("OPTIONS says which methods a path has", "OPTIONS", "/tenants/a/connections/1")
            .ends(End::Answered(204, "edge_options"))
            .answers("allow", "GET, HEAD, DELETE, OPTIONS"),
        no_route(Row::public("OPTIONS of no path is 404", "OPTIONS", "/nowhere")),
        not_json(Row::client(
            "a body that is not JSON is 415",
            "POST",
            "/tenants/acme/connections",
        ))
        .header("content-type", "text/plain"),
        not_json(Row::client("JSON is declared", "POST", "/tenants/acme/connections")),
        not_json(Row::client("a form is not JSON", "PUT", "/tenants/acme/destination"))
            .header("content-type", "application/x-www-form-urlencoded"),
        Row::client("JSON may name its charset", "POST", "/tenants/acme/connections")
            .header("content-type", "Application/JSON; charset=utf-8")
            .forwarded(),
        not_json(
            Row::client(
                "a body that need not be there is JSON",
                "POST",
                "/tenants/acme/connections/1/check",
            )
            .header("content-type", "text/plain"),
        )
        .bytes(b"check"),
    ]
}

fn cross_origin() -> Vec<Row> {
    const ORIGIN: &str = "https://app.example";
    const ALLOWED: &str = "access-control-allow-origin";
    let preflight = |rule, origin: &str| {
        Row::public(rule, "OPTIONS", "/health")
            .header("origin", origin)
            .header("access-control-request-method", "GET")
    };
    vec![
        preflight("a page of an allowed origin may ask", ORIGIN)
            .ends(End::AnsweredByEnvoy(200))
            .answers(ALLOWED, ORIGIN)
            .answers("access-control-allow-methods", "GET, HEAD"),
        preflight("a page of another origin is told nothing", "https://evil.example")
            .ends(End::Answered(204, "edge_options"))
            .answers(ALLOWED, "nothing"),
        preflight(
            "an origin that only begins alike is another",
            "https://app.example.evil.example",
        )
        .ends(End::Answered(204, "edge_options"))
        .answers(ALLOWED, "nothing"),
        Row::public("a page of an allowed origin may read", "GET", "/health")
            .header("origin", ORIGIN)
            .forwarded_of_nobody()
            .answers(ALLOWED, ORIGIN),
        Row::public("a page of another origin may not read", "GET", "/health")
            .header("origin", "https://evil.example")
            .forwarded_of_nobody()
            .answers(ALLOWED, "nothing"),
        Row::client("pages have no business with the clients listener", "GET", "/health")
            .by(Who::APP)
            .over(&Http::BOTH)
            .header("origin", ORIGIN)
            .ends(End::Forwarded { principal: Some(APP), tenant: None })
            .answers(ALLOWED, "nothing"),
    ]
}
