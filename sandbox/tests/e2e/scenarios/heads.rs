//! Heads that two readers could read in two ways, or that nobody should have to read.

use super::table::{End, Row};
use crate::support::Http;

pub fn rows() -> Vec<Row> {
    [paths(), headers()].concat()
}

fn paths() -> Vec<Row> {
    let malformed = |rule, target: &str| {
        Row::client(rule, "GET", target).refused(400, "malformed_path", "edge_path_malformed")
    };
    let long = |bytes: usize| format!("/{:a>1$}", "", bytes.saturating_sub(1));
    vec![
        malformed("a path with a doubled slash is refused", "/tenants//acme/connections/1"),
        malformed("a path with dot segments is refused", "/tenants/rival/../acme/connections/1"),
        malformed("a path with a dot segment is refused", "/tenants/./acme/connections/1"),
        malformed("a path with an encoded dot is refused", "/tenants/%2e%2e/acme/connections/1"),
        malformed("a path with any encoding is refused", "/tenants/%61cme/connections/1"),
        malformed("a path with a parameter is refused", "/tenants/acme;x=1/connections/1"),
        malformed("a path with dots and a parameter is refused", "/tenants/..;/acme/connections/1"),
        malformed("a path that ends in a slash is refused", "/tenants/acme/connections/"),
        malformed("a path with a backslash is refused", "/tenants\\acme/connections/1"),
        malformed("a path of an absolute URI within is refused", "/http://edge/health"),
        malformed("a path over 1024 bytes is refused", &long(1025)),
        Row::client("a path of 1024 bytes is read", "GET", &long(1024)).refused(
            404,
            "no_route",
            "edge_no_route",
        ),
        malformed("a query over 8192 bytes is refused", &format!("/health?{}", "a".repeat(8193))),
        Row::public(
            "a callback's query of 16 KiB is read",
            "GET",
            &format!("/oauth/callback?{}", "a".repeat(16 << 10)),
        )
        .forwarded_of_nobody(),
        Row::public(
            "a callback's query over 16 KiB is for control to refuse, which has a page for that",
            "GET",
            &format!("/oauth/callback?{}", "a".repeat(48 << 10)),
        )
        .forwarded_of_nobody(),
        Row::client("an escaped slash is refused", "GET", "/tenants/acme%2fconnections/1")
            .ends(End::ByEnvoy(400, "malformed_request")),
        Row::public("an escaped backslash is refused", "GET", "/health%5c")
            .ends(End::ByEnvoy(400, "malformed_request")),
        Row::client(
            "a target that is an absolute URI is read by its path",
            "GET",
            "https://edge/tenants//acme",
        )
        .over(&[Http::One])
        .refused(400, "malformed_path", "edge_path_malformed"),
    ]
}

fn headers() -> Vec<Row> {
    let get = |rule| Row::client(rule, "GET", "/tenants/acme/connections/1");
    let mut many = get("a hundred headers are enough, over HTTP/1.1");
    let mut many_2 = get("a hundred headers are enough, over HTTP/2");
    let names: Vec<&'static str> =
        (0..100).map(|number| &*format!("x-header-{number}").leak()).collect();
    for name in names {
        many = many.header(name, "1");
        many_2 = many_2.header(name, "1");
    }
    let large = vec![b'a'; 70_000];
    vec![
        get("a header that is not UTF-8 is refused").header("x-bin", b"\xff\xfe").refused(
            400,
            "malformed_header",
            "edge_header_not_text",
        ),
        get("a header in another encoding is refused").header("x-name", b"caf\xe9").refused(
            400,
            "malformed_header",
            "edge_header_not_text",
        ),
        get("a header in UTF-8 is text").header("x-name", "café").forwarded(),
        get("an empty header is a header").header("x-empty", "").forwarded(),
        get("a header may occur twice where that means nothing")
            .header("x-a", "1")
            .header("x-a", "2")
            .forwarded(),
        Row::client(
            "a content type that is declared twice is refused",
            "POST",
            "/tenants/acme/connections",
        )
        .header("content-type", "application/json")
        .header("content-type", "text/plain")
        .refused(415, "unsupported_media_type", "edge_not_json"),
        get("a header with an underscore is refused, over HTTP/1.1")
            .header("x_connections_tenant", "rival")
            .over(&[Http::One])
            .ends(End::ByEnvoy(400, "malformed_request")),
        get("a header with an underscore is refused, over HTTP/2")
            .header("x_connections_tenant", "rival")
            .over(&[Http::Two])
            .ends(End::Cut),
        Row::public(
            "a header with an underscore is passed over where Nango sends it",
            "GET",
            "/health",
        )
        .header("x_connections_tenant", "rival")
        .forwarded_of_nobody(),
        many.over(&[Http::One]).ends(End::ByEnvoy(431, "head_too_large")),
        many_2.over(&[Http::Two]).ends(End::Cut),
        get("a head over 60 KiB is refused, over HTTP/1.1")
            .header("x-large", &large)
            .over(&[Http::One])
            .ends(End::ByEnvoy(431, "head_too_large")),
        get("a head over 60 KiB is refused, over HTTP/2")
            .header("x-large", &large)
            .over(&[Http::Two])
            .ends(End::Cut),
        get("a caller does not tell Envoy how to log, or when to give up")
            .header("x-envoy-original-path", "/elsewhere")
            .header("x-envoy-upstream-rq-timeout-ms", "1")
            .stays("x-envoy-original-path")
            .stays("x-envoy-upstream-rq-timeout-ms")
            .forwarded(),
        get("an upgrade is refused")
            .header("connection", "upgrade")
            .header("upgrade", "websocket")
            .over(&[Http::One])
            .ends(End::ByEnvoy(403, "gateway")),
        Row::client("CONNECT leads nowhere", "CONNECT", "edge:443").over(&[Http::One]).refused(
            400,
            "malformed_path",
            "edge_path_malformed",
        ),
    ]
}
