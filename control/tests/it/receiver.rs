//! A client application's end of a notification.

use crate::support::SIGNING_SECRET;
use axum::{
    Router,
    body::Bytes,
    extract::State,
    http::{HeaderMap, StatusCode},
    routing::post,
};
use serde_json::Value;
use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
};
use tokio::sync::watch;

/// A notification as the receiver took it.
#[derive(Debug, Clone, PartialEq)]
pub struct Notified {
    pub id: String,
    pub body: Value,
}

/// How the receiver of one tenant behaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Manner {
    Answers(u16),
    /// It says nothing until it is released.
    Hangs,
}

/// What a receiver was told, and what it answers.
#[derive(Debug, Default)]
pub struct Receiver {
    /// What the next tries are answered, the last one first; 204 when there is no more.
    pub answers: Vec<u16>,
    /// Those who behave otherwise, by tenant.
    pub manners: HashMap<String, Manner>,
    /// What every answer has.
    pub retry_after: Option<String>,
    pub body: Vec<u8>,
    pub taken: Vec<Notified>,
    pub tries: usize,
    /// Counts `taken`, for whoever waits for them.
    pub told: watch::Sender<usize>,
    pub released: watch::Sender<bool>,
    /// What it verifies with, where that is not the operator's.
    pub secret: Option<String>,
    /// How many signatures the last notification had.
    pub signatures: usize,
}

/// A receiver that verifies each notification with the official library before it looks at it.
pub async fn listen(receiver: Arc<Mutex<Receiver>>) -> String {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/webhooks/connections", listener.local_addr().unwrap());
    let router = Router::new().route("/webhooks/connections", post(take)).with_state(receiver);
    tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
    url
}

async fn take(
    State(receiver): State<Arc<Mutex<Receiver>>>,
    headers: HeaderMap,
    body: Bytes,
) -> (StatusCode, HeaderMap, Vec<u8>) {
    let secret = receiver.lock().unwrap().secret.clone();
    let webhook =
        standardwebhooks::Webhook::new(secret.as_deref().unwrap_or(SIGNING_SECRET)).unwrap();
    let header = |name: &str| headers[name].to_str().unwrap();
    let timestamp = header("webhook-timestamp").parse().unwrap();
    // Its own check of the time would read the system's clock.
    let expected = webhook.sign(header("webhook-id"), timestamp, &body).unwrap();
    let signatures: Vec<&str> = header("webhook-signature").split(' ').collect();
    assert!(signatures.contains(&expected.as_str()), "{signatures:?}");
    let signatures = signatures.len();
    let id = header("webhook-id").to_owned();
    let body: Value = serde_json::from_slice(&body).unwrap();
    let (manner, mut released) = {
        let mut receiver = receiver.lock().unwrap();
        receiver.tries += 1;
        receiver.signatures = signatures;
        let manner = receiver.manners.get(body["tenantId"].as_str().unwrap()).copied();
        let manner =
            manner.unwrap_or_else(|| Manner::Answers(receiver.answers.pop().unwrap_or(204)));
        (manner, receiver.released.subscribe())
    };
    let status = match manner {
        Manner::Answers(status) => status,
        Manner::Hangs => {
            released.wait_for(|is_released| *is_released).await.unwrap();
            204
        }
    };
    let status = StatusCode::from_u16(status).unwrap();
    let mut receiver = receiver.lock().unwrap();
    if status.is_success() {
        receiver.taken.push(Notified { id, body });
        receiver.told.send_modify(|told| *told += 1);
    }
    let mut headers = HeaderMap::new();
    if let Some(wait) = &receiver.retry_after {
        headers.insert("retry-after", wait.parse().unwrap());
    }
    (status, headers, receiver.body.clone())
}
