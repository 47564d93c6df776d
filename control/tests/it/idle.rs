//! What a replica with nothing to do costs the database, and how soon it does what comes.

use crate::{
    counted::Counted,
    process::{Process, until},
    setup::Setup,
    support::TestApp,
};
use axum::http::StatusCode;
use control::clock::Clock;
use serde_json::Value;
use sqlx::PgPool;
use std::time::{Duration, Instant};

/// For how long they are counted.
const WATCHED: Duration = Duration::from_secs(30);

/// What a start does besides is done by then.
const SETTLED: Duration = Duration::from_secs(5);

/// What a replica with nothing to do may begin in a minute.
const TRANSACTIONS_MAX: u64 = 60;

/// How soon after its commit a piece of work is begun: long before any poll could have found it.
const BEGUN_WITHIN: Duration = Duration::from_millis(500);

#[expect(clippy::print_stdout, reason = "whoever measures reads what was measured")]
#[sqlx::test(migrator = "control::store::MIGRATIONS")]
async fn an_idle_replica_makes_at_most_sixty_transactions_a_minute(pool: PgPool) {
    let app = TestApp::start_at(pool, Setup::default(), Clock::system()).await;
    let database = Counted::start(&app.pool).await;
    let replica = Process::start_at(&app, database.url.clone(), 0);
    replica.until_ready().await;
    // What a start does is done when the list was walked for the first time.
    until("it does not walk", async || {
        let walked = "SELECT count(*) FROM sweeps WHERE swept_at IS NOT NULL";
        (app.count(walked).await == 1).then_some(())
    })
    .await;
    let after = async |seconds: Duration| {
        let began = Instant::now();
        until("time stands still", async || (began.elapsed() >= seconds).then_some(())).await;
        database.transactions()
    };
    let before = after(SETTLED).await;
    let counted = after(WATCHED).await - before;
    let each_minute = counted * 60 / WATCHED.as_secs();
    println!("an idle replica: {counted} transactions in {WATCHED:?}, {each_minute} a minute");
    assert!(counted > 0, "its heart does not beat");
    assert!(each_minute <= TRANSACTIONS_MAX, "{each_minute} a minute");
    drop(replica);
    app.abandon();
}

#[expect(clippy::print_stdout, reason = "whoever measures reads what was measured")]
#[sqlx::test(migrator = "control::store::MIGRATIONS")]
async fn the_first_piece_of_work_of_an_idle_replica_is_begun_at_once(pool: PgPool) {
    let app = TestApp::start_at(pool, Setup::default(), Clock::system()).await;
    let replica = Process::start(&app, 0);
    replica.until_ready().await;
    let mut waits = Vec::new();
    for _ in 0..20 {
        let started = app.start_connection().await;
        let path = format!("/connections/{}", started["connectionId"].as_str().unwrap());
        let calls = app.nango.api_calls();
        let answer = app.call("acme", "DELETE", &path, &Value::Null).await;
        let committed = Instant::now();
        assert_eq!(answer.status, StatusCode::ACCEPTED);
        until("it is not begun", async || (app.nango.api_calls() > calls).then_some(())).await;
        waits.push(committed.elapsed());
        // Idle again.
        until("it is not done", async || {
            let open =
                app.count("SELECT count(*) FROM connections WHERE status = 'deleting'").await;
            (open == 0).then_some(())
        })
        .await;
    }
    waits.sort();
    println!(
        "begun after: median {:?}, longest {:?}",
        waits[waits.len() / 2],
        waits.last().unwrap()
    );
    assert!(waits[waits.len() / 2] < BEGUN_WITHIN, "{waits:?}");
    drop(replica);
    app.abandon();
}

/// A check of a connection, which no notification announces: as if whoever wrote it had died before it could.
async fn ask_in_silence(app: &TestApp) {
    let written = sqlx::query(
        "INSERT INTO jobs (job_id, tenant_id, connection_id, kind, created_at, due_at)
         SELECT gen_random_uuid(), tenant_id, connection_id, 'check', now(), now() FROM connections",
    );
    assert_eq!(written.execute(&app.pool).await.unwrap().rows_affected(), 1);
}

#[sqlx::test(migrator = "control::store::MIGRATIONS")]
async fn work_that_nobody_announced_is_found_within_seconds(pool: PgPool) {
    let app = TestApp::start_at(pool, Setup::default(), Clock::system()).await;
    app.start_connection().await;
    let replica = Process::start(&app, 0);
    replica.until_ready().await;
    ask_in_silence(&app).await;
    let began = Instant::now();
    until("it is not done", async || {
        (app.count("SELECT count(*) FROM jobs WHERE done_at IS NULL").await == 0).then_some(())
    })
    .await;
    assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
    drop(replica);
    app.abandon();
}

/// Work that was announced while the replica's listener was away is begun when it is back, long before the next poll.
#[sqlx::test(migrator = "control::store::MIGRATIONS")]
async fn work_that_was_announced_to_nobody_is_begun_when_somebody_listens_again(pool: PgPool) {
    let app = TestApp::start_at(pool, Setup::default(), Clock::system()).await;
    app.start_connection().await;
    let replica = Process::start(&app, 0);
    replica.until_ready().await;
    let listens = "SELECT count(*) FROM pg_stat_activity
        WHERE datname = current_database() AND query = 'LISTEN \"connections_outbox\"'";
    until("it does not listen", async || (app.count(listens).await == 1).then_some(())).await;
    let ended = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity
        WHERE datname = current_database() AND query = 'LISTEN \"connections_outbox\"'";
    assert_eq!(app.count(ended).await, 1);
    until("its end is not seen", async || (app.count(listens).await == 0).then_some(())).await;
    ask_in_silence(&app).await;
    let began = Instant::now();
    until("it is not done", async || {
        (app.count("SELECT count(*) FROM jobs WHERE done_at IS NULL").await == 0).then_some(())
    })
    .await;
    assert!(began.elapsed() < Duration::from_secs(4), "{:?}", began.elapsed());
    drop(replica);
    app.abandon();
}
