//! What is kept for a time, and what goes when. These services keep events for 30 days, and how it came and
//! went for 7.

use crate::{
    sending::{DELIVERED, LEASE, claim, finished},
    support::TestApp,
};
use axum::http::StatusCode;
use control::{domain::retention::Retention, store::Store};
use serde_json::{Value, json};
use sqlx::PgPool;

const DAY: i64 = 86_400;

/// How many rows of a kind there are, in the order of the queries.
async fn rows(app: &TestApp) -> [i64; 8] {
    let mut rows = [0; 8];
    for (rows, query) in rows.iter_mut().zip([
        "SELECT count(*) FROM events",
        "SELECT count(*) FROM deliveries",
        "SELECT count(*) FROM delivery_attempts",
        "SELECT count(*) FROM receipts",
        "SELECT count(*) FROM jobs",
        "SELECT count(*) FROM connections",
        "SELECT count(*) FROM attempts",
        "SELECT count(*) FROM callback_states",
    ]) {
        *rows = app.count(query).await;
    }
    rows
}

async fn forget(app: &TestApp, after_seconds: i64) -> [i64; 8] {
    app.advance(after_seconds);
    app.outbox.forget_once().await.unwrap();
    rows(app).await
}

async fn pull(app: &TestApp, query: &str) -> Value {
    app.call("acme", "GET", &format!("/events?{query}"), &Value::Null).await.json()
}

fn ids(page: &Value) -> Vec<&str> {
    let events = page["events"].as_array().unwrap().iter();
    events.map(|it| it["id"].as_str().unwrap()).collect()
}

async fn delete(app: &TestApp, started: &Value) {
    let path = format!("/connections/{}", started["connectionId"].as_str().unwrap());
    app.call("acme", "DELETE", &path, &Value::Null).await;
    app.outbox.run_once().await.unwrap();
    app.advance(65 * 60);
    app.outbox.run_once().await.unwrap();
    app.outbox.seal_once().await.unwrap();
}

#[sqlx::test(migrator = "control::store::MIGRATIONS")]
async fn how_it_came_and_went_goes_before_what_came_of_it(pool: PgPool) {
    let app = TestApp::start(pool).await;
    app.receiver_answers(&[500, 204]);
    app.activate().await;
    app.advance(6);
    app.outbox.run_once().await.unwrap();
    app.outbox.seal_once().await.unwrap();
    assert_eq!(rows(&app).await, [1, 1, 2, 1, 0, 1, 1, 1]);
    // The receipt ended with the event, the delivery six seconds later.
    assert_eq!(forget(&app, 7 * DAY - 7).await, [1, 1, 2, 1, 0, 1, 1, 1]);
    assert_eq!(forget(&app, 1).await, [1, 1, 2, 0, 0, 1, 1, 1]);
    assert_eq!(forget(&app, 5).await, [1, 1, 2, 0, 0, 1, 1, 1]);
    assert_eq!(forget(&app, 1).await, [1, 0, 0, 0, 0, 1, 1, 1]);
    assert_eq!(forget(&app, 23 * DAY - 7).await, [1, 0, 0, 0, 0, 1, 1, 1]);
    assert_eq!(pull(&app, "").await["events"].as_array().unwrap().len(), 1);
    assert_eq!(forget(&app, 1).await, [0, 0, 0, 0, 0, 1, 1, 1]);
    assert_eq!(pull(&app, "").await["events"], json!([]));
    // A connection that lives, and its attempts, are kept; so is the trail.
    assert_eq!(forget(&app, 4000 * DAY).await, [0, 0, 0, 0, 0, 1, 1, 1]);
    app.finish().await;
}

#[sqlx::test(migrator = "control::store::MIGRATIONS")]
async fn a_cursor_before_what_is_kept_has_expired(pool: PgPool) {
    let app = TestApp::start(pool).await;
    let before_all = pull(&app, "").await;
    for _ in 0..2 {
        app.activate().await;
        app.outbox.seal_once().await.unwrap();
        app.advance(DAY);
    }
    let first = pull(&app, "limit=1").await;
    let all = pull(&app, "").await;
    let cursor = |page: &Value| format!("after={}", page["nextCursor"].as_str().unwrap());
    forget(&app, 28 * DAY).await;
    assert_eq!(pull(&app, "").await["events"], json!([all["events"][1]]));
    // Whoever had seen the first misses nothing, and whoever had not is told.
    assert_eq!(pull(&app, &cursor(&first)).await["events"], json!([all["events"][1]]));
    let path = format!("/events?{}&wait=60", cursor(&before_all));
    let answer = app.call("acme", "GET", &path, &Value::Null).await;
    assert_eq!((answer.status, answer.code().as_str()), (StatusCode::GONE, "cursor_expired"));
    let detail = answer.json()["detail"].as_str().unwrap().to_owned();
    assert!(detail.contains("Leave after out to begin with the oldest that is"), "{detail}");
    // When all is gone, the end is where it was, and the next event has the next place.
    forget(&app, DAY).await;
    assert_eq!(app.count("SELECT count(*) FROM events").await, 0);
    assert_eq!(pull(&app, &cursor(&all)).await["events"], json!([]));
    assert_eq!(pull(&app, "").await["nextCursor"], all["nextCursor"]);
    app.activate().await;
    app.outbox.seal_once().await.unwrap();
    assert_eq!(ids(&pull(&app, &cursor(&all)).await).len(), 1);
    assert_eq!(app.count("SELECT position FROM events").await, 3);
    let path = format!("/events?{}", cursor(&first));
    let expired = app.call("acme", "GET", &path, &Value::Null).await;
    assert_eq!(expired.code(), "cursor_expired");
    // In a backup that was restored, another event was the last to go.
    let other = "UPDATE tenant_heads SET gone_event = gen_random_uuid()";
    sqlx::query(other).execute(&app.pool).await.unwrap();
    let path = format!("/events?{}", cursor(&all));
    let lost = app.call("acme", "GET", &path, &Value::Null).await;
    assert_eq!(lost.code(), "invalid_cursor");
    app.finish().await;
}

#[sqlx::test(migrator = "control::store::MIGRATIONS")]
async fn what_nobody_took_is_given_up_with_its_event(pool: PgPool) {
    let app = TestApp::start(pool).await;
    app.receiver_answers(&[410]);
    let (started, _) = app.activate().await;
    app.outbox.seal_once().await.unwrap();
    app.advance(10 * DAY);
    // A second event of the same connection, which waits for the first.
    delete(&app, &started).await;
    assert_eq!(forget(&app, 20 * DAY - 65 * 60 - 1).await[..3], [2, 2, 1]);
    // The first is given up, and the second has its turn.
    assert_eq!(forget(&app, 1).await[..3], [1, 1, 0]);
    let ready: Vec<String> = sqlx::query_scalar(
        "SELECT type FROM deliveries JOIN events USING (tenant_id, event_id) WHERE status = 'ready'",
    )
    .fetch_all(&app.pool)
    .await
    .unwrap();
    assert_eq!(ready, ["connection.deleted"]);
    assert_eq!(forget(&app, 11 * DAY).await[..3], [0, 0, 0]);
    assert_eq!((app.tries(), app.notified()), (1, vec![]));
    // The trail tells of a connection that is no more.
    app.abandon();
}

#[sqlx::test(migrator = "control::store::MIGRATIONS")]
async fn what_is_being_sent_is_not_given_up_and_the_feed_has_no_hole(pool: PgPool) {
    let app = TestApp::start(pool).await;
    // The first is refused, and its next try lies ahead.
    app.receiver_answers(&[500, 204]);
    for _ in 0..2 {
        app.activate().await;
        app.outbox.seal_once().await.unwrap();
    }
    let end = format!("after={}", pull(&app, "").await["nextCursor"].as_str().unwrap());
    app.advance(30 * DAY);
    let claimed = claim(&app).await;
    assert_eq!(forget(&app, 24).await[..3], [1, 1, 1]);
    assert_eq!(pull(&app, "").await["events"], json!([]));
    assert_eq!(pull(&app, &end).await["events"], json!([]));
    let recorded = app.store.record_tries(&[finished(&app, &claimed[0], DELIVERED)], 0.0).await;
    assert_eq!(recorded.unwrap().deliveries, [claimed[0].id]);
    assert_eq!(forget(&app, 0).await[..3], [0, 0, 0]);
    assert_eq!(app.count("SELECT oldest_event FROM tenant_heads").await, 3);
    app.finish().await;
}

#[sqlx::test(migrator = "control::store::MIGRATIONS")]
async fn what_a_worker_that_died_was_sending_is_given_up(pool: PgPool) {
    let app = TestApp::start(pool).await;
    app.receiver_answers(&[500]);
    app.activate().await;
    app.outbox.seal_once().await.unwrap();
    app.advance(30 * DAY);
    let claimed = claim(&app).await;
    assert_eq!(forget(&app, LEASE).await[..3], [0, 0, 0]);
    let recorded = app.store.record_tries(&[finished(&app, &claimed[0], DELIVERED)], 0.0).await;
    assert_eq!(recorded.unwrap().deliveries, []);
    app.finish().await;
}

#[sqlx::test(migrator = "control::store::MIGRATIONS")]
async fn an_event_takes_its_finished_deliveries_with_it(pool: PgPool) {
    let mut app = TestApp::start(pool).await;
    app.outbox.retention = Retention::of_days(3, 30).unwrap();
    app.activate().await;
    app.outbox.seal_once().await.unwrap();
    assert_eq!(forget(&app, 3 * DAY - 1).await[..4], [1, 1, 1, 1]);
    assert_eq!(forget(&app, 1).await[..4], [0, 0, 0, 1]);
    app.finish().await;
}

#[sqlx::test(migrator = "control::store::MIGRATIONS")]
async fn an_event_that_was_not_sealed_stays(pool: PgPool) {
    let app = TestApp::start(pool).await;
    app.activate().await;
    assert_eq!(forget(&app, 40 * DAY).await[..3], [1, 0, 0]);
    app.outbox.seal_once().await.unwrap();
    assert_eq!(ids(&pull(&app, "").await).len(), 1);
    assert_eq!(forget(&app, 0).await[..3], [0, 0, 0]);
    app.finish().await;
}

#[sqlx::test(migrator = "control::store::MIGRATIONS")]
async fn a_deleted_connection_is_shown_until_its_time_is_over(pool: PgPool) {
    let app = TestApp::start(pool).await;
    let (started, _) = app.activate().await;
    let (kept, _) = app.activate().await;
    delete(&app, &started).await;
    let id = started["connectionId"].as_str().unwrap();
    let lines = app.count("SELECT count(*) FROM audit_events").await;
    // Deleted 65 minutes ago, which is when the last look at the vault was due.
    assert_eq!(forget(&app, 30 * DAY - 65 * 60 - 1).await, [3, 0, 0, 0, 0, 2, 2, 2]);
    assert_eq!(app.get(id).await["status"], "deleted");
    assert_eq!(forget(&app, 1).await, [0, 0, 0, 0, 0, 1, 1, 1]);
    assert_eq!(app.get(id).await["code"], "not_found");
    assert_eq!(app.get(kept["connectionId"].as_str().unwrap()).await["status"], "active");
    assert_eq!(app.count("SELECT count(*) FROM audit_events").await, lines);
    // The trail tells of a connection that is no more, so that the usual count is not to be had.
    app.outbox.seal_once().await.unwrap();
    let trail = control::audit::verify_trail(&app.store, &"acme".parse().unwrap()).await.unwrap();
    assert_eq!(trail.0, lines);
    app.abandon();
}

#[sqlx::test(migrator = "control::store::MIGRATIONS")]
async fn a_deleted_connection_stays_while_something_is_left_to_be_told(pool: PgPool) {
    let app = TestApp::start(pool).await;
    let (started, _) = app.activate().await;
    app.receiver_answers(&[500; 20]);
    delete(&app, &started).await;
    app.advance(40 * DAY);
    let claimed = claim(&app).await;
    assert_eq!(claimed.len(), 1);
    let found = forget(&app, 0).await;
    assert_eq!((found[0], found[5]), (1, 1));
    let found = forget(&app, LEASE).await;
    assert_eq!((found[0], found[5]), (0, 0));
    app.abandon();
}

#[sqlx::test(migrator = "control::store::MIGRATIONS")]
async fn a_backlog_of_more_than_a_batch_is_given_up_in_one_run(pool: PgPool) {
    let app = TestApp::start(pool).await;
    app.receiver_answers(&[410]);
    app.activate().await;
    for query in [
        "INSERT INTO events (tenant_id, event_id, connection_id, sequence, type, occurred_at, body)
         SELECT tenant_id, gen_random_uuid(), connection_id, nth, type, occurred_at + interval '1 s' * (nth / 1201), '{}'
         FROM events, generate_series(2, 1202) AS nth",
        "INSERT INTO deliveries (tenant_id, delivery_id, event_id, connection_id, sequence, status, due_at)
         SELECT tenant_id, gen_random_uuid(), event_id, connection_id, sequence, 'blocked', occurred_at
         FROM events WHERE sequence > 1",
    ] {
        sqlx::query(query).execute(&app.pool).await.unwrap();
    }
    app.outbox.seal_once().await.unwrap();
    assert_eq!(forget(&app, 30 * DAY).await[..3], [2, 2, 0]);
    assert_eq!(app.count("SELECT sequence FROM deliveries WHERE status = 'ready'").await, 1201);
    assert_eq!(app.count("SELECT sequence FROM deliveries WHERE status = 'blocked'").await, 1202);
    app.abandon();
}

/// A tenant's rows are found by its own index, and others' are left alone.
#[sqlx::test(migrator = "control::store::MIGRATIONS")]
async fn more_than_a_batch_goes_in_one_run(pool: PgPool) {
    let app = TestApp::start(pool).await;
    app.activate().await;
    for query in [
        "INSERT INTO events (tenant_id, event_id, connection_id, sequence, type, occurred_at, body)
         SELECT tenant_id, gen_random_uuid(), connection_id, nth + 1, type, occurred_at + interval '1 s' * (nth / 1500),
             '{}'
         FROM events, generate_series(1, 2999) AS nth",
        "INSERT INTO deliveries (tenant_id, delivery_id, event_id, connection_id, sequence, status, due_at, ended_at)
         SELECT tenant_id, gen_random_uuid(), event_id, connection_id, sequence, 'delivered', occurred_at, occurred_at
         FROM events WHERE sequence > 1",
        "INSERT INTO receipts (receipt_id, received_at, webhook_key, body_sha256, kind, outcome, settled_at, due_at)
         SELECT gen_random_uuid(), received_at, 'k', '', 'ignored', 'ignored', settled_at, due_at
         FROM receipts, generate_series(1, 1200)",
    ] {
        sqlx::query(query).execute(&app.pool).await.unwrap();
    }
    app.outbox.seal_once().await.unwrap();
    assert_eq!(rows(&app).await[..4], [3000, 3000, 1, 1201]);
    assert_eq!(forget(&app, 7 * DAY).await[..4], [3000, 1500, 0, 0]);
    assert_eq!(forget(&app, 23 * DAY).await[..4], [1500, 0, 0, 0]);
    assert_eq!(app.count("SELECT oldest_event FROM tenant_heads").await, 1501);
    assert_eq!(forget(&app, 1).await[..4], [0, 0, 0, 0]);
    assert_eq!(app.count("SELECT oldest_event FROM tenant_heads").await, 3001);
    app.finish().await;
}

/// Two replicas remove one after the other, so that neither waits for what the other holds.
#[sqlx::test(migrator = "control::store::MIGRATIONS")]
async fn while_one_replica_removes_another_does_not(pool: PgPool) {
    let app = TestApp::start(pool.clone()).await;
    app.activate().await;
    app.outbox.seal_once().await.unwrap();
    let before = rows(&app).await;
    let mut other = pool.begin().await.unwrap();
    sqlx::query("SELECT pg_advisory_xact_lock($1)")
        .bind(Store::REMOVING)
        .execute(&mut *other)
        .await
        .unwrap();
    assert_eq!(forget(&app, 40 * DAY).await, before);
    other.rollback().await.unwrap();
    assert_eq!(forget(&app, 0).await[..4], [0; 4]);
    app.finish().await;
}
