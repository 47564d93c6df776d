//! Faults of the database, of the host, and of control itself.

use super::{Stack, Watch, until_found};
use crate::{
    flow::{authorize, notified, start},
    support::World,
};
use futures::future::join_all;
use nango_stand_in::Trouble;
use sandbox::{browser::Decision, stack, workspace};
use sqlx::{AssertSqlSafe, Connection as _, PgConnection};
use std::{path::Path, process::Command};
use url::Url;

/// More transactions at once than the pool has connections.
const MANY: usize = 40;

/// A library that makes a process see a wrong clock.
fn clock_shift(folder: &Path) -> String {
    let library = folder.join("clock_shift.so");
    let source = workspace::root().join("sandbox/tests/e2e/observability/faults/clock_shift.c");
    let mut compiler = Command::new("cc");
    let made = compiler.args(["-shared", "-fPIC", "-o"]).arg(&library).arg(source).status();
    assert!(made.unwrap().success(), "the linker's C compiler is needed");
    library.to_str().unwrap().to_owned()
}

/// Lets others into a database, or shuts them out and ends who is in.
async fn open(url: &str, is_open: bool) {
    let mut url: Url = url.parse().unwrap();
    let name = url.path().trim_start_matches('/').to_owned();
    url.set_path("postgres");
    let mut beside = PgConnection::connect(url.as_str()).await.unwrap();
    for statement in [
        format!("ALTER DATABASE {name} ALLOW_CONNECTIONS {is_open}"),
        format!(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}' AND NOT {is_open}"
        ),
    ] {
        sqlx::query(AssertSqlSafe(statement)).execute(&mut beside).await.unwrap();
    }
}

#[tokio::test]
async fn a_database_and_a_process_that_fail_raise_their_alerts() {
    let mut world = World::start().await;
    let watch = Watch::start(&world, Stack::Database).await;
    let stack = &mut world.stack;
    let idle = async || ();

    // Somebody's statement locks a table that every request reads.
    let mut lock = stack.database.connect().await.unwrap();
    let mut lock = lock.begin().await.unwrap();
    sqlx::query("LOCK TABLE connections").execute(&mut *lock).await.unwrap();
    let list = stack.edge("/tenants/acme/connections");
    let exhausted = ["ConnectionsPoolExhausted"];
    watch
        .raises(&exhausted, async || {
            join_all((0..MANY).map(|_| stack.http.get(&list).send())).await;
        })
        .await;
    lock.rollback().await.unwrap();
    watch.ends(&exhausted, idle).await;

    panic_over_rows(&watch, stack).await;

    open(&stack.database.url, false).await;
    let not_ready = ["ConnectionsNotReady"];
    watch.raises(&not_ready, idle).await;
    open(&stack.database.url, true).await;
    watch.ends(&not_ready, idle).await;

    stack.kill_control().await.unwrap();
    let down = ["ConnectionsControlDown"];
    watch.raises(&down, idle).await;

    // It comes back on a host whose clock is wrong.
    let scratch = tempfile::tempdir().unwrap();
    let good = stack.control_settings.environment.clone();
    let environment = &mut stack.control_settings.environment;
    environment.insert("LD_PRELOAD".to_owned(), clock_shift(scratch.path()));
    environment.insert("CLOCK_SHIFT_SECONDS".to_owned(), "5".to_owned());
    stack.control = Some(stack.control_settings.spawn().unwrap());
    watch.ends(&down, idle).await;
    let skewed = ["ConnectionsClockSkew"];
    watch.raises(&skewed, idle).await;
    stack.control_settings.environment = good;
    stack.kill_control().await.unwrap();
    stack.start_control().await.unwrap();
    watch.ends(&skewed, idle).await;
    watch.finish().await;
    world.finish().await;
}

/// Rows of which no date can be made, by a hand that meant well: who reads one panics.
async fn panic_over_rows(watch: &Watch, stack: &stack::Stack) {
    let idle = async || ();
    // The sealer over a line of the trail.
    let panicked = ["ConnectionsOutboxPanicked"];
    start(stack).await;
    let mut hand = stack.database.connect().await.unwrap();
    until_found(&mut hand, "SELECT 1 FROM tenant_heads WHERE audit_position > 0").await;
    let mut held = hand.begin().await.unwrap();
    sqlx::query("SELECT 1 FROM tenant_heads FOR UPDATE").fetch_one(&mut *held).await.unwrap();
    start(stack).await;
    let broken = "UPDATE audit_events SET at = 'infinity' WHERE position IS NULL";
    sqlx::query(broken).execute(&mut *held).await.unwrap();
    held.commit().await.unwrap();
    watch.raises(&panicked, idle).await;
    let mended = "UPDATE audit_events SET at = now() WHERE at = 'infinity'";
    sqlx::query(mended).execute(&mut hand).await.unwrap();
    watch.ends(&panicked, idle).await;

    // A worker over a webhook that waits.
    let started = start(stack).await;
    stack.stand_in().unwrap().make_trouble(Trouble::Unavailable);
    authorize(stack, &started, Decision::Allow).await;
    let broken = "UPDATE receipts SET asked_at = 'infinity' WHERE settled_at IS NULL RETURNING 1";
    until_found(&mut hand, broken).await;
    stack.stand_in().unwrap().make_trouble(Trouble::None);
    watch.raises(&panicked, idle).await;
    let mended = "UPDATE receipts SET asked_at = received_at WHERE asked_at = 'infinity'";
    sqlx::query(mended).execute(&mut hand).await.unwrap();
    notified(stack, 1).await;
    watch.ends(&panicked, idle).await;
}
