//! Callbacks: one is taken once, and waits for its application where it is bound.

use super::{
    As, Store, StoreError,
    attempts::{FoundAttempt, find_attempt, mark_callback},
    wake,
};
use crate::domain::{callback::UnverifiedState, connection::Reason, returning::Ticket};
use chrono::{DateTime, Utc};
use contract::id::{AttemptId, ConnectionId, TenantId};
use uuid::Uuid;

/// What there is to know of a callback.
#[derive(Debug)]
pub enum Begun {
    First(BegunCallback),
    /// It came before; how its attempt stands by now.
    Again {
        status: String,
        reason: Option<String>,
    },
    /// Nobody knows the state, or it is too old.
    Unknown,
}

/// A callback that comes for the first time.
#[derive(Debug)]
pub struct BegunCallback {
    pub tenant: TenantId,
    pub connection: ConnectionId,
    pub attempt: AttemptId,
    /// Sealed.
    pub cookie: Option<String>,
    pub return_url: Option<String>,
}

/// A callback that waited for its application; all of it is sealed.
#[derive(Debug)]
pub struct BoundCallback {
    pub attempt: AttemptId,
    pub query: String,
    pub cookie: Option<String>,
}

type Kept = (String, Option<String>, bool, Option<String>, Option<String>);

impl Store {
    /// Marks the callback of a state as started, once: of several callbacks with one state, exactly one
    /// is told that it is the first.
    pub async fn begin_callback(
        &self,
        state: &UnverifiedState,
        at: DateTime<Utc>,
    ) -> Result<Begun, StoreError> {
        let mut tx = self.begin(As::Worker).await?;
        let Some(found) = find_attempt(&mut tx, state).await? else { return Ok(Begun::Unknown) };
        let is_first = mark_callback(&mut tx, &found, at).await?;
        let (status, reason, was_begun, cookie, return_url): Kept = sqlx::query_as(
            "SELECT status, reason, callback_started_at IS NOT NULL, cookie, return_url
             FROM attempts WHERE tenant_id = $1 AND attempt_id = $2",
        )
        .bind(found.tenant.as_str())
        .bind(found.attempt.as_uuid())
        .fetch_one(&mut *tx)
        .await?;
        tx.commit().await?;
        Ok(if is_first {
            let FoundAttempt { tenant, connection, attempt } = found;
            Begun::First(BegunCallback { tenant, connection, attempt, cookie, return_url })
        } else if was_begun {
            Begun::Again { status, reason }
        } else {
            Begun::Unknown
        })
    }

    /// Keeps a callback until its application says that it may be finished.
    pub async fn bind_callback(
        &self,
        callback: &BegunCallback,
        query: &str,
        ticket: &Ticket,
        expires_at: DateTime<Utc>,
    ) -> Result<(), StoreError> {
        let mut tx = self.begin(As::Worker).await?;
        sqlx::query(
            "UPDATE attempts SET query = $3, ticket_hash = $4, ticket_expires_at = $5
             WHERE tenant_id = $1 AND attempt_id = $2",
        )
        .bind(callback.tenant.as_str())
        .bind(callback.attempt.as_uuid())
        .bind(query)
        .bind(ticket.hash().as_slice())
        .bind(expires_at)
        .execute(&mut *tx)
        .await?;
        tx.commit().await?;
        Ok(())
    }

    /// Takes a bound callback by its ticket, once; what was sealed is gone with it.
    pub async fn take_bound(
        &self,
        tenant: &TenantId,
        connection: ConnectionId,
        ticket: &Ticket,
        at: DateTime<Utc>,
    ) -> Result<Option<BoundCallback>, StoreError> {
        let mut tx = self.begin(As::Tenant(tenant)).await?;
        // The row as it was is locked and read first: an update returns only what it wrote.
        let taken: Option<(Uuid, Option<String>, Option<String>)> = sqlx::query_as(
            "WITH bound AS (
                 SELECT tenant_id, attempt_id, query, cookie FROM attempts
                 WHERE tenant_id = $1 AND connection_id = $2 AND ticket_hash = $3 AND ticket_expires_at > $4
                    AND status = 'open'
                 FOR UPDATE
             )
             UPDATE attempts SET ticket_hash = NULL, query = NULL, cookie = NULL
             FROM bound WHERE attempts.tenant_id = bound.tenant_id AND attempts.attempt_id = bound.attempt_id
             RETURNING bound.attempt_id, bound.query, bound.cookie",
        )
        .bind(tenant.as_str())
        .bind(connection.as_uuid())
        .bind(ticket.hash().as_slice())
        .bind(at)
        .fetch_optional(&mut *tx)
        .await?;
        tx.commit().await?;
        Ok(taken.and_then(|(attempt, query, cookie)| {
            Some(BoundCallback { attempt: AttemptId::from_uuid(attempt), query: query?, cookie })
        }))
    }

    /// Keeps which scopes a callback said were granted.
    pub async fn note_callback_scopes(
        &self,
        tenant: &TenantId,
        attempt: AttemptId,
        scopes: &[String],
    ) -> Result<(), StoreError> {
        let mut tx = self.begin(As::Worker).await?;
        sqlx::query(
            "UPDATE attempts SET callback_scopes = $3
             WHERE tenant_id = $1 AND attempt_id = $2 AND status = 'open'",
        )
        .bind(tenant.as_str())
        .bind(attempt.as_uuid())
        .bind(scopes)
        .execute(&mut *tx)
        .await?;
        tx.commit().await?;
        Ok(())
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
