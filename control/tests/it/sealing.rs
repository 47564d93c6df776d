//! Numbers are given after the commit: whoever commits late comes late, and nobody is passed over.

use crate::{sending::seed, support::TestApp};
use axum::http::StatusCode;
use control::{
    mint::Mint,
    store::{Store, StoreError},
};
use rand::{RngExt as _, SeedableRng as _, rngs::StdRng};
use serde_json::Value;
use sqlx::{AssertSqlSafe, PgPool, Postgres, Transaction, postgres::PgPoolOptions};
use uuid::Uuid;

const WRITERS: usize = 5;

/// A connection of a tenant, without anything else.
async fn connect(pool: &PgPool, tenant: &str, connection: Uuid) {
    sqlx::query(
        "INSERT INTO connections (tenant_id, connection_id, sub, provider, integration_id, status, since, version,
             sequence, requested_scopes, client_metadata, created_at)
         VALUES ($1, $2, 'user', 'github', 'github-dev', 'active', now(), 1, 0, '{}', '{}', now())",
    )
    .bind(tenant)
    .bind(connection)
    .execute(pool)
    .await
    .unwrap();
}

/// An event and a line, in a transaction that is open.
async fn write(
    tx: &mut Transaction<'static, Postgres>,
    tenant: &str,
    (connection, sequence): (Uuid, i64),
) {
    sqlx::query(
        "INSERT INTO events (tenant_id, event_id, connection_id, sequence, type, occurred_at, body)
         VALUES ($1, gen_random_uuid(), $2, $3, 'connection.updated', now(), $4)",
    )
    .bind(tenant)
    .bind(connection)
    .bind(sequence)
    .bind(format!(r#"{{"connection":"{connection}","sequence":{sequence}}}"#))
    .execute(&mut **tx)
    .await
    .unwrap();
    sqlx::query(
        "INSERT INTO audit_events (tenant_id, audit_id, at, actor, action, connection_id, detail)
         VALUES ($1, gen_random_uuid(), now(), 'service', 'connection.updated', $2, '{}')",
    )
    .bind(tenant)
    .bind(connection)
    .execute(&mut **tx)
    .await
    .unwrap();
}

/// A puller that remembers how far it came.
#[derive(Default)]
struct Puller {
    after: String,
    seen: Vec<(String, i64)>,
}

impl Puller {
    async fn pull(&mut self, app: &TestApp, tenant: &str) {
        let path = format!("/events?limit=200{}", self.after);
        let answer = app.call(tenant, "GET", &path, &Value::Null).await;
        assert_eq!(answer.status, StatusCode::OK);
        let page = answer.json();
        for event in page["events"].as_array().unwrap() {
            let connection = event["connection"].as_str().unwrap().to_owned();
            self.seen.push((connection, event["sequence"].as_i64().unwrap()));
        }
        self.after = format!("&after={}", page["nextCursor"].as_str().unwrap());
    }
}

#[sqlx::test(migrator = "control::store::MIGRATIONS")]
async fn what_is_committed_late_gets_a_late_place_and_is_not_passed_over(pool: PgPool) {
    let app = TestApp::start(pool.clone()).await;
    let (slow, fast) = (Uuid::from_u128(1), Uuid::from_u128(2));
    connect(&pool, "acme", slow).await;
    connect(&pool, "acme", fast).await;
    let mut puller = Puller::default();
    let mut late = pool.begin().await.unwrap();
    write(&mut late, "acme", (slow, 1)).await;
    let mut soon = pool.begin().await.unwrap();
    write(&mut soon, "acme", (fast, 1)).await;
    soon.commit().await.unwrap();
    app.outbox.seal_once().await.unwrap();
    puller.pull(&app, "acme").await;
    assert_eq!(puller.seen, [(fast.to_string(), 1)]);
    late.commit().await.unwrap();
    app.outbox.seal_once().await.unwrap();
    puller.pull(&app, "acme").await;
    assert_eq!(puller.seen, [(fast.to_string(), 1), (slow.to_string(), 1)]);
    app.abandon();
}

#[sqlx::test(migrator = "control::store::MIGRATIONS")]
async fn no_order_of_writes_commits_and_seals_loses_or_repeats_an_event(pool: PgPool) {
    let app = TestApp::start(pool.clone()).await;
    // Each writer holds a connection to the database, and the service needs one.
    for seed in 0..40 {
        interleave(&app, seed).await;
    }
    app.abandon();
}

/// Writers with a connection each, whose transactions are open for as long as chance wants.
async fn interleave(app: &TestApp, seed: u64) {
    let mut random = StdRng::seed_from_u64(seed);
    let tenant = format!("tenant-{seed}");
    let connections: Vec<Uuid> = (0..WRITERS - 1)
        .map(|number| Uuid::from_u128(u128::from(seed) * 100 + number as u128))
        .collect();
    for connection in &connections {
        connect(&app.pool, &tenant, *connection).await;
    }
    let mut open: Vec<Option<(Transaction<'static, Postgres>, i64)>> =
        connections.iter().map(|_| None).collect();
    let mut committed = vec![0_i64; connections.len()];
    let mut puller = Puller::default();
    for _ in 0..60 {
        let writer = random.random_range(0..connections.len());
        match random.random_range(0..10) {
            0..4 => {
                let (mut tx, before) = match open[writer].take() {
                    Some(writing) => writing,
                    None => (app.pool.begin().await.unwrap(), committed[writer]),
                };
                write(&mut tx, &tenant, (connections[writer], before + 1)).await;
                open[writer] = Some((tx, before + 1));
            }
            4..6 => {
                if let Some((tx, newest)) = open[writer].take() {
                    tx.commit().await.unwrap();
                    committed[writer] = newest;
                }
            }
            6 => {
                if let Some((tx, _)) = open[writer].take() {
                    tx.rollback().await.unwrap();
                }
            }
            7..9 => app.outbox.seal_once().await.unwrap(),
            _ => puller.pull(app, &tenant).await,
        }
    }
    for (writer, writing) in open.into_iter().enumerate() {
        if let Some((tx, newest)) = writing {
            tx.commit().await.unwrap();
            committed[writer] = newest;
        }
    }
    app.outbox.seal_once().await.unwrap();
    puller.pull(app, &tenant).await;
    for (connection, newest) in connections.iter().zip(committed) {
        let name = connection.to_string();
        let of_it = puller.seen.iter().filter(|(connection, _)| *connection == name);
        let sequences: Vec<i64> = of_it.map(|(_, sequence)| *sequence).collect();
        assert_eq!(sequences, (1..=newest).collect::<Vec<_>>(), "seed {seed}, {connection}");
    }
    let (lines, _) =
        control::audit::verify_trail(&app.store, &tenant.parse().unwrap()).await.unwrap();
    assert_eq!(usize::try_from(lines).unwrap(), puller.seen.len(), "seed {seed}");
}

#[sqlx::test(migrator = "control::store::MIGRATIONS")]
async fn neither_a_writer_nor_another_tenant_waits_for_a_sealer(pool: PgPool) {
    let app = TestApp::start(pool.clone()).await;
    app.activate().await;
    app.outbox.seal_once().await.unwrap();
    // Another sealer holds the head of acme, and never gets on.
    let mut other = pool.begin().await.unwrap();
    sqlx::query("SELECT FROM tenant_heads FOR UPDATE").execute(&mut *other).await.unwrap();
    app.activate().await;
    let (mut rivals, connection) = (pool.begin().await.unwrap(), Uuid::from_u128(7));
    connect(&pool, "rival", connection).await;
    write(&mut rivals, "rival", (connection, 1)).await;
    rivals.commit().await.unwrap();
    app.outbox.seal_once().await.unwrap();
    let sealed = "SELECT count(*) FROM events WHERE position IS NOT NULL AND tenant_id = 'acme'";
    let rivals = "SELECT count(*) FROM events WHERE position IS NOT NULL AND tenant_id = 'rival'";
    assert_eq!((app.count(sealed).await, app.count(rivals).await), (1, 1));
    other.rollback().await.unwrap();
    app.outbox.seal_once().await.unwrap();
    assert_eq!(app.count(sealed).await, 2);
    app.abandon();
}

#[sqlx::test(migrator = "control::store::MIGRATIONS")]
async fn a_line_that_nobody_can_read_keeps_no_event_from_the_feed(pool: PgPool) {
    let app = TestApp::start(pool.clone()).await;
    app.activate().await;
    // A number that PostgreSQL keeps and we cannot hold.
    let broken = "UPDATE audit_events SET detail = '{\"count\": 1e400}' WHERE audit_id = (
        SELECT audit_id FROM audit_events ORDER BY inserted LIMIT 1)";
    sqlx::query(broken).execute(&pool).await.unwrap();
    assert!(app.outbox.seal_once().await.is_err());
    assert_eq!(app.count("SELECT count(*) FROM events WHERE position IS NULL").await, 0);
    assert_eq!(app.count("SELECT count(*) FROM audit_events WHERE position IS NOT NULL").await, 0);
    app.abandon();
}

/// As when it met somebody else's lock in the wrong order: the database is there, and says so.
#[sqlx::test(migrator = "control::store::MIGRATIONS")]
async fn a_tenant_that_cannot_be_sealed_for_now_keeps_no_other_from_its_turn(pool: PgPool) {
    let app = TestApp::start(pool.clone()).await;
    for tenant in ["acme", "rival"] {
        seed(&app, tenant, 1).await;
    }
    for query in [
        "CREATE FUNCTION meet() RETURNS trigger LANGUAGE plpgsql AS
         $$ BEGIN RAISE 'met' USING ERRCODE = 'deadlock_detected'; END $$",
        "CREATE TRIGGER meet BEFORE UPDATE ON events FOR EACH ROW WHEN (NEW.tenant_id = 'acme')
         EXECUTE FUNCTION meet()",
    ] {
        sqlx::query(query).execute(&pool).await.unwrap();
    }
    let failed = app.outbox.seal_once().await;
    assert!(matches!(failed, Err(StoreError::Unavailable(_))), "{failed:?}");
    let unsealed = "SELECT DISTINCT tenant_id FROM events WHERE position IS NULL";
    let unsealed: Vec<String> = sqlx::query_scalar(unsealed).fetch_all(&pool).await.unwrap();
    assert_eq!(unsealed, ["acme"]);
    sqlx::query("DROP TRIGGER meet ON events").execute(&pool).await.unwrap();
    app.outbox.seal_once().await.unwrap();
    assert_eq!(app.count("SELECT count(*) FROM events WHERE position IS NULL").await, 0);
    app.abandon();
}

#[sqlx::test(migrator = "control::store::MIGRATIONS")]
async fn more_than_a_batch_of_more_than_a_hundred_tenants_is_sealed(pool: PgPool) {
    let app = TestApp::start(pool.clone()).await;
    for (number, events) in (0..120_u32).map(|number| (number, if number == 3 { 4500 } else { 1 }))
    {
        let (tenant, id) = (format!("t{number}"), Uuid::from_u128(number.into()));
        connect(&pool, &tenant, id).await;
        let query = "INSERT INTO events (tenant_id, event_id, connection_id, sequence, type, occurred_at, body)
            SELECT $1, gen_random_uuid(), $2, nth, 'connection.updated', now(), '{}' FROM generate_series(1, $3) AS nth";
        let insert = sqlx::query(query).bind(&tenant).bind(id).bind(events);
        insert.execute(&pool).await.unwrap();
    }
    app.outbox.seal_once().await.unwrap();
    let out_of_order = "SELECT count(*) FROM events WHERE position IS DISTINCT FROM sequence";
    assert_eq!(app.count(out_of_order).await, 0);
    assert_eq!(app.count("SELECT count(*) FROM events").await, 4500 + 119);
    app.abandon();
}

/// A database of the release before: its events go in by their time, and in the order of their connection.
#[sqlx::test(migrations = false)]
async fn what_was_there_before_the_feed_is_in_it(pool: PgPool) {
    let migrate = async |from: i64, to: i64| {
        for migration in
            control::store::MIGRATIONS.iter().filter(|it| (from..to).contains(&it.version))
        {
            sqlx::raw_sql(AssertSqlSafe(migration.sql.as_str().to_owned()))
                .execute(&pool)
                .await
                .unwrap();
        }
    };
    sqlx::raw_sql("CREATE TABLE _sqlx_migrations (version bigint, success boolean)")
        .execute(&pool)
        .await
        .unwrap();
    migrate(1, 22).await;
    let [first, second] = [1, 2].map(Uuid::from_u128);
    connect(&pool, "acme", first).await;
    connect(&pool, "acme", second).await;
    // A clock that went back: the second event of the first connection seems to be older than its first.
    for (connection, sequence, second) in [(first, 2, 10), (first, 1, 30), (second, 1, 20)] {
        let query = "INSERT INTO events (tenant_id, event_id, connection_id, sequence, type, occurred_at, body)
            VALUES ('acme', gen_random_uuid(), $1, $2, 'x', to_timestamp($3), $4)";
        sqlx::query(query)
            .bind(connection)
            .bind(sequence)
            .bind(f64::from(second))
            .bind(format!(r#"{{"connection":"{connection}","sequence":{sequence}}}"#))
            .execute(&pool)
            .await
            .unwrap();
        let query = "INSERT INTO audit_events (tenant_id, audit_id, at, actor, action, connection_id, detail)
            VALUES ('acme', gen_random_uuid(), to_timestamp($1), 'service', $2, $3, '{}')";
        let line =
            sqlx::query(query).bind(f64::from(second)).bind(second.to_string()).bind(connection);
        line.execute(&pool).await.unwrap();
    }
    migrate(22, i64::MAX).await;
    let app = TestApp::start(pool.clone()).await;
    let mut tx = pool.begin().await.unwrap();
    write(&mut tx, "acme", (second, 2)).await;
    tx.commit().await.unwrap();
    app.outbox.seal_once().await.unwrap();
    let mut puller = Puller::default();
    puller.pull(&app, "acme").await;
    let expected = [(second, 1), (first, 1), (first, 2), (second, 2)];
    assert_eq!(
        puller.seen,
        expected.map(|(connection, sequence)| (connection.to_string(), sequence))
    );
    let actions = "SELECT action FROM audit_events ORDER BY position";
    let actions: Vec<String> = sqlx::query_scalar(actions).fetch_all(&pool).await.unwrap();
    assert_eq!(actions, ["10", "20", "30", "connection.updated"]);
    app.abandon();
}

/// How many entries of the two indexes of what is unsealed were read so far, by everybody.
async fn unsealed_read(pool: &PgPool) -> i64 {
    sqlx::query("SELECT pg_stat_force_next_flush()").execute(pool).await.unwrap();
    let read = "SELECT sum(idx_tup_read)::bigint FROM pg_stat_user_indexes WHERE indexrelname LIKE '%_unsealed'";
    sqlx::query_scalar(read).fetch_one(pool).await.unwrap()
}

#[sqlx::test(migrator = "control::store::MIGRATIONS")]
async fn of_a_backlog_one_batch_is_read_at_a_time(pool: PgPool) {
    let app = TestApp::start(pool.clone()).await;
    connect(&pool, "acme", Uuid::from_u128(1)).await;
    // PostgreSQL has no statistics of them, and in service none that know of a backlog: it is rare.
    for insert in [
        "INSERT INTO events (tenant_id, event_id, connection_id, sequence, type, occurred_at, body)
         SELECT tenant_id, gen_random_uuid(), connection_id, number, 'connection.updated', now(), repeat('x', 560)
         FROM connections, generate_series(1, 20000) AS number",
        "INSERT INTO audit_events (tenant_id, audit_id, at, actor, action, connection_id, detail)
         SELECT tenant_id, gen_random_uuid(), now(), 'service', 'connection.updated', connection_id, '{}'
         FROM connections, generate_series(1, 20000)",
    ] {
        sqlx::query(insert).execute(&pool).await.unwrap();
    }
    // One connection, so that its own count of what it read is complete.
    let options = (*pool.connect_options()).clone();
    let one = PgPoolOptions::new().max_connections(1).connect_with(options).await.unwrap();
    let store = Store::with_pool(one.clone(), Mint::new(app.clock.clone()));
    let before = unsealed_read(&one).await;
    assert_eq!(store.seal(&"acme".parse().unwrap()).await.unwrap(), 2 * 2000);
    let read = unsealed_read(&one).await - before;
    assert!((4000..10_000).contains(&read), "{read} entries were read to seal 4,000");
    app.abandon();
}
