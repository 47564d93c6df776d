//! Nango tells nothing: every state that its list can show is right all the same.

use crate::support::{TestApp, caller};
use axum::{body::Body, http::StatusCode};
use contract::action::Action;
use nango_stand_in::{Mood, Trouble};
use serde_json::Value;
use sqlx::PgPool;

fn id(started: &Value) -> &str {
    started["connectionId"].as_str().unwrap()
}

async fn status(app: &TestApp, started: &Value) -> (String, Value) {
    let now = app.get(id(started)).await;
    (now["status"].as_str().unwrap().to_owned(), now["reason"].clone())
}

/// Walks as often as it is due within this time.
async fn sweep_for(app: &TestApp, minutes: i64) {
    for _ in 0..minutes {
        app.outbox.sweep().await.unwrap();
        app.outbox.run_once().await.unwrap();
        app.advance(60);
    }
}

#[sqlx::test(migrator = "control::store::MIGRATIONS")]
async fn a_success_is_found_seconds_after_its_callback(pool: PgPool) {
    let app = TestApp::start(pool).await;
    let started = app.start_connection().await;
    app.authorize(&started).await;
    assert_eq!(app.outbox.run_once().await.unwrap(), 0, "not yet");
    app.advance(2);
    app.outbox.run_once().await.unwrap();
    assert_eq!(app.notified_types(), ["connection.activated"]);
    app.finish().await;
}

#[sqlx::test(migrator = "control::store::MIGRATIONS")]
async fn a_list_that_lags_is_looked_at_until_it_shows_the_success(pool: PgPool) {
    let app = TestApp::start(pool).await;
    let started = app.start_connection().await;
    app.authorize(&started).await;
    app.nango.make_trouble(Trouble::Lagging);
    for wait in [2, 3, 10, 45] {
        app.advance(wait);
        app.outbox.run_once().await.unwrap();
    }
    assert_eq!(app.notified_types(), [""; 0]);
    app.nango.make_trouble(Trouble::None);
    app.advance(240);
    app.outbox.run_once().await.unwrap();
    assert_eq!(app.notified_types(), ["connection.activated"]);
    app.finish().await;
}

#[sqlx::test(migrator = "control::store::MIGRATIONS")]
async fn who_never_comes_back_has_expired_at_the_deadline(pool: PgPool) {
    let app = TestApp::start(pool).await;
    let started = app.start_connection().await;
    app.advance(3599);
    app.outbox.run_once().await.unwrap();
    assert_eq!(status(&app, &started).await.0, "pending");
    app.advance(1);
    app.outbox.run_once().await.unwrap();
    assert_eq!(status(&app, &started).await, ("expired".to_owned(), "not_authorized".into()));
    assert_eq!(app.notified_types(), ["connection.expired"]);
    app.finish().await;
}

#[sqlx::test(migrator = "control::store::MIGRATIONS")]
async fn a_vault_that_is_away_at_the_deadline_expires_nothing(pool: PgPool) {
    let app = TestApp::start(pool).await;
    let started = app.start_connection().await;
    app.nango.make_trouble(Trouble::Unavailable);
    app.advance(3600);
    app.outbox.run_once().await.unwrap();
    assert_eq!(status(&app, &started).await.0, "pending");
    app.nango.make_trouble(Trouble::None);
    app.advance(300);
    app.outbox.run_once().await.unwrap();
    assert_eq!(status(&app, &started).await.0, "expired");
    app.finish().await;
}

#[sqlx::test(migrator = "control::store::MIGRATIONS")]
async fn a_callback_that_the_vault_made_nothing_of_has_failed_after_ten_minutes(pool: PgPool) {
    let app = TestApp::start(pool).await;
    let started = app.start_connection().await;
    app.nango.provider().be(Mood::RefusesCodes);
    let query = app.decide(&started, "allow").await;
    let sent_on = app.callback(&query).await;
    let page = reqwest::get(sent_on.headers["location"].to_str().unwrap()).await.unwrap();
    assert_eq!(page.status(), 400);
    for wait in [2, 3, 10, 45, 240] {
        app.advance(wait);
        app.outbox.run_once().await.unwrap();
    }
    assert_eq!(status(&app, &started).await.0, "pending");
    app.advance(300);
    app.outbox.run_once().await.unwrap();
    let expected = ("failed".to_owned(), "no_connection_after_callback".into());
    assert_eq!(status(&app, &started).await, expected);
    app.finish().await;
}

#[sqlx::test(migrator = "control::store::MIGRATIONS")]
async fn what_is_deleted_behind_our_back_is_gone_after_two_looks(pool: PgPool) {
    let app = TestApp::start(pool).await;
    let (started, nango_id) = app.activate().await;
    app.advance(60);
    app.nango.delete_behind_back(&nango_id);
    app.outbox.sweep().await.unwrap();
    app.outbox.run_once().await.unwrap();
    assert_eq!(status(&app, &started).await.0, "active", "seen once");
    sweep_for(&app, 3).await;
    assert_eq!(status(&app, &started).await, ("deleted".to_owned(), "gone_at_vault".into()));
    assert_eq!(app.notified_types(), ["connection.activated", "connection.deleted"]);
    app.finish().await;
}

#[sqlx::test(migrator = "control::store::MIGRATIONS")]
async fn a_list_that_shows_nothing_deletes_nothing(pool: PgPool) {
    let app = TestApp::start(pool).await;
    let (started, _) = app.activate().await;
    app.advance(60);
    app.nango.make_trouble(Trouble::Lagging);
    sweep_for(&app, 30).await;
    assert_eq!(status(&app, &started).await.0, "active", "it is there, by its name");
    app.nango.make_trouble(Trouble::None);
    app.finish().await;
}

#[sqlx::test(migrator = "control::store::MIGRATIONS")]
async fn a_refresh_that_fails_for_an_hour_needs_the_user_and_one_that_works_again_does_not(
    pool: PgPool,
) {
    let app = TestApp::start(pool).await;
    let (started, nango_id) = app.activate().await;
    app.nango.fail_refresh(&nango_id, true);
    sweep_for(&app, 10).await;
    assert_eq!(status(&app, &started).await, ("active".to_owned(), "refresh_failing".into()));
    app.nango.fail_refresh(&nango_id, false);
    sweep_for(&app, 3).await;
    assert_eq!(status(&app, &started).await, ("active".to_owned(), Value::Null));
    assert_eq!(app.notified_types(), ["connection.activated", "connection.recovered"]);
    app.nango.fail_refresh(&nango_id, true);
    sweep_for(&app, 70).await;
    assert_eq!(status(&app, &started).await, ("needs_reauth".to_owned(), "refresh_failed".into()));
    app.nango.fail_refresh(&nango_id, false);
    sweep_for(&app, 3).await;
    assert_eq!(status(&app, &started).await, ("active".to_owned(), Value::Null));
    assert_eq!(
        app.notified_types(),
        [
            "connection.activated",
            "connection.recovered",
            "connection.needs_reauth",
            "connection.recovered"
        ]
    );
    app.finish().await;
}

#[sqlx::test(migrator = "control::store::MIGRATIONS")]
async fn an_outage_of_the_provider_costs_nobody_a_connection(pool: PgPool) {
    let app = TestApp::start(pool).await;
    let mut all = Vec::new();
    for _ in 0..3 {
        all.push(app.activate().await);
    }
    for (_, nango_id) in &all {
        app.nango.fail_refresh(nango_id, true);
    }
    sweep_for(&app, 180).await;
    for (started, _) in &all {
        assert_eq!(status(&app, started).await, ("active".to_owned(), "refresh_failing".into()));
    }
    app.finish().await;
}

#[sqlx::test(migrator = "control::store::MIGRATIONS")]
async fn two_replicas_walk_once_and_a_vault_that_is_away_is_walked_later(pool: PgPool) {
    let app = TestApp::start(pool).await;
    app.activate().await;
    app.nango.make_trouble(Trouble::Unavailable);
    assert!(app.outbox.sweep().await.unwrap());
    app.nango.make_trouble(Trouble::None);
    assert!(!app.outbox.sweep().await.unwrap(), "not yet");
    app.advance(1);
    let other = app.outbox.clone();
    let before = app.nango.api_calls();
    let (one, two) = tokio::join!(app.outbox.sweep(), other.sweep());
    assert!(one.unwrap() ^ two.unwrap());
    assert_eq!(app.nango.api_calls(), before + 1);
    assert!(!app.outbox.sweep().await.unwrap(), "for two minutes");
    app.finish().await;
}

#[sqlx::test(migrator = "control::store::MIGRATIONS")]
async fn a_walk_that_doubts_nothing_makes_what_is_known_fresh(pool: PgPool) {
    let app = TestApp::start(pool).await;
    let (started, nango_id) = app.activate().await;
    let checked_at = async || app.get(id(&started)).await["checkedAt"].clone();
    let at_first = checked_at().await;
    app.advance(600);
    app.outbox.sweep().await.unwrap();
    let after = checked_at().await;
    assert_ne!(after, at_first);
    // What it did not see is as old as it was, once that is noticed.
    app.nango.delete_behind_back(&nango_id);
    app.advance(600);
    app.outbox.sweep().await.unwrap();
    app.outbox.run_once().await.unwrap();
    let doubted = app.get(id(&started)).await;
    assert_eq!(doubted["status"], "active");
    app.advance(600);
    app.outbox.sweep().await.unwrap();
    assert_eq!(checked_at().await, doubted["checkedAt"], "in doubt since");
    app.outbox.run_once().await.unwrap();
    assert_eq!(app.get(id(&started)).await["status"], "deleted");
    app.finish().await;
}

#[sqlx::test(migrator = "control::store::MIGRATIONS")]
async fn a_check_finds_a_token_that_the_provider_takes_no_more(pool: PgPool) {
    let app = TestApp::start(pool).await;
    let (started, _) = app.activate().await;
    app.nango.provider().be(Mood::RejectsTokens);
    app.advance(60);
    let path = format!("/tenants/acme/connections/{}/check", id(&started));
    let check = async |tenant| {
        let vouched = caller(tenant, Action::Read);
        app.send("POST", &path.replace("acme", tenant), &vouched, Body::empty()).await.status
    };
    assert_eq!(check("rival").await, StatusCode::NOT_FOUND);
    assert_eq!(check("acme").await, StatusCode::ACCEPTED);
    assert_eq!(check("acme").await, StatusCode::ACCEPTED, "one that waits is enough");
    app.outbox.run_once().await.unwrap();
    let now = app.get(id(&started)).await;
    assert_eq!(now["status"], "active", "rejected once");
    assert_ne!(now["checkedAt"], now["since"], "and looked at");
    app.advance(61);
    app.outbox.run_once().await.unwrap();
    assert_eq!(status(&app, &started).await, ("needs_reauth".to_owned(), "token_rejected".into()));
    app.nango.provider().be(Mood::Well);
    app.advance(25);
    check("acme").await;
    app.outbox.run_once().await.unwrap();
    assert_eq!(status(&app, &started).await, ("active".to_owned(), Value::Null));
    app.finish().await;
}
