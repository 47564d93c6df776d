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

/// The browser was sent on before the deletion, and its webhook is lost.
#[sqlx::test(migrator = "control::store::MIGRATIONS")]
async fn a_success_after_the_deletion_is_found_without_any_webhook(pool: PgPool) {
    let app = TestApp::start(pool).await;
    let started = app.start_connection().await;
    let query = app.decide(&started, "allow").await;
    let sent_on = app.callback(&query).await;
    app.call("acme", "DELETE", &path(&started), &json!(null)).await;
    app.outbox.run_once().await.unwrap();
    app.finish_at_nango(sent_on.headers["location"].to_str().unwrap()).await;
    assert_eq!(app.nango.connection_ids().len(), 1);
    app.advance(119);
    app.outbox.run_once().await.unwrap();
    assert_eq!(app.nango.connection_ids().len(), 1);
    app.advance(1);
    app.outbox.run_once().await.unwrap();
    assert_eq!(app.nango.connection_ids(), Vec::<String>::new());
    assert_eq!(app.notified_types(), ["connection.deleted"]);
    app.finish().await;
}

#[sqlx::test(migrator = "control::store::MIGRATIONS")]
async fn an_extra_success_is_undone_once_however_often_it_is_told(pool: PgPool) {
    let app = TestApp::start(pool).await;
    let (started, first) = app.activate().await;
    let second = app.nango.copy_connection(&first).unwrap();
    for _ in 0..3 {
        app.say_created(&started, &second).await;
    }
    // The vault was looked at for this connection just now.
    app.advance(30);
    app.outbox.run_once().await.unwrap();
    assert_eq!(app.nango.connection_ids(), [first]);
    let found = "SELECT count(*) FROM audit_events WHERE action = 'connection.extra_found'";
    assert_eq!(app.count(found).await, 1);
    app.finish().await;
}

/// While a release is rolled out, the one before it must leave alone what it does not know.
#[sqlx::test(migrator = "control::store::MIGRATIONS")]
async fn a_job_of_a_newer_release_is_left_to_it(pool: PgPool) {
    let app = TestApp::start(pool.clone()).await;
    let (started, _) = app.activate().await;
    let id: uuid::Uuid = started["connectionId"].as_str().unwrap().parse().unwrap();
    sqlx::query("ALTER TABLE jobs DROP CONSTRAINT jobs_kind_check").execute(&pool).await.unwrap();
    sqlx::query(
        "INSERT INTO jobs (job_id, tenant_id, connection_id, kind, created_at, due_at)
         VALUES ($1, 'acme', $1, 'of_tomorrow', now(), 'epoch')",
    )
    .bind(id)
    .execute(&pool)
    .await
    .unwrap();
    assert_eq!(app.outbox.run_once().await.unwrap(), 0);
    assert_eq!(app.nango.connection_ids().len(), 1);
    sqlx::query("DELETE FROM jobs").execute(&pool).await.unwrap();
    app.finish().await;
}
