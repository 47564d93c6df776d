//! Nango is never asked more than it takes, nor while it is ill, and nobody waits for it in vain.

use crate::{
    setup::Setup,
    support::{Answer, TestApp},
};
use axum::http::StatusCode;
use nango_stand_in::Trouble;
use serde_json::{Value, json};
use sqlx::PgPool;
use std::{collections::VecDeque, time::Duration};

/// As Nango's smallest plan.
fn limited() -> Setup {
    Setup { calls_per_minute: 200, ..Setup::default() }
}

/// How many may be started at once, of the 100 a minute that starts have.
const AT_ONCE: usize = 25;

async fn start(app: &TestApp) -> Answer {
    let body = json!({"sub": "user-1", "provider": "github"});
    app.call("acme", "POST", "/connections", &body).await
}

async fn start_all_that_may(app: &TestApp) -> Vec<Value> {
    let mut started = Vec::new();
    loop {
        let answer = start(app).await;
        if answer.status != StatusCode::CREATED {
            return started;
        }
        started.push(answer.json());
    }
}

fn retry_after(answer: &Answer) -> i64 {
    answer.headers["retry-after"].to_str().unwrap().parse().unwrap()
}

#[track_caller]
fn check_refused(answer: &Answer, code: &str) {
    let refused = (answer.status, answer.code());
    assert_eq!(refused, (StatusCode::SERVICE_UNAVAILABLE, code.to_owned()));
    assert!(retry_after(answer) >= 1);
}

#[sqlx::test(migrator = "control::store::MIGRATIONS")]
async fn starts_beyond_the_budget_are_told_when_to_come_back_and_change_nothing(pool: PgPool) {
    let app = TestApp::start_as(pool, limited()).await;
    assert_eq!(start_all_that_may(&app).await.len(), AT_ONCE);
    let calls = app.nango.api_calls();
    let mut waits = Vec::new();
    for _ in 0..50 {
        let refused = start(&app).await;
        check_refused(&refused, "vault_busy");
        waits.push(retry_after(&refused));
    }
    assert_eq!(app.nango.api_calls(), calls, "Nango hears nothing of them");
    let rows = i64::try_from(AT_ONCE).unwrap();
    assert_eq!(app.count("SELECT count(*) FROM connections").await, rows);
    assert_eq!(app.count("SELECT count(*) FROM audit_events").await, rows);
    assert!(waits[0] <= 3 && waits[49] >= 43, "the more there are, the later each: {waits:?}");
    app.advance(1);
    assert_eq!(start_all_that_may(&app).await.len(), 1, "and one comes in each 867 ms");
    app.finish().await;
}

#[sqlx::test(migrator = "control::store::MIGRATIONS")]
async fn two_replicas_share_one_budget(pool: PgPool) {
    let mut app = TestApp::start_as(pool, limited()).await;
    let (mut other, _) = app.other();
    let mut started = 0;
    for _ in 0..4 * AT_ONCE {
        started += usize::from(start(&app).await.status == StatusCode::CREATED);
        std::mem::swap(&mut app.router, &mut other);
    }
    assert_eq!(started, AT_ONCE);
    assert_eq!(app.nango.api_calls(), started);
    app.finish().await;
}

#[sqlx::test(migrator = "control::store::MIGRATIONS")]
async fn confirmations_go_on_while_starts_are_refused(pool: PgPool) {
    let app = TestApp::start_as(pool, limited()).await;
    let started = start_all_that_may(&app).await;
    let nango_id = app.authorize(&started[0]).await;
    app.say_created(&started[0], &nango_id).await;
    check_refused(&start(&app).await, "vault_busy");
    app.outbox.run_once().await.unwrap();
    assert_eq!(app.notified_types(), ["connection.activated"]);
    app.finish().await;
}

#[sqlx::test(migrator = "control::store::MIGRATIONS")]
async fn deletions_beyond_the_budget_are_done_later_and_none_has_failed(pool: PgPool) {
    let app = TestApp::start_as(pool, limited()).await;
    let started = start_all_that_may(&app).await;
    for connection in &started {
        let path = format!("/connections/{}", connection["connectionId"].as_str().unwrap());
        app.call("acme", "DELETE", &path, &json!(null)).await;
    }
    app.outbox.run_once().await.unwrap();
    let deleted = "SELECT count(*) FROM connections WHERE status = 'deleted'";
    // A deletion takes two calls out, and needs one to see that there is nothing.
    assert_eq!(app.count(deleted).await, 3);
    for _ in 0..300 {
        app.advance(1);
        app.outbox.run_once().await.unwrap();
    }
    assert_eq!(app.count(deleted).await, i64::try_from(started.len()).unwrap());
    assert_eq!(app.count("SELECT coalesce(max(failures), 0)::bigint FROM jobs").await, 0);
    // Each is looked at twice more; in the end nothing is left to do.
    while app.count("SELECT count(*) FROM jobs WHERE done_at IS NULL").await > 0 {
        app.advance(20);
        app.outbox.run_once().await.unwrap();
    }
    app.finish().await;
}

#[sqlx::test(migrator = "control::store::MIGRATIONS")]
async fn without_its_database_nobody_says_what_is_left_and_nango_is_not_asked(pool: PgPool) {
    let app = TestApp::start(pool.clone()).await;
    pool.close().await;
    check_refused(&start(&app).await, "unavailable");
    assert_eq!(app.nango.api_calls(), 0);
    app.abandon();
}

#[sqlx::test(migrator = "control::store::MIGRATIONS")]
async fn a_nango_that_fails_is_left_alone_and_then_asked_by_one(pool: PgPool) {
    let app = TestApp::start(pool).await;
    app.nango.make_trouble(Trouble::Failing);
    for _ in 0..20 {
        check_refused(&start(&app).await, "vault_unavailable");
    }
    assert_eq!(app.nango.api_calls(), 5, "a start is not repeated, and five failures are enough");
    app.advance(9);
    check_refused(&start(&app).await, "vault_unavailable");
    assert_eq!(app.nango.api_calls(), 5);
    app.advance(1);
    let asked = futures::future::join_all((0..10).map(|_| start(&app))).await;
    for answer in asked {
        check_refused(&answer, "vault_unavailable");
    }
    assert_eq!(app.nango.api_calls(), 6, "one finds out for all");
    app.nango.make_trouble(Trouble::None);
    check_refused(&start(&app).await, "vault_unavailable");
    app.advance(20);
    assert_eq!(start(&app).await.status, StatusCode::CREATED);
    assert_eq!(start(&app).await.status, StatusCode::CREATED);
    app.finish().await;
}

#[sqlx::test(migrator = "control::store::MIGRATIONS")]
async fn a_nango_that_hangs_is_left_alone(pool: PgPool) {
    let call_timeout = Duration::from_secs(1);
    let app = TestApp::start_as(pool, Setup { call_timeout, ..Setup::default() }).await;
    app.nango.make_trouble(Trouble::Hanging);
    let asked = futures::future::join_all((0..5).map(|_| start(&app))).await;
    for answer in asked {
        check_refused(&answer, "vault_unavailable");
    }
    let calls = app.nango.api_calls();
    check_refused(&start(&app).await, "vault_unavailable");
    assert_eq!(app.nango.api_calls(), calls);
    app.nango.make_trouble(Trouble::None);
    app.advance(10);
    assert_eq!(start(&app).await.status, StatusCode::CREATED);
    app.finish().await;
}

#[sqlx::test(migrator = "control::store::MIGRATIONS")]
async fn a_nango_that_says_429_is_left_alone_for_as_long_as_it_says(pool: PgPool) {
    let app = TestApp::start(pool).await;
    app.nango.fail_next(1, Trouble::RateLimitedFor(50));
    let limited = start(&app).await;
    check_refused(&limited, "vault_unavailable");
    assert!((50..=60).contains(&retry_after(&limited)), "{}", retry_after(&limited));
    app.advance(49);
    check_refused(&start(&app).await, "vault_unavailable");
    assert_eq!(app.nango.api_calls(), 1);
    app.advance(11);
    assert_eq!(start(&app).await.status, StatusCode::CREATED);
    app.nango.fail_next(1, Trouble::RateLimitedFor(0));
    let limited = start(&app).await;
    assert!((1..=2).contains(&retry_after(&limited)), "0 is a part of a second");
    app.advance(2);
    assert_eq!(start(&app).await.status, StatusCode::CREATED);
    app.finish().await;
}

#[sqlx::test(migrator = "control::store::MIGRATIONS")]
async fn work_that_waits_for_an_ill_nango_loses_nothing_and_has_not_failed(pool: PgPool) {
    let app = TestApp::start(pool).await;
    for trouble in [Trouble::Failing, Trouble::RateLimitedFor(30)] {
        let (doomed, _) = app.activate().await;
        let started = app.start_connection().await;
        let nango_id = app.authorize(&started).await;
        app.nango.make_trouble(trouble);
        for _ in 0..5 {
            check_refused(&start(&app).await, "vault_unavailable");
        }
        app.say_created(&started, &nango_id).await;
        let path = format!("/connections/{}", doomed["connectionId"].as_str().unwrap());
        app.call("acme", "DELETE", &path, &json!(null)).await;
        let calls = app.nango.api_calls();
        app.outbox.run_once().await.unwrap();
        assert_eq!(app.nango.api_calls(), calls, "it is left alone by everybody");
        for query in
            ["SELECT max(failures)::bigint FROM receipts", "SELECT max(failures)::bigint FROM jobs"]
        {
            assert_eq!(app.count(query).await, 0, "{query}");
        }
        app.nango.make_trouble(Trouble::None);
        app.advance(45);
        app.outbox.run_once().await.unwrap();
        app.advance(2);
        app.outbox.run_once().await.unwrap();
        assert_eq!(app.get(started["connectionId"].as_str().unwrap()).await["status"], "active");
        assert_eq!(app.get(doomed["connectionId"].as_str().unwrap()).await["status"], "deleted");
    }
    app.finish().await;
}

#[sqlx::test(migrator = "control::store::MIGRATIONS")]
async fn what_may_be_asked_twice_is_asked_again_at_once(pool: PgPool) {
    let app = TestApp::start(pool).await;
    let started = app.start_connection().await;
    let nango_id = app.authorize(&started).await;
    app.say_created(&started, &nango_id).await;
    app.nango.fail_next(2, Trouble::Unavailable);
    app.outbox.run_once().await.unwrap();
    assert_eq!(app.notified_types(), ["connection.activated"]);
    assert_eq!(app.count("SELECT max(failures)::bigint FROM receipts").await, 0);
    // A session that may have been opened is not opened again.
    app.nango.fail_next(1, Trouble::Unavailable);
    let calls = app.nango.api_calls();
    check_refused(&start(&app).await, "vault_unavailable");
    assert_eq!(app.nango.api_calls(), calls + 1);
    app.finish().await;
}

/// One of many who want to connect.
struct User {
    comes_at: i64,
    started: Option<Value>,
}

#[sqlx::test(migrator = "control::store::MIGRATIONS")]
async fn five_hundred_users_within_a_minute_are_all_connected_in_their_turn(pool: PgPool) {
    const USERS: usize = 500;
    let app = TestApp::start_as(pool, limited()).await;
    let mut users: Vec<User> = (0..USERS)
        .map(|user| User { comes_at: i64::try_from(user * 60 / USERS).unwrap(), started: None })
        .collect();
    // When how many calls had been made.
    let mut calls = VecDeque::new();
    let (mut second, mut refused, mut longest) = (0, 0, 0);
    let active = "SELECT count(*) FROM connections WHERE status = 'active'";
    while app.count(active).await < i64::try_from(USERS).unwrap() {
        assert!(second < 30 * 60, "{} are active", app.count(active).await);
        let waiting = users.iter_mut().filter(|user| user.started.is_none());
        for user in waiting.filter(|user| user.comes_at <= second) {
            let answer = start(&app).await;
            if answer.status == StatusCode::CREATED {
                let started = answer.json();
                let nango_id = app.authorize(&started).await;
                app.say_created(&started, &nango_id).await;
                user.started = Some(started);
            } else {
                check_refused(&answer, "vault_busy");
                refused += 1;
                longest = longest.max(retry_after(&answer));
                user.comes_at = second + retry_after(&answer);
            }
        }
        app.outbox.run_once().await.unwrap();
        let made = app.nango.api_calls();
        calls.push_back((second, made));
        while calls.front().is_some_and(|&(then, _)| then <= second - 60) {
            let (_, before) = calls.pop_front().unwrap();
            assert!(made - before <= 200, "{} in the minute until {second}", made - before);
        }
        let step = if second < 60 { 1 } else { 3 };
        app.advance(step);
        second += step;
    }
    // What was confirmed together with others still has its receipt, which comes due in its turn.
    for _ in 0..100 {
        app.advance(6);
        app.outbox.run_once().await.unwrap();
    }
    assert!(users.iter().all(|user| user.started.is_some()));
    assert!(refused < 3 * USERS, "they come back in their turn, and not to be refused: {refused}");
    assert!(longest <= 10 * 60, "{longest}");
    assert_eq!(app.count("SELECT max(failures)::bigint FROM receipts").await, 0);
    let activated = app.notified_types().into_iter().filter(|it| it == "connection.activated");
    assert_eq!(activated.count(), USERS);
    app.finish().await;
}
