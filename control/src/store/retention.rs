//! What was kept long enough is removed, children first, a little at a time and by one replica at a time. An
//! event that is being sent at this moment stays for a little longer; nothing of the trail goes.

use super::{As, Store, StoreError, read, tx::Tx};
use crate::domain::retention::{Placed, let_go};
use chrono::{DateTime, Utc};
use contract::id::TenantId;
use uuid::Uuid;

/// How many rows of a kind are removed in one transaction.
const BATCH: usize = 500;

pub(super) type Removal = Tx;

impl Store {
    /// The advisory lock of whoever removes, in this database.
    pub const REMOVING: i64 = 0x636f_6e6e_7265_7461;

    /// Removes some deliveries that ended then or before, with their attempts; `true`, if there may be more.
    pub async fn forget_deliveries(&self, until: DateTime<Utc>) -> Result<bool, StoreError> {
        let Some(mut tx) = self.begin_removal().await? else { return Ok(false) };
        let ended: Vec<(String, Uuid)> = sqlx::query_as(
            "SELECT tenant_id, delivery_id FROM deliveries WHERE ended_at <= $1 ORDER BY ended_at LIMIT $2",
        )
        .bind(until)
        .bind(limit())
        .fetch_all(&mut *tx)
        .await?;
        let may_be_more = ended.len() == BATCH;
        let (tenants, deliveries): (Vec<String>, Vec<Uuid>) = ended.into_iter().unzip();
        remove_deliveries(&mut tx, &tenants, &deliveries).await?;
        tx.commit().await?;
        Ok(may_be_more)
    }

    /// Some tenants whose oldest event is from then or before, in their order, from after that one.
    pub async fn tenants_with_old_events(
        &self,
        after: &str,
        until: DateTime<Utc>,
    ) -> Result<Vec<TenantId>, StoreError> {
        let mut tx = self.begin(As::Worker).await?;
        // A look at one event for each tenant.
        let tenants: Vec<String> = sqlx::query_scalar(
            "SELECT head.tenant_id FROM tenant_heads AS head CROSS JOIN LATERAL (
                 SELECT occurred_at FROM events
                 WHERE tenant_id = head.tenant_id AND position IS NOT NULL ORDER BY position LIMIT 1
             ) AS oldest
             WHERE head.tenant_id > $1 AND oldest.occurred_at <= $2 ORDER BY head.tenant_id LIMIT $3",
        )
        .bind(after)
        .bind(until)
        .bind(limit())
        .fetch_all(&mut *tx)
        .await?;
        tx.commit().await?;
        tenants.iter().map(|tenant| read("tenant_heads.tenant_id", tenant)).collect()
    }

    /// Lets the feed go of some of a tenant's events from then or before, and removes them, but for those that
    /// are being sent; `true`, if there may be more.
    pub async fn forget_events(
        &self,
        tenant: &TenantId,
        until: DateTime<Utc>,
    ) -> Result<bool, StoreError> {
        let Some(mut tx) = self.begin_removal().await? else { return Ok(false) };
        let oldest_first: Vec<Placed> = sqlx::query_as(
            "SELECT position, occurred_at FROM events WHERE tenant_id = $1 AND position IS NOT NULL
             ORDER BY position LIMIT $2 FOR UPDATE",
        )
        .bind(tenant.as_str())
        .bind(limit())
        .fetch_all(&mut *tx)
        .await?;
        let Some(last) = let_go(&oldest_first, until) else { return Ok(false) };
        let finished: Vec<Uuid> = sqlx::query_scalar(
            "SELECT event_id FROM events
             WHERE tenant_id = $1 AND position <= $2 AND NOT EXISTS (
                 SELECT FROM deliveries
                 WHERE deliveries.tenant_id = $1 AND deliveries.event_id = events.event_id AND ended_at IS NULL
             )",
        )
        .bind(tenant.as_str())
        .bind(last)
        .fetch_all(&mut *tx)
        .await?;
        // One that was being sent is behind the feed's beginning already.
        sqlx::query(
            "UPDATE tenant_heads AS head
             SET oldest_event = events.position + 1, gone_position = events.position, gone_event = event_id
             FROM events
             WHERE head.tenant_id = $1 AND events.tenant_id = $1 AND events.position = $2
                 AND head.oldest_event <= events.position",
        )
        .bind(tenant.as_str())
        .bind(last)
        .execute(&mut *tx)
        .await?;
        remove_events(&mut tx, tenant, &finished).await?;
        tx.commit().await?;
        Ok(oldest_first.len() == BATCH && !finished.is_empty())
    }

    /// Removes some receipts, jobs and redeliveries that ended then or before; `true`, if there may be more.
    pub async fn forget_work(&self, until: DateTime<Utc>) -> Result<bool, StoreError> {
        let Some(mut tx) = self.begin_removal().await? else { return Ok(false) };
        let mut may_be_more = false;
        for removal in [
            "DELETE FROM receipts WHERE receipt_id IN (
                 SELECT receipt_id FROM receipts WHERE settled_at <= $1 ORDER BY settled_at LIMIT $2)",
            "DELETE FROM jobs WHERE job_id IN (
                 SELECT job_id FROM jobs WHERE done_at <= $1 ORDER BY done_at LIMIT $2)",
            "DELETE FROM redeliveries WHERE (tenant_id, job_id) IN (
                 SELECT tenant_id, job_id FROM redeliveries WHERE done_at <= $1 ORDER BY done_at LIMIT $2)",
        ] {
            let removed = sqlx::query(removal).bind(until).bind(limit()).execute(&mut *tx).await?;
            may_be_more |= i64::try_from(removed.rows_affected()).is_ok_and(|rows| rows == limit());
        }
        tx.commit().await?;
        Ok(may_be_more)
    }

    /// Removes some connections that were deleted then or before, and of which nothing is left to be told or
    /// to be done; `true`, if there may be more.
    pub async fn forget_connections(&self, until: DateTime<Utc>) -> Result<bool, StoreError> {
        let Some(mut tx) = self.begin_removal().await? else { return Ok(false) };
        let deleted: Vec<(String, Uuid)> = sqlx::query_as(
            "SELECT tenant_id, connection_id FROM connections AS old
             WHERE status = 'deleted' AND since <= $1
               AND NOT EXISTS (SELECT FROM events WHERE events.tenant_id = old.tenant_id
                   AND events.connection_id = old.connection_id)
               AND NOT EXISTS (SELECT FROM jobs WHERE jobs.tenant_id = old.tenant_id
                   AND jobs.connection_id = old.connection_id AND done_at IS NULL)
             ORDER BY since LIMIT $2 FOR UPDATE SKIP LOCKED",
        )
        .bind(until)
        .bind(limit())
        .fetch_all(&mut *tx)
        .await?;
        let may_be_more = deleted.len() == BATCH;
        let (tenants, connections): (Vec<String>, Vec<Uuid>) = deleted.into_iter().unzip();
        for removal in [
            "DELETE FROM callback_states WHERE (tenant_id, connection_id) IN (SELECT * FROM unnest($1::text[], $2::uuid[]))",
            "DELETE FROM attempts WHERE (tenant_id, connection_id) IN (SELECT * FROM unnest($1::text[], $2::uuid[]))",
            "DELETE FROM jobs WHERE (tenant_id, connection_id) IN (SELECT * FROM unnest($1::text[], $2::uuid[]))",
            "DELETE FROM connections WHERE (tenant_id, connection_id) IN (SELECT * FROM unnest($1::text[], $2::uuid[]))",
        ] {
            sqlx::query(removal).bind(&tenants).bind(&connections).execute(&mut *tx).await?;
        }
        tx.commit().await?;
        Ok(may_be_more)
    }

    /// A transaction that removes; nothing, while another replica does.
    pub(super) async fn begin_removal(&self) -> Result<Option<Removal>, StoreError> {
        let mut tx = self.begin(As::Worker).await?;
        let is_ours: bool = sqlx::query_scalar("SELECT pg_try_advisory_xact_lock($1)")
            .bind(Self::REMOVING)
            .fetch_one(&mut *tx)
            .await?;
        Ok(is_ours.then_some(tx))
    }
}

async fn remove_deliveries(
    tx: &mut Removal,
    tenants: &[String],
    deliveries: &[Uuid],
) -> Result<(), StoreError> {
    for removal in [
        "DELETE FROM delivery_attempts WHERE (tenant_id, delivery_id) IN (SELECT * FROM unnest($1::text[], $2::uuid[]))",
        "DELETE FROM deliveries WHERE (tenant_id, delivery_id) IN (SELECT * FROM unnest($1::text[], $2::uuid[]))",
    ] {
        sqlx::query(removal).bind(tenants).bind(deliveries).execute(&mut **tx).await?;
    }
    Ok(())
}

/// Events with their deliveries, all of which ended.
async fn remove_events(
    tx: &mut Removal,
    tenant: &TenantId,
    events: &[Uuid],
) -> Result<(), StoreError> {
    for removal in [
        "DELETE FROM delivery_attempts USING deliveries
         WHERE deliveries.tenant_id = $1 AND deliveries.event_id = ANY ($2)
           AND delivery_attempts.tenant_id = $1 AND delivery_attempts.delivery_id = deliveries.delivery_id",
        "DELETE FROM deliveries WHERE tenant_id = $1 AND event_id = ANY ($2)",
        "DELETE FROM events WHERE tenant_id = $1 AND event_id = ANY ($2)",
    ] {
        sqlx::query(removal).bind(tenant.as_str()).bind(events).execute(&mut **tx).await?;
    }
    Ok(())
}

fn limit() -> i64 {
    i64::try_from(BATCH).unwrap_or(i64::MAX)
}
