//! Who may come in, and what of a request goes on.

use crate::{
    raw,
    support::{Answer, Edge, Http, SIGNATURE},
};
use reqwest::header::{HeaderName, HeaderValue};
use sandbox::recorder::Recorded;

/// The one request that control would have got.
fn only(records: Vec<Recorded>) -> Recorded {
    assert_eq!(records.len(), 1, "{records:?}");
    records.into_iter().next().unwrap()
}

/// An answer before the end of the body costs the connection, and over HTTP/2 some clients lose it.
#[tokio::test]
async fn a_refusal_comes_after_a_small_body_and_leaves_the_connection_open() {
    let edge = Edge::start().await;
    let head = "POST /tenants/rival/connections HTTP/1.1\r\nhost: edge\r\ncontent-length: 2\r\n";
    let requests = format!("{head}\r\n{{}}{head}connection: close\r\n\r\n{{}}");
    let address = edge.envoy.addresses.clients;
    let answers = raw::exchange(&edge, address, requests.as_bytes()).await;
    assert_eq!(answers.matches("HTTP/1.1 403").count(), 2, "{answers}");
}

#[tokio::test]
async fn headers_that_only_the_edge_may_set_are_the_edges_on_every_route() {
    let edge = Edge::start().await;
    let signature = edge.sign(b"{}");
    let connections = edge.clients("/tenants/acme/connections");
    let one = edge.clients("/tenants/acme/connections/1");
    let requests = [
        edge.app().get(edge.clients("/health")),
        edge.app().post(connections),
        edge.app().get(&one),
        edge.app().delete(&one),
        edge.anybody().get(edge.public("/health")),
        edge.anybody().get(edge.public("/oauth/callback?state=s")),
        edge.anybody().post(edge.public("/webhooks/nango")).header(SIGNATURE, signature),
    ];
    let count = requests.len();
    for request in requests {
        let answer = request
            .header("content-type", "application/json")
            .header("x-connections-principal", "spiffe://evil.example/a")
            .header("x-connections-principal", "spiffe://evil.example/b")
            .header("X-Connections-Tenant", "evil")
            .header("x-connections-action", "evil")
            .header("x-connections-webhook-key", "evil")
            .header("x-connections-assertion", "evil")
            .header("x-connections-evil", "evil")
            .header("x-envoy-original-path", "/evil")
            .header("x-forwarded-client-cert", "URI=spiffe://evil.example/a")
            .body("{}")
            .send()
            .await
            .unwrap();
        assert_eq!(answer.status(), 200, "{}", answer.url());
    }
    let records = edge.recorder.records();
    assert_eq!(records.len(), count);
    for recorded in records {
        let told = format!("{:?}", recorded.headers);
        assert!(!told.contains("evil"), "{told}");
        assert_eq!(recorded.all("x-connections-assertion").len(), 1, "{told}");
    }
}

#[tokio::test]
async fn a_header_that_is_not_utf_8_is_refused_and_the_next_request_works() {
    let edge = Edge::start().await;
    let bytes = || HeaderValue::from_bytes(b"\xff\xfe").unwrap();
    for http in Http::BOTH {
        let client = http.client(&edge.pki);
        for name in ["x-bin", "cookie", "x-nango-hmac-sha256", "x-envoy-any", "x-connections-any"] {
            let request = client.get(edge.public("/health"));
            let request = request.header(HeaderName::from_static(name), bytes());
            let answer = Answer::of(request.send().await.unwrap()).await;
            assert_eq!(answer.version, http.version());
            // What is stripped before the filter is not there to be refused.
            let is_stripped = name.starts_with("x-envoy") || name.starts_with("x-connections");
            assert_eq!(answer.status, if is_stripped { 200 } else { 400 }, "{http:?} {name}");
        }
        let next = client.get(edge.public("/health")).send().await.unwrap();
        assert_eq!(next.status(), 200);
    }
    let app = edge.app();
    let url = edge.clients("/tenants/acme/connections/1");
    let refused = app.get(&url).header("x-bin", bytes()).send().await.unwrap();
    let refused = Answer::of(refused).await;
    assert_eq!((refused.status, refused.problem_code().as_str()), (400, "malformed_header"));
    assert_eq!(app.get(&url).send().await.unwrap().status(), 200);
}

/// Envoy's 501 would be a failure of ours; it is the sender's.
#[tokio::test]
async fn a_transfer_encoding_that_envoy_does_not_know_is_a_malformed_request() {
    let edge = Edge::start().await;
    let addresses = edge.envoy.addresses;
    for address in [addresses.clients, addresses.public] {
        for encoding in ["gzip", "gzip, chunked", "chunked, gzip"] {
            let request = format!(
                "POST /webhooks/nango HTTP/1.1\r\nhost: edge\r\nconnection: close\r\n\
                 transfer-encoding: {encoding}\r\n\r\n0\r\n\r\n"
            );
            let answer = raw::exchange(&edge, address, request.as_bytes()).await;
            assert!(answer.starts_with("HTTP/1.1 400 "), "{encoding}: {answer}");
            assert!(answer.contains(r#""code":"malformed_request""#), "{encoding}: {answer}");
        }
    }
}

#[tokio::test]
async fn what_envoy_itself_refuses_is_a_problem_document_without_insides() {
    let edge = Edge::start().await;
    let refused = edge.anybody().get(edge.public("/health%2fx")).send().await.unwrap();
    let refused = Answer::of(refused).await;
    assert_eq!((refused.status, refused.problem_code().as_str()), (400, "malformed_request"));
    let unreachable = edge.anybody();
    drop(edge.recorder);
    let refused = unreachable.get(format!("https://{}/health", edge.envoy.addresses.public));
    let refused = Answer::of(refused.send().await.unwrap()).await;
    assert_eq!((refused.status, refused.problem_code().as_str()), (503, "unavailable"));
    let told = String::from_utf8_lossy(&refused.body).to_lowercase();
    for inside in ["upstream", "refused_", "127.0.0.1", "delayed"] {
        assert!(!told.contains(inside), "{told}");
    }
}

#[tokio::test]
async fn the_callbacks_query_passes_byte_for_byte_and_stays_out_of_the_log() {
    let edge = Edge::start().await;
    let target = "/oauth/callback?code=CANARY%2fa+b%zz&state=CANARY2&&='[]{}|^`\\";
    let answered = raw::get_public(&edge, target, "x-envoy-original-path: /CANARY3\r\n").await;
    assert!(answered.starts_with("HTTP/1.1 200 "), "{answered}");
    assert_eq!(only(edge.recorder.records()).target, target);
    let lines = edge.access_log(1).await;
    let line = lines[0].to_string();
    assert!(line.contains(r#""path":"/oauth/callback""#) && !line.contains("CANARY"), "{line}");
}

#[tokio::test]
async fn no_secret_is_in_envoys_config_dump_or_log() {
    let edge = Edge::start().await;
    // As talkative as an operator may make it.
    let verbose = format!("http://{}/logging?level=debug", edge.envoy.addresses.admin);
    let quiet = format!("http://{}/logging?config=info", edge.envoy.addresses.admin);
    for url in [verbose, quiet] {
        assert_eq!(reqwest::Client::new().post(url).send().await.unwrap().status(), 200);
    }
    let statuses = [
        edge.app().get(edge.clients("/tenants/acme/connections/1")),
        edge.app().get(edge.clients("/tenants/rival/connections/1")),
        edge.anybody().post(edge.public("/webhooks/nango")).header(SIGNATURE, edge.sign(b"{}")),
        edge.anybody().post(edge.public("/webhooks/nango")).header(SIGNATURE, "0".repeat(64)),
    ]
    .map(|request| request.header("content-type", "application/json").body("{}").send());
    let mut answered = Vec::new();
    for status in statuses {
        answered.push(status.await.unwrap().status().as_u16());
    }
    assert_eq!(answered, [200, 403, 200, 401]);
    edge.access_log(4).await;
    let url = format!("http://{}/config_dump?include_eds", edge.envoy.addresses.admin);
    let dump = reqwest::get(url).await.unwrap().text().await.unwrap();
    let log = std::fs::read_to_string(edge.envoy.process().log()).unwrap();
    assert!(dump.contains("edge-public"), "the dump is of our filters");
    assert!(log.contains("[debug]"), "the log is as talkative as it was told to be");
    for secret in [&edge.webhook_keys, &edge.assertion_keys] {
        assert!(!dump.contains(secret.as_str()), "a secret is in the dump");
        assert!(!log.contains(secret.as_str()), "a secret is in the log");
    }
}

/// What no client library sends, over HTTP/1.1.
#[tokio::test]
async fn requests_with_two_readings_are_refused_or_get_one() {
    let edge = Edge::start().await;
    let rows = [
        ("a fragment", "/health#x", "", 400),
        ("a quote in the query", "/health?a=\"b\"", "", 400),
        ("a backslash", "/tenants/acme\\..\\rival/connections/1", "", 400),
        ("two lengths", "/health", "content-length: 0\r\ncontent-length: 1\r\n", 400),
        ("a folded header", "/health", "x-a: 1\r\n  x-connections-tenant: b\r\n", 200),
        ("a second host", "/health", "host: other\r\n", 200),
    ];
    for (what, target, headers, status) in rows {
        let answer = raw::get_public(&edge, target, headers).await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{what}: {answer}");
    }
    let seen = edge.recorder.records();
    assert_eq!(seen.len(), 2);
    for seen in seen {
        assert_eq!(seen.all("host").len(), 1, "{seen:?}");
        assert_eq!(seen.all("x-connections-tenant"), [""; 0], "{seen:?}");
    }
}
