//! Attempts: whose callback a state is, and how an attempt ends.

use super::{As, Store, StoreError, read};
use crate::domain::{
    callback::{UnverifiedState, state_hash},
    transition::AttemptEnd,
};
use chrono::{DateTime, Utc};
use contract::id::{AttemptId, ConnectionId, TenantId};
use sqlx::{Postgres, Transaction};
use uuid::Uuid;

/// An attempt that was opened at the vault and is not yet kept.
#[derive(Debug)]
pub struct NewAttempt<'a> {
    pub id: AttemptId,
    /// The state in the authorisation URL.
    pub state: &'a str,
    pub deadline_at: DateTime<Utc>,
}

/// The attempt that a state belongs to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct FoundAttempt {
    pub(super) tenant: TenantId,
    pub(super) connection: ConnectionId,
    pub(super) attempt: AttemptId,
}

impl Store {
    /// Marks the callback of a state as started, once: of several callbacks with one state, exactly one
    /// is told `true`.
    pub async fn begin_callback(
        &self,
        state: &UnverifiedState,
        at: DateTime<Utc>,
    ) -> Result<bool, StoreError> {
        let mut tx = self.begin(As::Worker).await?;
        let Some(found) = find_attempt(&mut tx, state).await? else { return Ok(false) };
        let is_first = mark_callback(&mut tx, &found, at).await?;
        tx.commit().await?;
        Ok(is_first)
    }

    /// Whether any browser was sent on to Nango by an attempt that is still open.
    pub async fn awaits_success(&self) -> Result<bool, StoreError> {
        let mut tx = self.begin(As::Worker).await?;
        let awaits = sqlx::query_scalar(
            "SELECT EXISTS (SELECT FROM attempts WHERE status = 'open' AND callback_started_at IS NOT NULL)",
        )
        .fetch_one(&mut *tx)
        .await?;
        tx.commit().await?;
        Ok(awaits)
    }
}

pub(super) async fn find_attempt(
    tx: &mut Transaction<'static, Postgres>,
    state: &UnverifiedState,
) -> Result<Option<FoundAttempt>, StoreError> {
    let row: Option<(String, Uuid, Uuid)> = sqlx::query_as(
        "SELECT tenant_id, connection_id, attempt_id FROM callback_states WHERE state_hash = $1",
    )
    .bind(state.hash().as_slice())
    .fetch_optional(&mut **tx)
    .await?;
    row.map(|(tenant, connection, attempt)| {
        Ok(FoundAttempt {
            tenant: read("callback_states.tenant_id", &tenant)?,
            connection: ConnectionId::from_uuid(connection),
            attempt: AttemptId::from_uuid(attempt),
        })
    })
    .transpose()
}

/// Compare and set: an attempt that is open, in time, and whose callback nobody started.
pub(super) async fn mark_callback(
    tx: &mut Transaction<'static, Postgres>,
    found: &FoundAttempt,
    at: DateTime<Utc>,
) -> Result<bool, StoreError> {
    let marked = sqlx::query(
        "UPDATE attempts SET callback_started_at = $3
         WHERE tenant_id = $1 AND attempt_id = $2
           AND status = 'open' AND callback_started_at IS NULL AND deadline_at > $3",
    )
    .bind(found.tenant.as_str())
    .bind(found.attempt.as_uuid())
    .bind(at)
    .execute(&mut **tx)
    .await?;
    Ok(marked.rows_affected() == 1)
}

pub(super) async fn open_attempt(
    tx: &mut Transaction<'static, Postgres>,
    (tenant, connection): (&TenantId, ConnectionId),
    new: &NewAttempt<'_>,
    at: DateTime<Utc>,
) -> Result<(), StoreError> {
    sqlx::query(
        "INSERT INTO attempts (tenant_id, attempt_id, connection_id, status, created_at, deadline_at)
         VALUES ($1, $2, $3, 'open', $4, $5)",
    )
    .bind(tenant.as_str())
    .bind(new.id.as_uuid())
    .bind(connection.as_uuid())
    .bind(at)
    .bind(new.deadline_at)
    .execute(&mut **tx)
    .await?;
    sqlx::query(
        "INSERT INTO callback_states (state_hash, tenant_id, attempt_id, connection_id) VALUES ($1, $2, $3, $4)",
    )
    .bind(state_hash(new.state).as_slice())
    .bind(tenant.as_str())
    .bind(new.id.as_uuid())
    .bind(connection.as_uuid())
    .execute(&mut **tx)
    .await?;
    Ok(())
}

pub(super) async fn end_attempt(
    tx: &mut Transaction<'static, Postgres>,
    tenant: &TenantId,
    attempt: AttemptId,
    end: AttemptEnd,
    reason: Option<&str>,
) -> Result<(), StoreError> {
    sqlx::query(
        "UPDATE attempts SET status = $3, reason = $4 WHERE tenant_id = $1 AND attempt_id = $2",
    )
    .bind(tenant.as_str())
    .bind(attempt.as_uuid())
    .bind(end.as_str())
    .bind(reason)
    .execute(&mut **tx)
    .await?;
    Ok(())
}
