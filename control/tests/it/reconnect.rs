//! Another authorisation of a connection: what is bound stays bound, whatever becomes of it.

use crate::support::{TestApp, caller};
use axum::{body::Body, http::StatusCode};
use contract::action::Action;
use serde_json::{Value, json};
use sqlx::PgPool;

async fn reconnect(app: &TestApp, id: &str) -> Value {
    let path = format!("/connections/{id}/reconnect");
    let answer = app.call("acme", "POST", &path, &json!({})).await;
    assert_eq!(answer.status, StatusCode::OK, "{:?}", answer.body);
    answer.json()
}

fn id(started: &Value) -> &str {
    started["connectionId"].as_str().unwrap()
}

#[sqlx::test(migrator = "control::store::MIGRATIONS")]
async fn a_reconnect_renews_what_is_bound_and_says_so_without_any_webhook(pool: PgPool) {
    let app = TestApp::start(pool).await;
    let (started, nango_id) = app.activate().await;
    let again = reconnect(&app, id(&started)).await;
    assert_eq!(
        (again["connectionId"].as_str(), again["status"].as_str()),
        (Some(id(&started)), Some("active"))
    );
    assert_ne!(again["state"], started["state"]);
    assert_eq!(app.authorize(&again).await, nango_id, "the same name at the vault");
    app.advance(2);
    app.outbox.run_once().await.unwrap();
    assert_eq!(app.notified_types(), ["connection.activated", "connection.reauthorized"]);
    assert_eq!(app.get(id(&started)).await["status"], "active");
    assert_eq!(app.nango.connection_ids(), [nango_id]);
    app.finish().await;
}

#[sqlx::test(migrator = "control::store::MIGRATIONS")]
async fn a_webhook_of_a_renewal_is_looked_into_at_once_and_of_a_known_one_never(pool: PgPool) {
    let app = TestApp::start(pool).await;
    let (started, nango_id) = app.activate().await;
    let again = reconnect(&app, id(&started)).await;
    app.authorize(&again).await;
    app.say_created(&again, &nango_id).await;
    app.outbox.run_once().await.unwrap();
    assert_eq!(app.notified_types(), ["connection.activated", "connection.reauthorized"]);
    let calls = app.nango.api_calls();
    app.say_created(&again, &nango_id).await;
    app.outbox.run_once().await.unwrap();
    assert_eq!(app.nango.api_calls(), calls);
    app.finish().await;
}

#[sqlx::test(migrator = "control::store::MIGRATIONS")]
async fn a_reconnect_that_the_user_refuses_leaves_the_connection_as_it_was(pool: PgPool) {
    let app = TestApp::start(pool).await;
    let (started, nango_id) = app.activate().await;
    let again = reconnect(&app, id(&started)).await;
    let query = app.decide(&again, "deny").await;
    app.callback(&query).await;
    app.outbox.run_once().await.unwrap();
    let told = app.notified().pop().unwrap().body;
    assert_eq!(told["type"], "connection.reauthorization_failed");
    assert_eq!(
        (told["status"].as_str(), told["reason"].as_str()),
        (Some("active"), Some("access_denied"))
    );
    let now = app.get(id(&started)).await;
    assert_eq!((now["status"].as_str(), &now["reason"]), (Some("active"), &Value::Null));
    assert_eq!(app.nango.connection_ids(), [nango_id]);
    app.finish().await;
}

#[sqlx::test(migrator = "control::store::MIGRATIONS")]
async fn a_reconnect_of_what_is_pending_supersedes_it_and_its_late_success_is_undone(pool: PgPool) {
    let app = TestApp::start(pool).await;
    let first = app.start_connection().await;
    let late = app.decide(&first, "allow").await;
    let second = reconnect(&app, id(&first)).await;
    assert_eq!(app.callback(&late).await.status, StatusCode::BAD_REQUEST, "its state is used up");
    // The browser goes to Nango all the same, by a link that it has.
    let late = format!("{}/oauth/callback?{late}", app.nango.url());
    let late = app.finish_at_nango(&late).await;
    let good = app.authorize(&second).await;
    app.advance(2);
    app.outbox.run_once().await.unwrap();
    assert_eq!(app.notified_types(), ["connection.activated"]);
    assert_eq!(app.nango.connection_ids(), [good]);
    assert!(!app.nango.connection_ids().contains(&late));
    app.finish().await;
}

#[sqlx::test(migrator = "control::store::MIGRATIONS")]
async fn a_connection_that_failed_begins_anew_under_its_own_id(pool: PgPool) {
    let app = TestApp::start(pool).await;
    let started = app.start_connection().await;
    let query = app.decide(&started, "deny").await;
    app.callback(&query).await;
    app.outbox.run_once().await.unwrap();
    let again = reconnect(&app, id(&started)).await;
    assert_eq!(again["status"], "pending");
    app.authorize(&again).await;
    app.advance(2);
    app.outbox.run_once().await.unwrap();
    assert_eq!(app.notified_types(), ["connection.failed", "connection.activated"]);
    app.finish().await;
}

#[sqlx::test(migrator = "control::store::MIGRATIONS")]
async fn what_is_being_deleted_or_is_another_tenants_is_not_reconnected(pool: PgPool) {
    let app = TestApp::start(pool).await;
    let (started, _) = app.activate().await;
    let path = format!("/connections/{}", id(&started));
    let again = format!("{path}/reconnect");
    let calls = app.nango.api_calls();
    assert_eq!(app.call("rival", "POST", &again, &json!({})).await.status, StatusCode::NOT_FOUND);
    assert_eq!(
        app.call("acme", "POST", &again, &json!({"a": 1})).await.status,
        StatusCode::BAD_REQUEST
    );
    app.call("acme", "DELETE", &path, &Value::Null).await;
    let refused = app.call("acme", "POST", &again, &json!({})).await;
    assert_eq!((refused.status, refused.code().as_str()), (StatusCode::CONFLICT, "being_deleted"));
    assert_eq!(app.nango.api_calls(), calls, "Nango was not asked");
    app.outbox.run_once().await.unwrap();
    assert_eq!(app.call("acme", "POST", &again, &json!({})).await.status, StatusCode::NOT_FOUND);
    app.finish().await;
}

#[sqlx::test(migrator = "control::store::MIGRATIONS")]
async fn a_scope_that_was_taken_off_the_list_is_not_asked_for_again(pool: PgPool) {
    let app = TestApp::start(pool).await;
    let (started, _) = app.activate().await;
    let path = format!("/tenants/acme/connections/{}/reconnect", id(&started));
    let send = async |scopes: Value| {
        let router = app.describing_github(&json!({"scopes": scopes}));
        let request = app.request("POST", &path, &caller("acme", Action::Connect));
        TestApp::send_to(router, request.body(Body::empty()).unwrap()).await
    };
    let calls = app.nango.api_calls();
    let refused = send(json!(["user"])).await;
    assert_eq!(
        (refused.status, refused.code().as_str()),
        (StatusCode::UNPROCESSABLE_ENTITY, "scope_not_allowed")
    );
    assert!(refused.json()["detail"].as_str().unwrap().contains("scope repo is not allowed"));
    assert_eq!(app.nango.api_calls(), calls, "Nango was not asked");
    let now = app.get(id(&started)).await;
    assert_eq!((&now["status"], &now["version"]), (&json!("active"), &json!(2)));
    assert_eq!(send(json!(["repo", "user"])).await.status, StatusCode::OK);
    app.advance(60 * 60);
    app.outbox.run_once().await.unwrap();
    app.finish().await;
}

#[sqlx::test(migrator = "control::store::MIGRATIONS")]
async fn a_reconnect_says_nothing_beside_it_in_three_ways(pool: PgPool) {
    let app = TestApp::start(pool).await;
    let (started, _) = app.activate().await;
    let path = format!("/tenants/acme/connections/{}/reconnect", id(&started));
    let vouched = caller("acme", Action::Connect);
    for (body, status) in [("", 200), ("null", 200), ("{}", 200), ("[]", 400), ("1", 400)] {
        let answer = app.send("POST", &path, &vouched, Body::from(body)).await;
        assert_eq!(answer.status, status, "{body}");
    }
    app.advance(60 * 60);
    app.outbox.run_once().await.unwrap();
    app.finish().await;
}
