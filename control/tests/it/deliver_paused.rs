//! A destination that keeps failing is paused, probed and resumed; one that wants nothing is stopped.

use crate::{
    destination::{call, with_own_receiver},
    sending::{DELIVERED, REFUSED, claim, finished, seed, send_all},
    setup::Setup,
    support::TestApp,
};
use axum::http::{Method, StatusCode};
use chrono::TimeDelta;
use contract::id::TenantId;
use control::{
    domain::{
        audit::Actor,
        destination_health::Standing,
        outcome::{NoAnswer, Outcome},
    },
    store::Finished,
};
use serde_json::{Value, json};
use sqlx::PgPool;

const GONE: Outcome = Outcome::Refused { status: 410, retry_after: None };
const OURS: Outcome = Outcome::NoAnswer(NoAnswer::OurResolver);

fn acme() -> TenantId {
    "acme".parse().unwrap()
}

async fn standing(app: &TestApp) -> &'static str {
    let health = app.store.destination_health(&acme()).await.unwrap();
    health.map_or("never tried", |health| health.standing.as_str())
}

async fn trail(app: &TestApp) -> Vec<(String, String)> {
    sqlx::query_as(
        "SELECT action, actor FROM audit_events WHERE action LIKE 'destination.%' ORDER BY at",
    )
    .fetch_all(&app.pool)
    .await
    .unwrap()
}

/// Seeds twelve deliveries, and lets them fail until the destination is paused.
async fn paused(app: &TestApp) {
    seed(app, "acme", 12).await;
    assert_eq!(send_all(app, REFUSED).await, 12);
    assert_eq!(standing(app).await, "active", "twelve that fail together are one accident");
    app.advance(301);
    let claimed = claim(app).await;
    let finished: Vec<_> = claimed.iter().map(|it| finished(app, it, REFUSED)).collect();
    app.store.record_tries(&finished, 0.0).await.unwrap();
    assert_eq!(standing(app).await, "paused");
}

#[sqlx::test(migrator = "control::store::MIGRATIONS")]
async fn a_destination_that_keeps_failing_is_sent_one_probe_at_a_time(pool: PgPool) {
    let app = TestApp::start(pool).await;
    paused(&app).await;
    let tries = app.count("SELECT sum(tries)::bigint FROM deliveries").await;
    // All are due by now, and none is claimed before its probe is.
    app.advance(29);
    assert_eq!(claim(&app).await.len(), 0);
    app.advance(1);
    let probes = claim(&app).await;
    assert_eq!(probes.iter().map(|it| it.is_probe).collect::<Vec<_>>(), [true]);
    assert_eq!(claim(&app).await.len(), 0, "nobody has another one meanwhile");
    // It fails, and the next is one minute away.
    app.store.record_tries(&[finished(&app, &probes[0], REFUSED)], 0.0).await.unwrap();
    app.advance(59);
    assert_eq!(claim(&app).await.len(), 0);
    app.advance(1);
    let probes = claim(&app).await;
    assert_eq!(probes.len(), 1);
    let now = app.count("SELECT sum(tries)::bigint FROM deliveries").await;
    assert_eq!(now - tries, 1, "the others have lost no try");
    // A fault of ours says nothing: the wait is the same again.
    app.store.record_tries(&[finished(&app, &probes[0], OURS)], 0.0).await.unwrap();
    let health = app.store.destination_health(&acme()).await.unwrap().unwrap();
    let probe_at = app.clock.now() + TimeDelta::seconds(60);
    assert_eq!(health.standing, Standing::Paused { probe_at, probes: 1 });
    assert_eq!(health.reason.as_deref(), Some("refused"));
    app.advance(60);
    // The first that is taken resumes it, and all others that are due go: not the four that failed before the
    // pause, and not the first probe, which wait for five minutes.
    let before = app.tries();
    app.outbox.run_once().await.unwrap();
    assert_eq!((app.tries() - before, standing(&app).await), (12 - 4 - 1, "active"));
    // But then those go, too: why they wait is over.
    app.outbox.run_once().await.unwrap();
    assert_eq!(app.tries() - before, 12);
    let service = |action: &str| (action.to_owned(), "service".to_owned());
    assert_eq!(trail(&app).await, [service("destination.paused"), service("destination.resumed")]);
    app.finish().await;
}

#[sqlx::test(migrator = "control::store::MIGRATIONS")]
async fn a_probe_whose_worker_died_is_followed_by_another(pool: PgPool) {
    let app = TestApp::start(pool).await;
    paused(&app).await;
    app.advance(30);
    assert_eq!(claim(&app).await.len(), 1);
    app.advance(24);
    assert_eq!(claim(&app).await.len(), 0);
    app.advance(1);
    assert_eq!(claim(&app).await.len(), 1);
    app.abandon();
}

#[sqlx::test(migrator = "control::store::MIGRATIONS")]
async fn two_replicas_send_one_probe(pool: PgPool) {
    let app = TestApp::start(pool).await;
    paused(&app).await;
    app.advance(30);
    let (one, other) = tokio::join!(claim(&app), claim(&app));
    assert_eq!(one.len() + other.len(), 1);
    app.abandon();
}

#[sqlx::test(migrator = "control::store::MIGRATIONS")]
async fn another_tenants_destination_is_not_paused_with_it(pool: PgPool) {
    let app = TestApp::start(pool).await;
    paused(&app).await;
    seed(&app, "rival", 2).await;
    assert_eq!(send_all(&app, DELIVERED).await, 2);
    let rival = "rival".parse().unwrap();
    let health = app.store.destination_health(&rival).await.unwrap().unwrap();
    assert_eq!(health.standing, Standing::Active);
    app.abandon();
}

#[sqlx::test(migrator = "control::store::MIGRATIONS")]
async fn a_destination_that_is_gone_is_sent_nothing_until_it_is_put_again(pool: PgPool) {
    let app = TestApp::start(pool).await;
    app.receiver_answers(&[410]);
    let (_, _) = app.activate().await;
    assert_eq!(standing(&app).await, "stopped");
    let (_, _) = app.activate().await;
    app.advance(30 * 24 * 3600);
    app.outbox.run_once().await.unwrap();
    assert_eq!((app.tries(), app.notified()), (1, vec![]));
    let rival = "rival".parse().unwrap();
    let app_of =
        |tenant: &str| Actor::Principal(format!("spiffe://{tenant}.example/app").parse().unwrap());
    let now = app.clock.now();
    assert!(!app.store.restart_destination(&rival, &app_of("rival"), None, now).await.unwrap());
    assert_eq!(standing(&app).await, "stopped");
    assert!(app.store.restart_destination(&acme(), &app_of("acme"), None, now).await.unwrap());
    assert!(!app.store.restart_destination(&acme(), &app_of("acme"), None, now).await.unwrap());
    app.outbox.run_once().await.unwrap();
    assert_eq!(app.notified_types(), ["connection.activated", "connection.activated"]);
    assert_eq!(
        trail(&app).await,
        [
            ("destination.stopped".to_owned(), "service".to_owned()),
            ("destination.restarted".to_owned(), "spiffe://acme.example/app".to_owned())
        ]
    );
    app.finish().await;
}

#[sqlx::test(migrator = "control::store::MIGRATIONS")]
async fn who_has_no_destination_of_his_own_starts_the_operators_again_by_removing_it(pool: PgPool) {
    // Nobody needs a key for it.
    let app = TestApp::start_as(pool, Setup { has_data_key: false, ..Setup::default() }).await;
    app.receiver_answers(&[410]);
    app.activate().await;
    assert_eq!(standing(&app).await, "stopped");
    call(&app, "rival", Method::DELETE, &Value::Null).await;
    assert_eq!(standing(&app).await, "stopped");
    app.activate().await;
    for _ in 0..2 {
        let answer = call(&app, "acme", Method::DELETE, &Value::Null).await;
        assert_eq!((answer.status, standing(&app).await), (StatusCode::NO_CONTENT, "active"));
    }
    app.advance(3600);
    app.outbox.run_once().await.unwrap();
    assert_eq!(app.notified_types(), ["connection.activated", "connection.activated"]);
    let restarted = ("destination.restarted".to_owned(), "spiffe://acme.example/app".to_owned());
    assert_eq!(trail(&app).await[1..], [restarted], "once, and nothing was removed");
    app.finish().await;
}

#[sqlx::test(migrator = "control::store::MIGRATIONS")]
async fn a_try_at_the_old_address_says_nothing_of_the_new_one(pool: PgPool) {
    let app = TestApp::start(pool).await;
    let put = async || {
        let body = json!({"url": "https://app.example/"});
        assert_eq!(call(&app, "acme", Method::PUT, &body).await.status, StatusCode::OK);
    };
    seed(&app, "acme", 4).await;
    let claimed = claim(&app).await;
    let at_version = |version: i64, at: usize, outcome: Outcome| {
        [Finished { destination: version, ..finished(&app, &claimed[at], outcome) }]
    };
    // The operator's, while the first of its own is put; that one, while the next is; and the operator's again.
    for (at, version, outcome) in [(0, 0, GONE), (1, 1, GONE), (2, 0, REFUSED)] {
        put().await;
        let ended = at_version(version, at, outcome);
        let recorded = app.store.record_tries(&ended, 0.0).await.unwrap();
        assert_eq!((recorded.deliveries.len(), recorded.turns.len()), (1, 0), "{version}");
    }
    assert_eq!(standing(&app).await, "active");
    assert_eq!(app.count("SELECT failures::bigint FROM destination_health").await, 0);
    // The one that is there may stop.
    app.store.record_tries(&at_version(3, 3, GONE), 0.0).await.unwrap();
    assert_eq!(standing(&app).await, "stopped");
    app.abandon();
}

#[sqlx::test(migrator = "control::store::MIGRATIONS")]
async fn what_failed_before_a_destination_was_put_is_forgotten(pool: PgPool) {
    let app = TestApp::start(pool).await;
    seed(&app, "acme", 4).await;
    assert_eq!(send_all(&app, REFUSED).await, 4);
    assert_eq!(app.count("SELECT failures::bigint FROM destination_health").await, 4);
    call(&app, "acme", Method::DELETE, &Value::Null).await;
    assert_eq!(app.count("SELECT failures::bigint FROM destination_health").await, 0);
    assert_eq!(trail(&app).await, [], "it was active, and is");
    app.abandon();
}

#[sqlx::test(migrator = "control::store::MIGRATIONS")]
async fn a_tenants_own_destination_that_is_gone_stops(pool: PgPool) {
    let (app, own, url) = with_own_receiver(pool).await;
    let shown = call(&app, "acme", Method::PUT, &json!({ "url": url })).await.json();
    own.lock().unwrap().secret = shown["secrets"][0].as_str().map(str::to_owned);
    own.lock().unwrap().answers = vec![410];
    app.activate().await;
    assert_eq!(standing(&app).await, "stopped");
    app.abandon();
}

#[sqlx::test(migrator = "control::store::MIGRATIONS")]
async fn a_receiver_may_ask_to_be_tried_later_or_sooner(pool: PgPool) {
    let app = TestApp::start(pool).await;
    // Seconds, a date ten seconds after the second try, and what is no time.
    for (wait, second) in [("60", 60), ("date", 10), ("soon", 1800)] {
        let in_ten = app.clock.now() + TimeDelta::seconds(10);
        let date = in_ten.format("%a, %d %b %Y %H:%M:%S GMT").to_string();
        let asked = if wait == "date" { date } else { wait.to_owned() };
        app.receiver().retry_after = Some(asked);
        app.receiver_answers(&[503]);
        if app.tries() == 0 {
            app.activate().await;
        } else {
            app.outbox.run_once().await.unwrap();
        }
        let tries = app.tries();
        app.advance(second - 1);
        app.outbox.run_once().await.unwrap();
        assert_eq!(app.tries(), tries, "{wait}");
        // With the most jitter that there can be.
        app.advance(1 + second / 5);
    }
    app.outbox.run_once().await.unwrap();
    assert_eq!(app.notified_types(), ["connection.activated"]);
    app.finish().await;
}

#[sqlx::test(migrator = "control::store::MIGRATIONS")]
async fn a_fault_of_ours_uses_no_try_and_ends_after_three_days(pool: PgPool) {
    let app = TestApp::start(pool).await;
    seed(&app, "acme", 1).await;
    assert_eq!(send_all(&app, REFUSED).await, 1);
    app.advance(5);
    let mut faults = 0;
    // Every five minutes for three days, from the first on.
    while app.count("SELECT count(*) FROM deliveries WHERE status = 'ready'").await == 1 {
        faults += send_all(&app, OURS).await;
        assert!(faults < 1000);
        app.advance(300);
    }
    assert_eq!(faults, 1 + 3 * 24 * 12);
    let found: (String, i32, i32) =
        sqlx::query_as("SELECT status, tries, our_faults FROM deliveries")
            .fetch_one(&app.pool)
            .await
            .unwrap();
    assert_eq!(found, ("exhausted".to_owned(), 1, 865));
    let faults =
        "SELECT count(*) FROM delivery_attempts WHERE fault = 'ours' AND outcome = 'our_resolver'";
    assert_eq!(app.count(faults).await, 865);
    assert_eq!(app.count("SELECT max(try)::bigint FROM delivery_attempts").await, 866);
    assert_eq!(
        app.count("SELECT failures::bigint FROM destination_health").await,
        1,
        "nor counts it"
    );
    app.finish().await;
}
