//! Lets what waits for its next try go at once, since its destination takes something again.

use crate::store::{As, Store, StoreError, tx::Tx, wake};
use chrono::{DateTime, Utc};

/// How many become due in one transaction: a destination may have a million that wait.
const BATCH: i64 = 500;

/// Leaves this behind for a destination that begins anew. Its row's lock is the caller's.
pub(in crate::store) async fn hasten(tx: &mut Tx, tenant: &str) -> Result<(), StoreError> {
    sqlx::query("UPDATE destination_health SET hastens_to = 'infinity' WHERE tenant_id = $1")
        .bind(tenant)
        .execute(&mut **tx)
        .await?;
    Ok(())
}

impl Store {
    /// Makes some deliveries of one destination due, those that would wait longest first; `false`, if there is
    /// no such destination. One that fails then has used no try, and is due when it was. Each is hastened once: what
    /// fails again meanwhile is passed over, or becomes due at the very end.
    ///
    /// The destination is locked before deliveries here, and after them everywhere else. That is safe, because
    /// a delivery is never waited for.
    pub async fn hasten_deliveries(&self, at: DateTime<Utc>) -> Result<bool, StoreError> {
        let mut tx = self.begin(As::Worker).await?;
        // Whose longest waits are longest goes first, so that no backlog keeps the others waiting.
        let tenant: Option<String> = sqlx::query_scalar(
            "SELECT tenant_id FROM destination_health
             WHERE hastens_to IS NOT NULL AND status = 'active'
             ORDER BY hastens_to DESC LIMIT 1 FOR UPDATE SKIP LOCKED",
        )
        .fetch_optional(&mut *tx)
        .await?;
        let Some(tenant) = tenant else { return Ok(false) };
        let (hastened, came_to): (i64, Option<DateTime<Utc>>) = sqlx::query_as(
            "WITH late AS (
                 SELECT delivery_id, due_at FROM deliveries
                 WHERE tenant_id = $1 AND status = 'ready' AND lease IS NULL AND due_at > $2
                   AND due_at <= (SELECT hastens_to FROM destination_health WHERE tenant_id = $1)
                 ORDER BY due_at DESC LIMIT $3 FOR UPDATE SKIP LOCKED
             ), hastened AS (
                 UPDATE deliveries SET due_at = $2, hastened_from = late.due_at FROM late
                 WHERE deliveries.tenant_id = $1 AND deliveries.delivery_id = late.delivery_id
                 RETURNING late.due_at
             )
             SELECT count(*), min(due_at) FROM hastened",
        )
        .bind(&tenant)
        .bind(at)
        .bind(BATCH)
        .fetch_one(&mut *tx)
        .await?;
        // So does what is still to be made of the tenant's deliveries.
        sqlx::query(
            "UPDATE redeliveries SET due_at = $2 WHERE tenant_id = $1 AND done_at IS NULL AND due_at > $2",
        )
        .bind(&tenant)
        .bind(at)
        .execute(&mut *tx)
        .await?;
        let came_to = came_to.filter(|_| hastened == BATCH);
        sqlx::query("UPDATE destination_health SET hastens_to = $2 WHERE tenant_id = $1")
            .bind(&tenant)
            .bind(came_to)
            .execute(&mut *tx)
            .await?;
        wake(&mut tx);
        tx.commit().await?;
        Ok(true)
    }
}
