//! Whose credential it is: a reconnect is not active before that is known, a profile that could not be read is read later,
//! and a token that its user revoked is found without any word of Nango's.

use crate::{
    setup::Setup,
    support::{TestApp, caller},
};
use axum::{body::Body, http::StatusCode};
use contract::action::Action;
use nango_stand_in::Mood;
use serde_json::{Value, json};
use sqlx::PgPool;

const OCTOCAT: &str = "583231";

async fn shown(app: &TestApp, started: &Value) -> (String, Value, Value) {
    let now = app.get(started["connectionId"].as_str().unwrap()).await;
    let text = |name: &str| now[name].clone();
    (now["status"].as_str().unwrap().to_owned(), text("reason"), text("nextAction"))
}

/// A reconnect that its user allows while the provider does not say who that is.
async fn reconnect_unseen(app: &TestApp, started: &Value, mood: Mood) {
    let path = format!("/connections/{}/reconnect", started["connectionId"].as_str().unwrap());
    let again = app.call("acme", "POST", &path, &json!({})).await;
    assert_eq!(again.status, StatusCode::OK);
    app.nango.provider().be(mood);
    app.authorize(&again.json()).await;
    app.advance(2);
    app.outbox.run_once().await.unwrap();
}

async fn minutes(app: &TestApp, minutes: usize) {
    for _ in 0..minutes {
        app.advance(61);
        app.outbox.run_once().await.unwrap();
    }
}

#[sqlx::test(migrator = "control::store::MIGRATIONS")]
async fn a_reconnect_whose_account_is_unknown_is_not_active_and_nobody_is_notified(pool: PgPool) {
    for mood in [Mood::LosesUsers, Mood::HidesUsers] {
        let app = TestApp::start(pool.clone()).await;
        let (started, _) = app.activate().await;
        app.nango.provider().log_in(7);
        reconnect_unseen(&app, &started, mood).await;
        let unverified = ("needs_reauth".to_owned(), json!("account_unverified"), json!("wait"));
        assert_eq!(shown(&app, &started).await, unverified, "{mood:?}");
        minutes(&app, 3).await;
        assert_eq!(shown(&app, &started).await, unverified, "{mood:?}");
        assert_eq!(app.notified_types(), ["connection.activated"], "{mood:?}");
        app.nango.provider().be(Mood::Well);
        minutes(&app, 10).await;
        let (status, reason, next) = shown(&app, &started).await;
        assert_eq!(
            (status.as_str(), reason, next),
            ("needs_reauth", json!("account_changed"), json!("reconnect"))
        );
        let events = app.notified();
        assert_eq!(app.notified_types(), ["connection.activated", "connection.needs_reauth"]);
        assert_eq!(events.last().unwrap().body["reason"], "account_changed");
        let now = app.get(started["connectionId"].as_str().unwrap()).await;
        assert_eq!(now["lastAuthorization"]["outcome"], "failed");
        app.finish().await;
    }
}

#[sqlx::test(migrator = "control::store::MIGRATIONS")]
async fn the_same_account_is_active_as_soon_as_it_is_verified(pool: PgPool) {
    let app = TestApp::start(pool).await;
    let (started, _) = app.activate().await;
    reconnect_unseen(&app, &started, Mood::LosesUsers).await;
    assert_eq!(shown(&app, &started).await.1, "account_unverified");
    app.nango.provider().be(Mood::Well);
    minutes(&app, 6).await;
    assert_eq!(shown(&app, &started).await, ("active".to_owned(), Value::Null, Value::Null));
    assert_eq!(app.notified_types(), ["connection.activated", "connection.reauthorized"]);
    let told = app.notified().pop().unwrap().body;
    assert_eq!(told["providerAccountId"], OCTOCAT, "{told}");
    app.finish().await;
}

#[sqlx::test(migrator = "control::store::MIGRATIONS")]
async fn calls_that_are_used_up_let_no_unknown_account_pass(pool: PgPool) {
    let setup = Setup { calls_per_minute: 200, ..Setup::default() };
    let app = TestApp::start_as(pool, setup).await;
    let (started, _) = app.activate().await;
    // Five profiles can be read at once; others use them up.
    for _ in 0..8 {
        app.activate().await;
    }
    app.nango.provider().log_in(7);
    reconnect_unseen(&app, &started, Mood::Well).await;
    assert_ne!(shown(&app, &started).await.0, "active");
    assert!(!app.notified_types().contains(&"connection.reauthorized".to_owned()));
    minutes(&app, 6).await;
    assert_eq!(shown(&app, &started).await.1, "account_changed");
    app.finish().await;
}

#[sqlx::test(migrator = "control::store::MIGRATIONS")]
async fn a_token_that_is_rejected_while_its_account_is_unknown_needs_its_user(pool: PgPool) {
    let app = TestApp::start(pool).await;
    let (started, _) = app.activate().await;
    reconnect_unseen(&app, &started, Mood::RejectsTokens).await;
    assert_eq!(shown(&app, &started).await.1, "account_unverified");
    minutes(&app, 3).await;
    assert_eq!(shown(&app, &started).await.1, "token_rejected");
    assert_eq!(app.notified_types(), ["connection.activated", "connection.needs_reauth"]);
    app.finish().await;
}

#[sqlx::test(migrator = "control::store::MIGRATIONS")]
async fn after_a_burst_every_connection_has_its_profile(pool: PgPool) {
    let setup = Setup { calls_per_minute: 200, ..Setup::default() };
    let app = TestApp::start_as(pool, setup).await;
    let mut all = Vec::new();
    for _ in 0..10 {
        all.push(app.activate().await.0);
    }
    let unknown = async || {
        let mut unknown = 0;
        for started in &all {
            let now = app.get(started["connectionId"].as_str().unwrap()).await;
            assert_eq!(now["status"], "active");
            unknown += usize::from(now["providerAccountId"].is_null());
        }
        unknown
    };
    let missed = unknown().await;
    assert!(missed > 0, "the burst must exceed the calls for profiles");
    minutes(&app, 5).await;
    assert_eq!(unknown().await, 0);
    let updated = app.notified_types().iter().filter(|it| *it == "connection.updated").count();
    assert_eq!(updated, missed);
    app.finish().await;
}

#[sqlx::test(migrator = "control::store::MIGRATIONS")]
async fn a_revoked_token_is_found_within_the_interval_and_not_before(pool: PgPool) {
    let app = TestApp::start(pool).await;
    let (started, _) = app.activate().await;
    app.nango.provider().be(Mood::RejectsTokens);
    let walk = async |hours: i64| {
        app.advance(hours * 3600);
        app.outbox.sweep().await.unwrap();
        app.outbox.run_once().await.unwrap();
    };
    walk(23).await;
    assert_eq!(shown(&app, &started).await.0, "active");
    walk(1).await;
    assert_eq!(shown(&app, &started).await.0, "active", "one answer may be a bad minute");
    minutes(&app, 1).await;
    assert_eq!(shown(&app, &started).await.1, "token_rejected");
    assert_eq!(app.notified_types(), ["connection.activated", "connection.needs_reauth"]);
    app.finish().await;
}

#[sqlx::test(migrator = "control::store::MIGRATIONS")]
async fn a_token_that_is_rejected_at_its_first_use_needs_its_user_at_once(pool: PgPool) {
    let app = TestApp::start(pool).await;
    app.nango.provider().be(Mood::RejectsTokens);
    let (started, _) = app.activate().await;
    assert_eq!(shown(&app, &started).await.0, "active");
    minutes(&app, 2).await;
    assert_eq!(shown(&app, &started).await.1, "token_rejected");
    app.finish().await;
}

#[sqlx::test(migrator = "control::store::MIGRATIONS")]
async fn probes_take_the_oldest_first_and_no_more_than_there_are_calls_for(pool: PgPool) {
    let setup = Setup { calls_per_minute: 40, ..Setup::default() };
    let app = TestApp::start_as(pool, setup).await;
    let mut all = Vec::new();
    for _ in 0..6 {
        all.push(app.activate().await.0);
        app.advance(60);
        app.outbox.run_once().await.unwrap();
    }
    minutes(&app, 20).await;
    app.advance(24 * 3600);
    app.outbox.sweep().await.unwrap();
    let queued: Vec<uuid::Uuid> = sqlx::query_scalar(
        "SELECT connection_id FROM jobs WHERE kind = 'probe' AND done_at IS NULL ORDER BY connection_id",
    )
    .fetch_all(&app.pool)
    .await
    .unwrap();
    let oldest = &all[..4];
    let expected: Vec<uuid::Uuid> =
        oldest.iter().map(|it| it["connectionId"].as_str().unwrap().parse().unwrap()).collect();
    assert_eq!(queued, expected, "two a minute, and a walk is every two minutes");
    minutes(&app, 5).await;
    app.finish().await;
}

#[sqlx::test(migrator = "control::store::MIGRATIONS")]
async fn a_check_verifies_an_unknown_account_too(pool: PgPool) {
    let app = TestApp::start(pool).await;
    let (started, _) = app.activate().await;
    reconnect_unseen(&app, &started, Mood::HidesUsers).await;
    app.nango.provider().be(Mood::Well);
    let path =
        format!("/tenants/acme/connections/{}/check", started["connectionId"].as_str().unwrap());
    let asked = app.send("POST", &path, &caller("acme", Action::Read), Body::empty()).await;
    assert_eq!(asked.status, StatusCode::ACCEPTED);
    app.advance(30);
    app.outbox.run_once().await.unwrap();
    assert_eq!(shown(&app, &started).await.0, "active");
    minutes(&app, 2).await;
    app.finish().await;
}
