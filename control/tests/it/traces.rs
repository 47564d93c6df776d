//! A trace goes from whoever asked to whoever is asked, and into what is told.

use crate::support::{TestApp, nobody};
use axum::{Router, body::Body, http::HeaderMap};
use control::{
    clock::Clock,
    config::NangoConfig,
    domain::traceparent::Traceparent,
    metrics::Metrics,
    mint::Mint,
    nango::{LookUp, NangoClient},
    trace,
};
use serde_json::json;
use sqlx::PgPool;
use std::{
    net::Ipv4Addr,
    sync::{Arc, Mutex},
    time::Duration,
};
use tracing::Span;

const CALLER: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
const OTHER: &str = "00-11111111111111111111111111111111-2222222222222222-00";

/// A Nango that lists nothing and remembers what it was told.
async fn listening(told: Arc<Mutex<Vec<Option<String>>>>) -> String {
    let router = Router::new().fallback(move |headers: HeaderMap| {
        let traceparent =
            headers.get("traceparent").map(|value| value.to_str().unwrap().to_owned());
        told.lock().unwrap().push(traceparent);
        async { axum::Json(json!({"connections": []})) }
    });
    let listener = tokio::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
    url
}

#[tokio::test]
async fn nango_is_told_of_the_callers_trace_and_of_none_where_there_is_none() {
    let told = Arc::default();
    let url = listening(Arc::clone(&told)).await;
    let config = NangoConfig {
        api_url: url.parse().unwrap(),
        public_url: url.parse().unwrap(),
        proxy: None,
        secret_key: "k".into(),
        profile_key: None,
        callback_url: "https://connections.example/oauth/callback".parse().unwrap(),
        instance: "test".to_owned(),
        calls_per_minute: "200".parse().unwrap(),
        call_timeout: Duration::from_secs(8),
    };
    let parts = (Clock::system(), Mint::new(Clock::system()));
    let nango = NangoClient::new(config, None, parts, Metrics::default()).unwrap();
    let id = "0195f2a1-0000-7000-8000-000000000001".parse().unwrap();
    let look = || nango.look_up(LookUp::Ours(id));
    let caller: Traceparent = CALLER.parse().unwrap();
    trace::within(Some(caller), Span::none(), look()).await.unwrap();
    look().await.unwrap();
    assert_eq!(*told.lock().unwrap(), [Some(CALLER.to_owned()), None]);
}

async fn traces_of_events(pool: &PgPool) -> Vec<(String, Option<String>)> {
    sqlx::query_as("SELECT type, traceparent FROM events ORDER BY occurred_at, event_id")
        .fetch_all(pool)
        .await
        .unwrap()
}

#[sqlx::test(migrator = "control::store::MIGRATIONS")]
async fn an_event_keeps_the_trace_of_the_request_that_caused_it(pool: PgPool) {
    let app = TestApp::start(pool.clone()).await;
    let mut expected = Vec::new();
    // Twice, empty, or malformed is no trace, and no reason to refuse.
    for (headers, kept) in [
        (vec![CALLER], Some(CALLER)),
        (vec![CALLER, OTHER], None),
        (vec!["canary"], None),
        (vec![], None),
    ] {
        let started = app.start_connection().await;
        let query = app.decide(&started, "deny").await;
        let mut request = app.request("GET", &format!("/oauth/callback?{query}"), &nobody());
        for header in &headers {
            request = request.header("traceparent", *header);
        }
        app.send_raw(request.body(Body::empty()).unwrap()).await;
        app.advance(1);
        expected.push(("connection.failed".to_owned(), kept.map(str::to_owned)));
    }
    assert_eq!(traces_of_events(&pool).await, expected);
    app.outbox.run_once().await.unwrap();
    app.finish().await;
}

#[sqlx::test(migrator = "control::store::MIGRATIONS")]
async fn an_event_keeps_the_trace_of_the_webhook_that_led_to_it(pool: PgPool) {
    let app = TestApp::start(pool.clone()).await;
    let started = app.start_connection().await;
    let nango_id = app.authorize(&started).await;
    let body = json!({"type": "connection.activated", "connectionId": started["connectionId"],
        "vendor": "github", "connectionMetadata": {}, "nangoConnectionId": nango_id});
    let vouched =
        contract::assertion::Vouched { webhook_key: Some("k".parse().unwrap()), ..nobody() };
    let request = app.request("POST", "/webhooks/nango", &vouched).header("traceparent", CALLER);
    let answer = app.send_raw(request.body(Body::from(body.to_string())).unwrap()).await;
    assert_eq!(answer.status, 200);
    app.outbox.run_once().await.unwrap();
    let expected = [("connection.activated".to_owned(), Some(CALLER.to_owned()))];
    assert_eq!(traces_of_events(&pool).await, expected);
    app.finish().await;
}
