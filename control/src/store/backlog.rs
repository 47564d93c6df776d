//! How long work waits that is due and unclaimed.

use super::{As, Store, StoreError, Tx};
use crate::domain::health::Backlog;
use chrono::{DateTime, Utc};

/// How many tenants' deliveries are looked at: a probe must cost little, and one that is old is enough.
const TENANTS_MAX: i32 = 1000;

type Row = (Option<DateTime<Utc>>, Option<DateTime<Utc>>, Option<DateTime<Utc>>);

impl Store {
    /// Since when the oldest of each kind is due. A claim moves what it takes behind its lease, so that
    /// whatever is due here is nobody's. What waits for a destination that is paused or stopped is late by
    /// no fault of ours.
    pub async fn backlog(&self, at: DateTime<Utc>) -> Result<Backlog, StoreError> {
        let mut tx = self.begin(As::Worker).await?;
        let backlog = Self::backlog_in(&mut tx, at).await?;
        tx.commit().await?;
        Ok(backlog)
    }

    pub(super) async fn backlog_in(tx: &mut Tx, at: DateTime<Utc>) -> Result<Backlog, StoreError> {
        // Each is the first entry of the partial index that claims read, too.
        let (receipts, jobs, deliveries): Row = sqlx::query_as(
            "WITH RECURSIVE walk AS (
                 (SELECT tenant_id, 1 AS step FROM deliveries WHERE status = 'ready' ORDER BY tenant_id LIMIT 1)
                 UNION ALL
                 SELECT next.tenant_id, walk.step + 1 FROM walk CROSS JOIN LATERAL (
                     SELECT tenant_id FROM deliveries
                     WHERE status = 'ready' AND tenant_id > walk.tenant_id ORDER BY tenant_id LIMIT 1
                 ) AS next
                 WHERE walk.step < $2
             )
             SELECT (SELECT min(due_at) FROM receipts WHERE settled_at IS NULL AND due_at <= $1),
                 (SELECT min(due_at) FROM jobs WHERE done_at IS NULL AND due_at <= $1),
                 (SELECT min(due.due_at) FROM walk CROSS JOIN LATERAL (
                     SELECT due_at FROM deliveries
                     WHERE tenant_id = walk.tenant_id AND status = 'ready' AND due_at <= $1
                     ORDER BY due_at LIMIT 1
                 ) AS due WHERE NOT EXISTS (
                     SELECT FROM destination_health
                     WHERE tenant_id = walk.tenant_id AND status <> 'active'
                 ))",
        )
        .bind(at)
        .bind(TENANTS_MAX)
        .fetch_one(&mut **tx)
        .await?;
        Ok(Backlog { receipts, jobs, deliveries })
    }
}
