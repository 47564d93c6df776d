//! The one commit of a transition: state, attempt, audit line, event, delivery, job and what it settles.

use super::{
    As, Store, StoreError,
    attempts::{NewAttempt, end_attempt, mark_callback, open_attempt},
    audit::AuditLine,
    callbacks::CallbackAttempt,
    idempotency::{Claim, end_call},
    jobs::{JobKind, end_job, insert_probe},
    later,
    news::tell,
    receipts::end_receipt,
    tx::Tx,
    wake,
};
use crate::domain::{
    audit::{Actor, AuditAction},
    connection::{Connection, Reason},
    event::{Event, Rules},
    idempotency::Answer,
    notification::{EventType, Notification},
    traceparent::Traceparent,
    transition::{Effect, Refused, Transition},
};
use crate::trace;
use chrono::{DateTime, Utc};
use contract::id::{
    AttemptId, ConnectionId, DeliveryId, EventId, JobId, NangoConnectionId, ReceiptId, TenantId,
};
use uuid::Uuid;

/// Who changes which connection, when and why.
#[derive(Debug)]
pub struct Change<'a> {
    pub tenant: &'a TenantId,
    pub connection: ConnectionId,
    pub actor: Actor,
    pub request_id: Option<String>,
    pub at: DateTime<Utc>,
    /// What is to be kept of the attempt that the change opens.
    pub opens: Option<NewAttempt<'a>>,
    /// The claimed work that is done with this change.
    pub settles: Option<Settled<'a>>,
}

/// Claimed work that ends together with a change. The lease tells whether it is still ours to end.
#[derive(Debug, Clone, Copy)]
pub enum Settled<'a> {
    Receipt {
        id: ReceiptId,
        lease: Uuid,
        outcome: &'static str,
    },
    Job {
        id: JobId,
        lease: Uuid,
    },
    /// A call with an idempotency key, and what every repeat of it will be answered.
    Call {
        claim: &'a Claim,
        answer: &'a Answer,
    },
}

/// What came of a change.
#[derive(Debug)]
pub enum Changed {
    /// As the connection stands now.
    Applied(Box<Connection>),
    NotFound,
    /// It cannot be done to the connection as it stands; nothing was written.
    Refused(Refused),
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
        let (version, effect) = (before.version, decide(&before));
        if let Effect::Refused(refused) = effect {
            return Ok(Changed::Refused(refused));
        }
        let connection = self.carry_out(&mut tx, &change, before, effect).await?;
        if let Some(settled) = change.settles
            && !settle(&mut tx, settled, change.at).await?
        {
            return Ok(Changed::LeaseLost);
        }
        tx.commit().await?;
        if let Some(Settled::Receipt { outcome, .. }) = change.settles {
            self.metrics.receipt(outcome);
        }
        self.count_change(version, &connection);
        Ok(Changed::Applied(Box::new(connection)))
    }

    /// Takes a callback that brought an error: its attempt is marked and failed in one transaction,
    /// because after the mark nobody could bring the error again. `false`, if another callback was first.
    pub async fn fail_callback(
        &self,
        callback: &CallbackAttempt,
        query_hash: &[u8; 32],
        (reason, request_id): (Reason, Option<String>),
        at: DateTime<Utc>,
    ) -> Result<bool, StoreError> {
        let mut tx = self.begin(As::Worker).await?;
        let found = &callback.found;
        // The connection first, as everywhere: two orders could wait for each other.
        let Some(before) = Self::lock(&mut tx, &found.tenant, found.connection).await? else {
            return Ok(false);
        };
        if !mark_callback(&mut tx, found, query_hash, at).await? {
            return Ok(false);
        }
        let event = Event::CallbackFailed { attempt: found.attempt, reason };
        let effect = before.apply(event, Rules::at(at));
        let change = Change {
            tenant: &found.tenant,
            connection: found.connection,
            actor: Actor::Browser,
            request_id,
            at,
            opens: None,
            settles: None,
        };
        let version = before.version;
        let after = self.carry_out(&mut tx, &change, before, effect).await?;
        tx.commit().await?;
        self.count_change(version, &after);
        Ok(true)
    }

    fn count_change(&self, version_before: i64, after: &Connection) {
        if after.version != version_before {
            self.metrics.changed(after.status);
        }
    }

    async fn carry_out(
        &self,
        tx: &mut Tx,
        change: &Change<'_>,
        before: Connection,
        effect: Effect,
    ) -> Result<Connection, StoreError> {
        match effect {
            Effect::Unchanged | Effect::Refused(_) => Ok(before),
            Effect::Noted(doubts) => {
                let after = Connection { doubts, ..before };
                update(tx, &after).await?;
                Ok(after)
            }
            Effect::Changed(transition) => {
                self.write_transition(tx, change, before, transition).await
            }
            Effect::Extra(vault) => {
                let extra = serde_json::json!({ "nangoConnectionId": vault });
                let kind = JobKind::DeleteExtra(vault);
                if self.write_job(tx, &before, kind, change.at).await? {
                    let line = change.audit(AuditAction::ExtraFound);
                    self.write_audit(tx, line, extra).await?;
                    wake(tx);
                }
                Ok(before)
            }
        }
    }

    async fn write_transition(
        &self,
        tx: &mut Tx,
        change: &Change<'_>,
        before: Connection,
        transition: Transition,
    ) -> Result<Connection, StoreError> {
        let was_open = before.open_attempt;
        let after = before.after(&transition, change.at);
        if let Some((end, reason)) = transition.attempt_ended
            && let Some(attempt) = was_open
        {
            end_attempt(tx, &after.tenant, attempt, end, reason.map(Reason::as_str)).await?;
        }
        if let Some(opened) = transition.attempt_opened {
            let Some(new) = change.opens.as_ref().filter(|new| new.id == opened) else {
                return Err(StoreError::Corrupt(format!("attempt {opened} is not described")));
            };
            open_attempt(tx, (&after.tenant, after.id), new, change.at).await?;
        }
        update(tx, &after).await?;
        tell(tx, &after);
        let told_reason = transition.told_reason(after.reason.as_deref());
        let attempt = after.open_attempt.or(was_open);
        let detail = serde_json::json!({ "reason": told_reason, "attempt": attempt });
        self.write_audit(tx, change.audit(transition.audit), detail).await?;
        if let Some(event) = transition.event {
            self.write_event(tx, &after, (event, told_reason), change.at).await?;
        }
        for wait in transition.empties_vault {
            let due_at = later(change.at, *wait);
            self.write_job(tx, &after, JobKind::DeleteConnection, due_at).await?;
        }
        if transition.probes {
            insert_probe(tx, &self.mint, (&after.tenant, after.id), change.at).await?;
        }
        wake(tx);
        Ok(after)
    }

    /// The event, and its delivery: ready, unless one before it is unfinished. What the tenant's destination
    /// does not want is in the feed alone.
    async fn write_event(
        &self,
        tx: &mut Tx,
        after: &Connection,
        event: (EventType, Option<&str>),
        at: DateTime<Utc>,
    ) -> Result<(), StoreError> {
        let event_id = self.mint.id(EventId::from_parts);
        let body = serde_json::to_string(&Notification::of(after, event, event_id, at)).map_err(
            |error| StoreError::Corrupt(format!("a notification of {}: {error}", after.id)),
        )?;
        sqlx::query(
            "INSERT INTO events (tenant_id, event_id, connection_id, sequence, type, occurred_at, body,
                 traceparent)
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8)",
        )
        .bind(after.tenant.as_str())
        .bind(event_id.as_uuid())
        .bind(after.id.as_uuid())
        .bind(after.sequence)
        .bind(event.0.as_str())
        .bind(at)
        .bind(body)
        .bind(trace::current().as_ref().map(Traceparent::as_str))
        .execute(&mut **tx)
        .await?;
        sqlx::query(
            "INSERT INTO deliveries (tenant_id, delivery_id, event_id, connection_id, sequence, created_at, due_at, status)
             SELECT $1, $2, $3, $4, $5, $6, $6, CASE WHEN EXISTS (
                 SELECT FROM deliveries
                 WHERE tenant_id = $1 AND connection_id = $4 AND status IN ('blocked', 'ready')
                     AND NOT is_redelivery
             ) THEN 'blocked' ELSE 'ready' END
             WHERE NOT EXISTS (
                 SELECT FROM destinations WHERE tenant_id = $1 AND NOT $7 = ANY (event_types)
             )",
        )
        .bind(after.tenant.as_str())
        .bind(self.mint.id(DeliveryId::from_parts).as_uuid())
        .bind(event_id.as_uuid())
        .bind(after.id.as_uuid())
        .bind(after.sequence)
        .bind(at)
        .bind(event.0.as_str())
        .execute(&mut **tx)
        .await?;
        Ok(())
    }
}

impl Change<'_> {
    fn audit(&self, action: AuditAction) -> AuditLine<'_> {
        AuditLine {
            tenant: self.tenant,
            connection: Some(self.connection),
            actor: &self.actor,
            action,
            request_id: self.request_id.clone(),
            at: self.at,
        }
    }
}

/// Writes a connection as it stands now. An operator's word that it was deleted at Nango ends where it is not missing any
/// more, and outlasts its deletion.
async fn update(tx: &mut Tx, after: &Connection) -> Result<(), StoreError> {
    let (granted, last) = (after.profile.scopes.as_ref(), after.last_authorization.as_ref());
    sqlx::query(
        "UPDATE connections SET status = $3, reason = $4, since = $5, checked_at = $6, version = $7, sequence = $8,
            open_attempt_id = $9, nango_connection_id = $10, provider_account_id = $11, display_name = $12,
            username = $13, avatar = $14, missing_since = $15, refresh_failing_since = $16, rejected_since = $17,
            requested_scopes = $18, asked_scopes = $19, authorized_scopes = $20, covered_scopes = $21,
            last_authorization_outcome = $22, last_authorization_reason = $23, last_authorization_at = $24,
            renewed_by = $25,
            missing_confirmed_at = CASE WHEN missing_confirmed_at >= missing_since AND ($15::timestamptz IS NOT NULL
                OR ($3 = 'deleted' AND $4 = 'gone_at_vault')) THEN missing_confirmed_at END
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
    .bind(after.doubts.missing_since)
    .bind(after.doubts.refresh_failing_since)
    .bind(after.doubts.rejected_since)
    .bind(&after.requested_scopes)
    .bind(after.asked_scopes.as_ref())
    .bind(granted.map(|granted| &granted.authorized))
    .bind(granted.map(|granted| &granted.covered))
    .bind(last.map(|last| &last.outcome))
    .bind(last.and_then(|last| last.reason.as_ref()))
    .bind(last.map(|last| last.at))
    .bind(after.renewed_by.map(AttemptId::as_uuid))
    .execute(&mut **tx)
    .await?;
    Ok(())
}

/// Ends claimed work; `false`, if its lease was lost.
pub(super) async fn settle(
    tx: &mut Tx,
    settled: Settled<'_>,
    at: DateTime<Utc>,
) -> Result<bool, StoreError> {
    match settled {
        Settled::Receipt { id, lease, outcome } => end_receipt(tx, id, lease, outcome, at).await,
        Settled::Job { id, lease } => end_job(tx, id, lease, at).await,
        Settled::Call { claim, answer } => end_call(tx, claim, answer, at).await,
    }
}
