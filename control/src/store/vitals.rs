//! How the service is, as far as the database knows: what samples are taken from. None of it is a tenant's.

use super::{As, Store, StoreError};
use crate::{
    clock::Clock,
    domain::{
        budget::{Bucket, CallClass},
        skew::skew,
    },
};
use chrono::{DateTime, TimeDelta, Utc};

/// What is looked at often: a handful of rows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Vitals {
    /// When the last whole walk through the vault's list began.
    pub swept_at: Option<DateTime<Utc>>,
    pub buckets: Vec<(CallClass, Bucket)>,
    /// When the oldest event was written that has no place in the feed yet.
    pub unsealed_since: Option<DateTime<Utc>>,
    /// Destinations that are not active, by status.
    pub destinations: Counts,
    /// How many deletions at Nango are held; 0, while none is.
    pub deletions_held: i64,
    /// How many credentials at Nango no connection here has.
    pub orphans: i64,
}

/// How many rows have which status.
pub type Counts = Vec<(String, i64)>;

impl Store {
    /// How far `clock` is from the database's; where it follows that one, how far this host's own is.
    pub async fn clock_skew(&self, clock: &Clock) -> Result<TimeDelta, StoreError> {
        if let Some(skew) = clock.host_skew() {
            return Ok(skew);
        }
        let mut tx = self.begin(As::Worker).await?;
        let before = clock.now();
        let there: DateTime<Utc> =
            sqlx::query_scalar("SELECT clock_timestamp()").fetch_one(&mut *tx).await?;
        let after = clock.now();
        tx.commit().await?;
        Ok(skew(before, there, after))
    }

    /// Compares our clock with the database's, as every transaction does.
    pub async fn compare_clocks(&self) -> Result<(), StoreError> {
        Ok(self.begin(As::Worker).await?.commit().await?)
    }

    pub async fn vitals(&self) -> Result<Vitals, StoreError> {
        let mut tx = self.begin(As::Worker).await?;
        let (swept_at, orphans): (Option<DateTime<Utc>>, i64) =
            sqlx::query_as("SELECT swept_at, orphans FROM sweeps").fetch_one(&mut *tx).await?;
        let deletions_held: i64 = sqlx::query_scalar(
            "SELECT CASE WHEN held_since IS NULL THEN 0 ELSE missing END FROM deletions_held",
        )
        .fetch_one(&mut *tx)
        .await?;
        let rows: Vec<(String, i64, DateTime<Utc>, DateTime<Utc>)> =
            sqlx::query_as("SELECT class, level, filled_at, promised_at FROM nango_budget")
                .fetch_all(&mut *tx)
                .await?;
        let unsealed_since: Option<DateTime<Utc>> =
            sqlx::query_scalar("SELECT min(occurred_at) FROM events WHERE position IS NULL")
                .fetch_one(&mut *tx)
                .await?;
        let destinations: Counts = sqlx::query_as(
            "SELECT status, count(*) FROM destination_health WHERE status <> 'active' GROUP BY status",
        )
        .fetch_all(&mut *tx)
        .await?;
        tx.commit().await?;
        let bucket = |(name, level, filled_at, promised_at): (String, _, _, _)| {
            // Another release's class is nothing that this one could call for.
            let class = CallClass::ALL.into_iter().find(|class| class.as_str() == name)?;
            Some((class, Bucket { level, filled_at, promised_at }))
        };
        let buckets = rows.into_iter().filter_map(bucket).collect();
        Ok(Vitals { swept_at, buckets, unsealed_since, destinations, deletions_held, orphans })
    }

    /// Connections by status. It reads every row's entry in an index: ask seldom.
    pub async fn count_connections(&self) -> Result<Counts, StoreError> {
        let mut tx = self.begin(As::Worker).await?;
        let counts = sqlx::query_as("SELECT status, count(*) FROM connections GROUP BY status")
            .fetch_all(&mut *tx)
            .await?;
        tx.commit().await?;
        Ok(counts)
    }

    /// Deliveries that have not ended, by status: each has an index that holds no others.
    pub async fn count_unfinished_deliveries(&self) -> Result<Counts, StoreError> {
        let mut tx = self.begin(As::Worker).await?;
        let counts = sqlx::query_as(
            "SELECT * FROM (
                 SELECT 'blocked', count(*) FROM deliveries WHERE status = 'blocked'
                 UNION ALL SELECT 'ready', count(*) FROM deliveries WHERE status = 'ready'
             ) AS counted (status, deliveries) WHERE deliveries > 0",
        )
        .fetch_all(&mut *tx)
        .await?;
        tx.commit().await?;
        Ok(counts)
    }

    /// How many connections to the database are idle, are used, and may be.
    pub fn pool_state(&self) -> (usize, usize, u32) {
        let idle = self.pool.num_idle();
        let all = usize::try_from(self.pool.size()).unwrap_or(usize::MAX);
        (idle, all.saturating_sub(idle), self.pool.options().get_max_connections())
    }
}
