//! What is asked for while the same is under way already: the work that is under way may have asked Nango and the
//! provider before, so that it is done once more.

use crate::support::TestApp;
use chrono::TimeDelta;
use control::{
    domain::{audit::Actor, connection::Connection, transition::Effect},
    store::{As, Change, ClaimedJob, JobKind, Postponed, Settled},
};
use nango_stand_in::Mood;
use serde_json::{Value, json};
use sqlx::PgPool;
use std::time::Duration;

fn id(started: &Value) -> &str {
    started["connectionId"].as_str().unwrap()
}

/// As a worker does, which asks Nango and the provider then.
async fn claim(app: &TestApp) -> ClaimedJob {
    app.store.claim_job(app.clock.now(), Duration::from_secs(45)).await.unwrap().unwrap()
}

/// As a worker does that found nothing to look at again.
async fn end(app: &TestApp, job: &ClaimedJob) {
    let change = Change {
        tenant: &job.tenant,
        connection: job.connection,
        actor: Actor::Service,
        request_id: None,
        at: app.clock.now(),
        opens: None,
        settles: Some(Settled::Job { id: job.id, lease: job.lease }),
    };
    let unchanged = |_: &Connection| Effect::Unchanged;
    app.store.change(As::Worker, change, unchanged).await.unwrap();
}

async fn checks_waiting(app: &TestApp) -> i64 {
    app.count(
        "SELECT count(*) FROM jobs WHERE kind = 'check' AND done_at IS NULL AND lease IS NULL",
    )
    .await
}

async fn minutes(app: &TestApp, minutes: usize) {
    for _ in 0..minutes {
        app.outbox.sweep().await.unwrap();
        app.outbox.run_once().await.unwrap();
        app.advance(61);
    }
}

/// A reconnect whose account nobody knows yet.
async fn reconnect_unverified(app: &TestApp, started: &Value, nango_id: &str) {
    let path = format!("/connections/{}/reconnect", id(started));
    let again = app.call("acme", "POST", &path, &json!({})).await.json();
    app.nango.provider().be(Mood::LosesUsers);
    app.authorize(&again).await;
    let attempt: uuid::Uuid =
        sqlx::query_scalar("SELECT attempt_id FROM attempts WHERE status = 'open'")
            .fetch_one(&app.pool)
            .await
            .unwrap();
    let body = json!({"type": "auth", "from": "nango", "operation": "override", "success": true,
        "connectionId": nango_id, "providerConfigKey": "github-dev", "tags": {
            "connection_ref": id(started), "tenant_id": "acme", "attempt": attempt,
            "end_user_id": "user-1", "instance": "test"}});
    app.webhook(&body).await;
    app.outbox.run_once().await.unwrap();
    assert_eq!(app.get(id(started)).await["reason"], "account_unverified");
}

/// A check that is claimed, and another one that is asked for a second later.
async fn check_and_check_again(app: &TestApp) -> (Value, ClaimedJob) {
    let (started, _) = app.activate().await;
    app.advance(60);
    app.ask_check(&started).await;
    let under_way = claim(app).await;
    assert_eq!(under_way.kind, JobKind::Check);
    app.advance(1);
    app.ask_check(&started).await;
    (started, under_way)
}

#[sqlx::test(migrator = "control::store::MIGRATIONS")]
async fn a_check_that_is_asked_for_while_one_is_under_way_is_made(pool: PgPool) {
    let app = TestApp::start(pool).await;
    let (started, under_way) = check_and_check_again(&app).await;
    let asked_at = app.clock.now();
    app.nango.provider().be(Mood::RejectsTokens);
    app.advance(1);
    end(&app, &under_way).await;
    assert_eq!(checks_waiting(&app).await, 1, "the second was answered 202");
    let again = claim(&app).await;
    assert_eq!((&again.kind, again.created_at, again.failures), (&JobKind::Check, asked_at, 0));
    // Nobody asked again.
    end(&app, &again).await;
    assert_eq!(checks_waiting(&app).await, 0);
    app.ask_check(&started).await;
    assert_eq!(checks_waiting(&app).await, 1, "the next is one of its own");
    app.abandon();
}

#[sqlx::test(migrator = "control::store::MIGRATIONS")]
async fn checks_that_are_asked_for_while_one_waits_are_one_check(pool: PgPool) {
    let app = TestApp::start(pool).await;
    let (started, _) = app.activate().await;
    app.advance(60);
    for _ in 0..3 {
        app.ask_check(&started).await;
        app.advance(1);
    }
    assert_eq!(checks_waiting(&app).await, 1);
    let all = claim(&app).await;
    end(&app, &all).await;
    assert_eq!(checks_waiting(&app).await, 0, "all were asked for before it began");
    app.finish().await;
}

#[sqlx::test(migrator = "control::store::MIGRATIONS")]
async fn a_check_that_is_asked_for_is_due_at_once_though_the_one_under_way_looks_again_later(
    pool: PgPool,
) {
    let app = TestApp::start(pool).await;
    let (_, under_way) = check_and_check_again(&app).await;
    let later = app.clock.now() + TimeDelta::minutes(10);
    app.store.look_again(&under_way, later).await.unwrap();
    let again = claim(&app).await;
    assert_eq!(again.created_at, app.clock.now());
    // Without a request in between, it is due when it said.
    app.store.look_again(&again, later).await.unwrap();
    let none = app.store.claim_job(app.clock.now(), Duration::from_secs(45)).await.unwrap();
    assert!(none.is_none(), "{none:?}");
    app.abandon();
}

/// The one that could not ask Nango answers both when it can; nobody asks a Nango that fails the more often for it.
#[sqlx::test(migrator = "control::store::MIGRATIONS")]
async fn a_check_that_is_asked_for_while_nango_fails_waits_with_the_one_under_way(pool: PgPool) {
    let app = TestApp::start(pool).await;
    let (_, under_way) = check_and_check_again(&app).await;
    let asked_at = app.clock.now();
    let later = asked_at + TimeDelta::seconds(8);
    app.store.postpone_job(&under_way, Postponed::NotAsked, later).await.unwrap();
    let none = app.store.claim_job(app.clock.now(), Duration::from_secs(45)).await.unwrap();
    assert!(none.is_none(), "{none:?}");
    app.advance(8);
    let both = claim(&app).await;
    assert_eq!((both.created_at, both.failures), (asked_at, 1));
    end(&app, &both).await;
    assert_eq!(checks_waiting(&app).await, 0);
    app.abandon();
}

#[sqlx::test(migrator = "control::store::MIGRATIONS")]
async fn a_check_of_a_worker_that_died_is_made_once_for_all_who_asked(pool: PgPool) {
    let app = TestApp::start(pool).await;
    let (_, dead) = check_and_check_again(&app).await;
    app.advance(45);
    let taken_over = claim(&app).await;
    assert_eq!(taken_over.id, dead.id);
    // The dead one was only slow, and ends nothing.
    end(&app, &dead).await;
    assert_eq!(checks_waiting(&app).await, 0);
    end(&app, &taken_over).await;
    let open = "SELECT count(*) FROM jobs WHERE kind = 'check' AND done_at IS NULL";
    assert_eq!(app.count(open).await, 0);
    app.abandon();
}

#[sqlx::test(migrator = "control::store::MIGRATIONS")]
async fn a_probe_that_ends_while_a_reconnect_comes_leaves_the_reconnects_own(pool: PgPool) {
    let app = TestApp::start(pool).await;
    let (started, nango_id) = app.activate().await;
    app.advance(24 * 3600);
    app.outbox.sweep().await.unwrap();
    let under_way = claim(&app).await;
    assert_eq!(under_way.kind, JobKind::Probe);
    // It has its answer, and found nothing to do again. Before it ends, a reconnect does.
    reconnect_unverified(&app, &started, &nango_id).await;
    end(&app, &under_way).await;
    app.nango.provider().be(Mood::Well);
    minutes(&app, 60).await;
    let now = app.get(id(&started)).await;
    assert_eq!(now["status"], "active", "nobody asks whose it is for a day: {now}");
    app.abandon();
}

/// A provider that does not say who a user is gets one probe a day in the end. A reconnect does not wait for that.
#[sqlx::test(migrator = "control::store::MIGRATIONS")]
async fn a_reconnect_is_probed_at_once_though_a_probe_waits_for_tomorrow(pool: PgPool) {
    let app = TestApp::start(pool).await;
    let (started, nango_id) = app.activate().await;
    reconnect_unverified(&app, &started, &nango_id).await;
    let aged = "UPDATE jobs SET created_at = created_at - interval '1 day', due_at = due_at + interval '1 day'
        WHERE kind = 'probe' AND done_at IS NULL";
    assert_eq!(sqlx::query(aged).execute(&app.pool).await.unwrap().rows_affected(), 1);
    app.advance(60);
    reconnect_unverified(&app, &started, &nango_id).await;
    let open = "SELECT count(*) FROM jobs WHERE kind = 'probe' AND done_at IS NULL";
    assert_eq!(app.count(open).await, 1);
    app.nango.provider().be(Mood::Well);
    minutes(&app, 10).await;
    let now = app.get(id(&started)).await;
    assert_eq!(now["status"], "active", "nobody asks whose it is for a day: {now}");
    app.abandon();
}

/// What comes by itself is no reason to begin the waits anew.
#[sqlx::test(migrator = "control::store::MIGRATIONS")]
async fn a_periodic_probe_changes_nothing_of_one_that_waits(pool: PgPool) {
    let app = TestApp::start(pool).await;
    let (started, nango_id) = app.activate().await;
    reconnect_unverified(&app, &started, &nango_id).await;
    let when = "SELECT extract(epoch FROM due_at)::bigint + extract(epoch FROM created_at)::bigint FROM jobs
        WHERE kind = 'probe' AND done_at IS NULL AND asked_again_at IS NULL";
    let before = app.count(when).await;
    let (now, day) = (app.clock.now(), TimeDelta::hours(24));
    assert_eq!(app.store.queue_probes(now + day, now, 10).await.unwrap(), 1);
    assert_eq!(app.count(when).await, before);
    app.abandon();
}

/// As the role of a tenant's request, which may ask again and nothing else.
#[sqlx::test(migrator = "control::store::MIGRATIONS")]
async fn a_tenant_asks_again_for_checks_of_its_own_alone(pool: PgPool) {
    let app = TestApp::start(pool.clone()).await;
    let (started, _) = app.activate().await;
    app.ask_check(&started).await;
    for (tenant, sql, expected) in [
        ("acme", "UPDATE jobs SET asked_again_at = now()", Ok(1)),
        ("rival", "UPDATE jobs SET asked_again_at = now()", Ok(0)),
        ("", "UPDATE jobs SET asked_again_at = now()", Ok(0)),
        ("acme", "UPDATE jobs SET due_at = now()", Err("permission denied")),
        ("acme", "UPDATE jobs SET lease = NULL", Err("permission denied")),
        ("acme", "UPDATE jobs SET kind = 'probe'", Err("permission denied")),
        ("acme", "DELETE FROM jobs", Err("permission denied")),
        ("acme", "SELECT lease FROM jobs", Err("permission denied")),
        ("acme", "SELECT nango_connection_id FROM jobs", Err("permission denied")),
    ] {
        let mut tx = pool.begin().await.unwrap();
        sqlx::query("SELECT set_config('role', 'connections_api', true), set_config('connections.tenant', $1, true)")
            .bind(tenant)
            .execute(&mut *tx)
            .await
            .unwrap();
        let did = sqlx::query(sql).execute(&mut *tx).await;
        let did = did.map(|done| done.rows_affected()).map_err(|error| error.to_string());
        match (did, expected) {
            (Ok(did), Ok(expected)) => assert_eq!(did, expected, "{tenant}: {sql}"),
            (Err(said), Err(expected)) => assert!(said.contains(expected), "{sql}: {said}"),
            (did, expected) => panic!("{tenant}: {sql}: {did:?}, not {expected:?}"),
        }
    }
    app.abandon();
}
