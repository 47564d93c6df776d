//! A destination that keeps failing is paused, probed and resumed; one that wants nothing is stopped.

use crate::{
    sending::{DELIVERED, REFUSED, claim, finished, seed, send_all},
    support::TestApp,
};
use chrono::TimeDelta;
use contract::id::TenantId;
use control::domain::{
    audit::Actor,
    destination_health::Standing,
    outcome::{NoAnswer, Outcome},
};
use sqlx::PgPool;

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
    let service = |action: &str| (action.to_owned(), "service".to_owned());
    assert_eq!(trail(&app).await, [service("destination.paused"), service("destination.resumed")]);
    app.advance(3600);
    app.outbox.run_once().await.unwrap();
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
