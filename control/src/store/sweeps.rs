//! The one walk through the vault's list, which all replicas share.

use super::{As, Orphans, Postponed, Store, StoreError, later, read};
use crate::domain::{future::PAST, sweep::Counts};
use chrono::{DateTime, Utc};
use contract::id::{ConnectionId, NangoConnectionId, TenantId};
use sqlx::types::Json;
use std::time::Duration;
use uuid::Uuid;

/// A walk that one worker may go on with until its lease runs out.
#[derive(Debug)]
pub struct ClaimedSweep {
    pub lease: Uuid,
    /// The page that is next.
    pub page: u32,
    pub began_at: DateTime<Utc>,
    pub counts: Counts,
    /// Of the walk before.
    pub before: Counts,
    pub failures: usize,
}

/// A connection that the vault should have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bound {
    pub tenant: TenantId,
    pub connection: ConnectionId,
    pub vault: NangoConnectionId,
    pub integration: String,
    /// Whether an operator confirmed that it was deleted there.
    pub is_confirmed: bool,
}

type Row = (i32, DateTime<Utc>, Json<Counts>, Json<Counts>, i32);

impl Store {
    /// Claims the walk when it is due, to begin it or to go on with it.
    pub async fn claim_sweep(
        &self,
        at: DateTime<Utc>,
        lease_for: Duration,
    ) -> Result<Option<ClaimedSweep>, StoreError> {
        let lease = self.mint.lease();
        let mut tx = self.begin(As::Worker).await?;
        let row: Option<Row> = sqlx::query_as(
            "UPDATE sweeps SET lease = $1, due_at = $3, started_at = COALESCE(started_at, $2)
             WHERE is_only AND due_at <= $2
             RETURNING page, started_at, counts, before, failures",
        )
        .bind(lease)
        .bind(at)
        .bind(later(at, lease_for))
        .fetch_optional(&mut *tx)
        .await?;
        tx.commit().await?;
        Ok(row.map(|(page, began_at, Json(counts), Json(before), failures)| ClaimedSweep {
            lease,
            page: u32::try_from(page).unwrap_or_default(),
            began_at,
            counts,
            before,
            failures: usize::try_from(failures).unwrap_or_default(),
        }))
    }

    /// Keeps how far the walk is; `false`, if its lease was lost.
    pub async fn keep_sweep(
        &self,
        sweep: &ClaimedSweep,
        due_at: DateTime<Utc>,
    ) -> Result<bool, StoreError> {
        let mut tx = self.begin(As::Worker).await?;
        let kept = sqlx::query(
            "UPDATE sweeps SET page = $2, counts = $3, due_at = $4, failures = 0 WHERE lease = $1",
        )
        .bind(sweep.lease)
        .bind(i32::try_from(sweep.page).unwrap_or(i32::MAX))
        .bind(Json(&sweep.counts))
        .bind(due_at)
        .execute(&mut *tx)
        .await?;
        tx.commit().await?;
        Ok(kept.rows_affected() == 1)
    }

    /// Ends the walk, and says when the next begins. Only one that was whole says how fresh all of it is, and what
    /// else there is.
    pub async fn end_sweep(
        &self,
        sweep: &ClaimedSweep,
        whole: Option<&Orphans>,
        due_at: DateTime<Utc>,
    ) -> Result<(), StoreError> {
        let mut tx = self.begin(As::Worker).await?;
        sqlx::query(
            "UPDATE sweeps SET page = 0, started_at = NULL, counts = '{}', before = $2,
                swept_at = COALESCE($3, swept_at), due_at = $4,
                lease = NULL, failures = 0,
                orphans = COALESCE($5, orphans), orphan_sample = COALESCE($6, orphan_sample)
             WHERE lease = $1",
        )
        .bind(sweep.lease)
        .bind(Json(&sweep.counts))
        .bind(whole.map(|_whole| sweep.began_at))
        .bind(due_at)
        .bind(whole.map(|orphans| orphans.count))
        .bind(whole.map(|orphans| Json(&orphans.sample)))
        .execute(&mut *tx)
        .await?;
        tx.commit().await?;
        Ok(())
    }

    /// When the last walk began that was whole; nothing before the first.
    pub async fn swept_at(&self) -> Result<Option<DateTime<Utc>>, StoreError> {
        let mut tx = self.begin(As::Worker).await?;
        let swept_at =
            sqlx::query_scalar("SELECT swept_at FROM sweeps").fetch_one(&mut *tx).await?;
        tx.commit().await?;
        Ok(swept_at)
    }

    /// Goes on later, because the vault could not be asked.
    pub async fn postpone_sweep(
        &self,
        sweep: &ClaimedSweep,
        why: Postponed,
        due_at: DateTime<Utc>,
    ) -> Result<(), StoreError> {
        let mut tx = self.begin(As::Worker).await?;
        sqlx::query(
            "UPDATE sweeps SET due_at = $2, lease = NULL, failures = failures + $3 WHERE lease = $1",
        )
        .bind(sweep.lease)
        .bind(due_at)
        .bind(why.counts().1)
        .execute(&mut *tx)
        .await?;
        tx.commit().await?;
        Ok(())
    }

    /// Connections that the vault should have had when a walk began, in the order of their ids, after
    /// this one. That one was seen later than `at`, which is now, says a wrong clock.
    pub async fn bound_before(
        &self,
        (began_at, at): (DateTime<Utc>, DateTime<Utc>),
        after: Option<ConnectionId>,
        limit: i64,
    ) -> Result<Vec<Bound>, StoreError> {
        let after = after.map_or(Uuid::nil(), ConnectionId::as_uuid);
        let mut tx = self.begin(As::Worker).await?;
        let rows: Vec<(String, Uuid, String, String, bool)> = sqlx::query_as(
            "SELECT tenant_id, connection_id, nango_connection_id, integration_id,
                (missing_confirmed_at >= missing_since) IS TRUE
             FROM connections
             WHERE connection_id > $1 AND status IN ('active', 'needs_reauth') AND nango_connection_id IS NOT NULL
                AND (checked_at < $2 OR checked_at > $4)
             ORDER BY connection_id LIMIT $3",
        )
        .bind(after)
        .bind(began_at)
        .bind(limit)
        .bind(at.checked_add_signed(PAST).unwrap_or(at))
        .fetch_all(&mut *tx)
        .await?;
        tx.commit().await?;
        rows.into_iter()
            .map(|(tenant, connection, vault, integration, is_confirmed)| {
                Ok(Bound {
                    tenant: read("connections.tenant_id", &tenant)?,
                    connection: ConnectionId::from_uuid(connection),
                    vault: read("connections.nango_connection_id", &vault)?,
                    integration,
                    is_confirmed,
                })
            })
            .collect()
    }
}
