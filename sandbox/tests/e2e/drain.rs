//! How an edge is taken out of service: told to fail, then ended, with nobody's request lost.

use crate::{
    load::call,
    support::{Edge, Http},
    wire::Wire,
};
use sandbox::{
    pki::{APP, Name},
    process::wait_for,
};
use std::time::Duration;

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
    edge.envoy.stop().await.unwrap();
}
