//! A clock that follows the database's: whoever was far off writes nothing, and goes on by the right time.

use crate::{setup::Setup, support::TestApp};
use axum::{body::Body, http::Request};
use chrono::{DateTime, TimeDelta, Utc};
use contract::id::TenantId;
use control::{
    clock::Clock,
    domain::skew::Standing,
    http::{Probed, admin_router},
    mint::Mint,
    readiness::Readiness,
    sampler::Sampler,
    store::{As, Store, StoreError},
};
use sqlx::PgPool;
use std::{sync::Arc, time::Duration};

fn store(pool: &PgPool) -> (Store, Clock) {
    let clock = Clock::database();
    (Store::with_pool(pool.clone(), Mint::new(clock.clone())), clock)
}

async fn databases(pool: &PgPool) -> DateTime<Utc> {
    sqlx::query_scalar("SELECT clock_timestamp()").fetch_one(pool).await.unwrap()
}

/// Whether it shows what the database does, but for the time that an answer takes on a busy host.
async fn is_right(pool: &PgPool, clock: &Clock) -> bool {
    let (before, there, after) = (clock.now(), databases(pool).await, clock.now());
    let slack = TimeDelta::seconds(1);
    before - slack <= there && there <= after + slack
}

#[sqlx::test(migrator = "control::store::MIGRATIONS")]
async fn a_replica_whose_clock_was_far_off_writes_nothing_and_goes_on_by_the_databases(
    pool: PgPool,
) {
    let tenant: TenantId = "acme".parse().unwrap();
    let id = "0195f2a1-0000-7000-8000-000000000001".parse().unwrap();
    for far in
        [TimeDelta::hours(1), TimeDelta::hours(-1), TimeDelta::seconds(4), TimeDelta::seconds(-4)]
    {
        let (store, clock) = store(&pool);
        assert_eq!(clock.standing(), Some(Standing::Unknown));
        store.compare_clocks().await.unwrap();
        assert_eq!(clock.standing(), Some(Standing::Follows));
        assert!(is_right(&pool, &clock).await);
        // As after a host that was suspended.
        clock.advance(far);
        let lease = Duration::from_secs(45);
        assert!(matches!(
            store.claim_sweep(clock.now(), lease).await,
            Err(StoreError::Unavailable(_))
        ));
        assert_eq!(clock.standing(), Some(Standing::Doubted));
        assert!(is_right(&pool, &clock).await, "{far}");
        // Nobody writes by a time that was read before.
        for _ in 0..3 {
            let asked = store.ask_check(As::Tenant(&tenant), &tenant, id, clock.now()).await;
            assert!(matches!(asked, Err(StoreError::Unavailable(_))), "{far}");
        }
        clock.advance(TimeDelta::seconds(2));
        assert!(store.connection(As::Tenant(&tenant), &tenant, id).await.is_err());
        assert!(is_right(&pool, &clock).await, "a small difference is mended at once");
    }
    let untouched = "SELECT count(*) FROM sweeps WHERE due_at = 'epoch' AND lease IS NULL";
    let untouched: i64 = sqlx::query_scalar(untouched).fetch_one(&pool).await.unwrap();
    assert_eq!(untouched, 1);
}

/// Small differences are nothing that anybody waits for.
#[sqlx::test(migrator = "control::store::MIGRATIONS")]
async fn a_clock_that_drifts_is_corrected_and_keeps_nobody_waiting(pool: PgPool) {
    let (store, clock) = store(&pool);
    for drift in [0, 2_000, -2_000, 1, -1, 500] {
        clock.advance(TimeDelta::milliseconds(drift));
        store.compare_clocks().await.unwrap();
        assert!(is_right(&pool, &clock).await, "{drift}");
        assert_eq!(clock.standing(), Some(Standing::Follows));
    }
}

#[sqlx::test(migrator = "control::store::MIGRATIONS")]
async fn who_may_not_write_is_not_ready_and_says_why(pool: PgPool) {
    let app = TestApp::start_at(pool.clone(), Setup::default(), Clock::database()).await;
    app.store.compare_clocks().await.unwrap();
    let ready = async || {
        let (store, clock) = (app.store.clone(), app.clock.clone());
        let sampler = Sampler {
            store: store.clone(),
            hub: app.hub.clone(),
            clock: clock.clone(),
            metrics: app.outbox.metrics.clone(),
            calls_per_minute: "200".parse().unwrap(),
            identity: None,
            readiness: Readiness::new(app.store.clone(), &app.outbox.mint),
        };
        let (nango, stop) = (Arc::clone(&app.outbox.nango), app.stop.clone());
        let router = admin_router(Probed { store, nango, clock, identity: None, sampler, stop });
        let request = Request::get("/readyz").body(Body::empty()).unwrap();
        let answer = TestApp::send_to(router, request).await;
        (answer.status.as_u16(), answer.json())
    };
    let (status, health) = ready().await;
    assert_eq!(
        (status, health["checks"]["clock"]["status"].as_str()),
        (200, Some("ok")),
        "{health}"
    );
    app.clock.advance(TimeDelta::hours(1));
    let (status, health) = ready().await;
    assert_eq!(status, 503, "{health}");
    assert_eq!(health["checks"]["clock"]["status"], "unavailable", "{health}");
    assert!(health["checks"]["clock"]["detail"].as_str().unwrap().contains("nothing is written"));
    app.abandon();
}
