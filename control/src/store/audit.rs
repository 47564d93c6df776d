//! The trail: lines are added, in the transaction of what they tell, and read in the order of their chain.

use super::{As, Store, StoreError, seal::read_hash, tx::Tx, wake};
use crate::domain::{
    audit::{Actor, AuditAction},
    audit_chain::{AuditHash, ChainedLine},
    feed::{Lost, Trail},
    numbered::{Mark, Place},
};
use chrono::{DateTime, Utc};
use contract::id::{AuditId, ConnectionId, TenantId};
use sqlx::FromRow;
use uuid::Uuid;

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

/// A line and its place.
#[derive(Debug, FromRow)]
pub(super) struct LineRow {
    position: i64,
    audit_id: Uuid,
    at: DateTime<Utc>,
    actor: String,
    action: String,
    connection_id: Option<Uuid>,
    request_id: Option<String>,
    detail: serde_json::Value,
}

impl LineRow {
    pub(super) fn of(self, tenant: &TenantId) -> ChainedLine {
        ChainedLine {
            action: self.action,
            actor: self.actor,
            at: self.at,
            connection_id: self.connection_id.map(ConnectionId::from_uuid),
            detail: self.detail,
            id: AuditId::from_uuid(self.audit_id),
            position: self.position,
            request_id: self.request_id,
            tenant_id: tenant.clone(),
        }
    }
}

#[derive(Debug, FromRow)]
struct LinkRow {
    #[sqlx(flatten)]
    line: LineRow,
    hash: Vec<u8>,
}

impl Store {
    /// The sealed lines that come next, each with its link.
    pub async fn trail(
        &self,
        tenant: &TenantId,
        trail: &Trail,
    ) -> Result<Result<Vec<(ChainedLine, AuditHash)>, Lost>, StoreError> {
        let mut tx = self.begin(As::Tenant(tenant)).await?;
        if !is_of_trail(&mut tx, tenant, trail.after).await? {
            return Ok(Err(Lost::Unknown));
        }
        let limit = i64::try_from(trail.limit).unwrap_or(i64::MAX);
        // A query of its own, so that it is planned with its own index.
        let rows: Vec<LinkRow> = match wanted(&mut tx, tenant, trail).await? {
            None => {
                sqlx::query_as(
                    "SELECT link.position, link.hash, line.audit_id, at, actor, action, connection_id, request_id, detail
                     FROM audit_chain AS link JOIN audit_events AS line USING (tenant_id, position)
                     WHERE link.tenant_id = $1 AND link.position > $2 ORDER BY link.position LIMIT $3",
                )
                .bind(tenant.as_str())
                .bind(trail.after.position)
                .bind(limit)
                .fetch_all(&mut *tx)
                .await?
            }
            Some(connections) => {
                sqlx::query_as(
                    "SELECT link.position, link.hash, line.audit_id, at, actor, action, connection_id, request_id, detail
                     FROM audit_events AS line JOIN audit_chain AS link USING (tenant_id, position)
                     WHERE line.tenant_id = $1 AND line.position > $2 AND line.connection_id = ANY($4)
                     ORDER BY line.position LIMIT $3",
                )
                .bind(tenant.as_str())
                .bind(trail.after.position)
                .bind(limit)
                .bind(connections)
                .fetch_all(&mut *tx)
                .await?
            }
        };
        tx.commit().await?;
        rows.into_iter()
            .map(|row| Ok((row.line.of(tenant), read_hash("audit_chain.hash", row.hash)?)))
            .collect::<Result<_, _>>()
            .map(Ok)
    }

    /// The position and the link that the trail ends with.
    pub async fn trail_end(&self, tenant: &TenantId) -> Result<(i64, AuditHash), StoreError> {
        let mut tx = self.begin(As::Tenant(tenant)).await?;
        let row: Option<(i64, Vec<u8>)> = sqlx::query_as(
            "SELECT audit_position, audit_hash FROM tenant_heads WHERE tenant_id = $1",
        )
        .bind(tenant.as_str())
        .fetch_optional(&mut *tx)
        .await?;
        tx.commit().await?;
        let Some((position, hash)) = row else { return Ok((0, AuditHash::START)) };
        Ok((position, read_hash("tenant_heads.audit_hash", hash)?))
    }

    pub(super) async fn write_audit(
        &self,
        tx: &mut Tx,
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
        // It waits for its position.
        wake(tx);
        Ok(())
    }
}

/// Of which connections lines are wanted; nothing, if of all.
async fn wanted(
    tx: &mut Tx,
    tenant: &TenantId,
    trail: &Trail,
) -> Result<Option<Vec<Uuid>>, StoreError> {
    let one = trail.connection.map(ConnectionId::as_uuid);
    let Some(sub) = &trail.sub else { return Ok(one.map(|one| vec![one])) };
    let mut connections: Vec<Uuid> = sqlx::query_scalar(
        "SELECT connection_id FROM connections WHERE tenant_id = $1 AND sub = $2",
    )
    .bind(tenant.as_str())
    .bind(sub)
    .fetch_all(&mut **tx)
    .await?;
    connections.retain(|connection| one.is_none_or(|one| one == *connection));
    Ok(Some(connections))
}

/// Whether the trail has what a place was told behind; nothing of the trail ever goes.
async fn is_of_trail(tx: &mut Tx, tenant: &TenantId, place: Place) -> Result<bool, StoreError> {
    if place.position == Place::START.position {
        return Ok(true);
    }
    let link: Option<Vec<u8>> =
        sqlx::query_scalar("SELECT hash FROM audit_chain WHERE tenant_id = $1 AND position = $2")
            .bind(tenant.as_str())
            .bind(place.position)
            .fetch_optional(&mut **tx)
            .await?;
    Ok(link.is_some_and(|link| place.is_where(Some(Mark::of(&link)))))
}
