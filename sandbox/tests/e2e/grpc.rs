//! Requests that declare gRPC, which nothing here speaks: a refusal has its own status, whoever refuses.
//!
//! Envoy answers such a request with 200 and puts what it means into `grpc-status`.

use crate::{
    load::{call, webhook},
    raw,
    support::{Answer, Edge, Http, Prepared, Sending},
    wire::{Message, Wire},
};
use sandbox::{
    envoy::configuration::{filter, listener, route},
    pki::{APP, Name},
    process::wait_for,
};
use serde_json::{Value, json};
use std::time::Duration;

const TYPES: [&str; 3] = ["application/grpc", "application/grpc+proto", "application/grpc; x=y"];

const SOON: Duration = Duration::from_secs(20);

fn typed(mut message: Message, media_type: &str) -> Message {
    message.headers.retain(|header| header.0 != "content-type");
    message.header("content-type", media_type)
}

async fn wire(edge: &Edge, is_client: bool, http: Http) -> Wire {
    let addresses = edge.envoy.addresses;
    let app = edge.pki.clients.issue("app", &[Name::Uri(APP)]).unwrap();
    let (address, identity) =
        if is_client { (addresses.clients, Some(&app)) } else { (addresses.public, None) };
    Wire::connect(&edge.pki, address, http, identity).await.unwrap()
}

/// Every answer is what it is for any other content type, and so is the log.
async fn check(edge: &Edge, is_client: bool, message: &Message, expected: (u16, &str)) {
    for http in Http::BOTH {
        for media_type in TYPES {
            let what = format!("{media_type} {http:?} {} {}", message.method, message.target);
            let mut wire = wire(edge, is_client, http).await;
            let answer = wire.send(&typed(message.clone(), media_type)).await.unwrap();
            assert_eq!(answer.status, expected.0, "{what}: {answer:?}");
            check_shape(&answer, message.method, expected, &what);
        }
    }
}

fn check_shape(answer: &Answer, method: &str, (_, code): (u16, &str), what: &str) {
    for inside in ["grpc-status", "grpc-message", "x-edge-status"] {
        assert!(!answer.headers.contains_key(inside), "{what}: {answer:?}");
    }
    if method == "HEAD" {
        assert!(answer.body.is_empty(), "{what}");
        assert_eq!(answer.headers["content-type"], "application/problem+json", "{what}");
    } else if !code.is_empty() {
        assert_eq!(answer.problem_code(), code, "{what}: {answer:?}");
        // Envoy names a request only once it could read it.
        if let Some(id) = answer.headers.get("x-request-id") {
            assert_eq!(answer.json()["requestId"], id.to_str().unwrap(), "{what}");
        }
    }
}

/// No answer was counted as a success, and none is logged as one.
async fn check_counts(edge: &Edge, successes: u64) {
    let url = format!("http://{}/stats", edge.envoy.addresses.admin);
    let text = reqwest::get(url).await.unwrap().text().await.unwrap();
    let counted = ["clients", "public"].map(|listener| {
        let name = format!("http.{listener}.downstream_rq_2xx: ");
        let line = text.lines().find_map(|line| line.strip_prefix(&name)).unwrap();
        line.parse::<u64>().unwrap()
    });
    assert_eq!(counted.iter().sum::<u64>(), successes);
    let lines = edge.access_log(1).await;
    let logged = lines.iter().filter(|line| line["status"].as_u64().unwrap() / 100 == 2).count();
    assert_eq!(u64::try_from(logged).unwrap(), successes, "{lines:?}");
}

async fn edge(change: impl FnOnce(&mut Value) -> anyhow::Result<()>) -> Edge {
    let prepared = Prepared::new().await;
    prepared.adjust(change);
    prepared.start().await
}

#[tokio::test]
async fn a_refusal_of_the_filter_has_its_status_for_grpc_too() {
    let edge = Edge::start().await;
    // A webhook is JSON, signed or not.
    let unsigned = Message::new("POST", "/webhooks/nango").body(Sending::Whole, b"{}");
    check(&edge, false, &unsigned, (415, "unsupported_media_type")).await;
    let chunked = Message::new("POST", "/webhooks/nango").body(Sending::Pieces, b"{\"a\":1}");
    check(&edge, false, &chunked, (415, "unsupported_media_type")).await;
    let empty = Message::new("POST", "/webhooks/nango");
    check(&edge, false, &empty, (415, "unsupported_media_type")).await;
    check(&edge, false, &webhook(&edge.webhook_keys), (415, "unsupported_media_type")).await;
    check(&edge, false, &Message::new("GET", "/nowhere"), (404, "no_route")).await;
    check(&edge, false, &Message::new("HEAD", "/nowhere"), (404, "no_route")).await;
    check(&edge, true, &Message::new("GET", "/tenants/rival/connections"), (403, "no_grant")).await;
    let rivals = Message::new("POST", "/tenants/rival/connections").body(Sending::Whole, b"{}");
    check(&edge, true, &rivals, (403, "no_grant")).await;
    let own = Message::new("POST", "/tenants/acme/connections").body(Sending::Whole, b"{}");
    check(&edge, true, &own, (415, "unsupported_media_type")).await;
    // Envoy's own, before any filter.
    let hidden = Message::new("GET", "/tenants/acme%2Fconnections");
    check(&edge, true, &hidden, (400, "malformed_request")).await;
    check(&edge, false, &hidden, (400, "malformed_request")).await;
    check_counts(&edge, 0).await;
    assert_eq!(edge.recorder.records(), []);
    // What is no refusal stays what it is.
    let options = Message::new("OPTIONS", "/health");
    check(&edge, false, &options, (204, "")).await;
    check(&edge, true, &Message::new("GET", "/health"), (200, "")).await;
    assert_eq!(edge.recorder.records().len(), Http::BOTH.len() * TYPES.len());
}

#[tokio::test]
async fn a_refusal_of_a_rate_limiter_has_its_status_for_grpc_too() {
    let edge = edge(|configuration| {
        let none = json!({ "max_tokens": 1, "tokens_per_fill": 1, "fill_interval": "3600s" });
        for name in ["clients", "public"] {
            let limiter = filter(listener(configuration, name)?, "per-address")?;
            limiter["typed_config"]["descriptors"][0]["token_bucket"] = none.clone();
        }
        let webhook = route(listener(configuration, "public")?, "webhook")?;
        webhook["typed_per_filter_config"]["per-address"]["descriptors"][0]["token_bucket"] = none;
        Ok(())
    })
    .await;
    for (is_client, message) in [
        (true, Message::new("GET", "/health")),
        (false, Message::new("GET", "/health")),
        (false, webhook(&edge.webhook_keys)),
    ] {
        let first = wire(&edge, is_client, Http::One).await.send(&message).await.unwrap();
        assert_eq!(first.status, 200);
    }
    check(&edge, true, &call(), (429, "rate_limited")).await;
    check(&edge, false, &Message::new("GET", "/health"), (429, "rate_limited")).await;
    check(&edge, false, &webhook(&edge.webhook_keys), (503, "unavailable")).await;
    check_counts(&edge, 3).await;
}

#[tokio::test]
async fn a_refusal_of_the_router_has_its_status_for_grpc_too() {
    let edge = edge(|configuration| {
        // Nobody listens there.
        let endpoint = "/static_resources/clusters/0/load_assignment/endpoints/0/lb_endpoints/0/endpoint/address/socket_address";
        let [nobody] = sandbox::ports::free()?;
        configuration.pointer_mut(endpoint).unwrap()["port_value"] = json!(nobody);
        Ok(())
    })
    .await;
    check(&edge, true, &call(), (503, "unavailable")).await;
    check(&edge, false, &Message::new("GET", "/health"), (503, "unavailable")).await;
    check(&edge, false, &Message::new("HEAD", "/health"), (503, "unavailable")).await;
    check_counts(&edge, 0).await;
}

#[tokio::test]
async fn a_refusal_of_the_overload_manager_has_its_status_for_grpc_too_and_says_when_to_come_again()
{
    let edge = edge(|configuration| {
        let manager = &mut configuration["overload_manager"];
        manager["resource_monitors"][1]["typed_config"]["max_heap_size_bytes"] = json!(1);
        // So that there is an answer to see: what comes after it closes connections.
        let actions = manager["actions"].as_array_mut().unwrap();
        actions.retain(|it| it["name"] != "envoy.overload_actions.stop_accepting_connections");
        if let Some(points) = manager["loadshed_points"].as_array_mut() {
            points.retain(|it| it["name"].as_str().unwrap().ends_with("_filter_check"));
        }
        Ok(())
    })
    .await;
    let health = Message::new("GET", "/health");
    wait_for("no overload is seen", SOON, || async {
        Ok((wire(&edge, false, Http::Two).await.send(&health).await?.status == 503).then_some(()))
    })
    .await
    .unwrap();
    check(&edge, true, &call(), (503, "unavailable")).await;
    check(&edge, false, &health, (503, "unavailable")).await;
    for http in Http::BOTH {
        for (is_client, message) in [(true, call()), (false, webhook(&edge.webhook_keys))] {
            let answer = wire(&edge, is_client, http).await.send(&message).await.unwrap();
            assert_eq!(answer.headers["retry-after"], "3");
            let id = answer.headers["x-request-id"].to_str().unwrap();
            assert!(id.len() == 36 && answer.json()["requestId"] == id, "{answer:?}");
            let line = wait_for("no line in the access log", SOON, || async {
                let log = edge.envoy.access_log()?;
                Ok(log.into_iter().find(|line| line["requestId"] == id))
            });
            let line = line.await.unwrap();
            assert_eq!((&line["status"], &line["reason"]), (&json!(503), &json!("overload")));
        }
    }
}

/// The mapper makes 503 of 408 after it has written down the status; what `statuses` restores must be the new one.
#[tokio::test]
async fn a_slow_webhook_is_503_for_grpc_too() {
    let edge = Edge::start().await;
    for media_type in ["application/json", TYPES[0]] {
        let request = format!(
            "POST /webhooks/nango HTTP/1.1\r\nhost: edge\r\nconnection: close\r\ncontent-type: {media_type}\r\n\
             x-nango-hmac-sha256: {}\r\ncontent-length: 100\r\n\r\n{{",
            "0".repeat(64)
        );
        let answer = raw::exchange(&edge, edge.envoy.addresses.public, request.as_bytes()).await;
        assert!(answer.starts_with("HTTP/1.1 503 "), "{media_type}: {answer}");
    }
}
