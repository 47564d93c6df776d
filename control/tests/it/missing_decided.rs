//! An operator decides about connections that are missing at Nango, and about credentials there that nobody has.

use crate::{
    mass_deletion::{LIVE, activate, all, pass, statuses},
    support::TestApp,
};
use control::{
    missing,
    orphans::{self, Wanted},
};
use serde_json::{Value, json};
use sqlx::PgPool;

async fn held(app: &TestApp) -> Option<(i64, i64)> {
    let held = app.store.deletions_held().await.unwrap();
    held.map(|held| (held.missing, held.live))
}

#[sqlx::test(migrator = "control::store::MIGRATIONS")]
async fn what_is_confirmed_is_deleted_and_no_more_than_that(pool: PgPool) {
    let app = TestApp::start(pool).await;
    activate(&app, LIVE).await;
    app.nango.hide_connections(true);
    pass(&app, 4).await;
    let live = i64::try_from(LIVE).unwrap();
    assert_eq!(held(&app).await, Some((live, live)));
    assert!(missing::show(&app.store).await.unwrap().contains("24 of 24 connections are missing"));
    let told = missing::confirm(&app.store, &app.clock, 24).await.unwrap();
    assert!(told.starts_with("confirmed: 24 connections"), "{told}");
    assert_eq!(statuses(&app).await, all("active"), "each after another look");
    pass(&app, 6).await;
    assert_eq!(statuses(&app).await, all("deleted"));
    assert_eq!(held(&app).await, None);
    let told = missing::confirm(&app.store, &app.clock, 24).await.unwrap();
    assert!(told.starts_with("nothing is held"), "{told}");
    // Another loss on top of it is held again.
    activate(&app, 8).await;
    app.nango.hide_connections(true);
    pass(&app, 6).await;
    assert_eq!(held(&app).await, Some((8, 8)));
    assert_eq!(statuses(&app).await["active"], 8);
    app.abandon();
}

#[sqlx::test(migrator = "control::store::MIGRATIONS")]
async fn what_is_dismissed_stays_and_is_held_again_while_it_is_missing(pool: PgPool) {
    let app = TestApp::start(pool).await;
    let connections = activate(&app, LIVE).await;
    app.nango.hide_connections(true);
    pass(&app, 4).await;
    missing::dismiss(&app.store, &app.clock).await.unwrap();
    assert_eq!(held(&app).await, None);
    pass(&app, 4).await;
    assert!(held(&app).await.is_some(), "the key is still the wrong one");
    app.nango.hide_connections(false);
    // One was deleted meanwhile: that alone does not end what is held.
    assert!(app.nango.delete_behind_back(&connections[0].1));
    pass(&app, 6).await;
    assert_eq!(held(&app).await, Some((1, 24)));
    assert_eq!(statuses(&app).await, all("active"));
    missing::dismiss(&app.store, &app.clock).await.unwrap();
    pass(&app, 6).await;
    assert_eq!(held(&app).await, None);
    assert_eq!(statuses(&app).await["deleted"], 1);
    app.finish().await;
}

#[sqlx::test(migrator = "control::store::MIGRATIONS")]
async fn a_list_that_is_whole_again_ends_what_is_held(pool: PgPool) {
    let app = TestApp::start(pool).await;
    let connections = activate(&app, LIVE).await;
    app.nango.hide_connections(true);
    pass(&app, 4).await;
    assert!(held(&app).await.is_some());
    let id = connections[0].0["connectionId"].as_str().unwrap();
    let doubted = app.get(id).await["checkedAt"].clone();
    app.nango.hide_connections(false);
    pass(&app, 4).await;
    assert_eq!(held(&app).await, None);
    assert_ne!(app.get(id).await["checkedAt"], doubted, "it was seen since");
    assert_eq!(
        app.count("SELECT count(*) FROM connections WHERE missing_since IS NOT NULL").await,
        0
    );
    app.finish().await;
}

pub const fn few(count: usize) -> Wanted {
    Wanted { count, allows_many: false }
}

/// Forgets connections here, as a restore to an earlier moment does.
pub async fn forget(app: &TestApp, started: &Value) {
    let id: uuid::Uuid = started["connectionId"].as_str().unwrap().parse().unwrap();
    for query in [
        "DELETE FROM delivery_attempts WHERE delivery_id IN (SELECT delivery_id FROM deliveries WHERE connection_id = $1)",
        "DELETE FROM deliveries WHERE connection_id = $1",
        "DELETE FROM events WHERE connection_id = $1",
        "DELETE FROM callback_states WHERE connection_id = $1",
        "DELETE FROM jobs WHERE connection_id = $1",
        "UPDATE connections SET open_attempt_id = NULL WHERE connection_id = $1",
        "DELETE FROM attempts WHERE connection_id = $1",
        "DELETE FROM connections WHERE connection_id = $1",
    ] {
        sqlx::query(query).bind(id).execute(&app.pool).await.unwrap();
    }
}

#[sqlx::test(migrator = "control::store::MIGRATIONS")]
async fn credentials_without_a_connection_are_counted_listed_and_removed_on_demand(pool: PgPool) {
    let app = TestApp::start(pool).await;
    let connections = activate(&app, 5).await;
    for (started, _) in &connections[..2] {
        forget(&app, started).await;
    }
    app.outbox.sweep().await.unwrap();
    let orphaned = app.store.orphans().await.unwrap();
    assert_eq!((orphaned.count, orphaned.sample.len()), (2, 2));
    let found = orphans::find(&app.store, &app.outbox.nango).await.unwrap();
    let told = orphans::describe(&found);
    for (started, nango_id) in &connections {
        let is_orphan = connections[..2].iter().any(|(forgotten, _)| forgotten == started);
        assert_eq!(told.contains(started["connectionId"].as_str().unwrap()), is_orphan, "{told}");
        assert!(!told.contains(nango_id), "Nango's name opens the connection to whoever has a key");
    }
    assert!(told.contains("control orphans remove --count 2"), "{told}");
    assert!(!told.contains("DATABASE_URL"), "they are few: {told}");
    assert_eq!(app.nango.connection_ids().len(), 5, "it only lists them");
    // Another number than was seen removes none.
    let refused = orphans::remove(&app.store, &app.outbox.nango, &app.clock, few(3)).await;
    assert!(refused.unwrap_err().to_string().contains("there are 2 of them, and not 3"));
    assert_eq!(app.nango.connection_ids().len(), 5);
    orphans::remove(&app.store, &app.outbox.nango, &app.clock, few(2)).await.unwrap();
    let left = app.nango.connection_ids();
    assert!(
        left.len() == 3 && connections[2..].iter().all(|(_, nango_id)| left.contains(nango_id))
    );
    let lines = app.count("SELECT count(*) FROM audit_events WHERE action = 'credential.orphan_removed' AND actor = 'operator'");
    assert_eq!(lines.await, 2);
    app.advance(121);
    app.outbox.sweep().await.unwrap();
    assert_eq!(app.store.orphans().await.unwrap().count, 0);
    app.abandon();
}

#[sqlx::test(migrator = "control::store::MIGRATIONS")]
async fn nothing_is_removed_by_a_list_that_may_be_another_environments(pool: PgPool) {
    let app = TestApp::start(pool).await;
    let connections = activate(&app, 6).await;
    forget(&app, &connections[0].0).await;
    for (_, nango_id) in &connections[1..] {
        assert!(app.nango.delete_behind_back(nango_id));
    }
    pass(&app, 4).await;
    assert_eq!(held(&app).await, Some((5, 5)));
    let refused = orphans::remove(&app.store, &app.outbox.nango, &app.clock, few(1)).await;
    assert!(refused.unwrap_err().to_string().contains("control missing"));
    assert_eq!(app.nango.connection_ids().len(), 1);
    app.abandon();
}

#[sqlx::test(migrator = "control::store::MIGRATIONS")]
async fn a_hint_of_a_deletion_is_held_against_all_others_too(pool: PgPool) {
    let app = TestApp::start(pool).await;
    let connections = activate(&app, LIVE).await;
    app.nango.hide_connections(true);
    pass(&app, 4).await;
    for (started, nango_id) in &connections {
        let body = json!({"type": "auth", "from": "nango", "operation": "deletion", "success": true,
            "connectionId": nango_id, "providerConfigKey": "github-dev", "tags": {
                "connection_ref": started["connectionId"], "tenant_id": "acme", "end_user_id": "user-1",
                "instance": "test"}});
        app.webhook(&body).await;
    }
    pass(&app, 4).await;
    assert_eq!(statuses(&app).await, all("active"));
    app.abandon();
}
