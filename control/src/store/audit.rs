//! The trail: lines are added, in the transaction of what they tell.

use super::{Store, StoreError};
use crate::domain::audit::{Actor, AuditAction};
use chrono::{DateTime, Utc};
use contract::id::{AuditId, ConnectionId, TenantId};
use sqlx::{Postgres, Transaction};

/// One line of the trail, but for its detail.
pub(super) struct AuditLine<'a> {
    pub(super) tenant: &'a TenantId,
    /// Nothing, where it is the tenant's.
    pub(super) connection: Option<ConnectionId>,
    pub(super) actor: &'a Actor,
    pub(super) action: AuditAction,
    pub(super) request_id: Option<String>,
    pub(super) at: DateTime<Utc>,
}

impl Store {
    pub(super) async fn write_audit(
        &self,
        tx: &mut Transaction<'static, Postgres>,
        line: AuditLine<'_>,
        detail: serde_json::Value,
    ) -> Result<(), StoreError> {
        let AuditLine { tenant, connection, actor, action, request_id, at } = line;
        sqlx::query(
            "INSERT INTO audit_events (tenant_id, audit_id, at, actor, action, connection_id, request_id, detail)
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8)",
        )
        .bind(tenant.as_str())
        .bind(self.mint.id(AuditId::from_parts).as_uuid())
        .bind(at)
        .bind(actor.to_string())
        .bind(action.as_str())
        .bind(connection.map(ConnectionId::as_uuid))
        .bind(request_id)
        .bind(detail)
        .execute(&mut **tx)
        .await?;
        Ok(())
    }
}
