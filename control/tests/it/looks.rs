//! Many hints of one connection share a look at the vault, and none of them is lost.

use crate::support::TestApp;
use nango_stand_in::Trouble;
use serde_json::{Value, json};
use sqlx::PgPool;

/// What Nango, or a stranger by way of its ingress, says of refreshing.
async fn say_refresh_failed(app: &TestApp, nango_id: &str) {
    let body = json!({"type": "auth", "from": "nango", "operation": "refresh", "success": false,
        "connectionId": nango_id, "providerConfigKey": "github-dev",
        "error": {"type": "refresh_token_external_error", "description": "x"}});
    app.webhook(&body).await;
}

async fn say_something(app: &TestApp, started: &Value) {
    let body = json!({"type": "connection.activated", "connectionId": started["connectionId"],
        "vendor": "github"});
    app.webhook(&body).await;
}

async fn state(app: &TestApp, started: &Value) -> (String, Value) {
    let now = app.get(started["connectionId"].as_str().unwrap()).await;
    (now["status"].as_str().unwrap().to_owned(), now["reason"].clone())
}

fn refresh_failing() -> (String, Value) {
    ("active".to_owned(), "refresh_failing".into())
}

fn active() -> (String, Value) {
    ("active".to_owned(), Value::Null)
}

/// Does what is due; how many calls that cost.
async fn calls(app: &TestApp) -> usize {
    let before = app.nango.api_calls();
    app.outbox.run_once().await.unwrap();
    app.nango.api_calls() - before
}

#[sqlx::test(migrator = "control::store::MIGRATIONS")]
async fn a_thousand_hints_within_a_minute_cost_few_calls_and_the_last_is_looked_into(pool: PgPool) {
    let app = TestApp::start(pool).await;
    let (started, nango_id) = app.activate().await;
    app.advance(60);
    let mut spent = 0;
    for second in 0..60 {
        for _ in 0..9 {
            say_refresh_failed(&app, &nango_id).await;
            say_something(&app, &started).await;
        }
        if second == 59 {
            // Only the last of them is true.
            app.nango.fail_refresh(&nango_id, true);
        }
        spent += calls(&app).await;
        app.advance(1);
    }
    assert_eq!(state(&app, &started).await, active());
    for _ in 0..29 {
        spent += calls(&app).await;
        app.advance(1);
    }
    assert_eq!(state(&app, &started).await, refresh_failing());
    // One in each half minute, and two that do not wait.
    assert!((1..=9).contains(&spent), "{spent} calls");
    app.finish().await;
}

#[sqlx::test(migrator = "control::store::MIGRATIONS")]
async fn hints_of_what_the_vault_never_lists_cost_no_more(pool: PgPool) {
    let app = TestApp::start(pool).await;
    let started = app.start_connection().await;
    let mut spent = 0;
    for _ in 0..60 {
        for _ in 0..5 {
            say_something(&app, &started).await;
        }
        spent += calls(&app).await;
        app.advance(1);
    }
    assert!((1..=3).contains(&spent), "{spent} calls");
    for _ in 0..40 {
        spent += calls(&app).await;
        app.advance(30);
    }
    // Each has been looked into five times by then, and that is enough.
    let open = "SELECT count(*) FROM receipts WHERE outcome IS DISTINCT FROM 'unconfirmed'";
    assert_eq!(app.count(open).await, 0);
    assert!(spent < 30, "{spent} calls");
    app.finish().await;
}

#[sqlx::test(migrator = "control::store::MIGRATIONS")]
async fn a_hint_right_after_a_look_has_its_own_thirty_seconds_later(pool: PgPool) {
    let app = TestApp::start(pool).await;
    let (started, nango_id) = app.activate().await;
    for _ in 0..2 {
        app.advance(1);
        say_refresh_failed(&app, &nango_id).await;
        assert_eq!(calls(&app).await, 1, "two need not wait");
    }
    app.advance(1);
    app.nango.fail_refresh(&nango_id, true);
    say_refresh_failed(&app, &nango_id).await;
    assert_eq!(calls(&app).await, 0, "a look was a second ago");
    app.advance(28);
    assert_eq!(calls(&app).await, 0);
    assert_eq!(state(&app, &started).await, active());
    app.advance(1);
    assert_eq!(calls(&app).await, 1);
    assert_eq!(state(&app, &started).await, refresh_failing());
    app.finish().await;
}

#[sqlx::test(migrator = "control::store::MIGRATIONS")]
async fn a_user_who_waits_does_not_wait_for_others_hints(pool: PgPool) {
    let app = TestApp::start(pool).await;
    let started = app.start_connection().await;
    // Somebody claims what is not so.
    say_something(&app, &started).await;
    assert_eq!(calls(&app).await, 1);
    app.advance(1);
    let nango_id = app.authorize(&started).await;
    app.say_created(&started, &nango_id).await;
    app.outbox.run_once().await.unwrap();
    assert_eq!(state(&app, &started).await, active());
    // A reconnect is an attempt as well, and Nango says `override` of it.
    app.advance(1);
    let path = format!("/connections/{}/reconnect", started["connectionId"].as_str().unwrap());
    let again = app.call("acme", "POST", &path, &json!({})).await.json();
    app.authorize(&again).await;
    let body = json!({"type": "auth", "from": "nango", "operation": "override", "success": true,
        "connectionId": nango_id, "providerConfigKey": "github-dev", "tags": {
            "connection_ref": started["connectionId"], "tenant_id": "acme"}});
    app.webhook(&body).await;
    app.outbox.run_once().await.unwrap();
    assert_eq!(app.notified_types(), ["connection.activated", "connection.reauthorized"]);
    app.finish().await;
}

#[sqlx::test(migrator = "control::store::MIGRATIONS")]
async fn a_user_who_does_not_wait_lends_nobody_his_hurry(pool: PgPool) {
    let app = TestApp::start(pool).await;
    let started = app.start_connection().await;
    let query = app.decide(&started, "allow").await;
    app.callback(&query).await;
    // He is on the way to Nango, and somebody claims ten times that he was there.
    let mut spent = 0;
    for _ in 0..10 {
        say_something(&app, &started).await;
        spent += calls(&app).await;
    }
    assert_eq!(spent, 3, "the first, and two that hurry");
    app.advance(3600);
    app.outbox.run_once().await.unwrap();
    app.abandon();
}

#[sqlx::test(migrator = "control::store::MIGRATIONS")]
async fn a_check_and_the_hints_that_wait_with_it_share_one_look(pool: PgPool) {
    let app = TestApp::start(pool).await;
    let (started, nango_id) = app.activate().await;
    for _ in 0..2 {
        app.advance(1);
        say_refresh_failed(&app, &nango_id).await;
        assert_eq!(calls(&app).await, 1, "two need not wait");
    }
    app.advance(1);
    app.nango.fail_refresh(&nango_id, true);
    app.ask_check(&started).await;
    app.ask_check(&started).await;
    for _ in 0..5 {
        say_refresh_failed(&app, &nango_id).await;
    }
    assert_eq!(calls(&app).await, 0, "a look was a second ago");
    app.advance(24);
    // The check comes first. One list, and one question to the provider whether it takes the token.
    assert_eq!(calls(&app).await, 2);
    assert_eq!(state(&app, &started).await, refresh_failing());
    app.advance(5);
    assert_eq!(calls(&app).await, 0, "the hints have their answer");
    app.advance(60);
    assert_eq!(calls(&app).await, 0);
    app.finish().await;
}

#[sqlx::test(migrator = "control::store::MIGRATIONS")]
async fn a_look_without_an_answer_answers_nobody(pool: PgPool) {
    let app = TestApp::start(pool).await;
    let (started, nango_id) = app.activate().await;
    app.advance(60);
    say_refresh_failed(&app, &nango_id).await;
    say_refresh_failed(&app, &nango_id).await;
    app.nango.make_trouble(Trouble::Page);
    app.advance(1);
    app.outbox.run_once().await.unwrap();
    app.nango.make_trouble(Trouble::None);
    app.nango.fail_refresh(&nango_id, true);
    app.advance(1);
    assert_eq!(calls(&app).await, 1, "it need not wait for thirty seconds");
    assert_eq!(state(&app, &started).await, refresh_failing());
    app.finish().await;
}

#[sqlx::test(migrator = "control::store::MIGRATIONS")]
async fn two_replicas_make_one_look(pool: PgPool) {
    let app = TestApp::start(pool).await;
    let (started, nango_id) = app.activate().await;
    let (_, other) = app.other();
    app.advance(60);
    for _ in 0..4 {
        say_refresh_failed(&app, &nango_id).await;
    }
    app.advance(1);
    let before = app.nango.api_calls();
    let (one, two) = tokio::join!(app.outbox.run_once(), other.run_once());
    // Who of them gets what is chance.
    assert!(one.unwrap() + two.unwrap() > 0);
    assert_eq!(app.nango.api_calls() - before, 1);
    app.advance(2);
    assert_eq!(calls(&app).await, 0, "it answers all of them");
    assert_eq!(state(&app, &started).await, active());
    app.finish().await;
}

#[sqlx::test(migrator = "control::store::MIGRATIONS")]
async fn whoever_dies_while_he_looks_is_followed_by_another(pool: PgPool) {
    let app = TestApp::start(pool).await;
    let (started, nango_id) = app.activate().await;
    app.advance(60);
    app.nango.fail_refresh(&nango_id, true);
    say_refresh_failed(&app, &nango_id).await;
    app.advance(1);
    let id = started["connectionId"].as_str().unwrap().parse().unwrap();
    let now = app.clock.now();
    let wish = (control::store::LookFor::Check, now);
    app.store.begin_look((&"acme".parse().unwrap(), id), wish, now).await.unwrap();
    for _ in 0..14 {
        assert_eq!(calls(&app).await, 0, "somebody looks");
        app.advance(2);
    }
    app.advance(2);
    assert_eq!(calls(&app).await, 1);
    assert_eq!(state(&app, &started).await, refresh_failing());
    app.finish().await;
}
