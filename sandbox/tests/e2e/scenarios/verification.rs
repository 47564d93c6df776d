//! Nothing of a webhook reaches control before its signature is verified.

use super::{
    signatures::Signature,
    table::{End, Row},
    worlds::World,
};
use crate::support::{Http, Sending};

const BODY: &[u8] = br#"{"type":"auth","from":"nango"}"#;

/// The limit in `envoy/ecds/edge-public.yaml`.
const LIMIT: usize = 262_144;

fn whole(rule: &'static str) -> Row {
    Row::webhook(rule, Sending::Whole, BODY)
}

pub fn rows() -> Vec<Row> {
    [signed(), unsigned(), sizes(), shapes(), keys()].concat()
}

fn signed() -> Vec<Row> {
    use Sending::{Pieces, Trailers, Whole};
    vec![
        Row::webhook("a signed webhook arrives", Whole, BODY),
        Row::webhook("a signed webhook in pieces arrives", Pieces, BODY),
        Row::webhook("a signed webhook with trailers arrives", Trailers, BODY),
        Row::webhook("a signed empty body arrives", Whole, b""),
        Row::webhook("a signed empty body with trailers arrives", Trailers, b""),
        Row::webhook("one byte is a body", Pieces, b"1"),
        whole("a header that nobody reads may be anything").header("x-bin", b"\xff\xfe"),
        whole("a header of a stranger goes no further")
            .header("authorization", "Bearer x")
            .header("cookie", "a=b")
            .stays("authorization")
            .stays("cookie"),
        whole("a trace context is kept")
            .header("tracestate", "vendor=1")
            .arrives("tracestate", "vendor=1"),
        whole("Nango's older header is of no account beside the right one")
            .header("x-nango-signature", "0".repeat(64)),
        whole("a key that is about to go verifies still").signed(Signature::GoodBySecondKey),
        Row::webhook("HTTP/1.1 trailers end a body too", Trailers, BODY).in_world(World::Trailers),
        Row::webhook("keys may come from the environment", Whole, BODY)
            .in_world(World::Environment),
    ]
    .into_iter()
    .map(Row::forwarded_of_nobody)
    .collect()
}

fn unsigned() -> Vec<Row> {
    use Sending::{Pieces, Trailers, Whole};
    let reasons = [
        (Signature::None, "edge_signature_missing"),
        (Signature::OfAnotherBody, "edge_signature_mismatch"),
    ];
    let rules: [(Sending, &[u8], [&'static str; 2]); 5] = [
        (
            Whole,
            BODY,
            ["an unsigned webhook is refused", "the signature of another body is refused"],
        ),
        (
            Pieces,
            BODY,
            [
                "an unsigned webhook in pieces is refused",
                "in pieces another body's signature is refused",
            ],
        ),
        (
            Trailers,
            BODY,
            [
                "trailers are no way past the signature",
                "trailers do not make up for a wrong signature",
            ],
        ),
        (
            Whole,
            b"",
            ["an unsigned empty body is refused", "an empty body needs its own signature"],
        ),
        (
            Trailers,
            b"",
            [
                "an unsigned request of trailers only is refused",
                "a request of trailers only needs its own signature",
            ],
        ),
    ];
    let mut rows: Vec<(Row, &'static str)> = Vec::new();
    for (sending, body, rules) in rules {
        for (rule, (signature, reason)) in rules.into_iter().zip(reasons) {
            rows.push((Row::webhook(rule, sending, body).signed(signature), reason));
        }
    }
    let whole = |rule, signature, reason| (whole(rule).signed(signature), reason);
    rows.extend([
        whole(
            "the signature of another key is refused",
            Signature::ByAnotherKey,
            "edge_signature_mismatch",
        ),
        whole(
            "Nango's older signature alone is refused",
            Signature::LegacyOnly,
            "edge_signature_missing",
        ),
        whole(
            "Nango's older signature in the place of the other is refused",
            Signature::LegacyInItsPlace,
            "edge_signature_mismatch",
        ),
        whole(
            "a signature in upper case is refused",
            Signature::UpperCase,
            "edge_signature_malformed",
        ),
        whole(
            "the right signature twice is refused",
            Signature::Twice,
            "edge_signature_duplicated",
        ),
        whole(
            "a wrong signature beside the right one is refused",
            Signature::GoodAndBad,
            "edge_signature_duplicated",
        ),
        whole(
            "two signatures in one header are refused",
            Signature::JoinedToItself,
            "edge_signature_malformed",
        ),
        whole("an empty signature is refused", Signature::Text(""), "edge_signature_malformed"),
        whole(
            "a signature that is no hex is refused",
            Signature::Text("sha256=00"),
            "edge_signature_malformed",
        ),
        whole(
            "a signature of zeros is refused",
            Signature::Text("0000000000000000000000000000000000000000000000000000000000000000"),
            "edge_signature_mismatch",
        ),
        whole("a short signature is refused", Signature::Text("00"), "edge_signature_malformed"),
        whole(
            "the key that Envoy renders a missing one as signs nothing",
            Signature::ByDash,
            "edge_signature_mismatch",
        ),
    ]);
    let vouched =
        whole("a webhook does not vouch for itself", Signature::None, "edge_signature_missing");
    rows.push((vouched.0.header("x-connections-webhook-key", "1"), vouched.1));
    let bytes = whole(
        "a signature that is not text is refused",
        Signature::None,
        "edge_signature_malformed",
    );
    rows.push((bytes.0.header(crate::support::SIGNATURE, b"\xff"), bytes.1));
    let trailers = Row::webhook("HTTP/1.1 trailers are no way past the signature", Trailers, BODY);
    let trailers = trailers.in_world(World::Trailers).signed(Signature::None);
    rows.push((trailers, "edge_signature_missing"));
    let trailers =
        Row::webhook("HTTP/1.1 trailers do not make up for a wrong signature", Trailers, BODY);
    let trailers = trailers.in_world(World::Trailers).signed(Signature::ByAnotherKey);
    rows.push((trailers, "edge_signature_mismatch"));
    let environment =
        Row::webhook("with keys from the environment a wrong signature is refused", Pieces, BODY);
    let environment = environment.in_world(World::Environment).signed(Signature::ByAnotherKey);
    rows.push((environment, "edge_signature_mismatch"));
    rows.into_iter().map(|(row, reason)| row.refused(401, "signature_invalid", reason)).collect()
}

fn sizes() -> Vec<Row> {
    let fits = vec![b'a'; LIMIT];
    let over = vec![b'a'; LIMIT + 1];
    let over_two = vec![b'a'; 2 * LIMIT];
    let too_large = |row: Row| row.refused(413, "body_too_large", "edge_body_too_large");
    vec![
        Row::webhook("a body up to the limit arrives", Sending::Whole, &fits).forwarded_of_nobody(),
        Row::webhook("a body up to the limit arrives in pieces", Sending::Pieces, &fits)
            .forwarded_of_nobody(),
        too_large(Row::webhook("a length over the limit is refused", Sending::Whole, &over)),
        too_large(Row::webhook("bytes over the limit are refused", Sending::Pieces, &over)),
        too_large(Row::webhook("trailers are no way past the limit", Sending::Trailers, &over)),
        too_large(Row::webhook("a signature does not raise the limit", Sending::Whole, &over_two)),
    ]
}

fn shapes() -> Vec<Row> {
    let not_json = |row: Row| row.refused(415, "unsupported_media_type", "edge_not_json");
    vec![
        not_json(whole("a webhook is declared as JSON").without("content-type")),
        not_json(
            whole("a webhook is not declared as text")
                .without("content-type")
                .header("content-type", "text/plain"),
        ),
        whole("a webhook may name its charset")
            .without("content-type")
            .header("content-type", "application/json; charset=utf-8")
            .forwarded_of_nobody(),
        whole("a webhook is no upgrade")
            .header("connection", "upgrade")
            .header("upgrade", "websocket")
            .over(&[Http::One])
            .ends(End::ByEnvoy(403, "gateway")),
        Row::public("a webhook has one path", "POST", "/webhooks/nango/").json(BODY).refused(
            400,
            "malformed_path",
            "edge_path_malformed",
        ),
        Row::public(
            "a webhook's path has no query that it could hide behind",
            "POST",
            "/webhooks/nango?x=1",
        )
        .json(BODY)
        .refused(401, "signature_invalid", "edge_signature_missing"),
    ]
}

fn keys() -> Vec<Row> {
    let unavailable = |row: Row| {
        row.in_world(World::Keyless)
            .refused(503, "edge_unavailable", "edge_no_webhook_key")
            .answers("retry-after", "3")
    };
    vec![
        unavailable(whole("without a key no signature is right").signed(Signature::ByAnotherKey)),
        unavailable(whole("without a key the text in its place is none").signed(Signature::ByDash)),
        unavailable(
            whole("without a key an unsigned webhook is to come again").signed(Signature::None),
        ),
        Row::public("without a webhook key all else works", "GET", "/health")
            .in_world(World::Keyless)
            .forwarded_of_nobody(),
    ]
}
