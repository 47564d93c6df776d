//! Deleting a connection.

use crate::support::TestApp;
use axum::http::StatusCode;
use nango_stand_in::Trouble;
use serde_json::{Value, json};
use sqlx::PgPool;

fn path(started: &Value) -> String {
    format!("/connections/{}", started["connectionId"].as_str().unwrap())
}

#[sqlx::test(migrator = "control::store::MIGRATIONS")]
async fn a_deletion_is_answered_at_once_and_done_at_the_vault(pool: PgPool) {
    let app = TestApp::start(pool).await;
    let (started, _) = app.activate().await;
    let answer = app.call("acme", "DELETE", &path(&started), &json!(null)).await;
    assert_eq!(answer.status, StatusCode::ACCEPTED);
    assert_eq!(
        answer.json(),
        json!({"connectionId": started["connectionId"], "status": "deleting", "revocation": "unsupported"})
    );
    assert_eq!(app.nango.connection_ids().len(), 1, "nobody deleted it yet");
    app.outbox.run_once().await.unwrap();
    assert_eq!(app.nango.connection_ids(), Vec::<String>::new());
    let shown = app.get(started["connectionId"].as_str().unwrap()).await;
    assert_eq!([&shown["status"], &shown["reason"]], ["deleted", "requested"]);
    assert_eq!(app.notified_types(), ["connection.activated", "connection.deleted"]);
    let again = app.call("acme", "DELETE", &path(&started), &json!(null)).await;
    assert_eq!((again.status, &again.json()["status"]), (StatusCode::OK, &json!("deleted")));
    app.finish().await;
}

#[sqlx::test(migrator = "control::store::MIGRATIONS")]
async fn asking_twice_deletes_once(pool: PgPool) {
    let app = TestApp::start(pool).await;
    let (started, _) = app.activate().await;
    for _ in 0..2 {
        let answer = app.call("acme", "DELETE", &path(&started), &json!(null)).await;
        assert_eq!(answer.status, StatusCode::ACCEPTED);
    }
    app.outbox.run_once().await.unwrap();
    assert_eq!(app.notified_types(), ["connection.activated", "connection.deleted"]);
    app.finish().await;
}

#[sqlx::test(migrator = "control::store::MIGRATIONS")]
async fn a_connection_that_is_gone_at_the_vault_already_is_deleted(pool: PgPool) {
    let app = TestApp::start(pool).await;
    let (started, nango_id) = app.activate().await;
    assert!(app.nango.delete_behind_back(&nango_id));
    app.call("acme", "DELETE", &path(&started), &json!(null)).await;
    app.outbox.run_once().await.unwrap();
    assert_eq!(app.get(started["connectionId"].as_str().unwrap()).await["status"], "deleted");
    app.finish().await;
}

#[sqlx::test(migrator = "control::store::MIGRATIONS")]
async fn a_vault_that_is_down_delays_the_deletion_and_loses_nothing(pool: PgPool) {
    let app = TestApp::start(pool).await;
    let (started, _) = app.activate().await;
    app.nango.make_trouble(Trouble::Unavailable);
    app.call("acme", "DELETE", &path(&started), &json!(null)).await;
    for _ in 0..20 {
        app.outbox.run_once().await.unwrap();
        app.advance(300);
    }
    assert_eq!(app.get(started["connectionId"].as_str().unwrap()).await["status"], "deleting");
    app.nango.make_trouble(Trouble::None);
    app.outbox.run_once().await.unwrap();
    assert_eq!(app.get(started["connectionId"].as_str().unwrap()).await["status"], "deleted");
    app.finish().await;
}

#[sqlx::test(migrator = "control::store::MIGRATIONS")]
async fn a_success_that_nobody_was_told_of_is_deleted_too(pool: PgPool) {
    let app = TestApp::start(pool).await;
    let started = app.start_connection().await;
    app.authorize(&started).await;
    assert_eq!(app.nango.connection_ids().len(), 1);
    app.call("acme", "DELETE", &path(&started), &json!(null)).await;
    app.outbox.run_once().await.unwrap();
    assert_eq!(app.nango.connection_ids(), Vec::<String>::new());
    assert_eq!(app.notified_types(), ["connection.deleted"]);
    app.finish().await;
}

#[sqlx::test(migrator = "control::store::MIGRATIONS")]
async fn a_success_after_the_deletion_is_undone_at_the_vault(pool: PgPool) {
    let app = TestApp::start(pool).await;
    let started = app.start_connection().await;
    let query = app.decide(&started, "allow").await;
    let sent_on = app.callback(&query).await;
    app.call("acme", "DELETE", &path(&started), &json!(null)).await;
    app.outbox.run_once().await.unwrap();
    assert_eq!(app.get(started["connectionId"].as_str().unwrap()).await["status"], "deleted");
    let late = app.finish_at_nango(sent_on.headers["location"].to_str().unwrap()).await;
    app.say_created(&started, &late).await;
    app.outbox.run_once().await.unwrap();
    assert_eq!(app.nango.connection_ids(), Vec::<String>::new());
    assert_eq!(app.get(started["connectionId"].as_str().unwrap()).await["status"], "deleted");
    assert_eq!(app.notified_types(), ["connection.deleted"]);
    app.finish().await;
}
