//! What ended is recorded together, by whoever holds the lease, and lets the next one go.

use crate::{
    sending::{DELIVERED, LEASE, REFUSED, claim, finished, seed, send_all},
    support::TestApp,
};
use serde_json::json;
use sqlx::PgPool;
use std::time::Duration;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

#[sqlx::test(migrator = "control::store::MIGRATIONS")]
async fn of_a_batch_only_what_is_still_leased_is_written(pool: PgPool) {
    let app = TestApp::start(pool).await;
    seed(&app, "acme", 2).await;
    let lost = claim(&app).await;
    app.advance(LEASE);
    let again = claim(&app).await;
    assert_eq!((lost.len(), again.len()), (2, 2));
    // Another worker's claim of the first, and our own of the second.
    let one = again[0].id;
    let of_lost = lost.iter().find(|it| it.id == one).unwrap();
    let mixed = [finished(&app, of_lost, DELIVERED), finished(&app, &again[1], DELIVERED)];
    let recorded = app.store.record_tries(&mixed, 0.0).await.unwrap();
    assert_eq!((recorded.deliveries, recorded.turns), (vec![again[1].id], vec![]));
    let delivered = "SELECT count(*) FROM deliveries WHERE status = 'delivered'";
    assert_eq!(app.count(delivered).await, 1);
    assert_eq!(app.count("SELECT count(*) FROM delivery_attempts").await, 1);
    // What nobody holds any more changes nothing at all, not even how the destination stands.
    let late = [finished(&app, of_lost, REFUSED), finished(&app, &again[1], REFUSED)];
    let recorded = app.store.record_tries(&late, 0.0).await.unwrap();
    assert_eq!((recorded.deliveries, recorded.turns), (vec![], vec![]));
    assert_eq!(app.count("SELECT count(*) FROM delivery_attempts").await, 1);
    assert_eq!(app.count("SELECT failures::bigint FROM destination_health").await, 0);
    let last = [finished(&app, &again[0], DELIVERED)];
    assert_eq!(app.store.record_tries(&last, 0.0).await.unwrap().deliveries, [one]);
    app.finish().await;
}

#[sqlx::test(migrator = "control::store::MIGRATIONS")]
async fn two_who_record_the_same_connections_do_not_wait_for_each_other(pool: PgPool) {
    let app = TestApp::start(pool).await;
    for tenant in ["a", "b", "c"] {
        seed(&app, tenant, 4).await;
    }
    let lost = claim(&app).await;
    app.advance(LEASE);
    let held = claim(&app).await;
    assert_eq!((lost.len(), held.len()), (12, 12));
    let forwards: Vec<_> = held.iter().map(|it| finished(&app, it, DELIVERED)).collect();
    let backwards: Vec<_> = lost.iter().rev().map(|it| finished(&app, it, DELIVERED)).collect();
    for _ in 0..20 {
        let (one, other) = tokio::join!(
            app.store.record_tries(&forwards, 0.0),
            app.store.record_tries(&backwards, 0.0)
        );
        assert_eq!(other.unwrap().deliveries, []);
        one.unwrap();
    }
    assert_eq!(app.count("SELECT count(*) FROM delivery_attempts").await, 12);
    app.finish().await;
}

#[sqlx::test(migrator = "control::store::MIGRATIONS")]
async fn a_delivery_that_waits_for_nobody_is_rescued_and_no_other(pool: PgPool) {
    let app = TestApp::start(pool).await;
    let mut deletions = Vec::new();
    app.receiver_answers(&[500, 500]);
    for _ in 0..2 {
        let (started, _) = app.activate().await;
        let path = format!("/connections/{}", started["connectionId"].as_str().unwrap());
        app.call("acme", "DELETE", &path, &json!(null)).await;
        deletions.push(path);
    }
    app.outbox.run_once().await.unwrap();
    let blocked = "SELECT count(*) FROM deliveries WHERE status = 'blocked'";
    assert_eq!((app.count(blocked).await, app.outbox.rescue_once().await.unwrap()), (2, 0));
    // A hand in the database ends the first of one connection.
    sqlx::query(
        "UPDATE deliveries SET status = 'exhausted', ended_at = due_at WHERE delivery_id = (
             SELECT delivery_id FROM deliveries WHERE status = 'ready' LIMIT 1)",
    )
    .execute(&app.pool)
    .await
    .unwrap();
    assert_eq!(app.outbox.run_once().await.unwrap(), 0);
    assert_eq!(app.outbox.rescue_once().await.unwrap(), 1);
    assert_eq!((app.count(blocked).await, app.outbox.rescue_once().await.unwrap()), (1, 0));
    app.outbox.run_once().await.unwrap();
    assert_eq!(app.notified_types(), ["connection.deleted"]);
    app.advance(6);
    app.outbox.run_once().await.unwrap();
    assert_eq!(app.notified_types()[1..], ["connection.activated", "connection.deleted"]);
    app.finish().await;
}

#[sqlx::test(migrator = "control::store::MIGRATIONS")]
async fn a_row_that_somebody_holds_keeps_no_other_from_being_recorded(pool: PgPool) {
    let app = TestApp::start(pool.clone()).await;
    for (tenant, connections) in [("acme", 1), ("rival", 3)] {
        seed(&app, tenant, connections).await;
    }
    let mut holder = pool.begin().await.unwrap();
    let held = "SELECT FROM connections WHERE tenant_id = 'acme' FOR UPDATE";
    sqlx::query(held).execute(&mut *holder).await.unwrap();
    let mut told = app.receiver().told.subscribe();
    let stop = CancellationToken::new();
    let stopping = async {
        told.wait_for(|told| *told == 4).await.unwrap();
        stop.cancel();
    };
    // Whoever is asked to stop records what it sent.
    let running = async { tokio::join!(app.outbox.run(stop.clone()), stopping) };
    timeout(Duration::from_secs(20), Box::pin(running))
        .await
        .expect("it waits for the one that is held");
    let ended =
        "SELECT count(*) FROM deliveries WHERE status = 'delivered' AND tenant_id = 'rival'";
    assert_eq!(app.count(ended).await, 3);
    holder.rollback().await.unwrap();
    // It is sent again when its lease ends.
    app.advance(LEASE);
    assert_eq!(app.outbox.run_once().await.unwrap(), 1);
    app.finish().await;
}

#[sqlx::test(migrator = "control::store::MIGRATIONS")]
async fn no_more_is_sent_than_there_are_places_for_while_nothing_is_recorded(pool: PgPool) {
    let app = TestApp::start(pool.clone()).await;
    for number in 0..20 {
        seed(&app, &format!("t{number:02}"), 40).await;
    }
    let mut holder = pool.begin().await.unwrap();
    let held = "LOCK TABLE delivery_attempts IN EXCLUSIVE MODE";
    sqlx::query(held).execute(&mut *holder).await.unwrap();
    let mut told = app.receiver().told.subscribe();
    let stop = CancellationToken::new();
    let watching = async {
        told.wait_for(|told| *told >= 100).await.unwrap();
        let too_many = told.wait_for(|told| *told > 256);
        let is_too_many = timeout(Duration::from_millis(1500), too_many).await.is_ok();
        holder.rollback().await.unwrap();
        stop.cancel();
        assert!(!is_too_many, "what is not recorded has no place any more");
    };
    tokio::join!(app.outbox.run(stop.clone()), watching);
    app.abandon();
}

#[sqlx::test(migrator = "control::store::MIGRATIONS")]
async fn two_workers_share_a_backlog_and_one_that_dies_loses_nothing(pool: PgPool) {
    let app = TestApp::start(pool).await;
    for tenant in ["a", "b", "c"] {
        seed(&app, tenant, 30).await;
    }
    let dead = claim(&app).await;
    assert_eq!(dead.len(), 12, "four of each");
    let other = app.other().1;
    let (one, two) = tokio::join!(app.outbox.run_once(), other.run_once());
    assert_eq!(one.unwrap() + two.unwrap(), 90 - 12);
    app.advance(LEASE);
    assert_eq!(app.outbox.run_once().await.unwrap(), 12);
    let mut ids: Vec<_> =
        app.notified().into_iter().map(|it| (it.body["tenantId"].to_string(), it.id)).collect();
    ids.sort_unstable();
    ids.dedup();
    assert_eq!((ids.len(), app.tries()), (90, 90), "each once");
    app.finish().await;
}

#[sqlx::test(migrator = "control::store::MIGRATIONS")]
async fn a_busy_tenants_health_is_not_written_with_every_success(pool: PgPool) {
    let app = TestApp::start(pool).await;
    seed(&app, "acme", 30).await;
    assert_eq!(send_all(&app, DELIVERED).await, 30);
    // The row was made and written once: its version has not moved since.
    let version = "SELECT xmin::text::bigint FROM destination_health";
    let before = app.count(version).await;
    seed_again(&app).await;
    assert_eq!(send_all(&app, DELIVERED).await, 30);
    assert_eq!(app.count(version).await, before);
    app.advance(10);
    seed_again(&app).await;
    assert_eq!(send_all(&app, DELIVERED).await, 30);
    assert_ne!(app.count(version).await, before);
    app.finish().await;
}

async fn seed_again(app: &TestApp) {
    sqlx::query("UPDATE deliveries SET status = 'ready', due_at = $1, ended_at = NULL")
        .bind(app.clock.now())
        .execute(&app.pool)
        .await
        .unwrap();
}
