//! What is counted, and that nobody outside can make a series of his own.

use crate::{
    support::{TestApp, caller, nobody},
    trust::{Ca, Files},
};
use axum::{
    body::Body,
    http::{Request, StatusCode},
};
use chrono::TimeDelta;
use contract::action::Action;
use control::{
    clock::Clock,
    http::{Probed, admin_router},
    hub::Hub,
    metrics::Metrics,
    mint::Mint,
    readiness::Readiness,
    sampler::Sampler,
    store::Store,
    tls::{Look, Watched},
};
use nango_stand_in::Trouble;
use sqlx::PgPool;
use std::{fs, sync::Arc};
use tokio_util::sync::CancellationToken;
use tower::ServiceExt as _;

fn sampler(app: &TestApp, identity: Option<Arc<Watched>>) -> Sampler {
    Sampler {
        store: app.outbox.store.clone(),
        hub: app.hub.clone(),
        clock: app.clock.clone(),
        metrics: app.outbox.metrics.clone(),
        calls_per_minute: "200".parse().unwrap(),
        identity,
        readiness: Readiness::new(app.outbox.store.clone(), &app.outbox.mint)
            .kept_for(TimeDelta::zero()),
    }
}

/// The value of a series, as it is written.
fn value(text: &str, series: &str) -> Option<f64> {
    let line = text.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '))?;
    Some(line.parse().unwrap())
}

#[sqlx::test(migrator = "control::store::MIGRATIONS")]
async fn a_request_is_counted_by_its_template_and_nobody_can_make_a_series(pool: PgPool) {
    let app = TestApp::start(pool).await;
    let started = app.start_connection().await;
    let id = started["connectionId"].as_str().unwrap().to_owned();
    app.get(&id).await;
    let path = format!("/tenants/acme/connections/{id}?wait=1&version=0");
    let waited = app.send("GET", &path, &caller("acme", Action::Read), Body::empty()).await;
    assert_eq!(waited.status, StatusCode::OK);
    for (method, path) in [
        ("GET", "/canary-path?wait=9"),
        ("CANARY", "/health"),
        ("GET", "/oauth/callback?wait=canary&state=canary"),
    ] {
        app.send(method, path, &nobody(), Body::empty()).await;
    }
    let text = sampler(&app, None).scraped();
    let count = |route: &str, method: &str, status: &str| {
        value(
            &text,
            &format!(
                r#"connections_http_request_seconds_count{{route="{route}",method="{method}",status="{status}"}}"#
            ),
        )
    };
    let one = "/tenants/{tenant}/connections/{id}";
    for (route, method, status) in [
        ("/tenants/{tenant}/connections", "POST", "2xx"),
        (one, "GET", "2xx"),
        (&format!("{one}?wait"), "GET", "2xx"),
        ("none", "GET", "4xx"),
        ("/health", "other", "4xx"),
    ] {
        assert_eq!(count(route, method, status), Some(1.0), "{route} {method}\n{text}");
    }
    let refused =
        |code: &str| value(&text, &format!(r#"connections_http_refusals_total{{code="{code}"}}"#));
    let codes = ["no_route", "method_not_allowed", "vault_busy"];
    assert_eq!(codes.map(refused), [Some(1.0), Some(1.0), Some(0.0)], "{text}");
    for word in ["canary", "CANARY", "acme", "user-1", &id] {
        assert!(!text.contains(word), "{word} is in:\n{text}");
    }
    assert_eq!(value(&text, "connections_http_requests_in_flight"), Some(0.0));
    app.finish().await;
}

#[sqlx::test(migrator = "control::store::MIGRATIONS")]
async fn a_life_leaves_its_counts_behind(pool: PgPool) {
    let app = TestApp::start(pool).await;
    let (started, nango_id) = app.activate().await;
    app.say_created(&started, &nango_id).await;
    app.outbox.run_once().await.unwrap();
    app.outbox.sweep().await.unwrap();
    app.advance(9);
    let sampler = sampler(&app, None);
    sampler.look().await;
    sampler.count().await;
    let text = sampler.scraped();
    for (series, expected) in [
        (r#"connections_by_status{status="active"}"#, 1.0),
        (r#"connections_by_status{status="pending"}"#, 0.0),
        (r#"connections_changes_total{status="active"}"#, 1.0),
        (r#"connections_receipts_total{outcome="confirmed"}"#, 1.0),
        (r#"connections_receipts_total{outcome="nothing_new"}"#, 1.0),
        (r#"connections_nango_calls_total{call="session",outcome="taken"}"#, 1.0),
        (r#"connections_nango_calls_total{call="page",outcome="taken"}"#, 1.0),
        (r#"connections_nango_calls_total{call="session",outcome="refused"}"#, 0.0),
        (r#"connections_nango_call_seconds_count{call="session"}"#, 1.0),
        ("connections_sweep_age_seconds", 9.0),
        ("connections_sweep_rows_total", 1.0),
        (r#"connections_sweep_drift_total{kind="changed"}"#, 0.0),
        ("connections_backlog_age_seconds", 0.0),
        ("connections_nango_breaker_open", 0.0),
        (r#"connections_nango_budget_calls_max{class="start"}"#, 25.0),
        ("connections_ready", 1.0),
        ("connections_waiters_max", 512.0),
    ] {
        assert_eq!(value(&text, series), Some(expected), "{series} in\n{text}");
    }
    app.finish().await;
}

#[sqlx::test(migrator = "control::store::MIGRATIONS")]
async fn trouble_shows_where_it_is(pool: PgPool) {
    let app = TestApp::start(pool).await;
    let started = app.start_connection().await;
    let nango_id = app.authorize(&started).await;
    app.say_created(&started, &nango_id).await;
    app.nango.make_trouble(Trouble::Unavailable);
    for _ in 0..6 {
        app.outbox.run_once().await.unwrap();
        app.advance(3);
    }
    app.advance(70);
    let sampler = sampler(&app, None);
    sampler.look().await;
    let text = sampler.scraped();
    assert_eq!(value(&text, "connections_nango_breaker_open"), Some(1.0), "{text}");
    let of = |series: &str| value(&text, series).unwrap();
    assert!(of(r#"connections_nango_calls_total{call="look_up",outcome="unanswered"}"#) >= 5.0);
    assert!(of(r#"connections_nango_retries_total{call="look_up"}"#) >= 1.0);
    assert!(of(r#"connections_nango_not_asked_total{call="look_up",why="left_alone"}"#) >= 1.0);
    assert!(of("connections_backlog_age_seconds") >= 60.0, "{text}");
    let oldest = r#"connections_backlog_oldest_seconds{kind="receipts"}"#;
    assert_eq!(value(&text, "connections_backlog_age_seconds"), value(&text, oldest));
    app.nango.make_trouble(Trouble::None);
    app.advance(60);
    app.outbox.run_once().await.unwrap();
    sampler.look().await;
    let text = sampler.scraped();
    assert_eq!(value(&text, "connections_nango_breaker_open"), Some(0.0));
    assert_eq!(value(&text, "connections_backlog_age_seconds"), Some(0.0));
    app.finish().await;
}

#[sqlx::test(migrator = "control::store::MIGRATIONS")]
async fn what_nobody_took_is_counted_by_why_it_was_given_up(pool: PgPool) {
    let mut app = TestApp::start(pool).await;
    app.outbox.schedule = "1s".parse().unwrap();
    app.receiver_answers(&[500, 500, 410]);
    app.activate().await;
    let given_up = || {
        let text = sampler(&app, None).scraped();
        ["tries", "our_fault", "age"].map(|why| {
            let series = format!(r#"connections_deliveries_given_up_total{{why="{why}"}}"#);
            value(&text, &series)
        })
    };
    assert_eq!(given_up(), [0.0, 0.0, 0.0].map(Some), "it is tried again");
    app.advance(2);
    app.outbox.run_once().await.unwrap();
    assert_eq!(given_up(), [1.0, 0.0, 0.0].map(Some));
    // The next one is answered that nothing is wanted any more.
    app.activate().await;
    app.outbox.seal_once().await.unwrap();
    app.advance(30 * 86_400);
    assert_eq!(given_up(), [1.0, 0.0, 0.0].map(Some));
    app.outbox.forget_once().await.unwrap();
    assert_eq!(given_up(), [1.0, 0.0, 1.0].map(Some));
    app.finish().await;
}

#[sqlx::test(migrator = "control::store::MIGRATIONS")]
async fn a_connection_that_the_list_has_not_is_drift(pool: PgPool) {
    let app = TestApp::start(pool).await;
    let (_started, nango_id) = app.activate().await;
    app.outbox.sweep().await.unwrap();
    assert!(app.nango.delete_behind_back(&nango_id));
    app.advance(121);
    app.outbox.sweep().await.unwrap();
    let text = app.outbox.metrics.text();
    assert_eq!(
        value(&text, r#"connections_sweep_drift_total{kind="missing"}"#),
        Some(1.0),
        "{text}"
    );
    app.abandon();
}

#[sqlx::test(migrator = "control::store::MIGRATIONS")]
async fn a_database_that_is_away_is_not_ready_and_a_scrape_still_answers(pool: PgPool) {
    let clock = Clock::system();
    let metrics = Metrics::new(clock.clone());
    let store = Store::with_pool(pool.clone(), Mint::new(clock.clone())).measured(metrics.clone());
    let stop = CancellationToken::new();
    let sampler = Sampler {
        store: store.clone(),
        hub: Hub::new(stop.clone()),
        clock: clock.clone(),
        metrics,
        calls_per_minute: "200".parse().unwrap(),
        identity: None,
        readiness: Readiness::new(store.clone(), &Mint::new(clock.clone()))
            .kept_for(TimeDelta::zero()),
    };
    let app = TestApp::start(pool.clone()).await;
    sampler.look().await;
    assert_eq!(value(&sampler.scraped(), "connections_ready"), Some(1.0));
    pool.close().await;
    sampler.look().await;
    sampler.count().await;
    let nango = Arc::clone(&app.outbox.nango);
    let probed = Probed { store, nango, clock, identity: None, sampler, stop };
    let request = Request::get("/metrics").body(Body::empty()).unwrap();
    let answer = admin_router(probed).oneshot(request).await.unwrap();
    assert_eq!(answer.status(), StatusCode::OK);
    let kind = answer.headers()["content-type"].to_str().unwrap();
    assert!(kind.starts_with("application/openmetrics-text"), "{kind}");
    let body = axum::body::to_bytes(answer.into_body(), usize::MAX).await.unwrap();
    let text = String::from_utf8(body.to_vec()).unwrap();
    assert_eq!(value(&text, "connections_ready"), Some(0.0));
    assert_eq!(value(&text, "connections_sample_failures_total"), Some(2.0));
    assert!(value(&text, "process_resident_memory_bytes").unwrap() > 1e6);
    assert!(text.ends_with("# EOF\n"));
    app.abandon();
}

/// A new certificate beside the old key must not look like one that was renewed: the old one serves on, and ends.
#[sqlx::test(migrator = "control::store::MIGRATIONS")]
async fn the_certificate_in_use_says_when_it_ends_whatever_the_files_say(pool: PgPool) {
    let app = TestApp::start(pool).await;
    let (ca, files) = (Ca::new("ca.example"), Files::new());
    files.write(&ca, &ca.leaf("control.example", -1, 30));
    let identity = Arc::new(Watched::open(files.files.clone()).unwrap());
    let sampler = sampler(&app, Some(Arc::clone(&identity)));
    let today = Clock::system().now().timestamp();
    // Whole days from today until the first of what is in use ends, and whether the files can be used.
    let shown = async || {
        sampler.look().await;
        let text = sampler.scraped();
        let days = ["identity", "ca"].map(|which| {
            let name = "connections_certificate_not_after_timestamp_seconds";
            let end = value(&text, &format!(r#"{name}{{certificate="{which}"}}"#)).unwrap();
            ((end - f64::from(i32::try_from(today).unwrap())) / 86400.0).round()
        });
        (days, value(&text, "connections_certificate_files_unusable").unwrap())
    };
    assert_eq!(shown().await, ([30.0, 80.0], 0.0));
    let (certificate, key) = ca.leaf("control.example", -1, 60);
    fs::write(&files.files.certificate, &certificate).unwrap();
    assert!(matches!(identity.look(), Look::Broken(_)));
    assert_eq!(shown().await, ([30.0, 80.0], 1.0));
    fs::write(&files.files.key, &key).unwrap();
    assert!(matches!(identity.look(), Look::Renewed));
    assert_eq!(shown().await, ([60.0, 80.0], 0.0));
    app.finish().await;
}
