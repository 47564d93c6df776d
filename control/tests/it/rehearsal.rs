//! A tenant tries its destination out, and is told what that met.

use crate::{
    destination::{call, with_own_receiver},
    setup::Setup,
    support::{Answer, TestApp, caller},
};
use axum::{
    body::Body,
    http::{Method, StatusCode},
};
use contract::action::Action;
use control::notifier::Limits;
use serde_json::{Value, json};
use sqlx::PgPool;
use std::time::Duration;
use tokio::net::TcpListener;

async fn test(app: &TestApp, body: &str) -> Answer {
    let path = "/tenants/acme/destination/test";
    app.send("POST", path, &caller("acme", Action::Notify), Body::from(body.to_owned())).await
}

#[sqlx::test(migrator = "control::store::MIGRATIONS")]
async fn a_test_event_is_signed_as_any_other_and_kept_nowhere(pool: PgPool) {
    let (app, own, url) = with_own_receiver(pool).await;
    let shown = call(&app, "acme", Method::PUT, &json!({ "url": url })).await.json();
    own.lock().unwrap().secret = shown["secrets"][0].as_str().map(str::to_owned);
    let answer = test(&app, "").await;
    assert_eq!(answer.status, StatusCode::OK, "{:?}", answer.body);
    let report = answer.json();
    let address = url.trim_start_matches("http://").split('/').next().unwrap();
    let expected = json!({"eventId": report["eventId"], "url": url, "outcome": "delivered", "fault": null,
        "detail": null, "address": address, "tls": null, "answer": {"status": 204, "body": ""},
        "durationMs": 0});
    assert_eq!(report, expected);
    let taken = own.lock().unwrap().taken.clone();
    assert_eq!((taken.len(), &taken[0].id), (1, &report["eventId"].as_str().unwrap().to_owned()));
    let event = json!({"id": report["eventId"], "type": "destination.test", "tenantId": "acme",
        "occurredAt": crate::support::text(app.clock.now())});
    assert_eq!(taken[0].body, event);
    assert_eq!(app.count("SELECT count(*) FROM events").await, 0);
    assert_eq!(app.count("SELECT count(*) FROM deliveries").await, 0);
    app.finish().await;
}

#[sqlx::test(migrator = "control::store::MIGRATIONS")]
async fn the_operators_destination_is_tried_out_where_there_is_no_other(pool: PgPool) {
    let app = TestApp::start(pool).await;
    app.receiver_answers(&[503]);
    for body in ["[]", "1", "{\"a\": 1}"] {
        let refused = test(&app, body).await;
        assert_eq!((refused.status.as_u16(), refused.code().as_str()), (400, "invalid_request"));
    }
    let report = test(&app, "{ }").await.json();
    assert_eq!((&report["outcome"], &report["fault"]), (&json!("refused"), &json!("theirs")));
    assert_eq!(report["answer"]["status"], 503);
    assert_eq!(report["address"], Value::Null, "where it is, is the operator's own");
    assert_eq!(app.tries(), 1);
    let refused = test(&app, r#"{"url": "https://app.example/"}"#).await;
    assert_eq!((refused.status, app.tries()), (StatusCode::BAD_REQUEST, 1));
    app.finish().await;
}

#[sqlx::test(migrator = "control::store::MIGRATIONS")]
async fn a_receiver_in_trouble_is_reported_and_is_no_error_of_the_call(pool: PgPool) {
    let nobody = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = nobody.local_addr().unwrap().port();
    drop(nobody);
    let setup = Setup { egress: ("127.0.0.1", vec![port]), ..Setup::default() };
    let app = TestApp::start_as(pool, setup).await;
    let url = format!("http://127.0.0.1:{port}/");
    call(&app, "acme", Method::PUT, &json!({ "url": url })).await;
    let answer = test(&app, "").await;
    let report = answer.json();
    assert_eq!((answer.status.as_u16(), &report["outcome"]), (200, &json!("no_connection")));
    assert_eq!((&report["answer"], &report["address"]), (&Value::Null, &Value::Null));
    app.finish().await;
}

/// The networks changed since the destination was set.
#[sqlx::test(migrator = "control::store::MIGRATIONS")]
async fn a_test_goes_nowhere_that_a_delivery_may_not_go(pool: PgPool) {
    let (app, own, url) = with_own_receiver(pool).await;
    call(&app, "acme", Method::PUT, &json!({ "url": url })).await;
    let elsewhere = url.replace("127.0.0.1", "[::1]");
    sqlx::query("UPDATE destinations SET url = $1")
        .bind(elsewhere)
        .execute(&app.pool)
        .await
        .unwrap();
    let report = test(&app, "").await.json();
    assert_eq!(
        (&report["outcome"], &report["fault"]),
        (&json!("forbidden_address"), &json!("theirs"))
    );
    assert_eq!(
        report["address"],
        Value::Null,
        "nobody is told where a name leads that leads within"
    );
    assert_eq!(own.lock().unwrap().tries, 0);
    app.finish().await;
}

#[sqlx::test(migrator = "control::store::MIGRATIONS")]
async fn a_tenant_has_one_test_under_way(pool: PgPool) {
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = silent.local_addr().unwrap().port();
    let limits = Limits { total: Duration::from_millis(500), ..Limits::default() };
    let setup = Setup { egress: ("127.0.0.1", vec![port]), limits, ..Setup::default() };
    let app = TestApp::start_as(pool, setup).await;
    let url = format!("http://127.0.0.1:{port}/");
    call(&app, "acme", Method::PUT, &json!({ "url": url })).await;
    let (one, other) = tokio::join!(test(&app, ""), test(&app, ""));
    let mut statuses = [one.status.as_u16(), other.status.as_u16()];
    statuses.sort_unstable();
    assert_eq!(statuses, [200, 429]);
    let (went, sent_away) = if one.status == StatusCode::OK { (one, other) } else { (other, one) };
    assert_eq!(
        (went.json()["outcome"].as_str(), sent_away.code().as_str()),
        (Some("timeout"), "test_under_way")
    );
    assert!(sent_away.headers.contains_key("retry-after"));
    let tests = "SELECT count(*) FROM audit_events WHERE action = 'destination.tested'";
    assert_eq!(app.count(tests).await, 1, "who was sent away tested nothing");
    // Its place is free again.
    assert_eq!(test(&app, "").await.status, StatusCode::OK);
    app.finish().await;
}

#[sqlx::test(migrator = "control::store::MIGRATIONS")]
async fn the_trail_says_who_tried_which_destination_out(pool: PgPool) {
    let (app, own, url) = with_own_receiver(pool).await;
    let answer = test(&app, "").await;
    assert_eq!(answer.status, StatusCode::OK);
    app.advance(1);
    let body = json!({"url": format!("{url}?token=one")});
    let shown = call(&app, "acme", Method::PUT, &body).await.json();
    own.lock().unwrap().secret = shown["secrets"][0].as_str().map(str::to_owned);
    assert_eq!(test(&app, "").await.status, StatusCode::OK);
    let lines: Vec<(String, Option<String>, Value)> = sqlx::query_as(
        "SELECT actor, request_id, detail FROM audit_events WHERE action = 'destination.tested'
         ORDER BY at",
    )
    .fetch_all(&app.pool)
    .await
    .unwrap();
    let line = |url: &Value| {
        let actor = "spiffe://acme.example/app".to_owned();
        (actor, Some("r-1".to_owned()), json!({ "url": url }))
    };
    assert_eq!(lines, [line(&answer.json()["url"]), line(&json!(url))]);
    // Who may not test leaves no line.
    let path = "/tenants/acme/destination/test";
    let refused = app.send("POST", path, &caller("acme", Action::Read), Body::empty()).await;
    assert_eq!(refused.status, StatusCode::FORBIDDEN);
    let tests = "SELECT count(*) FROM audit_events WHERE action = 'destination.tested'";
    assert_eq!(app.count(tests).await, 2);
    app.finish().await;
}
