//! What the API shows of a connection's past: how its last authorization ended, and the audit lines of one user.

use crate::support::{TestApp, caller, text};
use axum::{body::Body, http::StatusCode};
use contract::action::Action;
use serde_json::{Value, json};
use sqlx::PgPool;

fn id(started: &Value) -> &str {
    started["connectionId"].as_str().unwrap()
}

async fn reconnect(app: &TestApp, started: &Value) -> Value {
    let path = format!("/connections/{}/reconnect", id(started));
    app.call("acme", "POST", &path, &json!({})).await.json()
}

async fn last(app: &TestApp, started: &Value) -> Value {
    let shown = app.get(id(started)).await;
    let found = shown.get("lastAuthorization").unwrap_or_else(|| panic!("{shown}"));
    found.clone()
}

#[sqlx::test(migrator = "control::store::MIGRATIONS")]
async fn a_connection_shows_how_its_last_authorization_ended(pool: PgPool) {
    let app = TestApp::start(pool).await;
    let ended = |outcome: &str, reason: Value, at| json!({"outcome": outcome, "reason": reason, "at": text(at)});
    let started = app.start_connection().await;
    assert_eq!(last(&app, &started).await, Value::Null, "none has ended");
    let query = app.decide(&started, "deny").await;
    app.callback(&query).await;
    let denied = ended("failed", json!("access_denied"), app.clock.now());
    assert_eq!(last(&app, &started).await, denied);
    app.advance(5);
    let again = reconnect(&app, &started).await;
    assert_eq!(last(&app, &started).await, denied, "one that is open has not ended");
    app.authorize(&again).await;
    app.advance(2);
    app.outbox.run_once().await.unwrap();
    let succeeded = ended("succeeded", Value::Null, app.clock.now());
    assert_eq!(last(&app, &started).await, succeeded);
    // The connection stays active, whether its user allows or denies.
    let again = reconnect(&app, &started).await;
    let query = app.decide(&again, "deny").await;
    app.callback(&query).await;
    assert_eq!(last(&app, &started).await, denied_at(&denied, &app));
    assert_eq!(app.get(id(&started)).await["status"], "active");
    reconnect(&app, &started).await;
    reconnect(&app, &started).await;
    let superseded = ended("superseded", Value::Null, app.clock.now());
    assert_eq!(last(&app, &started).await, superseded);
    app.advance(60 * 60);
    app.outbox.run_once().await.unwrap();
    let expired = ended("expired", json!("not_authorized"), app.clock.now());
    assert_eq!(last(&app, &started).await, expired);
    let listed = app.call("acme", "GET", "/connections", &Value::Null).await.json();
    assert_eq!(listed["connections"][0]["lastAuthorization"], expired);
    app.finish().await;
}

fn denied_at(denied: &Value, app: &TestApp) -> Value {
    let mut denied = denied.clone();
    denied["at"] = json!(text(app.clock.now()));
    denied
}

#[sqlx::test(migrator = "control::store::MIGRATIONS")]
async fn a_start_and_a_reconnect_say_from_which_version_to_wait(pool: PgPool) {
    let app = TestApp::start(pool).await;
    let started = app.start_connection().await;
    assert_eq!(started["version"], 1);
    assert_eq!(app.get(id(&started)).await["version"], 1);
    let again = reconnect(&app, &started).await;
    assert_eq!(again["version"], 2);
    assert_eq!(app.get(id(&started)).await["version"], 2);
    app.advance(60 * 60);
    app.outbox.run_once().await.unwrap();
    app.finish().await;
}

async fn audit(app: &TestApp, tenant: &str, query: &str) -> Value {
    let path = format!("/tenants/{tenant}/audit?{query}");
    let answer = app.send("GET", &path, &caller(tenant, Action::Audit), Body::empty()).await;
    assert_eq!(answer.status, StatusCode::OK, "{query}: {:?}", answer.body);
    answer.json()
}

fn connections(page: &Value) -> Vec<&str> {
    let lines = page["auditEvents"].as_array().unwrap().iter();
    lines.map(|line| line["connectionId"].as_str().unwrap()).collect()
}

#[sqlx::test(migrator = "control::store::MIGRATIONS")]
async fn the_audit_lines_of_one_user_or_connection_are_listed_in_order(pool: PgPool) {
    let app = TestApp::start(pool).await;
    let mut ids = Vec::new();
    for (tenant, sub) in
        [("acme", "user-1"), ("acme", "user-2"), ("acme", "user-1"), ("rival", "user-1")]
    {
        let body = json!({"sub": sub, "provider": "github"});
        let answer = app.call(tenant, "POST", "/connections", &body).await.json();
        ids.push(id(&answer).to_owned());
    }
    let path = format!("/connections/{}", ids[0]);
    app.call("acme", "DELETE", &path, &Value::Null).await;
    app.outbox.run_once().await.unwrap();
    app.outbox.seal_once().await.unwrap();
    let page = audit(&app, "acme", "sub=user-1").await;
    assert_eq!(connections(&page), [&ids[0], &ids[2], &ids[0], &ids[0]]);
    let page = audit(&app, "acme", &format!("connectionId={}", ids[0])).await;
    assert_eq!(connections(&page), [&ids[0]; 3]);
    let page = audit(&app, "acme", &format!("connectionId={}&sub=user-2", ids[0])).await;
    assert_eq!(connections(&page), [""; 0]);
    // Page by page, and on from the end when something comes.
    let first = audit(&app, "acme", "sub=user-1&limit=2").await;
    assert_eq!(connections(&first), [&ids[0], &ids[2]]);
    let cursor = first["nextCursor"].as_str().unwrap();
    let second = audit(&app, "acme", &format!("sub=user-1&after={cursor}")).await;
    assert_eq!(connections(&second), [&ids[0]; 2]);
    let cursor = second["nextCursor"].as_str().unwrap();
    let end = audit(&app, "acme", &format!("sub=user-1&after={cursor}")).await;
    assert_eq!((connections(&end), end["nextCursor"].as_str()), (vec![], Some(cursor)));
    // Nobody sees another tenant's, by whatever name.
    let page = audit(&app, "rival", &format!("connectionId={}", ids[0])).await;
    assert_eq!(connections(&page), [""; 0]);
    let page = audit(&app, "rival", "sub=user-1").await;
    assert_eq!(connections(&page), [&ids[3]]);
    for query in ["connectionId=x", "sub=", "sub=a%00", "user=u"] {
        let path = format!("/tenants/acme/audit?{query}");
        let refused = app.send("GET", &path, &caller("acme", Action::Audit), Body::empty()).await;
        assert_eq!(refused.status, StatusCode::BAD_REQUEST, "{query}");
    }
    app.advance(60 * 60);
    app.outbox.run_once().await.unwrap();
    app.finish().await;
}
