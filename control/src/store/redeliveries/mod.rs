//! What tenants asked to be sent again: one delivery at once, or all of a time in small batches.

mod retry;
mod shown;

use super::{
    As, Store, StoreError,
    audit::AuditLine,
    idempotency::{Claim, end_call},
    later,
    tx::Tx,
    wake,
};
use crate::domain::{
    audit::{Actor, AuditAction},
    idempotency::Answer,
    redelivery::{EVENTS_MAX, Ended, Redelivery},
};
use chrono::{DateTime, Utc};
use contract::id::{ConnectionId, DeliveryId, JobId, TenantId};
use std::time::Duration;
use uuid::Uuid;

pub use shown::RedeliveryShown;

/// How many events a batch looks at, and how many of a tenant's redeliveries may wait to be sent while it
/// goes on: its new events must not wait behind a year of old ones.
const BATCH: i64 = 200;

/// When a batch that had to wait is tried again.
const AGAIN_IN: Duration = Duration::from_secs(1);

/// The same, where the destination takes nothing. Once it does, the batch is due at once.
const LATER_IN: Duration = Duration::from_mins(1);

/// Who asks, and what every repeat of the call is answered.
#[derive(Debug)]
pub struct Asking<'a> {
    pub tenant: &'a TenantId,
    pub actor: &'a Actor,
    pub request_id: Option<String>,
    pub at: DateTime<Utc>,
    pub settles: Option<(&'a Claim, &'a Answer)>,
}

/// What came of asking.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Asked {
    Accepted,
    NotFound,
    /// The delivery is still on its way: once more, its event could come before its predecessor.
    NotEnded,
    /// Another one of the tenant's is under way.
    UnderWay(JobId),
    /// The call is somebody else's by now; nothing was written.
    LeaseLost,
}

impl Store {
    /// Sends the event of a delivery that ended once more, under the id `new`.
    pub async fn redeliver(
        &self,
        asking: Asking<'_>,
        id: DeliveryId,
        new: DeliveryId,
    ) -> Result<Asked, StoreError> {
        let mut tx = self.begin(As::Tenant(asking.tenant)).await?;
        let connection: Option<Uuid> = sqlx::query_scalar(
            "INSERT INTO deliveries (tenant_id, delivery_id, event_id, connection_id, sequence, status, created_at,
                 due_at, is_redelivery)
             SELECT tenant_id, $3, event_id, connection_id, sequence, 'ready', $4, $4, true FROM deliveries
             WHERE tenant_id = $1 AND delivery_id = $2 AND status IN ('delivered', 'exhausted')
             RETURNING connection_id",
        )
        .bind(asking.tenant.as_str())
        .bind(id.as_uuid())
        .bind(new.as_uuid())
        .bind(asking.at)
        .fetch_optional(&mut *tx)
        .await?;
        let Some(connection) = connection else {
            let is_there: bool = sqlx::query_scalar(
                "SELECT EXISTS (SELECT FROM deliveries WHERE tenant_id = $1 AND delivery_id = $2)",
            )
            .bind(asking.tenant.as_str())
            .bind(id.as_uuid())
            .fetch_one(&mut *tx)
            .await?;
            return Ok(if is_there { Asked::NotEnded } else { Asked::NotFound });
        };
        let connection = Some(ConnectionId::from_uuid(connection));
        let detail = serde_json::json!({ "deliveryId": id, "newDeliveryId": new });
        let line = (AuditAction::RedeliveryAsked, connection, detail);
        if !self.settle_asking(&mut tx, asking, line).await? {
            return Ok(Asked::LeaseLost);
        }
        tx.commit().await?;
        Ok(Asked::Accepted)
    }

    /// How many events are meant; nothing, if there are too many to look at.
    pub async fn count_redelivery(
        &self,
        tenant: &TenantId,
        asked: &Redelivery,
    ) -> Result<Option<i64>, StoreError> {
        let mut tx = self.begin(As::Tenant(tenant)).await?;
        // So many are looked at and no more, whichever of them are meant: a count must end.
        let (seen, count): (i64, i64) = sqlx::query_as(
            "WITH seen AS MATERIALIZED (
                 SELECT tenant_id, event_id, type FROM events
                 WHERE tenant_id = $1 AND occurred_at >= $2 AND occurred_at < $3 LIMIT $6
             )
             SELECT (SELECT count(*) FROM seen), count(*)
             FROM seen JOIN deliveries AS first USING (tenant_id, event_id)
             WHERE NOT first.is_redelivery AND first.status IN ('delivered', 'exhausted')
               AND ($4::text IS NULL OR first.status = $4) AND ($5::text[] IS NULL OR type = ANY($5))",
        )
        .bind(tenant.as_str())
        .bind(asked.since)
        .bind(asked.until)
        .bind(asked.status.map(Ended::as_str))
        .bind(types(asked))
        .bind(EVENTS_MAX.saturating_add(1))
        .fetch_one(&mut *tx)
        .await?;
        tx.commit().await?;
        Ok((seen <= EVENTS_MAX).then_some(count))
    }

    /// Leaves behind the work of sending `total` events once more. Work that waits for a destination which takes
    /// nothing makes room for it: nobody knows for how long it would wait.
    pub async fn redeliver_all(
        &self,
        asking: Asking<'_>,
        job: JobId,
        (asked, total): (&Redelivery, i64),
    ) -> Result<Asked, StoreError> {
        let mut tx = self.begin(As::Tenant(asking.tenant)).await?;
        let replaced: Option<Uuid> = sqlx::query_scalar(
            "UPDATE redeliveries SET done_at = $2, replaced_by = $3 WHERE tenant_id = $1 AND done_at IS NULL AND EXISTS (
                 SELECT FROM destination_health WHERE tenant_id = $1 AND status <> 'active'
             ) RETURNING job_id",
        )
        .bind(asking.tenant.as_str())
        .bind(asking.at)
        .bind(job.as_uuid())
        .fetch_optional(&mut *tx)
        .await?;
        let inserted = sqlx::query(
            "INSERT INTO redeliveries (tenant_id, job_id, since, until, status, types, total, created_at, due_at)
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $8)
             ON CONFLICT (tenant_id) WHERE done_at IS NULL DO NOTHING",
        )
        .bind(asking.tenant.as_str())
        .bind(job.as_uuid())
        .bind(asked.since)
        .bind(asked.until)
        .bind(asked.status.map(Ended::as_str))
        .bind(types(asked))
        .bind(total)
        .bind(asking.at)
        .execute(&mut *tx)
        .await?;
        if inserted.rows_affected() == 0 {
            // It may have ended a moment ago; then the next call finds room.
            let job: Uuid = sqlx::query_scalar(
                "SELECT job_id FROM redeliveries WHERE tenant_id = $1
                 ORDER BY done_at DESC NULLS FIRST LIMIT 1",
            )
            .bind(asking.tenant.as_str())
            .fetch_one(&mut *tx)
            .await?;
            return Ok(Asked::UnderWay(JobId::from_uuid(job)));
        }
        let detail = serde_json::json!({ "jobId": job, "since": asked.since, "until": asked.until,
            "status": asked.status.map(Ended::as_str), "types": types(asked), "count": total,
            "replaces": replaced.map(JobId::from_uuid) });
        let line = (AuditAction::RedeliveryAsked, None, detail);
        if !self.settle_asking(&mut tx, asking, line).await? {
            return Ok(Asked::LeaseLost);
        }
        tx.commit().await?;
        Ok(Asked::Accepted)
    }

    async fn settle_asking(
        &self,
        tx: &mut Tx,
        asking: Asking<'_>,
        (action, connection, detail): (AuditAction, Option<ConnectionId>, serde_json::Value),
    ) -> Result<bool, StoreError> {
        let Asking { tenant, actor, request_id, at, settles } = asking;
        let line = AuditLine { tenant, connection, actor, action, request_id, at };
        self.write_audit(tx, line, detail).await?;
        wake(tx);
        match settles {
            Some((claim, answer)) => end_call(tx, claim, answer, at).await,
            None => Ok(true),
        }
    }

    /// Carries out a batch of what was asked longest ago; `false`, if there is nothing to do.
    pub async fn redeliver_batch(&self, at: DateTime<Utc>) -> Result<bool, StoreError> {
        let mut tx = self.begin(As::Worker).await?;
        let Some(job) = lock_next(&mut tx, at).await? else { return Ok(false) };
        if job.waiting >= BATCH {
            let wait = if job.is_taken { AGAIN_IN } else { LATER_IN };
            put_off(&mut tx, &job, later(at, wait)).await?;
            tx.commit().await?;
            return Ok(true);
        }
        let events = next_events(&mut tx, &job).await?;
        let chosen: Vec<Uuid> = events.iter().filter(|it| it.2).map(|it| it.1).collect();
        let new: Vec<Uuid> =
            chosen.iter().map(|_| self.mint.id(DeliveryId::from_parts).as_uuid()).collect();
        let made = sqlx::query(
            "INSERT INTO deliveries (tenant_id, delivery_id, event_id, connection_id, sequence, status, created_at,
                 due_at, is_redelivery)
             SELECT tenant_id, chosen.delivery_id, event_id, connection_id, sequence, 'ready', $4, $4, true
             FROM unnest($2::uuid[], $3::uuid[]) AS chosen (delivery_id, event_id) JOIN events USING (event_id)
             WHERE tenant_id = $1",
        )
        .bind(&job.tenant)
        .bind(new)
        .bind(chosen)
        .bind(at)
        .execute(&mut *tx)
        .await?;
        let last = events.last().map(|(occurred_at, event, _)| (*occurred_at, *event));
        let is_done = i64::try_from(events.len()).unwrap_or(i64::MAX) < BATCH;
        let made = i64::try_from(made.rows_affected()).unwrap_or(i64::MAX);
        move_on(&mut tx, &job, (last, made), is_done.then_some(at)).await?;
        wake(&mut tx);
        tx.commit().await?;
        Ok(true)
    }
}

fn types(asked: &Redelivery) -> Option<Vec<&'static str>> {
    asked.types.as_ref().map(|types| types.iter().map(|it| it.as_str()).collect())
}

#[derive(sqlx::FromRow)]
struct Work {
    #[sqlx(rename = "tenant_id")]
    tenant: String,
    job_id: Uuid,
    since: DateTime<Utc>,
    until: DateTime<Utc>,
    status: Option<String>,
    types: Option<Vec<String>>,
    after_at: Option<DateTime<Utc>>,
    after_id: Option<Uuid>,
    /// How many of the tenant's redeliveries wait to be sent.
    waiting: i64,
    /// The destination is neither paused nor stopped.
    is_taken: bool,
}

/// The lock is the claim: the batch commits with it, and nothing is done outside the database.
async fn lock_next(tx: &mut Tx, at: DateTime<Utc>) -> Result<Option<Work>, StoreError> {
    let job = sqlx::query_as(
        "SELECT tenant_id, job_id, since, until, status, types, after_at, after_id, (
             SELECT count(*) FROM (
                 SELECT FROM deliveries
                 WHERE tenant_id = redeliveries.tenant_id AND status = 'ready' AND is_redelivery LIMIT $2
             ) AS waiting
         ) AS waiting, coalesce((
             SELECT status = 'active' FROM destination_health WHERE tenant_id = redeliveries.tenant_id
         ), true) AS is_taken
         FROM redeliveries WHERE done_at IS NULL AND due_at <= $1 ORDER BY due_at LIMIT 1 FOR UPDATE SKIP LOCKED",
    )
    .bind(at)
    .bind(BATCH)
    .fetch_optional(&mut **tx)
    .await?;
    Ok(job)
}

async fn put_off(tx: &mut Tx, job: &Work, due_at: DateTime<Utc>) -> Result<(), StoreError> {
    sqlx::query("UPDATE redeliveries SET due_at = $3 WHERE tenant_id = $1 AND job_id = $2")
        .bind(&job.tenant)
        .bind(job.job_id)
        .bind(due_at)
        .execute(&mut **tx)
        .await?;
    Ok(())
}

/// The next events of the time, and which of them are meant.
async fn next_events(
    tx: &mut Tx,
    job: &Work,
) -> Result<Vec<(DateTime<Utc>, Uuid, bool)>, StoreError> {
    let events = sqlx::query_as(
        "SELECT occurred_at, event_id, ($6::text[] IS NULL OR type = ANY($6)) AND EXISTS (
             SELECT FROM deliveries
             WHERE tenant_id = events.tenant_id AND event_id = events.event_id AND NOT is_redelivery
               AND status IN ('delivered', 'exhausted') AND ($5::text IS NULL OR status = $5)
         )
         FROM events
         WHERE tenant_id = $1 AND occurred_at < $3
           AND (occurred_at, event_id) > ($2, $4)
         ORDER BY occurred_at, event_id LIMIT $7",
    )
    .bind(&job.tenant)
    .bind(job.after_at.unwrap_or(job.since))
    .bind(job.until)
    // No event has this id, so that the first of the time is after it.
    .bind(job.after_id.unwrap_or(Uuid::nil()))
    .bind(job.status.as_deref())
    .bind(job.types.as_deref())
    .bind(BATCH)
    .fetch_all(&mut **tx)
    .await?;
    Ok(events)
}

async fn move_on(
    tx: &mut Tx,
    job: &Work,
    (last, made): (Option<(DateTime<Utc>, Uuid)>, i64),
    done_at: Option<DateTime<Utc>>,
) -> Result<(), StoreError> {
    sqlx::query(
        "UPDATE redeliveries SET after_at = coalesce($3, after_at), after_id = coalesce($4, after_id),
             made = made + $5, done_at = $6
         WHERE tenant_id = $1 AND job_id = $2",
    )
    .bind(&job.tenant)
    .bind(job.job_id)
    .bind(last.map(|(at, _)| at))
    .bind(last.map(|(_, event)| event))
    .bind(made)
    .bind(done_at)
    .execute(&mut **tx)
    .await?;
    Ok(())
}
