//! Waiting for a connection to change.

use crate::support::{Answer, TestApp, caller};
use axum::http::StatusCode;
use chrono::TimeDelta;
use contract::{action::Action, id::TenantId};
use control::hub::TENANT_WAITERS_MAX;
use futures::future::join_all;
use serde_json::{Value, json};
use sqlx::PgPool;
use std::time::Duration;
use tokio::{io::AsyncWriteExt as _, task::JoinHandle};

fn path(started: &Value) -> String {
    format!("/connections/{}", started["connectionId"].as_str().unwrap())
}

async fn wait(app: &TestApp, started: &Value, query: &str) -> Answer {
    app.call("acme", "GET", &format!("{}?{query}", path(started)), &Value::Null).await
}

/// Goes on when so many wait.
async fn waiters(app: &TestApp, many: usize) {
    app.hub.waiters().wait_for(|waiters| *waiters == many).await.unwrap();
}

/// What the database tells comes soon; if it never came, the test would not end.
async fn in_time<T>(told: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(30), told).await.unwrap()
}

async fn delete(app: &TestApp, started: &Value) {
    let answer = app.call("acme", "DELETE", &path(started), &Value::Null).await;
    assert_eq!(answer.status, StatusCode::ACCEPTED);
}

/// Starts the hub as the service does, and goes on when it listens. Its clock stands still, so that it
/// does not poll.
async fn listen(app: &TestApp) -> JoinHandle<()> {
    let (hub, store, clock) = (app.hub.clone(), app.store.clone(), app.clock.clone());
    let running = tokio::spawn(async move { hub.run(&store, &clock).await });
    app.hub.is_listening().wait_for(|is_listening| *is_listening).await.unwrap();
    running
}

async fn stop(app: &TestApp, running: JoinHandle<()>) {
    app.stop.cancel();
    running.await.unwrap();
}

#[sqlx::test(migrator = "control::store::MIGRATIONS")]
async fn who_knows_an_older_version_is_answered_at_once(pool: PgPool) {
    let app = TestApp::start(pool).await;
    let (started, _) = app.activate().await;
    let shown = app.get(started["connectionId"].as_str().unwrap()).await;
    assert_eq!(shown["version"], 2);
    for query in ["wait=60&version=0", "wait=60&version=1"] {
        assert_eq!(wait(&app, &started, query).await.json(), shown);
    }
    app.finish().await;
}

#[sqlx::test(migrator = "control::store::MIGRATIONS")]
async fn who_waits_is_answered_by_the_change(pool: PgPool) {
    let app = TestApp::start(pool).await;
    let started = app.start_connection().await;
    let running = listen(&app).await;
    let (answer, ()) = tokio::join!(in_time(wait(&app, &started, "wait=30")), async {
        waiters(&app, 1).await;
        delete(&app, &started).await;
    });
    assert_eq!(answer.status, StatusCode::OK);
    let shown = answer.json();
    assert_eq!((&shown["version"], &shown["status"]), (&json!(2), &json!("deleting")));
    stop(&app, running).await;
    app.outbox.run_once().await.unwrap();
    app.finish().await;
}

/// No clock moves here, so that nothing but the notification can end the wait.
#[sqlx::test(migrator = "control::store::MIGRATIONS")]
async fn a_commit_wakes_whoever_waits_for_this_connection_and_nobody_else(pool: PgPool) {
    let app = TestApp::start(pool).await;
    let (first, second) = (app.start_connection().await, app.start_connection().await);
    let running = listen(&app).await;
    let acme: TenantId = "acme".parse().unwrap();
    let rival: TenantId = "rival".parse().unwrap();
    let far = app.clock.now() + TimeDelta::days(1);
    let id = |started: &Value| started["connectionId"].as_str().unwrap().parse().unwrap();
    let mut waiter = app.hub.enter(&acme, id(&first)).unwrap();
    let mut others =
        [app.hub.enter(&acme, id(&second)).unwrap(), app.hub.enter(&rival, id(&first)).unwrap()];
    let woken = in_time(waiter.newer_than(1, &app.clock, far));
    tokio::join!(woken, delete(&app, &first));
    for other in &mut others {
        let is_woken = futures::poll!(Box::pin(other.newer_than(1, &app.clock, far))).is_ready();
        assert!(!is_woken);
    }
    stop(&app, running).await;
    app.outbox.run_once().await.unwrap();
    app.finish().await;
}

#[sqlx::test(migrator = "control::store::MIGRATIONS")]
async fn what_was_rolled_back_is_told_to_nobody(pool: PgPool) {
    let app = TestApp::start(pool).await;
    let (first, second) = (app.start_connection().await, app.start_connection().await);
    let running = listen(&app).await;
    let acme: TenantId = "acme".parse().unwrap();
    let far = app.clock.now() + TimeDelta::days(1);
    let id = |started: &Value| started["connectionId"].as_str().unwrap().parse().unwrap();
    let mut of_first = app.hub.enter(&acme, id(&first)).unwrap();
    let mut of_second = app.hub.enter(&acme, id(&second)).unwrap();
    let alter = async |query: &'static str| sqlx::query(query).execute(&app.pool).await.unwrap();
    // The job is the last that a deletion writes.
    alter("ALTER TABLE jobs ADD CONSTRAINT refuses CHECK (false) NOT VALID").await;
    let refused = app.call("acme", "DELETE", &path(&first), &Value::Null).await;
    assert_eq!(refused.status, StatusCode::INTERNAL_SERVER_ERROR);
    alter("ALTER TABLE jobs DROP CONSTRAINT refuses").await;
    // What is told later is heard later: had the first been told, it would have been heard by now.
    tokio::join!(in_time(of_second.newer_than(1, &app.clock, far)), delete(&app, &second));
    let is_woken = futures::poll!(Box::pin(of_first.newer_than(1, &app.clock, far))).is_ready();
    assert!(!is_woken);
    stop(&app, running).await;
    app.outbox.run_once().await.unwrap();
    app.finish().await;
}

#[sqlx::test(migrator = "control::store::MIGRATIONS")]
async fn a_change_that_nobody_told_of_is_found_by_the_poll(pool: PgPool) {
    let app = TestApp::start(pool).await;
    let started = app.start_connection().await;
    let running = listen(&app).await;
    let acme: TenantId = "acme".parse().unwrap();
    let id = started["connectionId"].as_str().unwrap().parse().unwrap();
    let mut waiter = app.hub.enter(&acme, id).unwrap();
    let far = app.clock.now() + TimeDelta::days(1);
    let write = async |query: &'static str| {
        assert_eq!(sqlx::query(query).execute(&app.pool).await.unwrap().rows_affected(), 1);
    };
    write("UPDATE connections SET version = 2").await;
    app.advance(10);
    in_time(waiter.newer_than(1, &app.clock, far)).await;
    write("UPDATE connections SET version = 1").await;
    drop(waiter);
    stop(&app, running).await;
    app.finish().await;
}

/// No clock moves here but for the pause before it listens again.
#[sqlx::test(migrator = "control::store::MIGRATIONS")]
async fn a_change_that_was_told_while_nobody_listened_is_found_when_somebody_does_again(
    pool: PgPool,
) {
    let app = TestApp::start(pool).await;
    let started = app.start_connection().await;
    let running = listen(&app).await;
    let acme: TenantId = "acme".parse().unwrap();
    let id = started["connectionId"].as_str().unwrap().parse().unwrap();
    let mut waiter = app.hub.enter(&acme, id).unwrap();
    let far = app.clock.now() + TimeDelta::days(1);
    let mut is_listening = app.hub.is_listening();
    let ended = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity
        WHERE datname = current_database() AND query LIKE 'LISTEN%'";
    assert_eq!(app.count(ended).await, 1);
    in_time(is_listening.wait_for(|is_listening| !is_listening)).await.unwrap();
    delete(&app, &started).await;
    let told = futures::poll!(Box::pin(waiter.newer_than(1, &app.clock, far))).is_ready();
    assert!(!told, "nobody listens");
    app.advance(2);
    in_time(waiter.newer_than(1, &app.clock, far)).await;
    in_time(is_listening.wait_for(|is_listening| *is_listening)).await.unwrap();
    stop(&app, running).await;
    app.outbox.run_once().await.unwrap();
    app.finish().await;
}

#[sqlx::test(migrator = "control::store::MIGRATIONS")]
async fn a_wait_that_is_over_shows_what_there_is(pool: PgPool) {
    let app = TestApp::start(pool).await;
    let started = app.start_connection().await;
    let shown = app.get(started["connectionId"].as_str().unwrap()).await;
    for query in ["wait=30", "wait=30&version=1", "wait=30&version=9"] {
        let mut waiting = Box::pin(wait(&app, &started, query));
        tokio::select! {
            _ = &mut waiting => panic!("{query} did not wait"),
            () = waiters(&app, 1) => {}
        }
        app.advance(29);
        assert!(futures::poll!(&mut waiting).is_pending(), "{query} ended too early");
        app.advance(1);
        let answer = waiting.await;
        assert_eq!((answer.status, answer.json()), (StatusCode::OK, shown.clone()), "{query}");
    }
    app.finish().await;
}

#[sqlx::test(migrator = "control::store::MIGRATIONS")]
async fn who_waits_while_the_service_stops_is_answered_at_once(pool: PgPool) {
    let app = TestApp::start(pool).await;
    let started = app.start_connection().await;
    let (before, ()) = tokio::join!(wait(&app, &started, "wait=60"), async {
        waiters(&app, 1).await;
        app.stop.cancel();
    });
    let after = wait(&app, &started, "wait=60").await;
    for answer in [before, after] {
        assert_eq!((answer.status, &answer.json()["version"]), (StatusCode::OK, &json!(1)));
    }
    app.finish().await;
}

#[sqlx::test(migrator = "control::store::MIGRATIONS")]
async fn who_goes_away_leaves_nothing_behind(pool: PgPool) {
    let app = TestApp::start(pool).await;
    let started = app.start_connection().await;
    let mut waiting = Box::pin(wait(&app, &started, "wait=60"));
    tokio::select! {
        _ = &mut waiting => panic!("it did not wait"),
        () = waiters(&app, 1) => {}
    }
    drop(waiting);
    assert_eq!(*app.hub.waiters().borrow(), 0);
    app.finish().await;
}

/// The edge closes its connection when its client goes away.
#[sqlx::test(migrator = "control::store::MIGRATIONS")]
async fn a_connection_that_is_closed_ends_the_wait_of_its_caller(pool: PgPool) {
    let app = TestApp::start(pool).await;
    let started = app.start_connection().await;
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let address = listener.local_addr().unwrap();
    let service = app.router.clone().into_make_service();
    let serving = tokio::spawn(axum_server::from_tcp(listener).unwrap().serve(service));
    let target = format!("/tenants/acme{}?wait=60", path(&started));
    let request = app.request("GET", &target, &caller("acme", Action::Read)).body(()).unwrap();
    let mut head = format!("GET {target} HTTP/1.1\r\nhost: control\r\n");
    for (name, value) in request.headers() {
        head.extend([name.as_str(), ": ", value.to_str().unwrap(), "\r\n"]);
    }
    head.push_str("\r\n");
    let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
    stream.write_all(head.as_bytes()).await.unwrap();
    waiters(&app, 1).await;
    drop(stream);
    waiters(&app, 0).await;
    serving.abort();
    app.finish().await;
}

/// A test's pool has five connections.
#[sqlx::test(migrator = "control::store::MIGRATIONS")]
async fn a_hundred_wait_and_the_database_is_free(pool: PgPool) {
    let app = TestApp::start(pool).await;
    let started = app.start_connection().await;
    let body = json!({"sub": "user-1", "provider": "github"});
    let theirs = app.call("rival", "POST", "/connections", &body).await.json();
    let running = listen(&app).await;
    let query = |started: &Value| format!("{}?wait=60", path(started));
    let (ours, others) = (query(&started), query(&theirs));
    let wait = async |nth: usize| {
        let (tenant, path) = if nth < 50 { ("acme", &ours) } else { ("rival", &others) };
        app.call(tenant, "GET", path, &Value::Null).await
    };
    let waiting = in_time(join_all((0..100).map(wait)));
    let (answers, ()) = tokio::join!(waiting, async {
        waiters(&app, 100).await;
        delete(&app, &started).await;
        app.call("rival", "DELETE", &path(&theirs), &Value::Null).await;
    });
    assert!(answers.iter().all(|answer| answer.json()["version"] == 2));
    stop(&app, running).await;
    app.outbox.run_once().await.unwrap();
    app.finish().await;
}

#[sqlx::test(migrator = "control::store::MIGRATIONS")]
async fn who_finds_no_place_to_wait_is_told_when_to_come_back(pool: PgPool) {
    let app = TestApp::start(pool).await;
    let (started, _) = app.activate().await;
    let acme: TenantId = "acme".parse().unwrap();
    let id = started["connectionId"].as_str().unwrap().parse().unwrap();
    let taken: Vec<_> =
        (0..TENANT_WAITERS_MAX).map(|_| app.hub.enter(&acme, id).unwrap()).collect();
    let full = wait(&app, &started, "wait=30").await;
    assert_eq!(
        (full.status, full.code().as_str()),
        (StatusCode::SERVICE_UNAVAILABLE, "too_many_wait")
    );
    assert_eq!(full.headers["retry-after"], "3");
    // The others have places.
    let body = json!({"sub": "user-1", "provider": "github"});
    let theirs = app.call("rival", "POST", "/connections", &body).await.json();
    let others = format!("{}?wait=30", path(&theirs));
    let mut waiting = Box::pin(app.call("rival", "GET", &others, &Value::Null));
    tokio::select! {
        _ = &mut waiting => panic!("it did not wait"),
        () = waiters(&app, TENANT_WAITERS_MAX + 1) => {}
    }
    drop(waiting);
    // Who needs not wait needs no place.
    assert_eq!(wait(&app, &started, "wait=30&version=1").await.status, StatusCode::OK);
    assert_eq!(wait(&app, &started, "").await.status, StatusCode::OK);
    drop(taken);
    app.finish().await;
}

#[sqlx::test(migrator = "control::store::MIGRATIONS")]
async fn nobody_waits_for_another_tenants_connection(pool: PgPool) {
    let app = TestApp::start(pool).await;
    let started = app.start_connection().await;
    let theirs = format!("{}?wait=60", path(&started));
    let answer = app.call("rival", "GET", &theirs, &Value::Null).await;
    assert_eq!((answer.status, answer.code().as_str()), (StatusCode::NOT_FOUND, "not_found"));
    app.finish().await;
}

#[sqlx::test(migrator = "control::store::MIGRATIONS")]
async fn a_wait_that_cannot_be_is_told_how_to_mend_it(pool: PgPool) {
    let app = TestApp::start(pool).await;
    let started = app.start_connection().await;
    for (query, detail) in [
        ("wait=0", "wait must be a number of seconds from 1 to 60"),
        ("wait=61", "wait must be a number of seconds from 1 to 60"),
        ("wait=5&version=x", "version must be"),
        ("version=1", "together with wait"),
        ("wait=5&wait=5", "wait may be in the query once"),
        ("timeout=5", "unknown in the query: timeout; this call takes wait, version"),
    ] {
        let answer = wait(&app, &started, query).await;
        assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{query}");
        let problem = answer.json();
        assert_eq!(problem["code"], "invalid_request", "{query}");
        assert!(problem["detail"].as_str().unwrap().contains(detail), "{query}: {problem}");
    }
    app.finish().await;
}
