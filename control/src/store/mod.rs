//! All the SQL there is, by noun. A tenant's request goes in as that tenant, and row-level security
//! stands behind every query of it.

mod attempts;
mod audit;
mod backlog;
mod budget;
mod callbacks;
mod change;
mod connections;
mod deletions;
mod deliveries;
mod destination_health;
mod destinations;
mod due;
mod feed;
mod future;
mod idempotency;
mod jobs;
mod key_checks;
mod listener;
mod listing;
mod looks;
mod news;
mod pooling;
mod probes;
mod readiness;
mod receipts;
mod redeliveries;
mod retention;
mod seal;
mod secrets;
mod sweeps;
mod telling;
mod tx;
mod vitals;

use crate::{
    domain::{
        skew::Jump,
        sqlstate::{Meaning, meaning},
    },
    metrics::Metrics,
    mint::Mint,
};
use chrono::{DateTime, TimeDelta, Utc};
use contract::id::TenantId;
use sqlx::{
    Connection as _, PgConnection, PgPool,
    migrate::{MigrateError, Migrator},
    postgres::{PgConnectOptions, PgPoolOptions},
};
use std::{io, time::Duration};
use telling::{Teller, Told};
use tokio::time::timeout;
use tx::{ANSWER_TIMEOUT, Bounded, Tx, silence};

pub use attempts::{ClaimedAttempt, NewAttempt};
pub use callbacks::{BoundCallback, CallbackAttempt, FirstCallback, NewBinding, Taken};
pub use change::{Change, Changed, Settled};
pub use connections::NewConnection;
pub use deletions::{Absences, Confirmation, DeletionsHeld, Holding, Orphan, Orphans};
pub use deliveries::{
    AttemptShown, ClaimedDelivery, DeliveryShown, Finished, Recorded, Round, Stranded, Try,
};
pub use destinations::{DestinationTested, PutDestination, Removal, Unreadable};
pub use feed::FeedPage;
pub use idempotency::{Call, Claim, Claimed};
pub use jobs::{ClaimedJob, JobKind};
pub use listener::Listener;
pub use looks::{Begin, BegunLook, LookFor};
pub use news::{Awaited, Newer, News};
pub use pooling::Pooling;
pub use receipts::{ClaimedReceipt, Hint, NewReceipt, Postponed, ReceiptOutcome};
pub use redeliveries::{Asked, Asking, RedeliveryShown};
pub use secrets::SealedSecrets;
pub use sweeps::{Bound, ClaimedSweep};
pub use vitals::{Counts, Vitals};

/// The folder `migrations`, built into the binary.
pub static MIGRATIONS: Migrator = sqlx::migrate!("../migrations");

/// What wakes the workers. It is a hint: who misses it finds the work by `next_due`.
const WAKE_CHANNEL: &str = "connections_outbox";

/// A request that finds no connection to the database within this time is told to come back.
const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(3);

/// An idle connection that does not answer within this time is closed, and another one made.
const PING_TIMEOUT: Duration = Duration::from_secs(1);

/// A statement that takes longer than this is stuck, and so is whoever waits for its locks. It is said once a session
/// has begun: as a parameter of its start, poolers refuse it or pass over it.
const SESSION: &str =
    "SET statement_timeout = '10s'; SET idle_in_transaction_session_timeout = '20s'";

/// Why a query has no result.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// It will pass: no connection, no time, no room, or a database that is standing by.
    #[error("the database is unavailable")]
    Unavailable(#[source] sqlx::Error),
    /// It will pass when an operator has prepared the database for this release.
    #[error(
        "the database lacks a table, a role or a grant of this release: run `control migrate`, or grant it"
    )]
    Unprepared(#[source] sqlx::Error),
    /// It will not pass by itself: the database refuses what we ask of it.
    #[error("the database refuses")]
    Refused(#[source] sqlx::Error),
    /// A row of our own breaks our rules.
    #[error("the database holds what it never should: {0}")]
    Corrupt(String),
}

impl StoreError {
    /// Whether somebody held a row for longer than it was waited for: the other rows can be had.
    pub fn is_of_a_held_row(&self) -> bool {
        let Self::Unavailable(sqlx::Error::Database(answer)) = self else { return false };
        answer.code().is_some_and(|code| code == "55P03")
    }

    /// Whether the database was there to say so; otherwise nobody answers whatever else is asked, either.
    pub const fn is_answer(&self) -> bool {
        match self {
            Self::Unavailable(error) | Self::Unprepared(error) | Self::Refused(error) => {
                matches!(error, sqlx::Error::Database(_))
            }
            Self::Corrupt(_) => true,
        }
    }
}

impl From<sqlx::Error> for StoreError {
    fn from(error: sqlx::Error) -> Self {
        if let sqlx::Error::Database(answer) = &error {
            return match meaning(&answer.code().unwrap_or_default()) {
                Meaning::Passing | Meaning::Spoiled => Self::Unavailable(error),
                Meaning::Unprepared => Self::Unprepared(error),
                Meaning::Refused => Self::Refused(error),
            };
        }
        let is_ours = matches!(
            error,
            sqlx::Error::ColumnDecode { .. }
                | sqlx::Error::Decode(_)
                | sqlx::Error::ColumnNotFound(_)
        );
        if is_ours { Self::Corrupt(error.to_string()) } else { Self::Unavailable(error) }
    }
}

/// As whom a transaction reads and writes.
#[derive(Debug, Clone, Copy)]
pub enum As<'a> {
    Tenant(&'a TenantId),
    Worker,
}

/// What an empty database answers: no such role, no such table.
const NOT_MIGRATED: [&str; 2] = ["22023", "42P01"];

/// The database.
#[derive(Debug, Clone)]
pub struct Store {
    pool: PgPool,
    mint: Mint,
    metrics: Metrics,
    /// How long an answer of the database is waited for.
    limit: Duration,
    teller: Teller,
}

impl Store {
    /// Opens a pool; no connection is made yet.
    pub fn new(options: PgConnectOptions, mint: Mint) -> Self {
        // sqlx's own ping has no limit: each connection that died idle would cost a whole ACQUIRE_TIMEOUT.
        let pool = PgPoolOptions::new()
            .max_connections(16)
            .acquire_timeout(ACQUIRE_TIMEOUT)
            .test_before_acquire(false)
            .before_acquire(|connection, _idle_for| Box::pin(ping(connection)))
            .after_connect(|connection, _about| Box::pin(prepare_session(connection)));
        Self::with_pool(pool.connect_lazy_with(speaking_to_any(options)), mint)
    }

    /// A store without limits on the time of a statement: a migration may take long, and one that
    /// waits for another must not be cut off.
    pub fn for_migration(options: PgConnectOptions, mint: Mint) -> Self {
        let pool = PgPoolOptions::new().max_connections(1).acquire_timeout(ACQUIRE_TIMEOUT);
        Self::with_pool(pool.connect_lazy_with(speaking_to_any(options)), mint)
    }

    pub fn with_pool(pool: PgPool, mint: Mint) -> Self {
        let teller = Teller::new(pool.clone(), ANSWER_TIMEOUT);
        Self { pool, mint, metrics: Metrics::default(), limit: ANSWER_TIMEOUT, teller }
    }

    /// The same store, which waits so long for an answer.
    #[must_use]
    pub fn patient_for(self, limit: Duration) -> Self {
        let teller = Teller::new(self.pool.clone(), limit);
        Self { limit, teller, ..self }
    }

    /// The same store, counted by these.
    #[must_use]
    pub fn measured(self, metrics: Metrics) -> Self {
        Self { metrics, ..self }
    }

    pub async fn migrate(&self) -> Result<(), MigrateError> {
        MIGRATIONS.run(&self.pool).await
    }

    /// Listens for the outbox's wake-ups.
    pub async fn listen(&self) -> Result<Listener, StoreError> {
        self.listen_to(WAKE_CHANNEL).await
    }

    pub async fn close(&self) {
        self.pool.close().await;
    }

    async fn begin(&self, role: As<'_>) -> Result<Tx, StoreError> {
        self.enter(role, "BEGIN").await
    }

    /// A transaction that reads everything as it is at one moment.
    async fn begin_snapshot(&self, role: As<'_>) -> Result<Tx, StoreError> {
        self.enter(role, "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY").await
    }

    async fn enter(&self, role: As<'_>, begin: &'static str) -> Result<Tx, StoreError> {
        let (begun, waiting) = (self.metrics.begin(), self.metrics.acquires());
        let connection = self.pool.acquire().await;
        drop(waiting);
        self.metrics.acquired(&begun, !matches!(connection, Err(sqlx::Error::PoolTimedOut)));
        let mut tx =
            Tx::begin(Bounded::alone(connection?, self.limit), self.teller.clone(), begin).await?;
        let (role, tenant) = match role {
            As::Tenant(tenant) => ("connections_api", tenant.as_str()),
            As::Worker => ("connections_worker", ""),
        };
        // Both settings are local to the transaction; the pooled connection forgets them at its end. With them comes the
        // database's time: whatever the transaction writes is dated by a clock that was compared with it just now.
        let clock = self.mint.clock();
        let asked = clock.ask();
        let (there, _, _): (DateTime<Utc>, String, String) = sqlx::query_as(
            "SELECT clock_timestamp(), set_config('role', $1, true), set_config('connections.tenant', $2, true)",
        )
        .bind(role)
        .bind(tenant)
        .fetch_one(&mut *tx)
        .await?;
        clock.learn(asked, there).map_err(wrong_clock)?;
        Ok(tx)
    }
}

/// Without what sqlx says at the start of a session that PgBouncer does not know: `extra_float_digits` has had this meaning
/// by default since PostgreSQL 12.
fn speaking_to_any(options: PgConnectOptions) -> PgConnectOptions {
    options.extra_float_digits(None)
}

async fn prepare_session(connection: &mut PgConnection) -> Result<(), sqlx::Error> {
    sqlx::raw_sql(SESSION).execute(connection).await.map(drop)
}

async fn ping(connection: &mut PgConnection) -> Result<bool, sqlx::Error> {
    let answered = timeout(PING_TIMEOUT, connection.ping()).await;
    answered.unwrap_or_else(|_elapsed| Err(silence())).map(|()| true)
}

/// It passes: the clock is corrected, and trusted again soon.
fn wrong_clock(jump: Jump) -> sqlx::Error {
    sqlx::Error::Io(io::Error::other(jump))
}

/// Wakes the outbox once the transaction has committed, and not before.
fn wake(tx: &mut Tx) {
    tx.tell(Told { channel: WAKE_CHANNEL, payload: String::new() });
}

/// When something that is done at `at` comes due again.
fn later(at: DateTime<Utc>, wait: Duration) -> DateTime<Utc> {
    TimeDelta::from_std(wait).ok().and_then(|wait| at.checked_add_signed(wait)).unwrap_or(at)
}

/// Reads a text that a migration's CHECK or a type of ours wrote.
fn read<T: std::str::FromStr>(column: &str, text: &str) -> Result<T, StoreError> {
    text.parse().map_err(|_broken| StoreError::Corrupt(format!("{column} holds {text:?}")))
}
