//! How an edge is taken out of service: told to fail, then ended, with nobody's request lost.

use crate::{
    load::{call, webhook},
    support::{Edge, Http},
    wire::{self, Wire},
};
use sandbox::{
    pki::{APP, Name},
    process::wait_for,
};
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

/// The steps are those of `envoy/README.md`.
#[tokio::test]
async fn a_drained_edge_answers_and_sends_its_callers_elsewhere() {
    let edge = Edge::start().await;
    let app = edge.pki.clients.issue("app", &[Name::Uri(APP)]).unwrap();
    let clients = edge.envoy.addresses.clients;
    let connect = async |http| Wire::connect(&edge.pki, clients, http, Some(&app)).await.unwrap();
    let mut open = Vec::new();
    for http in Http::BOTH {
        let mut wire = connect(http).await;
        assert_eq!(wire.send(&call()).await.unwrap().status, 200);
        open.push(wire);
    }
    // One request is under way meanwhile.
    let mut under_way = wire::tls(&edge.pki, clients, &[], Some(&app)).await.unwrap();
    let head = "POST /tenants/acme/connections HTTP/1.1\r\nhost: edge\r\ncontent-type: application/json\r\n\
                content-length: 2\r\n\r\n{";
    under_way.write_all(head.as_bytes()).await.unwrap();
    let admin = format!("http://{}", edge.envoy.addresses.admin);
    let told = reqwest::Client::new().post(format!("{admin}/healthcheck/fail")).send().await;
    assert_eq!(told.unwrap().status(), 200);
    // What Kubernetes' readiness would ask, if it asked Envoy alone.
    assert_eq!(reqwest::get(format!("{admin}/ready")).await.unwrap().status(), 503);
    for mut wire in open {
        assert_eq!(wire.send(&call()).await.unwrap().status, 200);
        // `connection: close` over HTTP/1.1, GOAWAY over HTTP/2.
        wait_for("the connection lasts", Duration::from_secs(20), || {
            let is_open = wire.is_open();
            async move { Ok((!is_open).then_some(())) }
        })
        .await
        .unwrap();
    }
    // Who comes meanwhile is served: until all know of it, some come.
    for http in Http::BOTH {
        assert_eq!(connect(http).await.send(&call()).await.unwrap().status, 200);
    }
    let public = Wire::connect(&edge.pki, edge.envoy.addresses.public, Http::Two, None);
    let webhook = webhook(&edge.webhook_keys);
    assert_eq!(public.await.unwrap().send(&webhook).await.unwrap().status, 200);
    under_way.write_all(b"}").await.unwrap();
    let mut status = [0; 12];
    under_way.read_exact(&mut status).await.unwrap();
    assert_eq!(status, *b"HTTP/1.1 200");
    edge.envoy.stop().await.unwrap();
}
