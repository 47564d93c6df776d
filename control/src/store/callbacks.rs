//! Callbacks: one is taken once, and waits for its application where it is bound.

use super::{
    As, Store, StoreError,
    attempts::{FoundAttempt, find_attempt, mark_callback},
    wake,
};
use crate::domain::{
    callback::UnverifiedState, callback_answer::Kept, connection::Reason, returning::Ticket,
};
use chrono::{DateTime, Utc};
use contract::id::{AttemptId, ConnectionId, TenantId};
use sqlx::Row as _;
use uuid::Uuid;

/// The authorization attempt that a state belongs to.
#[derive(Debug)]
pub struct CallbackAttempt {
    pub(super) found: FoundAttempt,
    pub provider: String,
    /// Nango's, sealed.
    pub cookie: Option<String>,
    pub kept: Kept,
}

impl CallbackAttempt {
    pub const fn tenant(&self) -> &TenantId {
        &self.found.tenant
    }

    pub const fn connection(&self) -> ConnectionId {
        self.found.connection
    }

    pub const fn attempt(&self) -> AttemptId {
        self.found.attempt
    }
}

/// What becomes of a ticket that is brought.
#[derive(Debug)]
pub enum Taken {
    Now(BoundCallback),
    /// It was used before; its callback is finished, or under way.
    Before,
    No,
}

/// The first callback of an attempt, as it will be kept.
#[derive(Debug)]
pub struct FirstCallback<'a> {
    pub query_hash: &'a [u8; 32],
    /// Which scopes it says were granted. Who reads them asks whether this provider says so.
    pub scopes: Option<Vec<String>>,
    pub binding: Option<NewBinding<'a>>,
    /// Whether it says that an owner of the organization has to approve.
    pub awaits_approval: bool,
}

/// A callback that its application may finish, before it is kept.
#[derive(Debug)]
pub struct NewBinding<'a> {
    /// The raw query, sealed.
    pub query: &'a str,
    pub ticket: &'a Ticket,
    pub expires_at: DateTime<Utc>,
}

/// A callback that waited for its application; all of it is sealed.
#[derive(Debug)]
pub struct BoundCallback {
    pub attempt: AttemptId,
    pub query: String,
    pub cookie: Option<String>,
}

type BoundRow = (Uuid, String, Option<DateTime<Utc>>, Option<String>, Option<String>);

impl Store {
    /// The attempt of a state, as it is kept.
    pub async fn callback_attempt(
        &self,
        state: &UnverifiedState,
    ) -> Result<Option<CallbackAttempt>, StoreError> {
        let mut tx = self.begin(As::Worker).await?;
        let Some(found) = find_attempt(&mut tx, state).await? else { return Ok(None) };
        let row = sqlx::query(
            "SELECT attempts.status, attempts.reason, deadline_at, callback_started_at, query_hash, ticket_hash,
                ticket_expires_at, ticket_used_at, return_url, cookie, provider, approval_awaited_at
             FROM attempts JOIN connections USING (tenant_id, connection_id)
             WHERE tenant_id = $1 AND attempt_id = $2",
        )
        .bind(found.tenant.as_str())
        .bind(found.attempt.as_uuid())
        .fetch_one(&mut *tx)
        .await?;
        tx.commit().await?;
        let kept = Kept {
            status: row.try_get("status")?,
            reason: row.try_get("reason")?,
            deadline_at: row.try_get("deadline_at")?,
            called_back_at: row.try_get("callback_started_at")?,
            query_hash: row.try_get("query_hash")?,
            ticket_hash: row.try_get("ticket_hash")?,
            ticket_expires_at: row.try_get("ticket_expires_at")?,
            ticket_used_at: row.try_get("ticket_used_at")?,
            return_url: row.try_get("return_url")?,
            issuer: None,
            approval_awaited_at: row.try_get("approval_awaited_at")?,
        };
        let (provider, cookie) = (row.try_get("provider")?, row.try_get("cookie")?);
        Ok(Some(CallbackAttempt { found, provider, cookie, kept }))
    }

    /// Whether an owner of an organization has to approve what this attempt asks for.
    pub async fn awaits_approval(
        &self,
        tenant: &TenantId,
        attempt: AttemptId,
    ) -> Result<bool, StoreError> {
        let mut tx = self.begin(As::Worker).await?;
        let awaits = sqlx::query_scalar(
            "SELECT EXISTS (SELECT FROM attempts
             WHERE tenant_id = $1 AND attempt_id = $2 AND approval_awaited_at IS NOT NULL)",
        )
        .bind(tenant.as_str())
        .bind(attempt.as_uuid())
        .fetch_one(&mut *tx)
        .await?;
        tx.commit().await?;
        Ok(awaits)
    }

    /// Marks the callback of an attempt as started, once, and keeps it where its application is to finish it: a
    /// mark without what was brought would leave nothing to finish. `false`, if another callback was first.
    pub async fn begin_callback(
        &self,
        callback: &CallbackAttempt,
        first: FirstCallback<'_>,
        at: DateTime<Utc>,
    ) -> Result<bool, StoreError> {
        let FirstCallback { query_hash, scopes, binding, awaits_approval } = first;
        let mut tx = self.begin(As::Worker).await?;
        let is_first = mark_callback(&mut tx, &callback.found, query_hash, at).await?;
        if let Some(scopes) = scopes.filter(|_scopes| is_first) {
            let query =
                "UPDATE attempts SET callback_scopes = $3 WHERE tenant_id = $1 AND attempt_id = $2";
            sqlx::query(query)
                .bind(callback.tenant().as_str())
                .bind(callback.attempt().as_uuid())
                .bind(scopes)
                .execute(&mut *tx)
                .await?;
        }
        if is_first && awaits_approval {
            let query = "UPDATE attempts SET approval_awaited_at = $3 WHERE tenant_id = $1 AND attempt_id = $2";
            sqlx::query(query)
                .bind(callback.tenant().as_str())
                .bind(callback.attempt().as_uuid())
                .bind(at)
                .execute(&mut *tx)
                .await?;
        }
        if let Some(binding) = binding.filter(|_binding| is_first) {
            sqlx::query(
                "UPDATE attempts SET query = $3, ticket_hash = $4, ticket_expires_at = $5
                 WHERE tenant_id = $1 AND attempt_id = $2",
            )
            .bind(callback.tenant().as_str())
            .bind(callback.attempt().as_uuid())
            .bind(binding.query)
            .bind(binding.ticket.hash().as_slice())
            .bind(binding.expires_at)
            .execute(&mut *tx)
            .await?;
        }
        tx.commit().await?;
        Ok(is_first)
    }

    /// Takes a bound callback by its ticket, once; what was sealed is gone with it. The ticket is known until it
    /// expires, so that a call whose answer was lost can be repeated.
    pub async fn take_bound(
        &self,
        tenant: &TenantId,
        connection: ConnectionId,
        ticket: &Ticket,
        at: DateTime<Utc>,
    ) -> Result<Taken, StoreError> {
        let mut tx = self.begin(As::Tenant(tenant)).await?;
        let bound: Option<BoundRow> = sqlx::query_as(
            "SELECT attempt_id, status, ticket_used_at, query, cookie FROM attempts
             WHERE tenant_id = $1 AND connection_id = $2 AND ticket_hash = $3 AND ticket_expires_at > $4
             FOR UPDATE",
        )
        .bind(tenant.as_str())
        .bind(connection.as_uuid())
        .bind(ticket.hash().as_slice())
        .bind(at)
        .fetch_optional(&mut *tx)
        .await?;
        let taken = match bound {
            Some((_, _, Some(_used_at), _, _)) => Taken::Before,
            Some((attempt, status, None, Some(query), cookie)) if status == "open" => {
                sqlx::query(
                    "UPDATE attempts SET ticket_used_at = $3, query = NULL, cookie = NULL
                     WHERE tenant_id = $1 AND attempt_id = $2",
                )
                .bind(tenant.as_str())
                .bind(attempt)
                .bind(at)
                .execute(&mut *tx)
                .await?;
                Taken::Now(BoundCallback { attempt: AttemptId::from_uuid(attempt), query, cookie })
            }
            Some(_) | None => Taken::No,
        };
        tx.commit().await?;
        Ok(taken)
    }

    /// Which scopes the callback of an attempt said were granted, if it said any.
    pub async fn callback_scopes(
        &self,
        tenant: &TenantId,
        attempt: AttemptId,
    ) -> Result<Option<Vec<String>>, StoreError> {
        let mut tx = self.begin(As::Worker).await?;
        let scopes: Option<Option<Vec<String>>> = sqlx::query_scalar(
            "SELECT callback_scopes FROM attempts WHERE tenant_id = $1 AND attempt_id = $2",
        )
        .bind(tenant.as_str())
        .bind(attempt.as_uuid())
        .fetch_optional(&mut *tx)
        .await?;
        tx.commit().await?;
        Ok(scopes.flatten())
    }

    /// Keeps what Nango said of a callback that was finished there, and looks at the vault now.
    pub async fn note_finished(
        &self,
        tenant: &TenantId,
        attempt: AttemptId,
        said: Option<Reason>,
        at: DateTime<Utc>,
    ) -> Result<(), StoreError> {
        let mut tx = self.begin(As::Worker).await?;
        sqlx::query(
            "UPDATE attempts SET vault_said = $3, due_at = $4, lease = NULL, cookie = NULL, query = NULL
             WHERE tenant_id = $1 AND attempt_id = $2 AND status = 'open'",
        )
        .bind(tenant.as_str())
        .bind(attempt.as_uuid())
        .bind(said.map(Reason::as_str))
        .bind(at)
        .execute(&mut *tx)
        .await?;
        wake(&mut tx);
        tx.commit().await?;
        Ok(())
    }
}
