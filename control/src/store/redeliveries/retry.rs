//! A delivery that waits for its next attempt, attempted now because its tenant asks.

use super::{Asked, Asking};
use crate::{
    domain::{audit::AuditAction, retry::Stands},
    store::{As, Store, StoreError},
};
use chrono::{DateTime, Utc};
use contract::id::{ConnectionId, DeliveryId, EventId, TenantId};
use uuid::Uuid;

type Row = (Uuid, String, bool, Option<Uuid>, bool);

impl Store {
    /// Where a tenant's delivery stands, if there is one.
    pub async fn delivery_stands(
        &self,
        tenant: &TenantId,
        id: DeliveryId,
        at: DateTime<Utc>,
    ) -> Result<Option<Stands>, StoreError> {
        let mut tx = self.begin(As::Tenant(tenant)).await?;
        let row: Option<Row> = sqlx::query_as(
            "SELECT event_id, status, lease IS NOT NULL AND due_at > $3, (
                 SELECT delivery_id FROM deliveries AS first
                 WHERE first.tenant_id = $1 AND first.connection_id = asked.connection_id
                   AND first.status = 'ready' AND NOT first.is_redelivery AND first.sequence < asked.sequence
                 ORDER BY first.sequence LIMIT 1
             ), coalesce((SELECT status = 'stopped' FROM destination_health WHERE tenant_id = $1), false)
             FROM deliveries AS asked WHERE tenant_id = $1 AND delivery_id = $2",
        )
        .bind(tenant.as_str())
        .bind(id.as_uuid())
        .bind(at)
        .fetch_optional(&mut *tx)
        .await?;
        tx.commit().await?;
        Ok(row.map(|(event, status, is_under_way, predecessor, is_stopped)| Stands {
            event: EventId::from_uuid(event),
            status,
            is_under_way,
            predecessor: predecessor.map(DeliveryId::from_uuid),
            is_stopped,
        }))
    }

    /// Makes the next attempt of a delivery due. If it fails, it has used no attempt, and is due when it was. Of a
    /// destination that is paused, it is the probe.
    pub async fn retry_delivery(
        &self,
        asking: Asking<'_>,
        id: DeliveryId,
    ) -> Result<Asked, StoreError> {
        let mut tx = self.begin(As::Tenant(asking.tenant)).await?;
        let connection: Option<Uuid> = sqlx::query_scalar(
            "SELECT connection_id FROM deliveries
             WHERE tenant_id = $1 AND delivery_id = $2 AND status = 'ready' FOR UPDATE",
        )
        .bind(asking.tenant.as_str())
        .bind(id.as_uuid())
        .fetch_optional(&mut *tx)
        .await?;
        // It ended a moment ago.
        let Some(connection) = connection else { return Ok(Asked::NotEnded) };
        sqlx::query(
            "UPDATE deliveries SET due_at = $3, hastened_from = due_at
             WHERE tenant_id = $1 AND delivery_id = $2 AND lease IS NULL AND due_at > $3",
        )
        .bind(asking.tenant.as_str())
        .bind(id.as_uuid())
        .bind(asking.at)
        .execute(&mut *tx)
        .await?;
        // One probe at a time: while something is being attempted, there is one.
        sqlx::query(
            "UPDATE destination_health SET probe_at = $2
             WHERE tenant_id = $1 AND status = 'paused' AND probe_at > $2 AND NOT EXISTS (
                 SELECT FROM deliveries
                 WHERE tenant_id = $1 AND status = 'ready' AND lease IS NOT NULL AND due_at > $2
             )",
        )
        .bind(asking.tenant.as_str())
        .bind(asking.at)
        .execute(&mut *tx)
        .await?;
        let connection = Some(ConnectionId::from_uuid(connection));
        let detail = serde_json::json!({ "deliveryId": id });
        let line = (AuditAction::RetryAsked, connection, detail);
        if !self.settle_asking(&mut tx, asking, line).await? {
            return Ok(Asked::LeaseLost);
        }
        tx.commit().await?;
        Ok(Asked::Accepted)
    }
}
