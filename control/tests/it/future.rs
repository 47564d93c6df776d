//! What a wrong clock dated in the future is due now, and what may wait goes on waiting.

use crate::support::TestApp;
use control::clock::Clock;
use sqlx::PgPool;

/// The time by the driven clock, in SQL.
const NOW: &str = "to_timestamp(1795340000)";

/// Rows of every kind that waits: a connection that is pending, one that is active, one whose deletion is under way, and a
/// delivery that failed; and a webhook of a stranger's.
async fn wait(app: &TestApp) {
    app.start_connection().await;
    app.receiver_answers(&[500]);
    app.activate().await;
    let run = async |query: String| {
        sqlx::raw_sql(sqlx::AssertSqlSafe(query)).execute(&app.pool).await.unwrap();
    };
    for kind in ["check", "delete_connection"] {
        run(format!(
            "INSERT INTO jobs (job_id, tenant_id, connection_id, kind, created_at, due_at)
             SELECT gen_random_uuid(), tenant_id, connection_id, '{kind}', {NOW}, {NOW}
             FROM connections WHERE status = 'active'"
        ))
        .await;
    }
    run(format!(
        "INSERT INTO receipts (receipt_id, received_at, webhook_key, body_sha256, kind, hint, due_at, asked_at)
         VALUES (gen_random_uuid(), {NOW}, 'k', '', 'simplified', '{{\"connectionId\": \"x\"}}', {NOW}, {NOW});
         INSERT INTO redeliveries (tenant_id, job_id, since, until, total, created_at, due_at)
         VALUES ('acme', gen_random_uuid(), {NOW} - interval '1 d', {NOW}, 1, {NOW}, {NOW});
         INSERT INTO idempotency_keys (tenant_id, principal, key, fingerprint, lease, until)
         VALUES ('acme', 'p', 'k', '', gen_random_uuid(), {NOW});
         INSERT INTO destination_health (tenant_id, status, reason, since, probe_at)
         VALUES ('paused', 'paused', 'timeout', {NOW}, {NOW});
         UPDATE sweeps SET due_at = {NOW}, swept_at = {NOW}"
    ))
    .await;
}

/// Sets what waits to so many seconds from now, and says whether that was mended.
async fn is_mended(
    app: &TestApp,
    (table, column, which): (&str, &str, &str),
    seconds: i64,
) -> bool {
    let due = format!("{NOW} + interval '{seconds} s'");
    let query = format!("UPDATE {table} SET {column} = {due} WHERE {which}");
    let set = sqlx::raw_sql(sqlx::AssertSqlSafe(query)).execute(&app.pool).await.unwrap();
    assert_eq!(set.rows_affected(), 1, "{table} where {which}");
    let mended = app.outbox.mend_future_once().await.unwrap();
    let query = format!("SELECT count(*) FROM {table} WHERE {which} AND {column} = {due}");
    let left: i64 =
        sqlx::query_scalar(sqlx::AssertSqlSafe(query)).fetch_one(&app.pool).await.unwrap();
    assert_eq!(left == 0, mended > 0, "{table}.{column} where {which}");
    left == 0
}

#[sqlx::test(migrator = "control::store::MIGRATIONS")]
async fn what_is_further_ahead_than_it_may_be_is_due_now_and_nothing_else(pool: PgPool) {
    let app = TestApp::start(pool).await;
    wait(&app).await;
    let pending = "status = 'open' AND callback_started_at IS NULL";
    // The longest that each may wait, in seconds, and what is too long.
    for (table, column, which, may, may_not) in [
        ("receipts", "due_at", "settled_at IS NULL AND lease IS NULL", 1200, 1201),
        ("receipts", "asked_at", "settled_at IS NULL", 1200, i64::MAX),
        ("attempts", "due_at", pending, 3600, 3611),
        ("attempts", "deadline_at", pending, 3600, 3611),
        ("attempts", "ticket_expires_at", pending, 300, 311),
        ("attempts", "callback_started_at", "status = 'open'", 3, 3600),
        ("jobs", "due_at", "kind = 'check' AND lease IS NULL", 1200, 1201),
        ("jobs", "due_at", "kind = 'delete_connection'", 65 * 60, 71 * 60),
        ("redeliveries", "due_at", "done_at IS NULL", 60, 76),
        ("destination_health", "probe_at", "status = 'paused'", 36, 40),
        ("sweeps", "due_at", "lease IS NULL", 1200, 1201),
        ("sweeps", "swept_at", "is_only", 3, 4),
        ("sweeps", "started_at", "is_only", 3, 4),
        ("deliveries", "due_at", "status = 'ready' AND tries = 1 AND lease IS NULL", 360, 364),
        ("deliveries", "hastened_from", "status = 'ready'", 360, 364),
        ("idempotency_keys", "until", "status IS NULL", 75, 76),
        ("nango_budget", "filled_at", "class = 'start'", 3, 4),
        ("nango_budget", "promised_at", "class = 'start'", 600, 1201),
    ] {
        let what = (table, column, which);
        assert!(!is_mended(&app, what, may).await, "{what:?} may be {may} s ahead");
        if may_not < i64::MAX {
            assert!(is_mended(&app, what, may_not).await, "{what:?} may not be {may_not} s ahead");
        }
    }
    app.abandon();
}

#[sqlx::test(migrator = "control::store::MIGRATIONS")]
async fn what_is_claimed_is_let_go_when_no_lease_lasts_so_long(pool: PgPool) {
    let app = TestApp::start(pool).await;
    wait(&app).await;
    for (table, which) in [
        ("receipts", "settled_at IS NULL"),
        ("attempts", "status = 'open'"),
        ("jobs", "kind = 'check'"),
        ("jobs", "kind = 'delete_connection'"),
        ("sweeps", "is_only"),
        ("deliveries", "status = 'ready'"),
    ] {
        let what = (table, "due_at", which);
        let leased = format!("UPDATE {table} SET lease = gen_random_uuid() WHERE {which}");
        sqlx::raw_sql(sqlx::AssertSqlSafe(leased)).execute(&app.pool).await.unwrap();
        assert!(!is_mended(&app, what, 60).await, "{what:?} is claimed");
        assert!(is_mended(&app, what, 61).await, "{what:?} is nobody's");
    }
    app.abandon();
}

/// A receiver that said when to come back is not asked sooner.
#[sqlx::test(migrator = "control::store::MIGRATIONS")]
async fn a_receiver_that_named_its_time_is_believed_unless_it_was_asked_in_the_future(
    pool: PgPool,
) {
    let app = TestApp::start(pool).await;
    wait(&app).await;
    let what = ("deliveries", "due_at", "status = 'ready'");
    let asked = async |seconds: i64| {
        let query = format!(
            "UPDATE delivery_attempts SET http_status = 503, started_at = {NOW} + interval '{seconds} s'
             WHERE delivery_id = (SELECT delivery_id FROM deliveries WHERE status = 'ready')"
        );
        sqlx::raw_sql(sqlx::AssertSqlSafe(query)).execute(&app.pool).await.unwrap();
    };
    asked(0).await;
    assert!(!is_mended(&app, what, 72 * 60).await);
    assert!(is_mended(&app, what, 76 * 60).await);
    asked(3600).await;
    assert!(is_mended(&app, what, 72 * 60).await);
    app.abandon();
}

/// What the replica that was an hour ahead left behind: all of it goes on as soon as it is mended.
#[sqlx::test(migrator = "control::store::MIGRATIONS")]
async fn what_a_replica_an_hour_ahead_left_behind_is_done_now(pool: PgPool) {
    let app = TestApp::start(pool).await;
    let other = Clock::manual(app.clock.now() + chrono::TimeDelta::hours(1));
    let (_, ahead) = app.other_at(&other);
    let started = app.start_connection().await;
    app.receiver_answers(&[500]);
    let nango_id = app.authorize(&started).await;
    app.say_created(&started, &nango_id).await;
    ahead.run_once().await.unwrap();
    ahead.sweep().await.unwrap();
    let tried = app.tries();
    // It is gone, and the others wait for an hour.
    app.advance(20);
    assert!(!app.outbox.sweep().await.unwrap());
    app.outbox.run_once().await.unwrap();
    assert_eq!(app.tries(), tried);
    assert!(app.outbox.mend_future_once().await.unwrap() > 0);
    assert!(app.outbox.sweep().await.unwrap());
    app.outbox.run_once().await.unwrap();
    assert_eq!(app.notified_types(), ["connection.activated"]);
    assert_eq!(app.outbox.mend_future_once().await.unwrap(), 0, "once is enough");
    app.finish().await;
}
