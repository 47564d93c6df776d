//! Attempts: how one is opened, whose a state is, how an attempt is looked up and ends.

use super::{As, Store, StoreError, later, read, receipts::Postponed, tx::Tx};
use crate::domain::{
    attempt::{Waiting, first_look},
    callback::{UnverifiedState, state_hash},
    connection::Reason,
    transition::AttemptEnd,
};
use chrono::{DateTime, Utc};
use contract::id::{AttemptId, ConnectionId, TenantId};
use std::{fmt, time::Duration};
use uuid::Uuid;

/// An attempt that was opened at the vault and is not yet kept.
pub struct NewAttempt<'a> {
    pub id: AttemptId,
    /// The state in the authorisation URL.
    pub state: &'a str,
    pub deadline_at: DateTime<Utc>,
    /// Nango's cookie for the callback, sealed.
    pub cookie: Option<String>,
    /// Where the browser goes with a ticket.
    pub return_url: Option<String>,
}

/// It holds a state.
impl fmt::Debug for NewAttempt<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("NewAttempt").field("id", &self.id).finish_non_exhaustive()
    }
}

/// An open attempt that one worker may look up until its lease runs out.
#[derive(Debug)]
pub struct ClaimedAttempt {
    pub tenant: TenantId,
    pub connection: ConnectionId,
    pub id: AttemptId,
    pub lease: Uuid,
    pub waiting: Waiting,
    /// How often the vault could not be asked.
    pub failures: usize,
    /// Since when an owner of an organization has to approve.
    pub approval_awaited_at: Option<DateTime<Utc>>,
}

type Row = (
    String,
    Uuid,
    Uuid,
    DateTime<Utc>,
    Option<DateTime<Utc>>,
    i32,
    Option<String>,
    i32,
    Option<DateTime<Utc>>,
);

/// The attempt that a state belongs to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct FoundAttempt {
    pub(super) tenant: TenantId,
    pub(super) connection: ConnectionId,
    pub(super) attempt: AttemptId,
}

impl Store {
    /// Claims the open attempt whose look-up is due longest.
    pub async fn claim_attempt(
        &self,
        at: DateTime<Utc>,
        lease_for: Duration,
    ) -> Result<Option<ClaimedAttempt>, StoreError> {
        let lease = self.mint.lease();
        let mut tx = self.begin(As::Worker).await?;
        // SKIP LOCKED: another worker's claim is passed over and not waited for.
        let row: Option<Row> = sqlx::query_as(
            "UPDATE attempts SET lease = $1, due_at = $3
             WHERE (tenant_id, attempt_id) = (
                 SELECT tenant_id, attempt_id FROM attempts WHERE status = 'open' AND due_at <= $2
                 ORDER BY due_at LIMIT 1 FOR UPDATE SKIP LOCKED
             )
             RETURNING tenant_id, connection_id, attempt_id, deadline_at, callback_started_at, looks, vault_said,
                failures, approval_awaited_at",
        )
        .bind(lease)
        .bind(at)
        .bind(later(at, lease_for))
        .fetch_optional(&mut *tx)
        .await?;
        tx.commit().await?;
        row.map(
            |(
                tenant,
                connection,
                attempt,
                deadline_at,
                called_back_at,
                looks,
                said,
                failures,
                approval_awaited_at,
            )| {
                let looks = usize::try_from(looks).unwrap_or_default();
                let vault_said = said.as_deref().and_then(Reason::of_the_vault);
                Ok(ClaimedAttempt {
                    tenant: read("attempts.tenant_id", &tenant)?,
                    connection: ConnectionId::from_uuid(connection),
                    id: AttemptId::from_uuid(attempt),
                    lease,
                    waiting: Waiting { deadline_at, called_back_at, looks, vault_said },
                    failures: usize::try_from(failures).unwrap_or_default(),
                    approval_awaited_at,
                })
            },
        )
        .transpose()
    }

    /// Looks an attempt up again later.
    pub async fn postpone_attempt(
        &self,
        attempt: &ClaimedAttempt,
        why: Postponed,
        due_at: DateTime<Utc>,
    ) -> Result<(), StoreError> {
        let (looks, failures) = why.counts();
        let mut tx = self.begin(As::Worker).await?;
        // A callback in between took the lease away, and said itself when to look.
        sqlx::query(
            "UPDATE attempts SET due_at = $4, lease = NULL, looks = looks + $5, failures = failures + $6
             WHERE tenant_id = $1 AND attempt_id = $2 AND lease = $3 AND status = 'open'",
        )
        .bind(attempt.tenant.as_str())
        .bind(attempt.id.as_uuid())
        .bind(attempt.lease)
        .bind(due_at)
        .bind(looks)
        .bind(failures)
        .execute(&mut *tx)
        .await?;
        tx.commit().await?;
        Ok(())
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
    tx: &mut Tx,
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
    tx: &mut Tx,
    found: &FoundAttempt,
    query_hash: &[u8; 32],
    at: DateTime<Utc>,
) -> Result<bool, StoreError> {
    let marked = sqlx::query(
        "UPDATE attempts SET callback_started_at = $3, due_at = $4, lease = NULL, query_hash = $5
         WHERE tenant_id = $1 AND attempt_id = $2
           AND status = 'open' AND callback_started_at IS NULL AND deadline_at > $3",
    )
    .bind(found.tenant.as_str())
    .bind(found.attempt.as_uuid())
    .bind(at)
    .bind(first_look(at))
    .bind(query_hash.as_slice())
    .execute(&mut **tx)
    .await?;
    let is_first = marked.rows_affected() == 1;
    if is_first {
        // It is due sooner than before.
        super::wake(tx);
    }
    Ok(is_first)
}

pub(super) async fn open_attempt(
    tx: &mut Tx,
    (tenant, connection): (&TenantId, ConnectionId),
    new: &NewAttempt<'_>,
    at: DateTime<Utc>,
) -> Result<(), StoreError> {
    sqlx::query(
        "INSERT INTO attempts (tenant_id, attempt_id, connection_id, status, created_at, deadline_at, due_at, cookie,
            return_url)
         VALUES ($1, $2, $3, 'open', $4, $5, $5, $6, $7)",
    )
    .bind(tenant.as_str())
    .bind(new.id.as_uuid())
    .bind(connection.as_uuid())
    .bind(at)
    .bind(new.deadline_at)
    .bind(new.cookie.as_deref())
    .bind(new.return_url.as_deref())
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
    tx: &mut Tx,
    tenant: &TenantId,
    attempt: AttemptId,
    end: AttemptEnd,
    reason: Option<&str>,
) -> Result<(), StoreError> {
    sqlx::query(
        "UPDATE attempts SET status = $3, reason = $4, cookie = NULL, query = NULL
         WHERE tenant_id = $1 AND attempt_id = $2",
    )
    .bind(tenant.as_str())
    .bind(attempt.as_uuid())
    .bind(end.as_str())
    .bind(reason)
    .execute(&mut **tx)
    .await?;
    Ok(())
}
