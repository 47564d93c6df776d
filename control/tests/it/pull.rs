//! Many write, some late, and whoever pulls misses none: no gap, no repeat, in order.

use crate::support::{TestApp, caller};
use axum::body::Body;
use chrono::{DateTime, Utc};
use contract::{
    action::Action,
    id::{ConnectionId, EventId, TenantId},
};
use control::{
    audit::verify_trail,
    domain::{
        audit::{Actor, AuditAction},
        connection::{Doubts, Status},
        notification::EventType,
        transition::{Effect, NewReason, Transition},
    },
    store::{As, Change, Changed},
};
use futures::future::join_all;
use sqlx::{PgPool, postgres::PgPoolOptions};
use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

const WRITERS: i64 = 32;

/// How each of the writers writes.
#[derive(Debug, Clone, Copy)]
enum Writer {
    /// As the service does: state, audit line, event and delivery in one transaction.
    Service,
    /// An event of the usual size, and nothing else.
    Plain,
}

/// How many events each writer writes: a few in every run, and as many as `PULL_EVENTS` says to measure.
#[expect(clippy::disallowed_methods, reason = "who measures says how much")]
fn events_each() -> i64 {
    let all: i64 = std::env::var("PULL_EVENTS").map_or(3200, |events| events.parse().unwrap());
    all / WRITERS
}

fn acme() -> TenantId {
    "acme".parse().unwrap()
}

fn connection(number: i64) -> ConnectionId {
    let mut random = [0; 10];
    random[2..].copy_from_slice(&number.to_be_bytes());
    ConnectionId::from_parts(1, &random)
}

/// Active connections of acme's.
async fn connect(pool: &PgPool, at: DateTime<Utc>) {
    for number in 0..WRITERS {
        sqlx::query(
            "INSERT INTO connections (tenant_id, connection_id, sub, provider, integration_id, status, since,
                 version, sequence, requested_scopes, client_metadata, created_at)
             VALUES ('acme', $1, 'user', 'github', 'github-dev', 'active', $2, 1, 0, '{repo}', '{}', $2)",
        )
        .bind(connection(number).as_uuid())
        .bind(at)
        .execute(pool)
        .await
        .unwrap();
    }
}

async fn write_as_service(app: &TestApp, number: i64) {
    let tenant = acme();
    let change = Change {
        tenant: &tenant,
        connection: connection(number),
        actor: Actor::Service,
        request_id: None,
        at: app.clock.now(),
        opens: None,
        settles: None,
    };
    let updated = Transition {
        status: Status::Active,
        reason: NewReason::Kept,
        attempt_ended: None,
        attempt_opened: None,
        asked_scopes: None,
        confirmed: None,
        profile: None,
        doubts: Doubts::NONE,
        audit: AuditAction::Updated,
        event: Some(EventType::Updated),
        empties_vault: &[],
        probes: false,
        renewed_by: None,
    };
    let changed = app.store.change(As::Worker, change, |_| Effect::Changed(updated)).await;
    assert!(matches!(changed.unwrap(), Changed::Applied(_)));
}

/// The body of an event, as long as one usually is.
fn body(number: i64, sequence: i64) -> String {
    format!(
        r#"{{"connectionId":"{}","sequence":{sequence},"more":"{}"}}"#,
        connection(number),
        "x".repeat(480)
    )
}

async fn write_plainly(app: &TestApp, number: i64, sequence: i64) {
    let random = [sequence.to_be_bytes(), number.to_be_bytes()].concat();
    let id = EventId::from_parts(2, random[6..].try_into().unwrap());
    let insert =
        "INSERT INTO events (tenant_id, event_id, connection_id, sequence, type, occurred_at, body)
        VALUES ($1, $2, $3, $4, 'connection.updated', $5, $6)";
    sqlx::query(insert)
        .bind("acme")
        .bind(id.as_uuid())
        .bind(connection(number).as_uuid())
        .bind(sequence)
        .bind(app.clock.now())
        .bind(body(number, sequence))
        .execute(&app.pool)
        .await
        .unwrap();
    // The service tells of many commits at once.
    if sequence % 8 == 1 {
        sqlx::query("NOTIFY connections_outbox").execute(&app.pool).await.unwrap();
    }
}

/// Everything until so many events were seen, page by page, in the order of the feed.
async fn pull(app: &TestApp, all: usize) -> Vec<(String, i64)> {
    let vouched = caller("acme", Action::Read);
    let (mut seen, mut after) = (Vec::new(), String::new());
    while seen.len() < all {
        let path = format!("/tenants/acme/events?limit=200&wait=60{after}");
        let page = app.send("GET", &path, &vouched, Body::empty()).await.json();
        for event in page["events"].as_array().unwrap() {
            let connection = event["connectionId"].as_str().unwrap().to_owned();
            seen.push((connection, event["sequence"].as_i64().unwrap()));
        }
        after = format!("&after={}", page["nextCursor"].as_str().unwrap());
    }
    seen
}

/// Each connection's events are there, once and in order.
#[track_caller]
fn check_whole(seen: &[(String, i64)], each: i64) {
    let mut newest = HashMap::new();
    for (connection, sequence) in seen {
        let before = newest.insert(connection, *sequence).unwrap_or_default();
        assert_eq!(*sequence, before + 1, "of {connection}");
    }
    assert_eq!(newest.len(), usize::try_from(WRITERS).unwrap());
    assert!(newest.values().all(|sequence| *sequence == each), "{newest:?}");
}

#[expect(clippy::print_stdout, reason = "who measures reads it")]
fn tell(writer: Writer, all: usize, (written, pulled): (Duration, Duration)) {
    let rate =
        |took: Duration| (f64::from(u32::try_from(all).unwrap()) / took.as_secs_f64()).round();
    println!(
        "{writer:?}: {all} events of {WRITERS} writers: {}/s written, {}/s until two pullers had them all",
        rate(written),
        rate(pulled)
    );
}

/// Writers, two sealers and two pullers at once, on one tenant.
async fn write_and_pull(pool: PgPool, writer: Writer) {
    let options = pool.connect_options().as_ref().clone();
    let many = PgPoolOptions::new().max_connections(44).connect_with(options).await.unwrap();
    let app = TestApp::start(many.clone()).await;
    connect(&many, app.clock.now()).await;
    let each = events_each();
    let all = usize::try_from(each * WRITERS).unwrap();
    let (hub, store, clock) = (app.hub.clone(), app.store.clone(), app.clock.clone());
    let listening = tokio::spawn(async move { hub.run(&store, &clock).await });
    app.hub.is_listening().wait_for(|is_listening| *is_listening).await.unwrap();
    let sealing: Vec<_> = [app.outbox.clone(), app.other().1]
        .into_iter()
        .map(|outbox| {
            let stop = app.stop.clone();
            tokio::spawn(async move { outbox.keep_sealing(stop).await })
        })
        .collect();
    let started = Instant::now();
    let writing = async {
        let writers = (0..WRITERS).map(async |number| {
            for sequence in 1..=each {
                match writer {
                    Writer::Service => write_as_service(&app, number).await,
                    Writer::Plain => write_plainly(&app, number, sequence).await,
                }
            }
        });
        join_all(writers).await;
        started.elapsed()
    };
    let pulling = async {
        let seen = tokio::join!(pull(&app, all), pull(&app, all));
        (seen, started.elapsed())
    };
    let in_time =
        tokio::time::timeout(Duration::from_mins(5), async { tokio::join!(writing, pulling) });
    let (written, ((first, second), pulled)) = in_time.await.unwrap();
    tell(writer, all, (written, pulled));
    check_whole(&first, each);
    assert_eq!(first, second, "all who pull see one order");
    let whole =
        "SELECT count(*) FROM events HAVING min(position) = 1 AND max(position) = count(position)";
    assert_eq!(app.count(whole).await, i64::try_from(all).unwrap());
    app.stop.cancel();
    join_all(sealing).await;
    listening.await.unwrap();
    app.outbox.seal_once().await.unwrap();
    let lines = app.count("SELECT count(*) FROM audit_events").await;
    assert_eq!(verify_trail(&app.store, &acme()).await.unwrap().0, lines);
    app.abandon();
    many.close().await;
}

#[sqlx::test(migrator = "control::store::MIGRATIONS")]
async fn of_what_32_writers_change_a_puller_misses_nothing(pool: PgPool) {
    write_and_pull(pool, Writer::Service).await;
}

#[sqlx::test(migrator = "control::store::MIGRATIONS")]
async fn of_what_32_writers_insert_as_fast_as_they_can_a_puller_misses_nothing(pool: PgPool) {
    write_and_pull(pool, Writer::Plain).await;
}
