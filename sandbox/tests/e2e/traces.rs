//! Spans of one connection's life, as a collector gets them: one trace from the edge to Nango, and no secret.

use crate::{
    flow::{authorize, notified},
    support::{Answer, World},
};
use axum::{Router, body::Bytes, extract::State, http::HeaderMap, routing::post};
use sandbox::{browser::Decision, process::wait_for, stack::Choices};
use serde_json::{Value, json};
use std::{
    fs,
    net::Ipv4Addr,
    sync::{Arc, Mutex},
    time::Duration,
};

const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";

/// What came, in one piece. Protobuf keeps texts as they are, so that a search finds them.
type Collected = Arc<Mutex<Vec<u8>>>;

async fn collect(State(collected): State<Collected>, headers: HeaderMap, body: Bytes) {
    assert_eq!(headers["content-type"], "application/x-protobuf");
    collected.lock().unwrap().extend_from_slice(&body);
}

/// A collector, as small as can be.
async fn collector() -> (String, Collected) {
    let collected = Collected::default();
    let router =
        Router::new().route("/v1/traces", post(collect)).with_state(Arc::clone(&collected));
    let listener = tokio::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
    (url, collected)
}

fn has(collected: &Collected, wanted: &[u8]) -> bool {
    let collected = collected.lock().unwrap();
    collected.windows(wanted.len()).any(|part| part == wanted)
}

async fn start(world: &World) -> Value {
    let stack = &world.stack;
    let body = json!({"sub": "canary-sub", "provider": "github", "scopes": ["repo"],
        "metadata": {"plan": "canary-metadata"}});
    let request = stack.http.post(stack.edge("/tenants/acme/connections")).json(&body);
    let request = request
        .header("traceparent", format!("00-{TRACE}-b7ad6b7169203331-01"))
        .header("x-canary", "canary-header");
    let answer = Answer::of(request.send().await.unwrap()).await;
    assert_eq!(answer.status, 201, "{answer:?}");
    answer.json()
}

#[tokio::test]
async fn a_trace_goes_from_the_edge_to_nango_and_holds_no_secret() {
    let (url, collected) = collector().await;
    let world = World::start_as(Choices { otlp_endpoint: Some(url), ..Choices::default() }).await;
    let stack = &world.stack;
    let started = start(&world).await;
    authorize(stack, &started, Decision::Allow).await;
    notified(stack, 1).await;
    let refused = stack.http.get(stack.edge("/health?canary-query=1")).send().await.unwrap();
    assert_eq!(refused.status(), 200);
    for name in [
        "POST /tenants/{tenant}/connections",
        "nango session",
        "GET /oauth/callback",
        "GET /health",
    ] {
        wait_for("a span is missing", Duration::from_secs(30), || async {
            Ok(has(&collected, name.as_bytes()).then_some(()))
        })
        .await
        .unwrap_or_else(|_| panic!("no span {name:?}"));
    }
    assert!(
        has(&collected, &hex::decode(TRACE).unwrap()),
        "the caller's trace is not gone on with"
    );
    let logs = fs::read_to_string(&stack.control_settings.log).unwrap();
    let is_ours = |line: &&str| {
        line.contains(TRACE) && line.contains("POST /tenants/{tenant}/connections 201")
    };
    assert!(logs.lines().any(|line| is_ours(&line)), "no line has the trace's id:\n{logs}");
    let at = &stack.coordinates;
    let state = started["state"].as_str().unwrap();
    let settings = &stack.control_settings.environment;
    let mut secrets = vec![
        state,
        &at.nango_secret_key,
        &at.webhook_secret,
        &at.assertion_key,
        &settings["NANGO_PROFILE_KEY"],
        &settings["NOTIFICATION_SIGNING_SECRET"],
        "nango_connect_session_",
        "canary-",
        "code=",
        "authorization",
    ];
    let issued = stack.stand_in().unwrap().issued_tokens();
    assert_eq!(issued.len(), 1);
    secrets.extend(issued.iter().map(String::as_str));
    for secret in secrets {
        assert!(!has(&collected, secret.as_bytes()), "{secret:?} is in a span");
        if secret != "authorization" {
            assert!(!logs.contains(secret), "{secret:?} is in the log");
        }
    }
    world.finish().await;
}
