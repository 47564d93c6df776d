//! Which connections are probed: those whose last probe is oldest.

use super::{As, Store, StoreError, jobs::insert_periodic_probe, wake};
use crate::domain::{
    connection::Connection,
    probing::{ACCEPTED_WITHIN, Answers, REVOKED_WITHIN},
};
use chrono::{DateTime, TimeDelta, Utc};
use contract::id::{ConnectionId, TenantId};
use uuid::Uuid;

impl Store {
    /// What the provider of this connection said of tokens lately, now that it rejected this one's.
    pub async fn answers(
        &self,
        rejected: &Connection,
        at: DateTime<Utc>,
    ) -> Result<Answers, StoreError> {
        let before = |by: TimeDelta| at.checked_sub_signed(by).unwrap_or(at);
        let mut tx = self.begin(As::Worker).await?;
        // One whose probe is queued was not tried yet.
        let (accepted, others): (i64, i64) = sqlx::query_as(
            "SELECT (SELECT count(*) FROM connections
                 WHERE integration_id = $1 AND status = 'active' AND rejected_since IS NULL
                     AND coalesce(probed_at, since) > $3 AND (tenant_id, connection_id) <> ($5, $2)
                     AND NOT EXISTS (
                         SELECT FROM jobs WHERE kind = 'probe' AND done_at IS NULL
                             AND jobs.tenant_id = connections.tenant_id AND jobs.connection_id = connections.connection_id
                     )),
                 (SELECT count(*) FROM connections
                 WHERE integration_id = $1 AND (tenant_id, connection_id) <> ($5, $2)
                     AND (rejected_since IS NOT NULL AND status = 'active' OR reason = 'token_rejected' AND since > $4))",
        )
        .bind(rejected.integration.as_str())
        .bind(rejected.id.as_uuid())
        .bind(before(ACCEPTED_WITHIN))
        .bind(before(REVOKED_WITHIN))
        .bind(rejected.tenant.as_str())
        .fetch_one(&mut *tx)
        .await?;
        tx.commit().await?;
        let [accepted, others] = [accepted, others].map(|rows| u64::try_from(rows).unwrap_or(0));
        Ok(Answers { accepted, rejected: others.saturating_add(1) })
    }

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
            let whose = (&tenant, ConnectionId::from_uuid(*id));
            insert_periodic_probe(&mut tx, &self.mint, whose, at).await?;
        }
        if !oldest.is_empty() {
            wake(&mut tx);
        }
        tx.commit().await?;
        Ok(oldest.len())
    }
}
