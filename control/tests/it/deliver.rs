//! A client application is told, in order, until it takes what it is told.

use crate::{
    sending::{claim, finished},
    support::{TestApp, caller},
};
use axum::body::Body;
use contract::action::Action;
use control::{domain::outcome::Outcome, store::Recorded};
use serde_json::json;
use sqlx::PgPool;

#[sqlx::test(migrator = "control::store::MIGRATIONS")]
async fn a_receiver_that_fails_is_told_again_under_the_same_id(pool: PgPool) {
    let app = TestApp::start(pool).await;
    app.receiver_answers(&[500, 301, 404]);
    let (_, _) = app.activate().await;
    assert_eq!((app.tries(), app.notified()), (1, vec![]));
    // The waits of the schedule, with the most jitter that there can be.
    for (tries, wait) in [(2, 6), (3, 360), (4, 2160)] {
        app.advance(wait);
        app.outbox.run_once().await.unwrap();
        assert_eq!(app.tries(), tries);
    }
    assert_eq!(app.notified_types(), ["connection.activated"]);
    let tries: Vec<(i32, String, Option<i32>)> =
        sqlx::query_as("SELECT try, outcome, http_status FROM delivery_attempts ORDER BY try")
            .fetch_all(&app.pool)
            .await
            .unwrap();
    let tries: Vec<_> =
        tries.iter().map(|(try_, outcome, status)| (*try_, outcome.as_str(), *status)).collect();
    assert_eq!(
        tries,
        [
            (1, "refused", Some(500)),
            (2, "refused", Some(301)),
            (3, "refused", Some(404)),
            (4, "delivered", Some(204))
        ]
    );
    app.finish().await;
}

#[sqlx::test(migrator = "control::store::MIGRATIONS")]
async fn what_happened_later_is_told_later(pool: PgPool) {
    let app = TestApp::start(pool).await;
    app.receiver_answers(&[500, 500]);
    let (started, _) = app.activate().await;
    let path = format!("/connections/{}", started["connectionId"].as_str().unwrap());
    app.call("acme", "DELETE", &path, &json!(null)).await;
    app.outbox.run_once().await.unwrap();
    assert_eq!(app.tries(), 1, "the deletion waits for the activation");
    app.advance(6);
    app.outbox.run_once().await.unwrap();
    assert_eq!(app.tries(), 2);
    app.advance(360);
    app.outbox.run_once().await.unwrap();
    assert_eq!(app.notified_types(), ["connection.activated", "connection.deleted"]);
    let sequences: Vec<_> = app.notified().iter().map(|it| it.body["sequence"].clone()).collect();
    assert_eq!(sequences, [1, 2]);
    app.finish().await;
}

#[sqlx::test(migrator = "control::store::MIGRATIONS")]
async fn a_receiver_that_never_takes_one_is_told_the_next(pool: PgPool) {
    let app = TestApp::start(pool).await;
    app.receiver_answers(&[500; 10]);
    let (started, _) = app.activate().await;
    let path = format!("/connections/{}", started["connectionId"].as_str().unwrap());
    app.call("acme", "DELETE", &path, &json!(null)).await;
    for _ in 0..9 {
        app.advance(29 * 3600);
        app.outbox.run_once().await.unwrap();
    }
    // Ten failures in a row have paused the destination as well; the next one is its first probe.
    assert_eq!(app.tries(), 10);
    app.advance(36);
    app.outbox.run_once().await.unwrap();
    assert_eq!((app.tries(), app.notified_types()), (11, vec!["connection.deleted".to_owned()]));
    assert_eq!(app.count("SELECT count(*) FROM deliveries WHERE status = 'exhausted'").await, 1);
    app.finish().await;
}

#[sqlx::test(migrator = "control::store::MIGRATIONS")]
async fn one_connection_that_cannot_be_told_holds_up_no_other(pool: PgPool) {
    let app = TestApp::start(pool).await;
    app.receiver_answers(&[500]);
    app.activate().await;
    app.activate().await;
    assert_eq!(app.notified_types(), ["connection.activated"]);
    app.advance(6);
    app.outbox.run_once().await.unwrap();
    assert_eq!(app.notified_types(), ["connection.activated", "connection.activated"]);
    app.finish().await;
}

#[sqlx::test(migrator = "control::store::MIGRATIONS")]
async fn a_worker_that_dies_while_it_sends_is_followed_by_another(pool: PgPool) {
    let app = TestApp::start(pool).await;
    app.receiver_answers(&[500]);
    app.activate().await;
    app.advance(6);
    let lost = claim(&app).await;
    assert_eq!(lost.len(), 1);
    assert_eq!(app.outbox.run_once().await.unwrap(), 0, "it is leased");
    app.advance(25);
    app.outbox.run_once().await.unwrap();
    assert_eq!(app.notified_types(), ["connection.activated"]);
    // The dead one comes back and records what it did; its claim is not its own any more.
    let late = [finished(&app, &lost[0], Outcome::Refused { status: 500, retry_after: None })];
    let recorded = app.store.record_tries(&late, 0.0).await.unwrap();
    assert_eq!(recorded, Recorded::default());
    assert_eq!(app.count("SELECT count(*) FROM deliveries WHERE status = 'delivered'").await, 1);
    app.finish().await;
}

#[sqlx::test(migrator = "control::store::MIGRATIONS")]
async fn two_workers_send_one_delivery_once(pool: PgPool) {
    let app = TestApp::start(pool).await;
    app.receiver_answers(&[500]);
    app.activate().await;
    app.advance(6);
    let (one, other) = tokio::join!(app.outbox.run_once(), app.outbox.run_once());
    assert_eq!(one.unwrap() + other.unwrap(), 1);
    assert_eq!(app.tries(), 2);
    app.finish().await;
}

#[sqlx::test(migrator = "control::store::MIGRATIONS")]
async fn workers_that_die_use_up_no_try(pool: PgPool) {
    let app = TestApp::start(pool).await;
    app.receiver_answers(&[500]);
    app.activate().await;
    app.advance(6);
    for _ in 0..12 {
        assert_eq!(claim(&app).await.len(), 1);
        app.advance(25);
    }
    app.receiver_answers(&[500, 500]);
    app.outbox.run_once().await.unwrap();
    assert_eq!(app.count("SELECT tries::bigint FROM deliveries").await, 2);
    app.advance(360);
    app.outbox.run_once().await.unwrap();
    app.advance(2160);
    app.outbox.run_once().await.unwrap();
    assert_eq!(app.notified_types(), ["connection.activated"]);
    app.finish().await;
}

/// A page of deliveries is bounded by the tries that it shows of each.
#[sqlx::test(migrator = "control::store::MIGRATIONS")]
async fn the_last_five_tries_of_a_delivery_are_shown(pool: PgPool) {
    let app = TestApp::start(pool).await;
    app.receiver_answers(&[500; 6]);
    let (started, _) = app.activate().await;
    for _ in 0..6 {
        app.advance(24 * 60 * 60);
        app.outbox.run_once().await.unwrap();
    }
    let path = format!(
        "/tenants/acme/connections/{}/deliveries",
        started["connectionId"].as_str().unwrap()
    );
    let vouched = caller("acme", Action::Notify);
    let shown = app.send("GET", &path, &vouched, Body::empty()).await.json();
    let delivery = &shown["deliveries"][0];
    let tries = delivery["attempts"].as_array().unwrap().iter();
    let tries: Vec<i64> = tries.map(|it| it["try"].as_i64().unwrap()).collect();
    assert_eq!((&delivery["tries"], tries), (&json!(7), vec![3, 4, 5, 6, 7]));
    app.finish().await;
}
