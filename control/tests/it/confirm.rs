//! What a webhook claims is asked of the vault, and only that changes anything.

use crate::support::{TestApp, text};
use nango_stand_in::Trouble;
use serde_json::json;
use sqlx::PgPool;

#[sqlx::test(migrator = "control::store::MIGRATIONS")]
async fn a_confirmed_success_activates_and_notifies(pool: PgPool) {
    let app = TestApp::start(pool).await;
    let (started, _) = app.activate().await;
    let notified = app.notified();
    assert_eq!(notified.len(), 1);
    assert_eq!(
        notified[0].body,
        json!({"id": notified[0].id, "type": "connection.activated", "sequence": 1,
            "occurredAt": text(app.clock.now()), "connectionId": started["connectionId"], "tenantId": "acme",
            "oidcSub": "user-1", "provider": "github", "status": "active", "reason": null,
            "requestedScopes": ["repo"], "authorizedScopes": null, "scopesVerified": false, "missingScopes": null,
            "providerAccountId": "583231", "displayName": "The Octocat",
            "metadata": {"username": "octocat", "avatar": "https://avatars.example/583231"},
            "clientMetadata": {"plan": "pro"}})
    );
    let shown = app.get(started["connectionId"].as_str().unwrap()).await;
    assert_eq!([&shown["status"], &shown["checkedAt"]], ["active", text(app.clock.now()).as_str()]);
    assert_eq!(shown["version"], 2);
    app.finish().await;
}

#[sqlx::test(migrator = "control::store::MIGRATIONS")]
async fn a_repeated_webhook_notifies_nobody(pool: PgPool) {
    let app = TestApp::start(pool).await;
    let (started, nango_id) = app.activate().await;
    app.say_created(&started, &nango_id).await;
    app.say_created(&started, &nango_id).await;
    app.outbox.run_once().await.unwrap();
    assert_eq!(app.notified_types(), ["connection.activated"]);
    assert_eq!(app.get(started["connectionId"].as_str().unwrap()).await["version"], 2);
    app.finish().await;
}

#[sqlx::test(migrator = "control::store::MIGRATIONS")]
async fn two_copies_at_once_activate_once(pool: PgPool) {
    let app = TestApp::start(pool).await;
    let started = app.start_connection().await;
    let nango_id = app.authorize(&started).await;
    app.say_created(&started, &nango_id).await;
    app.say_created(&started, &nango_id).await;
    let (one, other) = tokio::join!(app.outbox.run_once(), app.outbox.run_once());
    one.unwrap();
    other.unwrap();
    app.outbox.run_once().await.unwrap();
    assert_eq!(app.notified_types(), ["connection.activated"]);
    app.finish().await;
}

#[sqlx::test(migrator = "control::store::MIGRATIONS")]
async fn a_success_that_the_vault_does_not_bear_out_changes_nothing(pool: PgPool) {
    let app = TestApp::start(pool).await;
    let started = app.start_connection().await;
    // Everything about it is right, but Nango made no connection.
    app.say_created(&started, "394066a6-b36f-4b79-9e98-6ffbcd393498").await;
    for wait in [0, 30, 30, 60, 300] {
        app.advance(wait);
        assert_eq!(app.outbox.run_once().await.unwrap(), 1, "after {wait} s");
    }
    assert_eq!(app.get(started["connectionId"].as_str().unwrap()).await["status"], "pending");
    assert_eq!(app.count("SELECT count(*) FROM receipts WHERE outcome = 'unconfirmed'").await, 1);
    app.finish().await;
}

#[sqlx::test(migrator = "control::store::MIGRATIONS")]
async fn a_list_that_lags_is_looked_at_again(pool: PgPool) {
    let app = TestApp::start(pool).await;
    let started = app.start_connection().await;
    let nango_id = app.authorize(&started).await;
    app.nango.make_trouble(Trouble::Lagging);
    app.say_created(&started, &nango_id).await;
    app.outbox.run_once().await.unwrap();
    assert_eq!(app.notified(), []);
    app.nango.make_trouble(Trouble::None);
    app.advance(1);
    assert_eq!(app.outbox.run_once().await.unwrap(), 0, "it is not due yet");
    app.advance(1);
    app.outbox.run_once().await.unwrap();
    assert_eq!(app.notified_types(), ["connection.activated"]);
    app.finish().await;
}

#[sqlx::test(migrator = "control::store::MIGRATIONS")]
async fn a_vault_that_is_down_for_hours_loses_no_receipt(pool: PgPool) {
    let app = TestApp::start(pool).await;
    let started = app.start_connection().await;
    let nango_id = app.authorize(&started).await;
    app.say_created(&started, &nango_id).await;
    app.nango.make_trouble(Trouble::Unavailable);
    for _ in 0..50 {
        app.outbox.run_once().await.unwrap();
        app.advance(300);
    }
    app.nango.make_trouble(Trouble::None);
    app.outbox.run_once().await.unwrap();
    assert_eq!(app.notified_types(), ["connection.activated"]);
    app.finish().await;
}

#[sqlx::test(migrator = "control::store::MIGRATIONS")]
async fn a_worker_that_dies_while_it_confirms_is_followed_by_another(pool: PgPool) {
    let app = TestApp::start(pool).await;
    let started = app.start_connection().await;
    let nango_id = app.authorize(&started).await;
    app.say_created(&started, &nango_id).await;
    let lease = std::time::Duration::from_secs(45);
    let lost = app.store.claim_receipt(app.clock.now(), lease).await.unwrap();
    assert!(lost.is_some());
    assert_eq!(app.outbox.run_once().await.unwrap(), 0, "it is leased");
    app.advance(45);
    app.outbox.run_once().await.unwrap();
    assert_eq!(app.notified_types(), ["connection.activated"]);
    app.finish().await;
}

#[sqlx::test(migrator = "control::store::MIGRATIONS")]
async fn one_session_used_twice_leaves_one_connection_at_the_vault(pool: PgPool) {
    let app = TestApp::start(pool).await;
    let started = app.start_connection().await;
    let first = app.authorize(&started).await;
    let second = app.nango.copy_connection(&first).unwrap();
    app.say_created(&started, &second).await;
    app.outbox.run_once().await.unwrap();
    assert_eq!(app.nango.connection_ids(), [first], "the first one stays, the second is undone");
    assert_eq!(app.notified_types(), ["connection.activated"]);
    app.finish().await;
}

#[sqlx::test(migrator = "control::store::MIGRATIONS")]
async fn the_simplified_body_is_a_hint_by_either_name(pool: PgPool) {
    let app = TestApp::start(pool).await;
    for is_ours in [true, false] {
        let started = app.start_connection().await;
        let nango_id = app.authorize(&started).await;
        let name = if is_ours { started["connectionId"].clone() } else { json!(nango_id) };
        let body =
            json!({"type": "connection.activated", "connectionId": name, "vendor": "github"});
        app.webhook(&body).await;
        app.outbox.run_once().await.unwrap();
        let shown = app.get(started["connectionId"].as_str().unwrap()).await;
        assert_eq!(shown["status"], "active", "by {name}");
    }
    app.finish().await;
}

#[sqlx::test(migrator = "control::store::MIGRATIONS")]
async fn a_provider_that_does_not_say_who_the_user_is_delays_nothing(pool: PgPool) {
    let app = TestApp::start(pool).await;
    let started = app.start_connection().await;
    let nango_id = app.authorize(&started).await;
    app.nango.provider().be(nango_stand_in::Mood::HidesUsers);
    app.say_created(&started, &nango_id).await;
    app.outbox.run_once().await.unwrap();
    let notified = app.notified();
    assert_eq!(notified.len(), 1);
    assert_eq!(notified[0].body["providerAccountId"], json!(null));
    app.finish().await;
}

#[sqlx::test(migrator = "control::store::MIGRATIONS")]
async fn a_vault_that_was_down_and_then_lags_is_looked_at_as_often_as_any(pool: PgPool) {
    let app = TestApp::start(pool).await;
    let started = app.start_connection().await;
    let nango_id = app.authorize(&started).await;
    app.say_created(&started, &nango_id).await;
    app.nango.make_trouble(Trouble::Unavailable);
    for _ in 0..10 {
        app.outbox.run_once().await.unwrap();
        app.advance(300);
    }
    app.nango.make_trouble(Trouble::Lagging);
    app.outbox.run_once().await.unwrap();
    app.nango.make_trouble(Trouble::None);
    app.advance(2);
    app.outbox.run_once().await.unwrap();
    assert_eq!(app.notified_types(), ["connection.activated"]);
    app.finish().await;
}

#[sqlx::test(migrator = "control::store::MIGRATIONS")]
async fn a_strangers_hints_cost_hardly_a_call_to_nango(pool: PgPool) {
    let app = TestApp::start(pool).await;
    app.activate().await;
    let forge = async |kind: &str, name: &str| {
        let body = json!({"type": kind, "from": "nango", "connectionId": name, "vendor": "github",
            "operation": "creation", "success": true, "providerConfigKey": "github-dev"});
        app.webhook(&body).await;
        let before = app.nango.api_calls();
        app.outbox.run_once().await.unwrap();
        app.nango.api_calls() - before
    };
    // Nobody is on the way to Nango: a name that nobody knows is nobody's.
    assert_eq!(forge("auth", "forged").await, 0);
    assert_eq!(forge("connection.activated", "forged").await, 0);
    assert_eq!(forge("connection.activated", "0195f2a1-0000-7000-8000-000000000001").await, 0);
    // Somebody is: it may be theirs, and is asked about once.
    let started = app.start_connection().await;
    let query = app.decide(&started, "allow").await;
    app.callback(&query).await;
    assert_eq!(forge("auth", "forged").await, 0);
    assert_eq!(forge("connection.activated", "forged").await, 1);
    assert_eq!(forge("connection.activated", "0195f2a1-0000-7000-8000-000000000001").await, 0);
    app.advance(600);
    let before = app.nango.api_calls();
    app.outbox.run_once().await.unwrap();
    // The attempt is looked up, and the stranger's name never again.
    assert_eq!(app.nango.api_calls(), before + 1);
    app.finish().await;
}
