//! A replica whose host's clock is wrong: no time that it writes is off, and nothing is early or late for the others.

use crate::{
    process::{Process, until},
    setup::Setup,
    support::TestApp,
};
use chrono::{DateTime, TimeDelta, Utc};
use control::clock::Clock;
use serde_json::json;
use sqlx::PgPool;

const HOUR: i64 = 3600;

/// Every column that holds a time.
async fn times(pool: &PgPool) -> Vec<(String, String)> {
    sqlx::query_as(
        "SELECT table_name::text, column_name::text FROM information_schema.columns
         WHERE table_schema = 'public' AND data_type = 'timestamp with time zone'
             AND table_name NOT LIKE '\\_%' ORDER BY 1, 2",
    )
    .fetch_all(pool)
    .await
    .unwrap()
}

/// Columns that may name a time to come, and how far off.
fn ahead(column: &str) -> TimeDelta {
    match column {
        "due_at" | "deadline_at" => TimeDelta::seconds(HOUR),
        "until" => TimeDelta::hours(24),
        "promised_at" => TimeDelta::minutes(10),
        _ => TimeDelta::zero(),
    }
}

/// Whatever was written since then is dated so, in the whole database.
async fn check_times(pool: &PgPool, since: DateTime<Utc>) {
    let mut seen = 0;
    for (table, column) in times(pool).await {
        // A time before this year is none: the epoch says "never".
        let query = format!(
            "SELECT min({column}), max({column}), now() FROM {table}
             WHERE isfinite({column}) AND {column} > '2020-01-01'"
        );
        let (first, last, now): (Option<DateTime<Utc>>, Option<DateTime<Utc>>, DateTime<Utc>) =
            sqlx::query_as(sqlx::AssertSqlSafe(query)).fetch_one(pool).await.unwrap();
        let (Some(first), Some(last)) = (first, last) else { continue };
        seen += 1;
        let slack = TimeDelta::seconds(3);
        assert!(first >= since - slack, "{table}.{column}: {first} is before {since}");
        assert!(last <= now + ahead(&column) + slack, "{table}.{column}: {last} is after {now}");
    }
    assert!(seen > 10, "{seen} columns were written");
}

async fn one_does_not_matter(pool: PgPool, shift: i64) {
    let app = TestApp::start_at(pool, Setup::default(), Clock::system()).await;
    let since = app.clock.now();
    let waiting = app.start_connection().await;
    let (active, _) = app.activate().await;
    // One whose notification nobody takes, and one that is deleted.
    app.receiver_answers(&[500; 100]);
    let wrong = Process::start(&app, shift);
    let failing = app.start_connection().await;
    let nango_id = app.authorize(&failing).await;
    app.say_created(&failing, &nango_id).await;
    until("it does not walk", async || {
        let walked = "SELECT count(*) FROM sweeps WHERE swept_at IS NOT NULL";
        (app.count(walked).await == 1).then_some(())
    })
    .await;
    until("it does not notify", async || {
        let tried = "SELECT count(*) FROM delivery_attempts WHERE outcome <> 'delivered'";
        (app.count(tried).await > 0).then_some(())
    })
    .await;
    let health = wrong.until_ready().await;
    let detail = health["checks"]["clock"]["detail"].as_str().unwrap_or_default();
    let way = if shift > 0 { "ahead of" } else { "behind" };
    let seconds = detail.split(' ').find_map(|word| word.parse::<i64>().ok());
    assert!(seconds.is_some_and(|seconds| (seconds - HOUR).abs() < 5), "{health}");
    assert!(detail.contains(way), "{health}");
    drop(wrong);
    let id = |started: &serde_json::Value| started["connectionId"].as_str().unwrap().to_owned();
    assert_eq!(app.get(&id(&waiting)).await["status"], json!("pending"));
    assert_eq!(app.get(&id(&active)).await["status"], json!("active"));
    assert_eq!(app.get(&id(&failing)).await["status"], json!("active"));
    check_times(&app.pool, since).await;
    // The next walk is due when it would be, and so is the next try.
    let late = "SELECT count(*) FROM sweeps WHERE due_at > now() + interval '3 minutes'";
    assert_eq!(app.count(late).await, 0);
    let late = "SELECT count(*) FROM deliveries WHERE status = 'ready' AND due_at > now() + interval '7 minutes'";
    assert_eq!(app.count(late).await, 0);
    app.abandon();
}

#[sqlx::test(migrator = "control::store::MIGRATIONS")]
async fn a_replica_an_hour_ahead_expires_nothing_and_puts_nothing_off(pool: PgPool) {
    one_does_not_matter(pool, HOUR).await;
}

#[sqlx::test(migrator = "control::store::MIGRATIONS")]
async fn a_replica_an_hour_behind_writes_no_time_that_is_over(pool: PgPool) {
    one_does_not_matter(pool, -HOUR).await;
}
