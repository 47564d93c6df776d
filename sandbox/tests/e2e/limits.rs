//! Limits and overload: nobody uses up another's share, and Nango never gets a 4xx for load.
//!
//! Each test makes one limit that ships small enough to be met.

use crate::{
    load::{call, webhook},
    support::{Answer, Edge, Http, Prepared},
    wire::{self, Message, Wire},
};
use sandbox::{
    envoy::configuration::{filter, listener, manager, network_filter, replace, route},
    pki::{APP, Name},
    process::wait_for,
};
use serde_json::{Value, json};
use std::{net::SocketAddr, time::Duration};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

const SOON: Duration = Duration::from_secs(20);

/// Three requests, and then none for an hour.
fn small_bucket() -> Value {
    json!({ "max_tokens": 3, "tokens_per_fill": 3, "fill_interval": "3600s" })
}

/// Changes a limit; one that does not ship cannot be.
fn shrink(within: &mut Value, field: &str, limit: impl Into<Value>) {
    let limits = within.as_object_mut().unwrap();
    assert!(limits.insert(field.to_owned(), limit.into()).is_some(), "{field} does not ship");
}

async fn edge(change: impl FnOnce(&mut Value) -> anyhow::Result<()>) -> Edge {
    let prepared = Prepared::new().await;
    prepared.adjust(change);
    prepared.start().await
}

async fn app(edge: &Edge, http: Http) -> Wire {
    let app = edge.pki.clients.issue("app", &[Name::Uri(APP)]).unwrap();
    Wire::connect(&edge.pki, edge.envoy.addresses.clients, http, Some(&app)).await.unwrap()
}

async fn anybody(edge: &Edge, http: Http) -> Wire {
    Wire::connect(&edge.pki, edge.envoy.addresses.public, http, None).await.unwrap()
}

fn told(answer: &Answer) -> (u16, String, &str) {
    let retry_after = answer.headers.get("retry-after").map(|it| it.to_str().unwrap());
    (answer.status, answer.problem_code(), retry_after.unwrap_or("nothing"))
}

#[tokio::test]
async fn a_tenant_has_a_share_that_only_its_granted_callers_use_up() {
    let edge = edge(|configuration| {
        let limiter = filter(listener(configuration, "clients")?, "per-tenant")?;
        shrink(&mut limiter["typed_config"]["descriptors"][0], "token_bucket", small_bucket());
        Ok(())
    })
    .await;
    let stranger = [Name::Uri("spiffe://sandbox.example/stranger")];
    let stranger = edge.pki.clients.issue("stranger", &stranger).unwrap();
    let clients = edge.envoy.addresses.clients;
    let stranger = Wire::connect(&edge.pki, clients, Http::Two, Some(&stranger));
    let mut stranger = stranger.await.unwrap();
    for _ in 0..5 {
        assert_eq!(stranger.send(&call()).await.unwrap().status, 403);
    }
    let mut wire = app(&edge, Http::Two).await;
    for left in ["2", "1", "0"] {
        let answer = wire.send(&call()).await.unwrap();
        assert_eq!(
            (answer.status, answer.headers["x-ratelimit-remaining"].as_bytes()),
            (200, left.as_bytes())
        );
    }
    for _ in 0..2 {
        let refused = wire.send(&call()).await.unwrap();
        assert_eq!(told(&refused), (429, "rate_limited".to_owned(), "1"));
    }
    // Another tenant has its own.
    let t1 = [Name::Uri("spiffe://sandbox.example/tenant/t1/app")];
    let t1 = edge.pki.clients.issue("t1", &t1).unwrap();
    let mut other = Wire::connect(&edge.pki, clients, Http::Two, Some(&t1)).await.unwrap();
    let of_t1 = Message::new("GET", "/tenants/t1/connections/1");
    assert_eq!(other.send(&of_t1).await.unwrap().status, 200);
}

#[tokio::test]
async fn an_address_has_a_share_and_what_it_uses_up_is_not_nangos() {
    let edge = edge(|configuration| {
        let limiter = filter(listener(configuration, "public")?, "per-address")?;
        shrink(&mut limiter["typed_config"]["descriptors"][0], "token_bucket", small_bucket());
        Ok(())
    })
    .await;
    let mut wire = anybody(&edge, Http::Two).await;
    let health = Message::new("GET", "/health");
    for _ in 0..3 {
        assert_eq!(wire.send(&health).await.unwrap().status, 200);
    }
    let refused = wire.send(&health).await.unwrap();
    assert_eq!(told(&refused), (429, "rate_limited".to_owned(), "1"));
    // Even from the same address.
    assert_eq!(wire.send(&webhook(&edge.webhook_keys)).await.unwrap().status, 200);
}

#[tokio::test]
async fn too_many_webhooks_of_an_address_are_to_come_again() {
    let edge = edge(|configuration| {
        let webhook = route(listener(configuration, "public")?, "webhook")?;
        let limiter = &mut webhook["typed_per_filter_config"]["per-address"];
        shrink(&mut limiter["descriptors"][0], "token_bucket", small_bucket());
        Ok(())
    })
    .await;
    let mut wire = anybody(&edge, Http::One).await;
    let webhook = webhook(&edge.webhook_keys);
    for _ in 0..3 {
        assert_eq!(wire.send(&webhook).await.unwrap().status, 200);
    }
    let refused = wire.send(&webhook).await.unwrap();
    assert_eq!(told(&refused), (503, "unavailable".to_owned(), "3"));
}

/// Sends the beginning of a request, and reads what comes until the connection is closed.
async fn begin(edge: &Edge, address: SocketAddr, bytes: &[u8]) -> String {
    let app = edge.pki.clients.issue("app", &[Name::Uri(APP)]).unwrap();
    let mut stream = wire::tls(&edge.pki, address, &[], Some(&app)).await.unwrap();
    stream.write_all(bytes).await.unwrap();
    let mut answer = Vec::new();
    drop(tokio::time::timeout(SOON, stream.read_to_end(&mut answer)).await.unwrap());
    String::from_utf8_lossy(&answer).into_owned()
}

#[tokio::test]
async fn who_sends_slowly_is_answered_and_nango_is_told_to_come_again() {
    let edge = edge(|configuration| {
        for name in ["clients", "public"] {
            let manager = manager(listener(configuration, name)?)?;
            shrink(manager, "request_headers_timeout", "0.2s");
            shrink(manager, "request_timeout", "0.5s");
        }
        Ok(())
    })
    .await;
    let addresses = edge.envoy.addresses;
    let head = "POST /tenants/acme/connections HTTP/1.1\r\nhost: edge\r\n";
    let body = format!("{head}content-type: application/json\r\ncontent-length: 9\r\n\r\n{{");
    let webhook = "POST /webhooks/nango HTTP/1.1\r\nhost: edge\r\ncontent-type: application/json\r\n\
                   x-nango-hmac-sha256: 0000000000000000000000000000000000000000000000000000000000000000\r\n\
                   content-length: 9\r\n\r\n{";
    let rows = [
        ("a slow head", addresses.clients, head, "408", "request_timeout"),
        ("a slow body", addresses.clients, &body, "408", "request_timeout"),
        (
            "a webhook's slow head",
            addresses.public,
            "POST /webhooks/nango HTTP/1.1\r\n",
            "503",
            "unavailable",
        ),
        ("a webhook's slow body", addresses.public, webhook, "503", "unavailable"),
    ];
    for (what, address, bytes, status, code) in rows {
        let answer = begin(&edge, address, bytes.as_bytes()).await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{what}: {answer}");
        assert!(answer.contains(&format!(r#""code":"{code}""#)), "{what}: {answer}");
    }
    assert!(edge.recorder.records().iter().all(|seen| seen.body.is_none()), "a slow body arrived");
}

#[tokio::test]
async fn an_idle_stream_ends() {
    let edge = edge(|configuration| {
        for name in ["clients", "public"] {
            let manager = manager(listener(configuration, name)?)?;
            shrink(manager, "request_timeout", "0s");
            shrink(manager, "stream_idle_timeout", "0.5s");
        }
        Ok(())
    })
    .await;
    let webhook = "POST /webhooks/nango HTTP/1.1\r\nhost: edge\r\ncontent-type: application/json\r\n\
                   x-nango-hmac-sha256: 0000000000000000000000000000000000000000000000000000000000000000\r\n\
                   content-length: 9\r\n\r\n{";
    let answer = begin(&edge, edge.envoy.addresses.public, webhook.as_bytes()).await;
    assert!(answer.starts_with("HTTP/1.1 503 "), "{answer}");
}

/// A certificate is looked at when a connection begins, so that none may last.
#[tokio::test]
async fn a_connection_ends_after_its_maximum_age() {
    let edge = edge(|configuration| {
        let manager = manager(listener(configuration, "clients")?)?;
        let options = &mut manager["common_http_protocol_options"];
        shrink(options, "max_connection_duration", "0.5s");
        Ok(())
    })
    .await;
    for http in Http::BOTH {
        let mut wire = app(&edge, http).await;
        assert_eq!(wire.send(&call()).await.unwrap().status, 200);
        wait_for("the connection lasts", SOON, || {
            let is_open = wire.is_open();
            async move { Ok((!is_open).then_some(())) }
        })
        .await
        .unwrap();
        assert_eq!(app(&edge, http).await.send(&call()).await.unwrap().status, 200, "{http:?}");
    }
}

#[tokio::test]
async fn a_certificate_that_is_on_the_revocation_list_is_refused() {
    let prepared = Prepared::new().await;
    let folder = prepared.envoy_folder();
    let names = [Name::Uri(APP)];
    let good = prepared.pki.clients.issue("app", &names).unwrap();
    let revoked = prepared.pki.clients.issue("app", &names).unwrap();
    let crl = folder.join("tls/clients-ca.crl");
    replace(&crl, &prepared.pki.clients.revocation_list(&[]).unwrap()).unwrap();
    let sds = std::fs::read_to_string(folder.join("sds/clients-ca.yaml")).unwrap();
    // As envoy/README.md has it.
    let line = format!("      crl: {{ filename: {} }}\n", crl.display());
    replace(&folder.join("sds/clients-ca.yaml"), &format!("{sds}{line}")).unwrap();
    let edge = prepared.start().await;
    let address = edge.envoy.addresses.clients;
    let status = async |identity| {
        let mut wire = Wire::connect(&edge.pki, address, Http::Two, Some(identity)).await?;
        anyhow::Ok(wire.send(&call()).await?.status)
    };
    assert_eq!(status(&revoked).await.unwrap(), 200, "not on the list yet");
    let list = edge.pki.clients.revocation_list(&[&revoked]).unwrap();
    replace(&crl, &list).unwrap();
    wait_for("it is not refused", SOON, || async {
        Ok(status(&revoked).await.is_err().then_some(()))
    })
    .await
    .unwrap();
    assert_eq!(status(&good).await.unwrap(), 200);
}

#[tokio::test]
async fn a_connection_over_the_limit_of_its_listener_is_closed() {
    let edge = edge(|configuration| {
        let public = listener(configuration, "public")?;
        let limit = network_filter(public, "envoy.filters.network.connection_limit")?;
        shrink(&mut limit["typed_config"], "max_connections", 1);
        Ok(())
    })
    .await;
    let health = Message::new("GET", "/health");
    let mut first = anybody(&edge, Http::One).await;
    assert_eq!(first.send(&health).await.unwrap().status, 200);
    let second = Wire::connect(&edge.pki, edge.envoy.addresses.public, Http::One, None).await;
    assert!(match second {
        Ok(mut second) => second.send(&health).await.is_err(),
        Err(_) => true,
    });
    // Neither the first nor the other listener is any the worse for it.
    assert_eq!(first.send(&health).await.unwrap().status, 200);
    assert_eq!(app(&edge, Http::One).await.send(&call()).await.unwrap().status, 200);
}

#[tokio::test]
async fn overload_is_503_for_everybody_and_never_a_4xx() {
    let heap = |configuration: &mut Value| {
        let manager = &mut configuration["overload_manager"];
        let monitor = &mut manager["resource_monitors"][1]["typed_config"];
        shrink(monitor, "max_heap_size_bytes", 1);
        // So that there is an answer to see.
        let actions = manager["actions"].as_array_mut().unwrap();
        actions.retain(|it| it["name"] != "envoy.overload_actions.stop_accepting_connections");
        let points = manager["loadshed_points"].as_array_mut().unwrap();
        points.retain(|it| it["name"] == "envoy.load_shed_points.http_downstream_filter_check");
        Ok(())
    };
    let breaker = |configuration: &mut Value| {
        for priority in 0..2 {
            shut(configuration, priority);
        }
        Ok(())
    };
    for (what, edge) in [("heap", edge(heap).await), ("breaker", edge(breaker).await)] {
        let health = Message::new("GET", "/health");
        let webhook = webhook(&edge.webhook_keys);
        wait_for("no overload is seen", SOON, || async {
            Ok((anybody(&edge, Http::Two).await.send(&health).await?.status == 503).then_some(()))
        })
        .await
        .unwrap();
        for http in Http::BOTH {
            for message in [&health, &webhook] {
                let refused = anybody(&edge, http).await.send(message).await.unwrap();
                let told = (refused.status, refused.problem_code());
                assert_eq!(told, (503, "unavailable".to_owned()), "{what} over {http:?}");
            }
        }
    }
}

/// What is held before the router costs memory, too: past the last threshold nothing of it is kept.
#[tokio::test]
async fn under_the_highest_pressure_a_connection_that_sends_is_closed_and_not_answered() {
    let edge = edge(|configuration| {
        let manager = &mut configuration["overload_manager"];
        let monitor = &mut manager["resource_monitors"][1]["typed_config"];
        shrink(monitor, "max_heap_size_bytes", 1);
        let actions = manager["actions"].as_array_mut().unwrap();
        actions.retain(|it| it["name"] != "envoy.overload_actions.stop_accepting_connections");
        Ok(())
    })
    .await;
    let webhook = webhook(&edge.webhook_keys);
    for http in Http::BOTH {
        wait_for("it is answered", SOON, || async {
            let Ok(mut wire) =
                Wire::connect(&edge.pki, edge.envoy.addresses.public, http, None).await
            else {
                return Ok(Some(()));
            };
            Ok(wire.send(&webhook).await.is_err().then_some(()))
        })
        .await
        .unwrap();
    }
}

/// Lets nothing of a priority through to control: 0 is whatever waits, 1 is webhooks.
fn shut(configuration: &mut Value, priority: usize) {
    let control = &mut configuration["static_resources"]["clusters"][0];
    let thresholds = &mut control["circuit_breakers"]["thresholds"][priority];
    shrink(thresholds, "max_requests", 0);
    shrink(thresholds, "max_pending_requests", 0);
}

/// A tenant may wait a minute for news, many times at once.
#[tokio::test]
async fn who_uses_up_the_way_to_control_does_not_use_up_nangos() {
    let edge = edge(|configuration| {
        shut(configuration, 0);
        Ok(())
    })
    .await;
    assert_eq!(app(&edge, Http::Two).await.send(&call()).await.unwrap().status, 503);
    let webhook = webhook(&edge.webhook_keys);
    assert_eq!(anybody(&edge, Http::Two).await.send(&webhook).await.unwrap().status, 200);
}

#[tokio::test]
async fn preflights_are_requests_like_others() {
    let edge = edge(|configuration| {
        let limiter = filter(listener(configuration, "public")?, "per-address")?;
        shrink(&mut limiter["typed_config"]["descriptors"][0], "token_bucket", small_bucket());
        Ok(())
    })
    .await;
    let preflight = Message::new("OPTIONS", "/health")
        .header("origin", "https://app.example")
        .header("access-control-request-method", "GET");
    let mut wire = anybody(&edge, Http::Two).await;
    for _ in 0..3 {
        assert_eq!(wire.send(&preflight).await.unwrap().status, 200);
    }
    assert_eq!(wire.send(&preflight).await.unwrap().status, 429);
}
