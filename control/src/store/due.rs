//! When the next work of each kind is due: one query for all workers, so that none of them polls.

use super::{As, Store, StoreError};
use crate::domain::due::NextDue;
use chrono::{DateTime, Utc};

/// How many tenants' deliveries are looked at. Who has more of them that wait is not idle, and polls.
const TENANTS_MAX: i32 = 1000;

#[derive(sqlx::FromRow)]
struct Row {
    receipts: Option<DateTime<Utc>>,
    attempts: Option<DateTime<Utc>>,
    jobs: Option<DateTime<Utc>>,
    reconciliation: Option<DateTime<Utc>>,
    deliveries: Option<DateTime<Utc>>,
    is_cut: bool,
    expedites: bool,
    redeliveries: Option<DateTime<Utc>>,
    sequences: bool,
}

impl Store {
    /// When the next work of each lane is due. A claim moves what it takes behind its lease, so that what a replica that died
    /// had claimed is due when its lease ends.
    pub async fn next_due(&self, at: DateTime<Utc>) -> Result<NextDue, StoreError> {
        let mut tx = self.begin(As::Worker).await?;
        // Each is the first entry of the partial index that claims read, too. Of a paused destination a probe is due, whatever
        // its deliveries wait for; of a stopped one nothing is.
        let row: Row = sqlx::query_as(
            "WITH RECURSIVE walk AS (
                 (SELECT tenant_id, 1 AS step FROM deliveries WHERE status = 'ready' ORDER BY tenant_id LIMIT 1)
                 UNION ALL
                 SELECT next.tenant_id, walk.step + 1 FROM walk CROSS JOIN LATERAL (
                     SELECT tenant_id FROM deliveries
                     WHERE status = 'ready' AND tenant_id > walk.tenant_id ORDER BY tenant_id LIMIT 1
                 ) AS next
                 WHERE walk.step < $1
             ), waiting AS (
                 SELECT CASE health.status WHEN 'stopped' THEN NULL WHEN 'paused' THEN health.probe_at
                     ELSE first.due_at END AS due_at
                 FROM walk CROSS JOIN LATERAL (
                     SELECT due_at FROM deliveries WHERE tenant_id = walk.tenant_id AND status = 'ready'
                     ORDER BY due_at LIMIT 1
                 ) AS first LEFT JOIN destination_health AS health USING (tenant_id)
             )
             SELECT (SELECT min(due_at) FROM receipts WHERE settled_at IS NULL) AS receipts,
                 (SELECT min(due_at) FROM attempts WHERE status = 'open') AS attempts,
                 (SELECT min(due_at) FROM jobs WHERE done_at IS NULL) AS jobs,
                 (SELECT min(due_at) FROM sweeps) AS reconciliation,
                 (SELECT min(due_at) FROM waiting) AS deliveries,
                 (SELECT count(*) >= $1 FROM walk) AS is_cut,
                 EXISTS (
                     SELECT FROM destination_health WHERE hastens_to IS NOT NULL AND status = 'active'
                 ) AS expedites,
                 (SELECT min(due_at) FROM redeliveries WHERE done_at IS NULL) AS redeliveries,
                 EXISTS (SELECT FROM events WHERE position IS NULL)
                     OR EXISTS (SELECT FROM audit_events WHERE position IS NULL) AS sequences",
        )
        .bind(TENANTS_MAX)
        .fetch_one(&mut *tx)
        .await?;
        tx.commit().await?;
        Ok(NextDue {
            receipts: row.receipts,
            attempts: row.attempts,
            jobs: row.jobs,
            reconciliation: row.reconciliation,
            deliveries: if row.is_cut { Some(at) } else { row.deliveries },
            expedited: row.expedites.then_some(at),
            redeliveries: row.redeliveries,
            sequence: row.sequences.then_some(at),
        })
    }
}
