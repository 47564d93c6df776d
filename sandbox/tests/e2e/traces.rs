//! Spans of one connection's life, as a collector gets them: one trace from the edge to Nango, and no secret.

use crate::{
    flow::{authorize, notified},
    support::{Answer, Edge, Prepared, World},
};
use axum::{Router, body::Bytes, extract::State, http::HeaderMap, routing::post};
use sandbox::{browser::Decision, process::wait_for, stack::Choices, workspace};
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
    let world = World::with(Choices { otlp_endpoint: Some(url), ..Choices::default() }).await;
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

/// The two pieces of configuration that the operator's page shows.
fn shown(collector: &str) -> (Value, Value) {
    let page = fs::read_to_string(workspace::envoy_folder().join("README.md")).unwrap();
    let section = page.split("\n## Traces\n").nth(1).unwrap().split("\n## ").next().unwrap();
    let blocks = section.split("```yaml\n").skip(1).map(|block| block.split("```").next().unwrap());
    let [tracing, cluster]: [Value; 2] = blocks
        .map(|text| serde_saphyr::from_str(text).unwrap())
        .collect::<Vec<_>>()
        .try_into()
        .unwrap();
    let tracing = tracing["tracing"].clone();
    let mut cluster = cluster;
    let port: u16 = collector.rsplit(':').next().unwrap().parse().unwrap();
    cluster["load_assignment"]["endpoints"][0]["lb_endpoints"][0]["endpoint"]["address"]["socket_address"] =
        json!({"address": "127.0.0.1", "port_value": port});
    (tracing, cluster)
}

#[tokio::test]
async fn envoys_own_spans_as_the_operators_page_sets_them_up_hold_no_query() {
    let (url, collected) = collector().await;
    let (mut tracing, cluster) = shown(&url);
    tracing["random_sampling"] = json!({"value": 100});
    let edge = traced(&tracing, cluster).await;
    let callback = edge.public("/oauth/callback?code=canary-code&state=canary-state");
    let asked = edge
        .anybody()
        .get(callback)
        .header("traceparent", format!("00-{TRACE}-b7ad6b7169203331-01"));
    assert_eq!(asked.send().await.unwrap().status(), 200);
    wait_for("no span of Envoy's", Duration::from_secs(30), || async {
        Ok(has(&collected, b"connections-edge").then_some(()))
    })
    .await
    .unwrap();
    assert!(!has(&collected, b"canary"), "a query is in a span");
    let records = edge.recorder.records();
    let passed_on = records.last().unwrap().all("traceparent").join(",");
    let parts: Vec<&str> = passed_on.split('-').collect();
    assert!(parts.len() == 4 && parts[1] == TRACE && parts[2] != "b7ad6b7169203331", "{passed_on}");
}

/// An edge whose Envoy makes spans.
async fn traced(tracing: &Value, cluster: Value) -> Edge {
    let prepared = Prepared::new().await;
    prepared.adjust(|configuration| {
        let resources = &mut configuration["static_resources"];
        resources["clusters"].as_array_mut().unwrap().push(cluster);
        let mut managers = 0;
        for listener in resources["listeners"].as_array_mut().unwrap() {
            for filter in listener["filter_chains"][0]["filters"].as_array_mut().unwrap() {
                if filter["name"] == "envoy.filters.network.http_connection_manager" {
                    filter["typed_config"]["tracing"] = tracing.clone();
                    managers += 1;
                }
            }
        }
        assert_eq!(managers, 2);
        Ok(())
    });
    prepared.start().await
}

/// What the operator's page says of strangers: none has a request traced, and any can keep one out.
#[tokio::test]
async fn nobody_has_his_request_traced_and_anybody_keeps_it_out() {
    let sampled = format!("00-{TRACE}-b7ad6b7169203331-01");
    let unsampled = format!("00-{TRACE}-b7ad6b7169203331-00");
    let malformed = ["garbage".to_owned(), format!("00-{TRACE}-b7ad6b7169203331-zz")];
    for (percent, header, passed_on) in [
        // Envoy's own decision is in the last two digits of what control gets.
        (0, Some(&sampled), "-00"),
        (0, Some(&unsampled), "-00"),
        (0, None, "-00"),
        (100, Some(&sampled), "-01"),
        (100, Some(&unsampled), "-00"),
        (100, None, "-01"),
        // No span at all, and what was sent goes on.
        (100, Some(&malformed[0]), "garbage"),
        (100, Some(&malformed[1]), "-zz"),
    ] {
        let (url, _collected) = collector().await;
        let (mut tracing, cluster) = shown(&url);
        tracing["random_sampling"] = json!({"value": percent});
        let edge = traced(&tracing, cluster).await;
        let mut asked = edge.anybody().get(edge.public("/health"));
        if let Some(header) = header {
            asked = asked.header("traceparent", header);
        }
        assert_eq!(asked.send().await.unwrap().status(), 200);
        let seen = edge.recorder.records()[0].all("traceparent").join(",");
        assert!(seen.ends_with(passed_on), "{percent} %, {header:?}: {seen}");
        edge.envoy.stop().await.unwrap();
    }
}
