//! Connections: the rows, and how a new one comes to be.

use super::{
    As, Store, StoreError,
    attempts::{NewAttempt, open_attempt},
    audit::AuditLine,
    change::{Settled, settle},
    read,
    tx::Tx,
};
use crate::domain::{
    audit::{Actor, AuditAction},
    connection::{Connection, Doubts, LastAuthorization, Status},
    granted::GrantedScopes,
    profile::Profile,
    start::Start,
};
use chrono::{DateTime, Utc};
use contract::id::{AttemptId, ConnectionId, NangoConnectionId, TenantId};
use sqlx::FromRow;
use uuid::Uuid;

/// A connection that was started at the vault and is not yet kept.
#[derive(Debug)]
pub struct NewConnection<'a> {
    pub tenant: &'a TenantId,
    pub id: ConnectionId,
    pub attempt: NewAttempt<'a>,
    pub start: &'a Start,
    pub at: DateTime<Utc>,
    pub actor: Actor,
    pub request_id: Option<String>,
    /// The call that is done with this start.
    pub settles: Option<Settled<'a>>,
}

#[derive(Debug, FromRow)]
pub(super) struct Row {
    tenant_id: String,
    connection_id: Uuid,
    sub: String,
    provider: String,
    integration_id: String,
    status: String,
    reason: Option<String>,
    since: DateTime<Utc>,
    checked_at: Option<DateTime<Utc>>,
    version: i64,
    sequence: i64,
    open_attempt_id: Option<Uuid>,
    nango_connection_id: Option<String>,
    requested_scopes: Vec<String>,
    client_metadata: serde_json::Value,
    provider_account_id: Option<String>,
    display_name: Option<String>,
    username: Option<String>,
    avatar: Option<String>,
    authorized_scopes: Option<Vec<String>>,
    covered_scopes: Option<Vec<String>>,
    asked_scopes: Option<Vec<String>>,
    judged_attempts: Vec<Uuid>,
    renewed_by: Option<Uuid>,
    last_authorization_outcome: Option<String>,
    last_authorization_reason: Option<String>,
    last_authorization_at: Option<DateTime<Utc>>,
    missing_since: Option<DateTime<Utc>>,
    refresh_failing_since: Option<DateTime<Utc>>,
    rejected_since: Option<DateTime<Utc>>,
    created_at: DateTime<Utc>,
}

impl TryFrom<Row> for Connection {
    type Error = StoreError;

    fn try_from(row: Row) -> Result<Self, StoreError> {
        let status = Status::read(&row.status).ok_or_else(|| {
            StoreError::Corrupt(format!("connections.status holds {:?}", row.status))
        })?;
        let vault = row.nango_connection_id.as_deref();
        let ended = row.last_authorization_outcome.zip(row.last_authorization_at);
        let reason = row.last_authorization_reason;
        let granted = row.authorized_scopes.zip(row.covered_scopes);
        Ok(Self {
            tenant: read("connections.tenant_id", &row.tenant_id)?,
            id: ConnectionId::from_uuid(row.connection_id),
            sub: row.sub,
            provider: read("connections.provider", &row.provider)?,
            integration: read("connections.integration_id", &row.integration_id)?,
            status,
            reason: row.reason,
            since: row.since,
            checked_at: row.checked_at,
            version: row.version,
            sequence: row.sequence,
            open_attempt: row.open_attempt_id.map(AttemptId::from_uuid),
            vault: vault.map(|id| read("connections.nango_connection_id", id)).transpose()?,
            requested_scopes: row.requested_scopes,
            asked_scopes: row.asked_scopes,
            judged_attempts: row.judged_attempts.into_iter().map(AttemptId::from_uuid).collect(),
            renewed_by: row.renewed_by.map(AttemptId::from_uuid),
            last_authorization: ended.map(|(outcome, at)| LastAuthorization {
                outcome,
                reason,
                at,
            }),
            client_metadata: row.client_metadata,
            profile: Profile {
                account_id: row.provider_account_id,
                display_name: row.display_name,
                username: row.username,
                avatar: row.avatar,
                scopes: granted.map(|(authorized, covered)| GrantedScopes { authorized, covered }),
            },
            doubts: Doubts {
                missing_since: row.missing_since,
                refresh_failing_since: row.refresh_failing_since,
                rejected_since: row.rejected_since,
            },
            created_at: row.created_at,
        })
    }
}

/// Every column of a [`Row`].
macro_rules! select {
    ($which:literal) => {
        concat!(
            // What the last whole walk did not doubt was so when it began.
            "SELECT tenant_id, connection_id, sub, provider, integration_id, status, reason, since,
                 GREATEST(checked_at, CASE WHEN status IN ('active', 'needs_reauth') AND missing_since IS NULL
                     THEN (SELECT swept_at()) END) AS checked_at,
                 version, sequence, open_attempt_id, nango_connection_id, requested_scopes, client_metadata,
                 provider_account_id, display_name, username, avatar, authorized_scopes, covered_scopes, asked_scopes,
                 last_authorization_outcome, last_authorization_reason, last_authorization_at, missing_since, refresh_failing_since,
                 rejected_since, created_at, renewed_by,
                 -- Nango lists from a replica that may lag: not only the newest.
                 ARRAY(SELECT attempt_id FROM attempts
                     WHERE attempts.tenant_id = connections.tenant_id AND attempts.connection_id = connections.connection_id
                         AND (attempts.status = 'done' OR attempts.reason = 'account_changed')
                     ORDER BY attempt_id DESC LIMIT 8) AS judged_attempts
             FROM connections WHERE ",
            $which
        )
    };
}
pub(super) use select;

impl Store {
    /// A tenant's connection; nothing, whether it is another tenant's or nobody's.
    pub async fn connection(
        &self,
        role: As<'_>,
        tenant: &TenantId,
        id: ConnectionId,
    ) -> Result<Option<Connection>, StoreError> {
        let mut tx = self.begin(role).await?;
        let row: Option<Row> = sqlx::query_as(select!("tenant_id = $1 AND connection_id = $2"))
            .bind(tenant.as_str())
            .bind(id.as_uuid())
            .fetch_optional(&mut *tx)
            .await?;
        tx.commit().await?;
        row.map(Connection::try_from).transpose()
    }

    /// Those of these connections that there are.
    pub async fn connections(&self, ids: &[ConnectionId]) -> Result<Vec<Connection>, StoreError> {
        let ids: Vec<Uuid> = ids.iter().map(|id| id.as_uuid()).collect();
        let mut tx = self.begin(As::Worker).await?;
        let rows: Vec<Row> = sqlx::query_as(select!("connection_id = ANY($1)"))
            .bind(ids)
            .fetch_all(&mut *tx)
            .await?;
        tx.commit().await?;
        rows.into_iter().map(Connection::try_from).collect()
    }

    /// The connections that the vault knows by this name: at most a few, of any tenant.
    pub async fn connections_by_vault_name(
        &self,
        name: &NangoConnectionId,
    ) -> Result<Vec<(TenantId, ConnectionId)>, StoreError> {
        let mut tx = self.begin(As::Worker).await?;
        let rows: Vec<(String, Uuid)> = sqlx::query_as(
            "SELECT tenant_id, connection_id FROM connections WHERE nango_connection_id = $1 LIMIT 10",
        )
        .bind(name.as_str())
        .fetch_all(&mut *tx)
        .await?;
        tx.commit().await?;
        rows.into_iter()
            .map(|(tenant, id)| {
                Ok((read("connections.tenant_id", &tenant)?, ConnectionId::from_uuid(id)))
            })
            .collect()
    }

    /// Whose connection this is.
    pub async fn tenant_of(&self, id: ConnectionId) -> Result<Option<TenantId>, StoreError> {
        let mut tx = self.begin(As::Worker).await?;
        let tenant: Option<String> =
            sqlx::query_scalar("SELECT tenant_id FROM connections WHERE connection_id = $1")
                .bind(id.as_uuid())
                .fetch_optional(&mut *tx)
                .await?;
        tx.commit().await?;
        tenant.map(|tenant| read("connections.tenant_id", &tenant)).transpose()
    }

    /// Keeps that the vault was looked at; nobody is told of that.
    pub async fn note_checked(
        &self,
        tenant: &TenantId,
        id: ConnectionId,
        at: DateTime<Utc>,
    ) -> Result<(), StoreError> {
        let mut tx = self.begin(As::Worker).await?;
        sqlx::query(
            "UPDATE connections SET checked_at = $3 WHERE tenant_id = $1 AND connection_id = $2",
        )
        .bind(tenant.as_str())
        .bind(id.as_uuid())
        .bind(at)
        .execute(&mut *tx)
        .await?;
        tx.commit().await?;
        Ok(())
    }

    /// Keeps a start: connection, attempt, state, audit line and the answer to be repeated, in one
    /// transaction. `false`, if another process holds the call by now; nothing is kept then.
    pub async fn start(&self, new: NewConnection<'_>) -> Result<bool, StoreError> {
        let NewConnection { tenant, id, attempt, start, at, actor, request_id, settles } = new;
        let mut tx = self.begin(As::Tenant(tenant)).await?;
        sqlx::query(
            "INSERT INTO connections (tenant_id, connection_id, sub, provider, integration_id, status, since, version,
                sequence, open_attempt_id, requested_scopes, client_metadata, created_at)
             VALUES ($1, $2, $3, $4, $5, 'pending', $6, 1, 0, $7, $8, $9, $6)",
        )
        .bind(tenant.as_str())
        .bind(id.as_uuid())
        .bind(&start.sub)
        .bind(start.provider.as_str())
        .bind(start.integration.as_str())
        .bind(at)
        .bind(attempt.id.as_uuid())
        .bind(&start.scopes)
        .bind(&start.metadata)
        .execute(&mut *tx)
        .await?;
        open_attempt(&mut tx, (tenant, id), &attempt, at).await?;
        let audit = AuditLine {
            tenant,
            connection: Some(id),
            actor: &actor,
            action: AuditAction::Started,
            request_id,
            at,
        };
        self.write_audit(&mut tx, audit, serde_json::json!({ "provider": start.provider })).await?;
        if let Some(settled) = settles
            && !settle(&mut tx, settled, at).await?
        {
            return Ok(false);
        }
        tx.commit().await?;
        Ok(true)
    }

    /// Reads a connection and keeps others from changing it until the transaction ends.
    pub(super) async fn lock(
        tx: &mut Tx,
        tenant: &TenantId,
        id: ConnectionId,
    ) -> Result<Option<Connection>, StoreError> {
        if !lock_row(tx, tenant, id).await? {
            return Ok(None);
        }
        let row: Option<Row> = sqlx::query_as(select!("tenant_id = $1 AND connection_id = $2"))
            .bind(tenant.as_str())
            .bind(id.as_uuid())
            .fetch_optional(&mut **tx)
            .await?;
        row.map(Connection::try_from).transpose()
    }
}

/// Keeps others from changing a connection until the transaction ends; `false`, if there is none.
///
/// A statement of its own: one that waits for the lock reads the locked row as it is afterwards, and every other table
/// as it was before (PostgreSQL's manual, 13.2.1).
pub(super) async fn lock_row(
    tx: &mut Tx,
    tenant: &TenantId,
    id: ConnectionId,
) -> Result<bool, StoreError> {
    let locked = sqlx::query(
        "SELECT FROM connections WHERE tenant_id = $1 AND connection_id = $2 FOR UPDATE",
    )
    .bind(tenant.as_str())
    .bind(id.as_uuid())
    .fetch_optional(&mut **tx)
    .await?;
    Ok(locked.is_some())
}
