//! Gives up what nobody took for as long as events are kept, so that no backlog grows for ever.

use super::rescue::{lock_connections, make_next_ready};
use crate::store::{Store, StoreError, tx::Tx, wake};
use chrono::{DateTime, Utc};
use contract::id::TenantId;
use uuid::Uuid;

/// How many are given up in one transaction: it holds their connections' locks.
const BATCH: usize = 100;

/// How many of a tenant's oldest events one look goes through: as many as the feed lets go of at once.
const EVENTS: i64 = 500;

impl Store {
    /// Ends some of a tenant's deliveries whose event is from `until` or before, and makes ready what waited
    /// for them; how many, and whether there may be more. What is being sent at this moment stays.
    pub async fn give_up_deliveries(
        &self,
        tenant: &TenantId,
        until: DateTime<Utc>,
        at: DateTime<Utc>,
    ) -> Result<(usize, bool), StoreError> {
        let Some(mut tx) = self.begin_removal().await? else { return Ok((0, false)) };
        let old: Vec<(Uuid, Uuid)> = sqlx::query_as(
            "WITH oldest AS MATERIALIZED (
                 SELECT event_id, occurred_at FROM events
                 WHERE tenant_id = $1 AND position IS NOT NULL ORDER BY position LIMIT $5
             )
             SELECT delivery_id, connection_id FROM oldest JOIN deliveries USING (event_id)
             WHERE tenant_id = $1 AND occurred_at <= $2 AND ended_at IS NULL
               AND (lease IS NULL OR due_at <= $3)
             LIMIT $4",
        )
        .bind(tenant.as_str())
        .bind(until)
        .bind(at)
        .bind(i64::try_from(BATCH).unwrap_or(i64::MAX))
        .bind(EVENTS)
        .fetch_all(&mut *tx)
        .await?;
        let may_be_more = old.len() == BATCH;
        let (deliveries, connections): (Vec<Uuid>, Vec<Uuid>) = old.into_iter().unzip();
        let tenants = vec![tenant.as_str(); connections.len()];
        lock_connections(&mut tx, &tenants, &connections).await?;
        let given_up = give_up(&mut tx, tenant, &deliveries, at).await?;
        if given_up > 0 {
            make_next_ready(&mut tx, &tenants, &connections, at).await?;
            wake(&mut tx);
        }
        // At once, even with nothing done: whoever removes next would find the turn taken.
        tx.commit().await?;
        Ok((given_up, may_be_more && given_up > 0))
    }
}

/// Asked again under the locks: meanwhile somebody may have claimed one, or recorded its end.
async fn give_up(
    tx: &mut Tx,
    tenant: &TenantId,
    deliveries: &[Uuid],
    at: DateTime<Utc>,
) -> Result<usize, StoreError> {
    let given_up = sqlx::query(
        "UPDATE deliveries SET status = 'exhausted', lease = NULL, due_at = $3, ended_at = $3
         FROM (
             SELECT delivery_id FROM deliveries
             WHERE tenant_id = $1 AND delivery_id = ANY ($2) AND ended_at IS NULL
               AND (lease IS NULL OR due_at <= $3)
             FOR UPDATE SKIP LOCKED
         ) AS old
         WHERE deliveries.tenant_id = $1 AND deliveries.delivery_id = old.delivery_id",
    )
    .bind(tenant.as_str())
    .bind(deliveries)
    .bind(at)
    .execute(&mut **tx)
    .await?;
    Ok(usize::try_from(given_up.rows_affected()).unwrap_or(usize::MAX))
}
