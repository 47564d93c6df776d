//! The one commit of a transition: state, attempt, audit line, event, delivery, job and what it settles.

use super::{
    As, Store, StoreError,
    attempts::{end_attempt, find_attempt, mark_callback},
    audit::AuditLine,
    jobs::{JobKind, end_job},
    later,
    receipts::end_receipt,
    wake,
};
use crate::domain::{
    audit::{Actor, AuditAction},
    callback::UnverifiedState,
    connection::{Connection, Reason},
    notification::{EventType, Notification},
    transition::{Effect, Event, Transition},
};
use chrono::{DateTime, Utc};
use contract::id::{
    AttemptId, ConnectionId, DeliveryId, EventId, JobId, NangoConnectionId, ReceiptId, TenantId,
};
use sqlx::{Postgres, Transaction};
use uuid::Uuid;

/// Who changes which connection, when and why.
#[derive(Debug)]
pub struct Change<'a> {
    pub tenant: &'a TenantId,
    pub connection: ConnectionId,
    pub actor: Actor,
    pub request_id: Option<String>,
    pub at: DateTime<Utc>,
    /// The outbox's work that is done with this change.
    pub settles: Option<Settled>,
}

/// Claimed work that ends together with a change. The lease tells whether it is still ours to end.
#[derive(Debug, Clone, Copy)]
pub enum Settled {
    Receipt { id: ReceiptId, lease: Uuid, outcome: &'static str },
    Job { id: JobId, lease: Uuid },
}

/// What came of a change.
#[derive(Debug)]
pub enum Changed {
    /// As the connection stands now.
    Applied(Box<Connection>),
    NotFound,
    /// Another worker holds the work by now; nothing was written.
    LeaseLost,
}

impl Store {
    /// Locks a connection, lets `decide` say what changes, and writes all of it or nothing.
    pub async fn change(
        &self,
        role: As<'_>,
        change: Change<'_>,
        decide: impl FnOnce(&Connection) -> Effect,
    ) -> Result<Changed, StoreError> {
        let mut tx = self.begin(role).await?;
        let Some(before) = Self::lock(&mut tx, change.tenant, change.connection).await? else {
            return Ok(Changed::NotFound);
        };
        let effect = decide(&before);
        let connection = self.carry_out(&mut tx, &change, before, effect).await?;
        if let Some(settled) = change.settles
            && !settle(&mut tx, settled, change.at).await?
        {
            return Ok(Changed::LeaseLost);
        }
        tx.commit().await?;
        Ok(Changed::Applied(Box::new(connection)))
    }

    /// Takes a callback that brought an error: its attempt is marked and failed in one transaction,
    /// because after the mark nobody could bring the error again. `false`, if the state is not known,
    /// was used, or is too old.
    pub async fn fail_callback(
        &self,
        state: &UnverifiedState,
        reason: Reason,
        request_id: Option<String>,
        at: DateTime<Utc>,
    ) -> Result<bool, StoreError> {
        let mut tx = self.begin(As::Worker).await?;
        let Some(found) = find_attempt(&mut tx, state).await? else { return Ok(false) };
        // The connection first, as everywhere: two orders could wait for each other.
        let Some(before) = Self::lock(&mut tx, &found.tenant, found.connection).await? else {
            return Ok(false);
        };
        if !mark_callback(&mut tx, &found, at).await? {
            return Ok(false);
        }
        let effect = before.apply(Event::CallbackFailed { attempt: found.attempt, reason });
        let change = Change {
            tenant: &found.tenant,
            connection: found.connection,
            actor: Actor::Browser,
            request_id,
            at,
            settles: None,
        };
        self.carry_out(&mut tx, &change, before, effect).await?;
        tx.commit().await?;
        Ok(true)
    }

    async fn carry_out(
        &self,
        tx: &mut Transaction<'static, Postgres>,
        change: &Change<'_>,
        before: Connection,
        effect: Effect,
    ) -> Result<Connection, StoreError> {
        match effect {
            Effect::Unchanged => Ok(before),
            Effect::Changed(transition) => {
                self.write_transition(tx, change, before, transition).await
            }
            Effect::Extra(vault) => {
                let extra = serde_json::json!({ "nangoConnectionId": vault });
                let kind = JobKind::DeleteExtra(vault);
                if self.write_job(tx, &before, kind, change.at).await? {
                    let line = change.audit(AuditAction::ExtraFound);
                    self.write_audit(tx, line, extra).await?;
                    wake(tx).await?;
                }
                Ok(before)
            }
        }
    }

    async fn write_transition(
        &self,
        tx: &mut Transaction<'static, Postgres>,
        change: &Change<'_>,
        before: Connection,
        transition: Transition,
    ) -> Result<Connection, StoreError> {
        let Transition { status, reason, attempt_ended, confirmed, audit, event, empties_vault } =
            transition;
        let reason = reason.map(Reason::as_str);
        let mut after = before;
        if after.status != status {
            after.since = change.at;
        }
        after.status = status;
        after.reason = reason.map(str::to_owned);
        after.version = after.version.saturating_add(1);
        let attempt = after.open_attempt;
        if let Some((vault, profile)) = confirmed {
            after.vault = Some(vault);
            after.profile = profile;
            after.checked_at = Some(change.at);
        }
        if let Some(end) = attempt_ended
            && let Some(attempt) = after.open_attempt.take()
        {
            end_attempt(tx, &after.tenant, attempt, end, reason).await?;
        }
        if event.is_some() {
            after.sequence = after.sequence.saturating_add(1);
        }
        update(tx, &after).await?;
        let detail = serde_json::json!({ "reason": reason, "attempt": attempt });
        self.write_audit(tx, change.audit(audit), detail).await?;
        if let Some(event) = event {
            self.write_event(tx, &after, event, change.at).await?;
        }
        for wait in empties_vault {
            let due_at = later(change.at, *wait);
            self.write_job(tx, &after, JobKind::DeleteConnection, due_at).await?;
        }
        wake(tx).await?;
        Ok(after)
    }

    /// The event, and its delivery: ready, unless one before it is unfinished.
    async fn write_event(
        &self,
        tx: &mut Transaction<'static, Postgres>,
        after: &Connection,
        event: EventType,
        at: DateTime<Utc>,
    ) -> Result<(), StoreError> {
        let event_id = self.mint.id(EventId::from_parts);
        let body = serde_json::to_string(&Notification::of(after, event, event_id, at)).map_err(
            |error| StoreError::Corrupt(format!("a notification of {}: {error}", after.id)),
        )?;
        sqlx::query(
            "INSERT INTO events (tenant_id, event_id, connection_id, sequence, type, occurred_at, body)
             VALUES ($1, $2, $3, $4, $5, $6, $7)",
        )
        .bind(after.tenant.as_str())
        .bind(event_id.as_uuid())
        .bind(after.id.as_uuid())
        .bind(after.sequence)
        .bind(event.as_str())
        .bind(at)
        .bind(body)
        .execute(&mut **tx)
        .await?;
        sqlx::query(
            "INSERT INTO deliveries (tenant_id, delivery_id, event_id, connection_id, sequence, due_at, status)
             SELECT $1, $2, $3, $4, $5, $6, CASE WHEN EXISTS (
                 SELECT FROM deliveries
                 WHERE tenant_id = $1 AND connection_id = $4 AND status IN ('blocked', 'ready')
             ) THEN 'blocked' ELSE 'ready' END",
        )
        .bind(after.tenant.as_str())
        .bind(self.mint.id(DeliveryId::from_parts).as_uuid())
        .bind(event_id.as_uuid())
        .bind(after.id.as_uuid())
        .bind(after.sequence)
        .bind(at)
        .execute(&mut **tx)
        .await?;
        Ok(())
    }
}

impl Change<'_> {
    fn audit(&self, action: AuditAction) -> AuditLine<'_> {
        AuditLine {
            tenant: self.tenant,
            connection: self.connection,
            actor: &self.actor,
            action,
            request_id: self.request_id.clone(),
            at: self.at,
        }
    }
}

async fn update(
    tx: &mut Transaction<'static, Postgres>,
    after: &Connection,
) -> Result<(), StoreError> {
    sqlx::query(
        "UPDATE connections SET status = $3, reason = $4, since = $5, checked_at = $6, version = $7, sequence = $8,
            open_attempt_id = $9, nango_connection_id = $10, provider_account_id = $11, display_name = $12,
            username = $13, avatar = $14
         WHERE tenant_id = $1 AND connection_id = $2",
    )
    .bind(after.tenant.as_str())
    .bind(after.id.as_uuid())
    .bind(after.status.as_str())
    .bind(after.reason.as_deref())
    .bind(after.since)
    .bind(after.checked_at)
    .bind(after.version)
    .bind(after.sequence)
    .bind(after.open_attempt.map(AttemptId::as_uuid))
    .bind(after.vault.as_ref().map(NangoConnectionId::as_str))
    .bind(after.profile.account_id.as_deref())
    .bind(after.profile.display_name.as_deref())
    .bind(after.profile.username.as_deref())
    .bind(after.profile.avatar.as_deref())
    .execute(&mut **tx)
    .await?;
    Ok(())
}

/// Ends claimed work; `false`, if its lease was lost.
async fn settle(
    tx: &mut Transaction<'static, Postgres>,
    settled: Settled,
    at: DateTime<Utc>,
) -> Result<bool, StoreError> {
    match settled {
        Settled::Receipt { id, lease, outcome } => end_receipt(tx, id, lease, outcome, at).await,
        Settled::Job { id, lease } => end_job(tx, id, lease, at).await,
    }
}
