//! A receiver that is dead, hangs, or has a backlog slows nobody but its own tenant.

use crate::{
    receiver::{Manner, Notified},
    sending::{DELIVERED, REFUSED, claim_into, finished, seed},
    support::TestApp,
};
use control::{domain::places::Places, mint::Mint, store::Store};
use sqlx::{PgPool, postgres::PgPoolOptions};
use std::{collections::BTreeMap, time::Duration};
use tokio_util::sync::CancellationToken;

const DEAD: &str = "t00";
const HANGING: &str = "t01";

/// How many claims it takes until 18 tenants have been told everything, beside two others; and the most that
/// any claim took of one of those two.
async fn claims_for_the_well(app: &TestApp, is_any_ill: bool) -> (usize, usize) {
    for number in 0..20 {
        seed(app, &format!("t{number:02}"), 40).await;
    }
    let mut places = Places::default();
    let mut told = BTreeMap::<String, usize>::new();
    let mut most = 0;
    for claims in 1..200 {
        let claimed = claim_into(app, &mut places).await;
        let of = |tenant: &str| claimed.iter().filter(|it| it.tenant.as_str() == tenant).count();
        most = most.max(of(DEAD)).max(of(HANGING));
        let mut ended = Vec::new();
        for delivery in &claimed {
            let (outcome, is_taken) = match delivery.tenant.as_str() {
                // It keeps what it has for as long as this lasts.
                HANGING if is_any_ill => continue,
                DEAD if is_any_ill => (REFUSED, false),
                _ => (DELIVERED, true),
            };
            ended.push(finished(app, delivery, outcome));
            places.learn(&delivery.tenant, outcome, app.clock.now());
            places.give_back(&delivery.tenant, false, app.clock.now());
            *told.entry(delivery.tenant.to_string()).or_default() += usize::from(is_taken);
        }
        app.store.record_tries(&ended, 0.0).await.unwrap();
        let well = told.iter().filter(|(tenant, _)| ![DEAD, HANGING].contains(&tenant.as_str()));
        if well.filter(|(_, told)| **told == 40).count() == 18 {
            return (claims, most);
        }
    }
    panic!("they are never told: {told:?}");
}

#[sqlx::test(migrator = "control::store::MIGRATIONS")]
async fn eighteen_are_served_beside_a_dead_and_a_hanging_one(pool: PgPool) {
    let app = TestApp::start(pool).await;
    let (claims, most) = claims_for_the_well(&app, true).await;
    assert!(most <= 4, "an unknown receiver had {most} places");
    // All twenty in 64s would be 13 claims, and a few more begin and end the rounds.
    assert!(claims <= 16, "{claims} claims");
    app.abandon();
}

#[sqlx::test(migrator = "control::store::MIGRATIONS")]
async fn twenty_that_are_well_need_no_fewer_claims(pool: PgPool) {
    let app = TestApp::start(pool).await;
    let (claims, _) = claims_for_the_well(&app, false).await;
    assert!(claims >= 12, "800 deliveries cannot be {claims} claims of 64");
    app.abandon();
}

#[sqlx::test(migrator = "control::store::MIGRATIONS")]
async fn a_live_outbox_tells_the_others_while_one_receiver_hangs(pool: PgPool) {
    let app = TestApp::start(pool).await;
    for number in 0..8 {
        seed(&app, &format!("t{number:02}"), 12).await;
    }
    app.receiver().manners =
        [(DEAD.to_owned(), Manner::Answers(503)), (HANGING.to_owned(), Manner::Hangs)].into();
    let mut told = app.receiver().told.subscribe();
    let stop = CancellationToken::new();
    let hanging = |it: &Notified| it.body["tenantId"] == HANGING;
    let watching = async {
        let all_others = told.wait_for(|told| *told == 6 * 12);
        let in_time = tokio::time::timeout(Duration::from_secs(10), all_others).await.is_ok();
        assert!(in_time, "the hanging one answers no sooner than after 15 s");
        assert!(!app.notified().iter().any(hanging));
        let under_way =
            "SELECT count(*) FROM deliveries WHERE tenant_id = 't01' AND lease IS NOT NULL";
        assert_eq!(app.count(under_way).await, 4);
        // Whoever is asked to stop finishes what is under way, and records it.
        stop.cancel();
        app.receiver().released.send_replace(true);
    };
    tokio::join!(app.outbox.run(stop.clone()), watching);
    assert_eq!(app.notified().into_iter().filter(hanging).count(), 4);
    // Four at once, and then, for as long as the clock stands still, the dead one rests.
    let tries_of_dead = "SELECT count(*) FROM delivery_attempts WHERE tenant_id = 't00'";
    assert_eq!(app.count(tries_of_dead).await, 4);
    let recorded = app.count("SELECT count(*) FROM deliveries WHERE status = 'delivered'").await;
    assert_eq!(usize::try_from(recorded).unwrap(), app.notified().len());
    assert_eq!(app.count("SELECT count(*) FROM deliveries WHERE lease IS NOT NULL").await, 0);
    app.receiver().manners.clear();
    app.advance(3600);
    app.outbox.run_once().await.unwrap();
    app.finish().await;
}

/// How many entries of the table and its indexes were read so far, by everybody.
async fn entries_read(pool: &PgPool) -> i64 {
    sqlx::query("SELECT pg_stat_force_next_flush()").execute(pool).await.unwrap();
    let read = "SELECT (SELECT sum(idx_tup_read) FROM pg_stat_user_indexes WHERE relname = 'deliveries')::bigint
        + (SELECT seq_tup_read FROM pg_stat_user_tables WHERE relname = 'deliveries')";
    sqlx::query_scalar(read).fetch_one(pool).await.unwrap()
}

#[sqlx::test(migrator = "control::store::MIGRATIONS")]
async fn a_backlog_that_is_not_sent_is_not_read(pool: PgPool) {
    let app = TestApp::start(pool.clone()).await;
    for (tenant, backlog) in [("busy", 5_000), ("paused", 20_000), ("stopped", 20_000), ("well", 3)]
    {
        seed(&app, tenant, backlog).await;
    }
    let healths =
        [("paused", Some(app.clock.now() + chrono::TimeDelta::hours(1))), ("stopped", None)];
    for (status, probe_at) in healths {
        sqlx::query(
            "INSERT INTO destination_health (tenant_id, status, reason, since, probe_at) VALUES ($1, $1, 'x', $2, $3)",
        )
        .bind(status)
        .bind(app.clock.now())
        .bind(probe_at)
        .execute(&pool)
        .await
        .unwrap();
    }
    sqlx::query("ANALYZE deliveries").execute(&pool).await.unwrap();
    // One connection, so that its own count of what it read is complete.
    let options = (*pool.connect_options()).clone();
    let one = PgPoolOptions::new().max_connections(1).connect_with(options).await.unwrap();
    let store = Store::with_pool(one.clone(), Mint::new(app.clock.clone()));
    let round = control::store::Round {
        at: app.clock.now(),
        lease_for: Duration::from_secs(25),
        after: None,
    };
    let mut places = Places::default();
    let before = entries_read(&one).await;
    let share = |walk| places.share(walk, round.at);
    let (claimed, _) = store.claim_deliveries(round, share).await.unwrap();
    let mut tenants: Vec<&str> = claimed.iter().map(|it| it.tenant.as_str()).collect();
    tenants.sort_unstable();
    assert_eq!(tenants, ["busy", "busy", "busy", "busy", "well", "well", "well"]);
    let read = entries_read(&one).await - before;
    // 45,003 are due. A few for each tenant, 32 of the busy one, and what is claimed, several times over.
    assert!((7..200).contains(&read), "a claim read {read} entries");
    let before = entries_read(&one).await;
    let stranded = store.rescue_deliveries(None, app.clock.now()).await.unwrap();
    assert_eq!((stranded.rescued, entries_read(&one).await - before), (0, 0));
    app.abandon();
}
