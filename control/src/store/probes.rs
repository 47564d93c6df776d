//! Which connections are probed: those whose last probe is oldest.

use super::{As, Store, StoreError, jobs::insert_probe, wake};
use chrono::{DateTime, Utc};
use contract::id::{ConnectionId, TenantId};
use uuid::Uuid;

impl Store {
    /// Queues a probe for each of at most so many connections whose last one was before that time, the oldest first, and
    /// says for how many.
    pub async fn queue_probes(
        &self,
        at: DateTime<Utc>,
        before: DateTime<Utc>,
        most: i64,
    ) -> Result<usize, StoreError> {
        let mut tx = self.begin(As::Worker).await?;
        // SKIP LOCKED: a connection that changes just now is probed in a later turn.
        let oldest: Vec<(String, Uuid)> = sqlx::query_as(
            "UPDATE connections SET probed_at = $1 FROM (
                 SELECT tenant_id, connection_id FROM connections
                 WHERE (status = 'active' OR reason = 'account_unverified') AND coalesce(probed_at, since) <= $2
                 ORDER BY coalesce(probed_at, since) LIMIT $3 FOR UPDATE SKIP LOCKED
             ) AS oldest
             WHERE connections.tenant_id = oldest.tenant_id AND connections.connection_id = oldest.connection_id
             RETURNING connections.tenant_id, connections.connection_id",
        )
        .bind(at)
        .bind(before)
        .bind(most)
        .fetch_all(&mut *tx)
        .await?;
        for (tenant, id) in &oldest {
            let tenant: TenantId = super::read("connections.tenant_id", tenant)?;
            insert_probe(&mut tx, &self.mint, (&tenant, ConnectionId::from_uuid(*id)), at).await?;
        }
        if !oldest.is_empty() {
            wake(&mut tx);
        }
        tx.commit().await?;
        Ok(oldest.len())
    }
}
