//! Nango lists many of our connections no more: that is believed when an operator says so, and not row by row.

use crate::support::TestApp;
use axum::http::StatusCode;
use serde_json::{Value, json};
use sqlx::PgPool;
use std::collections::BTreeMap;

pub const LIVE: usize = 24;

fn id(started: &Value) -> &str {
    started["connectionId"].as_str().unwrap()
}

/// So many active connections, with their names at Nango.
pub async fn activate(app: &TestApp, count: usize) -> Vec<(Value, String)> {
    let mut all = Vec::new();
    for _ in 0..count {
        all.push(app.activate().await);
    }
    app.advance(60);
    all
}

/// Everything that is due within this time.
pub async fn pass(app: &TestApp, minutes: i64) {
    for _ in 0..minutes {
        app.outbox.sweep().await.unwrap();
        app.outbox.run_once().await.unwrap();
        app.advance(30);
        app.outbox.run_once().await.unwrap();
        app.advance(31);
    }
}

/// How many connections have which status.
pub async fn statuses(app: &TestApp) -> BTreeMap<String, i64> {
    let query = "SELECT status, count(*) FROM connections GROUP BY status";
    sqlx::query_as(query).fetch_all(&app.pool).await.unwrap().into_iter().collect()
}

pub fn all(status: &str) -> BTreeMap<String, i64> {
    [(status.to_owned(), i64::try_from(LIVE).unwrap())].into()
}

#[sqlx::test(migrator = "control::store::MIGRATIONS")]
async fn a_list_without_our_connections_makes_none_of_them_terminal(pool: PgPool) {
    let app = TestApp::start(pool).await;
    activate(&app, LIVE).await;
    app.nango.hide_connections(true);
    pass(&app, 30).await;
    assert_eq!(statuses(&app).await, all("active"));
    assert_eq!(app.notified_types().iter().filter(|it| *it == "connection.deleted").count(), 0);
    // It was the wrong key: nothing was lost, and no credential is deleted behind its user's back.
    app.nango.hide_connections(false);
    pass(&app, 5).await;
    assert_eq!(statuses(&app).await, all("active"));
    assert_eq!(app.nango.connection_ids().len(), LIVE);
    app.finish().await;
}

#[sqlx::test(migrator = "control::store::MIGRATIONS")]
async fn checks_that_clients_ask_for_do_not_delete_one_by_one_what_a_walk_would_not(pool: PgPool) {
    let app = TestApp::start(pool).await;
    let connections = activate(&app, LIVE).await;
    app.nango.hide_connections(true);
    // No walk: only what is asked for.
    for _ in 0..3 {
        for (started, _) in &connections {
            app.ask_check(started).await;
        }
        for _ in 0..4 {
            app.outbox.run_once().await.unwrap();
            app.advance(31);
        }
    }
    assert_eq!(statuses(&app).await, all("active"));
    app.nango.hide_connections(false);
    pass(&app, 5).await;
    app.finish().await;
}

#[sqlx::test(migrator = "control::store::MIGRATIONS")]
async fn a_few_after_a_few_are_many(pool: PgPool) {
    let app = TestApp::start(pool).await;
    let connections = activate(&app, LIVE).await;
    for (_, nango_id) in &connections {
        assert!(app.nango.delete_behind_back(nango_id));
        pass(&app, 4).await;
    }
    let now = statuses(&app).await;
    assert!(now["deleted"] < 5 && now["deleted"] + now["active"] == 24, "{now:?}");
    app.abandon();
}

#[sqlx::test(migrator = "control::store::MIGRATIONS")]
async fn an_attempt_whose_success_may_be_out_of_sight_has_not_failed(pool: PgPool) {
    let app = TestApp::start(pool).await;
    activate(&app, LIVE).await;
    let started = app.start_connection().await;
    app.authorize(&started).await;
    app.nango.hide_connections(true);
    pass(&app, 30).await;
    assert_eq!(app.get(id(&started)).await["status"], "pending");
    app.nango.hide_connections(false);
    pass(&app, 5).await;
    assert_eq!(app.get(id(&started)).await["status"], "active");
    app.finish().await;
}

#[sqlx::test(migrator = "control::store::MIGRATIONS")]
async fn a_deletion_is_not_done_while_its_credential_may_be_out_of_sight(pool: PgPool) {
    let app = TestApp::start(pool).await;
    let connections = activate(&app, LIVE).await;
    app.nango.hide_connections(true);
    pass(&app, 4).await;
    let (started, nango_id) = &connections[0];
    let path = format!("/connections/{}", id(started));
    let asked = app.call("acme", "DELETE", &path, &json!(null)).await;
    assert_eq!(asked.status, StatusCode::ACCEPTED);
    pass(&app, 10).await;
    assert_eq!(app.get(id(started)).await["status"], "deleting");
    app.nango.hide_connections(false);
    pass(&app, 10).await;
    assert_eq!(app.get(id(started)).await["status"], "deleted");
    assert!(!app.nango.connection_ids().contains(nango_id));
    app.finish().await;
}
