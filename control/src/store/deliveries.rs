//! Deliveries: notifications on their way, claimed and recorded try by try.

use super::{As, Store, StoreError, later, read, wake};
use crate::domain::{delivery::NextStep, outcome::Outcome};
use chrono::{DateTime, Utc};
use contract::id::{ConnectionId, DeliveryId, EventId, TenantId};
use sqlx::{Postgres, Transaction};
use std::time::Duration;
use uuid::Uuid;

/// A delivery that one worker may send until its lease runs out.
#[derive(Debug)]
pub struct ClaimedDelivery {
    pub id: DeliveryId,
    pub lease: Uuid,
    pub tenant: TenantId,
    pub connection: ConnectionId,
    pub event: EventId,
    /// The exact bytes of the notification.
    pub body: String,
    /// How many tries were recorded.
    pub tries: usize,
}

/// One HTTP try.
#[derive(Debug, Clone)]
pub struct Try {
    pub started_at: DateTime<Utc>,
    pub duration: Duration,
    pub outcome: Outcome,
    /// Why no answer came, in words for people.
    pub detail: Option<String>,
}

type Row = (Uuid, String, Uuid, Uuid, i32, String);

impl Store {
    /// Claims the deliveries that are due longest.
    pub async fn claim_deliveries(
        &self,
        at: DateTime<Utc>,
        lease_for: Duration,
        limit: usize,
    ) -> Result<Vec<ClaimedDelivery>, StoreError> {
        let lease = self.mint.lease();
        let mut tx = self.begin(As::Worker).await?;
        // SKIP LOCKED: another worker's claims are passed over and not waited for.
        let rows: Vec<Row> = sqlx::query_as(
            "WITH due AS (
                 SELECT tenant_id, delivery_id FROM deliveries
                 WHERE status = 'ready' AND due_at <= $2
                 ORDER BY due_at LIMIT $4 FOR UPDATE SKIP LOCKED
             )
             UPDATE deliveries SET lease = $1, due_at = $3
             FROM due, events
             WHERE deliveries.tenant_id = due.tenant_id AND deliveries.delivery_id = due.delivery_id
               AND events.tenant_id = deliveries.tenant_id AND events.event_id = deliveries.event_id
             RETURNING deliveries.delivery_id, deliveries.tenant_id, deliveries.connection_id, deliveries.event_id,
                 deliveries.tries, events.body",
        )
        .bind(lease)
        .bind(at)
        .bind(later(at, lease_for))
        .bind(i64::try_from(limit).unwrap_or(i64::MAX))
        .fetch_all(&mut *tx)
        .await?;
        tx.commit().await?;
        rows.into_iter()
            .map(|(id, tenant, connection, event, tries, body)| {
                Ok(ClaimedDelivery {
                    id: DeliveryId::from_uuid(id),
                    lease,
                    tenant: read("deliveries.tenant_id", &tenant)?,
                    connection: ConnectionId::from_uuid(connection),
                    event: EventId::from_uuid(event),
                    body,
                    tries: usize::try_from(tries).unwrap_or_default(),
                })
            })
            .collect()
    }

    /// Records a try and what follows it. A worker that lost its lease records nothing: another one
    /// has sent the same event, and recorded that.
    pub async fn record_try(
        &self,
        delivery: &ClaimedDelivery,
        attempt: Try,
        next: NextStep,
        at: DateTime<Utc>,
    ) -> Result<(), StoreError> {
        let (status, due_at) = match next {
            NextStep::Done => ("delivered", at),
            NextStep::GiveUp => ("exhausted", at),
            NextStep::RetryIn(wait) => ("ready", later(at, wait)),
        };
        let has_ended = status != "ready";
        let mut tx = self.begin(As::Worker).await?;
        if has_ended {
            // Whoever inserts this connection's next delivery holds the same lock; without it both could
            // believe that the other makes it ready.
            Self::lock(&mut tx, &delivery.tenant, delivery.connection).await?;
        }
        let recorded = sqlx::query(
            "UPDATE deliveries SET status = $4, due_at = $5, lease = NULL, tries = tries + 1,
                 ended_at = CASE WHEN $6 THEN $7 END
             WHERE tenant_id = $1 AND delivery_id = $2 AND lease = $3",
        )
        .bind(delivery.tenant.as_str())
        .bind(delivery.id.as_uuid())
        .bind(delivery.lease)
        .bind(status)
        .bind(due_at)
        .bind(has_ended)
        .bind(at)
        .execute(&mut *tx)
        .await?;
        if recorded.rows_affected() == 0 {
            return Ok(());
        }
        write_try(&mut tx, delivery, attempt).await?;
        if has_ended {
            make_next_ready(&mut tx, delivery, at).await?;
            wake(&mut tx).await?;
        }
        tx.commit().await?;
        Ok(())
    }
}

async fn write_try(
    tx: &mut Transaction<'static, Postgres>,
    delivery: &ClaimedDelivery,
    attempt: Try,
) -> Result<(), StoreError> {
    let Try { started_at, duration, outcome, detail } = attempt;
    sqlx::query(
        "INSERT INTO delivery_attempts (tenant_id, delivery_id, try, started_at, duration_ms, outcome, http_status,
             detail)
         SELECT tenant_id, delivery_id, tries, $3, $4, $5, $6, $7 FROM deliveries
         WHERE tenant_id = $1 AND delivery_id = $2",
    )
    .bind(delivery.tenant.as_str())
    .bind(delivery.id.as_uuid())
    .bind(started_at)
    .bind(i64::try_from(duration.as_millis()).unwrap_or(i64::MAX))
    .bind(outcome.as_str())
    .bind(outcome.status().map(i32::from))
    .bind(detail)
    .execute(&mut **tx)
    .await?;
    Ok(())
}

async fn make_next_ready(
    tx: &mut Transaction<'static, Postgres>,
    delivery: &ClaimedDelivery,
    at: DateTime<Utc>,
) -> Result<(), StoreError> {
    sqlx::query(
        "UPDATE deliveries SET status = 'ready', due_at = $3
         WHERE tenant_id = $1 AND connection_id = $2 AND status = 'blocked' AND sequence = (
             SELECT min(sequence) FROM deliveries
             WHERE tenant_id = $1 AND connection_id = $2 AND status = 'blocked'
         )",
    )
    .bind(delivery.tenant.as_str())
    .bind(delivery.connection.as_uuid())
    .bind(at)
    .execute(&mut **tx)
    .await?;
    Ok(())
}
