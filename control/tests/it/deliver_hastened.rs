//! A destination that begins anew is sent at once what waits for its next try.

use crate::{
    destination::{call, with_own_receiver},
    sending::{DELIVERED, REFUSED, claim, finished, seed, send_all},
    support::TestApp,
};
use axum::http::{Method, StatusCode};
use control::{
    domain::{
        delivery::NextStep,
        outcome::{NoAnswer, Outcome},
    },
    store::Finished,
};
use serde_json::{Value, json};
use sqlx::PgPool;
use std::{collections::BTreeSet, time::Duration};

const OURS: Outcome = Outcome::NoAnswer(NoAnswer::OurResolver);

const DUE: &str = "SELECT count(*) FROM deliveries WHERE tenant_id = 'acme' AND due_at <= (
    SELECT since FROM destination_health WHERE tenant_id = 'acme')";

/// Lets what a tenant waits with wait for so many hours.
async fn wait(app: &TestApp, tenant: &str, hours: i32) {
    sqlx::query(
        "UPDATE deliveries SET due_at = due_at + make_interval(hours => $2) WHERE tenant_id = $1",
    )
    .bind(tenant)
    .bind(hours)
    .execute(&app.pool)
    .await
    .unwrap();
}

async fn begin_anew(app: &TestApp) {
    let answer = call(app, "acme", Method::DELETE, &Value::Null).await;
    assert_eq!(answer.status, StatusCode::NO_CONTENT);
}

async fn hasten(app: &TestApp) -> bool {
    app.store.hasten_deliveries(app.clock.now()).await.unwrap()
}

#[sqlx::test(migrator = "control::store::MIGRATIONS")]
async fn who_puts_a_destination_again_waits_for_no_next_try(pool: PgPool) {
    let (app, own, url) = with_own_receiver(pool).await;
    // The operator's refuses, until the next try is half an hour away. A second event waits for the first.
    app.receiver_answers(&[500; 3]);
    let (started, _) = app.activate().await;
    let path = format!("/connections/{}", started["connectionId"].as_str().unwrap());
    app.call("acme", "DELETE", &path, &Value::Null).await;
    for seconds in [6, 360] {
        app.advance(seconds);
        app.outbox.run_once().await.unwrap();
    }
    seed(&app, "rival", 1).await;
    wait(&app, "rival", 1).await;
    assert_eq!((app.tries(), app.outbox.run_once().await.unwrap()), (3, 0));
    let shown = call(&app, "acme", Method::PUT, &json!({ "url": url })).await.json();
    own.lock().unwrap().secret = shown["secrets"][0].as_str().map(str::to_owned);
    // A receiver that failed rests for a second.
    app.advance(1);
    app.outbox.run_once().await.unwrap();
    let told =
        own.lock().unwrap().taken.iter().map(|it| it.body["type"].clone()).collect::<Vec<_>>();
    assert_eq!(told, ["connection.activated", "connection.deleted"]);
    assert_eq!(app.notified(), [], "what another tenant waits with waits");
    app.advance(3600);
    app.outbox.run_once().await.unwrap();
    assert_eq!(app.notified().len(), 1);
    app.finish().await;
}

#[sqlx::test(migrator = "control::store::MIGRATIONS")]
async fn a_backlog_is_hastened_in_batches_and_what_is_being_sent_is_not(pool: PgPool) {
    let app = TestApp::start(pool).await;
    seed(&app, "acme", 1204).await;
    let claimed = claim(&app).await;
    assert_eq!(claimed.len(), 4);
    wait(&app, "acme", 5).await;
    begin_anew(&app).await;
    for due in [500, 1000, 1200] {
        assert!(hasten(&app).await);
        assert_eq!(app.count(DUE).await, due);
    }
    assert!(!hasten(&app).await);
    let leased =
        "SELECT count(*) FROM deliveries WHERE lease IS NOT NULL AND due_at > '2026-11-22'";
    assert_eq!(app.count(leased).await, 4);
    app.abandon();
}

/// Four connections, whose tries until the pause leave nothing that is due for half an hour.
#[sqlx::test(migrator = "control::store::MIGRATIONS")]
async fn a_paused_destination_is_probed_though_nothing_is_due(pool: PgPool) {
    let app = TestApp::start(pool).await;
    seed(&app, "acme", 4).await;
    for seconds in [0, 5, 300] {
        app.advance(seconds);
        assert_eq!(send_all(&app, REFUSED).await, 4);
    }
    let due = "SELECT extract(epoch FROM min(due_at))::bigint FROM deliveries";
    let tries = "SELECT sum(tries)::bigint FROM deliveries";
    let (due_at, attempts) = (app.count(due).await, "SELECT count(*) FROM delivery_attempts");
    assert_eq!(due_at - app.clock.now().timestamp(), 30 * 60);
    // One that fails uses no try and moves no time, and is written down.
    for (seconds, outcome, tried) in [(30, REFUSED, 13), (60, OURS, 14), (60, REFUSED, 15)] {
        app.advance(seconds - 1);
        assert_eq!(claim(&app).await.len(), 0);
        app.advance(1);
        let claimed = claim(&app).await;
        assert_eq!(claimed.iter().map(|it| it.is_probe).collect::<Vec<_>>(), [true]);
        assert_eq!(claim(&app).await.len(), 0, "nobody has another one meanwhile");
        app.store.record_tries(&[finished(&app, &claimed[0], outcome)], 0.0).await.unwrap();
        assert_eq!((app.count(tries).await, app.count(due).await), (12, due_at));
        assert_eq!(app.count(attempts).await, tried);
        // An earlier release numbers its attempts by these.
        assert_eq!(
            app.count("SELECT sum(tries + our_faults)::bigint FROM deliveries").await,
            tried
        );
    }
    // The first that is taken brings all others.
    app.advance(120);
    assert_eq!(send_all(&app, DELIVERED).await, 1);
    assert!(hasten(&app).await);
    assert_eq!(send_all(&app, DELIVERED).await, 3);
    app.finish().await;
}

#[sqlx::test(migrator = "control::store::MIGRATIONS")]
async fn what_is_hastened_and_fails_uses_no_try_and_waits_as_long_as_it_would_have(pool: PgPool) {
    let app = TestApp::start(pool).await;
    seed(&app, "acme", 1).await;
    wait(&app, "acme", 5).await;
    let due = "SELECT extract(epoch FROM due_at)::bigint FROM deliveries";
    let tries = "SELECT sum(tries)::bigint FROM deliveries";
    let due_at = app.count(due).await;
    // A receiver that comes and goes, more often than there are tries.
    for again in 1..=12 {
        begin_anew(&app).await;
        assert!(hasten(&app).await);
        // A worker that dies is followed by another, which knows as much.
        assert_eq!(claim(&app).await.len(), 1);
        app.advance(25);
        let claimed = claim(&app).await;
        app.store.record_tries(&[finished(&app, &claimed[0], REFUSED)], 0.0).await.unwrap();
        assert_eq!((app.count(due).await, app.count(tries).await), (due_at, 0), "{again}");
        assert!(!hasten(&app).await);
        assert_eq!(claim(&app).await.len(), 0);
    }
    // In its own time a failure counts.
    app.advance(5 * 3600);
    assert_eq!(send_all(&app, REFUSED).await, 1);
    assert_eq!(app.count(tries).await, 1);
    app.abandon();
}

#[sqlx::test(migrator = "control::store::MIGRATIONS")]
async fn what_failed_at_an_address_that_was_put_away_goes_to_the_new_one_at_once(pool: PgPool) {
    let app = TestApp::start(pool).await;
    seed(&app, "acme", 3).await;
    let claimed = claim(&app).await;
    let at_version = |nth: usize, destination, next| Finished {
        destination,
        next,
        ..finished(&app, &claimed[nth], REFUSED)
    };
    let later = NextStep::RetryIn(Duration::from_hours(10));
    // The tenant had one of its own, and now has the operator's: 0.
    let tried =
        [at_version(0, 7, later), at_version(1, 7, NextStep::GiveUp), at_version(2, 0, later)];
    app.store.record_tries(&tried, 0.0).await.unwrap();
    let again: BTreeSet<_> = claim(&app).await.into_iter().map(|it| it.id).collect();
    let first_two = claimed[..2].iter().map(|it| it.id).collect();
    assert_eq!(again, first_two, "the third failed where it is sent now");
    assert_eq!(app.count("SELECT sum(tries)::bigint FROM deliveries").await, 1);
    app.abandon();
}

#[sqlx::test(migrator = "control::store::MIGRATIONS")]
async fn a_destination_that_is_paused_again_is_hastened_no_more(pool: PgPool) {
    let app = TestApp::start(pool).await;
    seed(&app, "acme", 600).await;
    wait(&app, "acme", 5).await;
    begin_anew(&app).await;
    assert!(hasten(&app).await);
    sqlx::query("UPDATE destination_health SET status = 'stopped', reason = 'gone'")
        .execute(&app.pool)
        .await
        .unwrap();
    assert!(!hasten(&app).await);
    begin_anew(&app).await;
    assert!(hasten(&app).await);
    assert_eq!(app.count(DUE).await, 600);
    app.abandon();
}
