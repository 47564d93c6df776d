//! What an operator does: migrate, with few rights, and ask whether it is ready.

use crate::support::TestApp;
use axum::{body::Body, http::Request};
use chrono::TimeDelta;
use control::{
    clock::Clock,
    config::NangoConfig,
    domain::missing::Census,
    http::{Probed, admin_router},
    hub::Hub,
    metrics::Metrics,
    mint::Mint,
    nango::NangoClient,
    readiness::Readiness,
    sampler::Sampler,
    store::{As, Holding, Store},
};
use nango_stand_in::Trouble;
use serde_json::{Value, json};
use sqlx::{PgPool, postgres::PgConnectOptions};
use std::{sync::Arc, time::Duration};
use tokio_util::sync::CancellationToken;
use tower::ServiceExt as _;

fn probed(store: &Store, stop: &CancellationToken) -> Probed {
    let nango = NangoConfig {
        api_url: "http://127.0.0.1:9".parse().unwrap(),
        public_url: "http://127.0.0.1:9".parse().unwrap(),
        proxy: None,
        secret_key: "k".into(),
        profile_key: None,
        callback_url: "https://connections.example/oauth/callback".parse().unwrap(),
        instance: "test".to_owned(),
        calls_per_minute: "200".parse().unwrap(),
        call_timeout: Duration::from_secs(8),
    };
    let mint = Mint::new(Clock::system());
    let nango = Arc::new(
        NangoClient::new(nango, None, (Clock::system(), mint), Metrics::default()).unwrap(),
    );
    let sampler = sampler(store, &Clock::system());
    Probed {
        store: store.clone(),
        nango,
        clock: Clock::system(),
        identity: None,
        sampler,
        stop: stop.clone(),
    }
}

/// Of which a probe shows nothing.
fn sampler(store: &Store, clock: &Clock) -> Sampler {
    Sampler {
        store: store.clone(),
        hub: Hub::new(CancellationToken::new()),
        clock: clock.clone(),
        metrics: Metrics::new(clock.clone()),
        calls_per_minute: "200".parse().unwrap(),
        identity: None,
        readiness: Readiness::new(store.clone(), &Mint::new(clock.clone())),
    }
}

async fn readyz_of(probed: Probed) -> (u16, Value) {
    let request = Request::get("/readyz").body(Body::empty()).unwrap();
    let answer = admin_router(probed).oneshot(request).await.unwrap();
    let status = answer.status().as_u16();
    let body = axum::body::to_bytes(answer.into_body(), usize::MAX).await.unwrap();
    (status, serde_json::from_slice(&body).unwrap())
}

async fn readyz(store: &Store, stop: &CancellationToken) -> (u16, Value) {
    readyz_of(probed(store, stop)).await
}

fn store(pool: &PgPool) -> Store {
    Store::with_pool(pool.clone(), Mint::new(Clock::system()))
}

#[sqlx::test(migrations = false)]
async fn the_service_is_ready_once_it_is_migrated_and_until_it_stops(pool: PgPool) {
    let stop = CancellationToken::new();
    let store = store(&pool);
    let nango = json!({"status": "ok", "detail": "not called yet"});
    let missing = json!({"status": "unavailable", "checks": {"database": {"status": "ok"}, "nango": nango,
        "migrations": {"status": "unavailable", "detail": "missing; run `control migrate`"}}});
    assert_eq!(readyz(&store, &stop).await, (503, missing));
    store.migrate().await.unwrap();
    store.migrate().await.unwrap();
    let ok = json!({"status": "ok", "checks": {"database": {"status": "ok"}, "migrations": {"status": "ok"},
        "backlog": {"status": "ok", "limitSeconds": 60, "receiptsSeconds": null, "jobsSeconds": null,
            "deliveriesSeconds": null}, "nango": nango, "clock": {"status": "ok"}, "deletions": {"status": "ok"}}});
    assert_eq!(readyz(&store, &stop).await, (200, ok));
    stop.cancel();
    assert_eq!(readyz(&store, &stop).await, (503, json!({"status": "stopping", "checks": {}})));
    pool.close().await;
    let away = json!({"status": "unavailable", "checks": {"database": {"status": "unavailable"}, "nango": nango}});
    assert_eq!(readyz(&store, &CancellationToken::new()).await, (503, away));
}

#[sqlx::test(migrator = "control::store::MIGRATIONS")]
async fn a_clock_that_is_not_the_databases_is_said_and_sampled(pool: PgPool) {
    let store = store(&pool);
    let behind = Clock::manual(Clock::system().now() - TimeDelta::minutes(10));
    for (clock, seconds, expected, is_said) in
        [(Clock::system(), 0.0, "ok", None), (behind, -600.0, "degraded", Some(true))]
    {
        let sampler = sampler(&store, &clock);
        sampler.look().await;
        let text = sampler.scraped();
        let skew =
            text.lines().find_map(|line| line.strip_prefix("connections_clock_skew_seconds "));
        let skew: f64 = skew.unwrap().parse().unwrap();
        assert!((skew - seconds).abs() < 10.0, "{skew}");
        let stop = CancellationToken::new();
        let probed = Probed { clock, sampler, ..probed(&store, &stop) };
        let (status, health) = readyz_of(probed).await;
        assert_eq!((status, health["status"].as_str()), (200, Some(expected)), "{health}");
        let detail = health["checks"]["clock"]["detail"].as_str();
        assert_eq!(detail.map(|detail| detail.contains("behind the database's")), is_said);
    }
}

#[sqlx::test(migrator = "control::store::MIGRATIONS")]
async fn an_old_backlog_and_a_silent_nango_degrade_and_take_nothing_out(pool: PgPool) {
    let app = TestApp::start(pool).await;
    let ready = async || {
        let stop = CancellationToken::new();
        let (store, nango) = (app.store.clone(), Arc::clone(&app.outbox.nango));
        let sampler = sampler(&store, &app.clock);
        readyz_of(Probed { store, nango, clock: app.clock.clone(), identity: None, sampler, stop })
            .await
    };
    // The clock that is driven is none that the database has.
    let unwell = |health: &Value| -> Vec<String> {
        let checks = health["checks"].as_object().unwrap().iter();
        let unwell = checks.filter(|(name, check)| *name != "clock" && check["status"] != "ok");
        unwell.map(|(name, _)| name.clone()).collect()
    };
    let started = app.start_connection().await;
    let calls = app.nango.api_calls();
    let (status, health) = ready().await;
    assert_eq!((status, unwell(&health)), (200, vec![]));
    let nango_id = app.authorize(&started).await;
    app.say_created(&started, &nango_id).await;
    app.advance(61);
    let (status, health) = ready().await;
    assert_eq!((status, &health["status"]), (200, &json!("degraded")));
    assert_eq!(
        health["checks"]["backlog"],
        json!({"status": "degraded", "limitSeconds": 60, "receiptsSeconds": 61, "jobsSeconds": null,
            "deliveriesSeconds": null})
    );
    assert_eq!(app.nango.api_calls(), calls, "a probe calls nobody");
    app.nango.make_trouble(Trouble::Unavailable);
    app.outbox.run_once().await.unwrap();
    let (status, health) = ready().await;
    assert_eq!(status, 200);
    let silent = json!({"status": "degraded", "detail": "no answer to the last 2 calls"});
    assert_eq!(health["checks"]["nango"], silent);
    app.nango.make_trouble(Trouble::None);
    // It is left alone for ten seconds.
    app.advance(15);
    app.outbox.run_once().await.unwrap();
    assert_eq!(unwell(&ready().await.1), [""; 0]);
    app.finish().await;
}

/// As on a managed PostgreSQL: an owner that is no superuser migrates, and a login that owns nothing serves.
#[sqlx::test(migrations = false)]
async fn an_owner_without_superuser_migrates_and_another_login_serves(pool: PgPool) {
    let database: String =
        sqlx::query_scalar("SELECT current_database()::text").fetch_one(&pool).await.unwrap();
    // A role's name has 63 bytes at most; the beginning of the database's is the same for all tests.
    let suffix: String = database.chars().rev().take(24).collect();
    let [owner, login] = ["owner", "login"].map(|role| format!("{role}_{suffix}"));
    let run = async |sql: String| {
        sqlx::raw_sql(sqlx::AssertSqlSafe(sql)).execute(&pool).await.unwrap();
    };
    run(format!("CREATE ROLE \"{owner}\" LOGIN NOSUPERUSER CREATEROLE PASSWORD 'p'")).await;
    run(format!("CREATE ROLE \"{login}\" LOGIN NOSUPERUSER PASSWORD 'p'")).await;
    run(format!("ALTER DATABASE \"{database}\" OWNER TO \"{owner}\"")).await;
    run(format!("GRANT ALL ON SCHEMA public TO \"{owner}\"")).await;
    // The roles belong to the cluster, and other tests' migrations, which are a superuser's, made them
    // first; from PostgreSQL 16 on only their maker can grant them.
    store(&pool).migrate().await.unwrap();
    run("DROP SCHEMA public CASCADE; CREATE SCHEMA public".to_owned()).await;
    run(format!("ALTER SCHEMA public OWNER TO \"{owner}\"")).await;
    run(format!("GRANT connections_api, connections_worker TO \"{owner}\", \"{login}\"")).await;
    let connect = |user: &str| {
        let options: &PgConnectOptions = &pool.connect_options();
        let options = options.clone().username(user).password("p");
        Store::new(options, Mint::new(Clock::system()))
    };
    connect(&owner).migrate().await.unwrap();
    for user in [&owner, &login] {
        let store = connect(user);
        let stop = CancellationToken::new();
        assert_eq!(readyz(&store, &stop).await.0, 200, "{user}");
        let tenant = "acme".parse().unwrap();
        let id = "0195f2a1-0000-7000-8000-000000000001".parse().unwrap();
        let none = store.connection(As::Tenant(&tenant), &tenant, id).await.unwrap();
        assert_eq!(none, None, "{user}");
        store.close().await;
    }
    run(format!(
        "REASSIGN OWNED BY \"{owner}\" TO CURRENT_USER; DROP OWNED BY \"{owner}\", \"{login}\""
    ))
    .await;
    run(format!("ALTER DATABASE \"{database}\" OWNER TO CURRENT_USER")).await;
    run(format!("DROP ROLE \"{owner}\"; DROP ROLE \"{login}\"")).await;
}

#[sqlx::test(migrator = "control::store::MIGRATIONS")]
async fn deletions_that_are_held_are_said_by_probe_and_metric_until_they_are_decided(pool: PgPool) {
    let (store, stop) = (store(&pool), CancellationToken::new());
    let now = Clock::system().now();
    assert_eq!(readyz(&store, &stop).await.1["checks"]["deletions"], json!({"status": "ok"}));
    let census = Census { live: 30, missing: 25, gone: 0 };
    assert_eq!(store.hold_deletions(0, census, now).await.unwrap(), Holding::Begun);
    let again = store.hold_deletions(0, census, Clock::system().now()).await.unwrap();
    assert_eq!(again, Holding::GoesOn);
    let (status, health) = readyz(&store, &stop).await;
    assert_eq!((status, &health["status"]), (200, &json!("degraded")));
    let told = health["checks"]["deletions"]["detail"].as_str().unwrap();
    assert!(told.starts_with("25 of 30 connections are missing at Nango"), "{told}");
    let sampler = sampler(&store, &Clock::system());
    let shown = async || {
        sampler.look().await;
        let text = sampler.scraped();
        let line =
            text.lines().find(|line| line.starts_with("connections_deletions_held ")).unwrap();
        line.to_owned()
    };
    assert_eq!(shown().await, "connections_deletions_held 25");
    store.dismiss_deletions(Clock::system().now()).await.unwrap();
    assert_eq!(shown().await, "connections_deletions_held 0");
    assert_eq!(readyz(&store, &stop).await.1["checks"]["deletions"], json!({"status": "ok"}));
}
