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
use std::sync::{Arc, Mutex};

/// A notification as the receiver took it.
#[derive(Debug, Clone, PartialEq)]
pub struct Notified {
    pub id: String,
    pub body: Value,
}

/// What a receiver was told, and what it answers.
#[derive(Debug, Default)]
pub struct Receiver {
    /// What the next tries are answered, the last one first; 204 when there is no more.
    pub answers: Vec<u16>,
    pub taken: Vec<Notified>,
    pub tries: usize,
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
) -> StatusCode {
    let mut receiver = receiver.lock().unwrap();
    let secret = receiver.secret.as_deref().unwrap_or(SIGNING_SECRET);
    let webhook = standardwebhooks::Webhook::new(secret).unwrap();
    let header = |name: &str| headers[name].to_str().unwrap();
    let timestamp = header("webhook-timestamp").parse().unwrap();
    // Its own check of the time would read the system's clock.
    let expected = webhook.sign(header("webhook-id"), timestamp, &body).unwrap();
    let signatures: Vec<&str> = header("webhook-signature").split(' ').collect();
    assert!(signatures.contains(&expected.as_str()), "{signatures:?}");
    receiver.signatures = signatures.len();
    receiver.tries += 1;
    let status = StatusCode::from_u16(receiver.answers.pop().unwrap_or(204)).unwrap();
    if status.is_success() {
        let id = headers["webhook-id"].to_str().unwrap().to_owned();
        let body = serde_json::from_slice(&body).unwrap();
        receiver.taken.push(Notified { id, body });
    }
    status
}
