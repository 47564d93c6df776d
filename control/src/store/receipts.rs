//! Receipts: webhooks that were taken, and the claims on those that are still to be confirmed.

use super::{As, Store, StoreError, later, tx::Tx, wake};
use crate::{domain::traceparent::Traceparent, trace};
use chrono::{DateTime, Utc};
use contract::{
    id::ReceiptId,
    nango::{AuthHint, SimplifiedHint, Webhook},
};
use sqlx::types::Json;
use std::time::Duration;
use uuid::Uuid;

/// A webhook that was verified at the edge.
#[derive(Debug)]
pub struct NewReceipt<'a> {
    pub id: ReceiptId,
    pub received_at: DateTime<Utc>,
    pub request_id: Option<String>,
    pub webhook_key: &'a str,
    pub body_sha256: [u8; 32],
    pub webhook: &'a Webhook,
}

/// What a receipt claims, as far as it says where to look.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Hint {
    Auth(AuthHint),
    Simplified(SimplifiedHint),
}

/// A receipt that one worker may confirm until its lease runs out.
#[derive(Debug)]
pub struct ClaimedReceipt {
    pub id: ReceiptId,
    pub lease: Uuid,
    /// How often the vault was asked and did not list what is claimed.
    pub looks: usize,
    /// How often the vault could not be asked.
    pub failures: usize,
    /// A look that began later answers it.
    pub asked_at: DateTime<Utc>,
    pub hint: Hint,
    /// The trace of the webhook.
    pub traceparent: Option<Traceparent>,
}

/// Why a receipt or a job is looked at again later.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Postponed {
    /// The vault does not list what is claimed.
    NotListed,
    /// The vault could not be asked.
    NotAsked,
    /// The vault was left alone on purpose.
    Busy,
}

impl Postponed {
    /// What is added to the looks and to the failures.
    pub(super) const fn counts(self) -> (i32, i32) {
        match self {
            Self::NotListed => (1, 0),
            Self::NotAsked => (0, 1),
            Self::Busy => (0, 0),
        }
    }
}

/// How a receipt ends without a change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReceiptOutcome {
    /// Its kind says nothing about a connection's life.
    Ignored,
    /// No connection of ours is meant.
    NoMatch,
    /// It was looked up, and the vault does not bear it out.
    Unconfirmed,
    /// It was looked up, and says nothing that was not known.
    NothingNew,
    /// A check of the connection was queued, which finds out.
    CheckQueued,
}

impl ReceiptOutcome {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ignored => "ignored",
            Self::NoMatch => "no_match",
            Self::Unconfirmed => "unconfirmed",
            Self::NothingNew => "nothing_new",
            Self::CheckQueued => "check_queued",
        }
    }
}

type Row = (Uuid, i32, i32, DateTime<Utc>, String, Option<Json<serde_json::Value>>, Option<String>);

impl Store {
    /// Keeps what a webhook claims; what says nothing is settled at once. When this returns, the
    /// webhook may be answered.
    pub async fn take(&self, new: NewReceipt<'_>) -> Result<(), StoreError> {
        let NewReceipt { id, received_at, request_id, webhook_key, body_sha256, webhook } = new;
        let (kind, hint) = match webhook {
            Webhook::Auth(hint) => ("auth", Some(serde_json::to_value(hint))),
            Webhook::Simplified(hint) => ("simplified", Some(serde_json::to_value(hint))),
            Webhook::Ignored { .. } => ("ignored", None),
            Webhook::Unknown => ("unknown", None),
        };
        let hint = hint
            .transpose()
            .map_err(|error| StoreError::Corrupt(format!("a hint cannot be written: {error}")))?;
        let outcome = hint.is_none().then_some(ReceiptOutcome::Ignored);
        let mut tx = self.begin(As::Worker).await?;
        sqlx::query(
            "INSERT INTO receipts (receipt_id, received_at, request_id, webhook_key, body_sha256, kind, hint, outcome,
                settled_at, due_at, asked_at, traceparent)
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, CASE WHEN $8 IS NULL THEN NULL ELSE $2 END, $2, $2, $9)",
        )
        .bind(id.as_uuid())
        .bind(received_at)
        .bind(request_id)
        .bind(webhook_key)
        .bind(body_sha256.as_slice())
        .bind(kind)
        .bind(hint)
        .bind(outcome.map(ReceiptOutcome::as_str))
        .bind(trace::current().as_ref().map(Traceparent::as_str))
        .execute(&mut *tx)
        .await?;
        if outcome.is_none() {
            wake(&mut tx);
        }
        tx.commit().await?;
        if let Some(outcome) = outcome {
            self.metrics.receipt(outcome.as_str());
        }
        Ok(())
    }

    /// Claims the receipt that is due longest, of those kinds that this release can read.
    pub async fn claim_receipt(
        &self,
        at: DateTime<Utc>,
        lease_for: Duration,
    ) -> Result<Option<ClaimedReceipt>, StoreError> {
        let lease = self.mint.lease();
        let mut tx = self.begin(As::Worker).await?;
        // SKIP LOCKED: another worker's claim is passed over and not waited for.
        let row: Option<Row> = sqlx::query_as(
            "UPDATE receipts SET lease = $1, due_at = $3
             WHERE receipt_id = (
                 SELECT receipt_id FROM receipts
                 WHERE settled_at IS NULL AND due_at <= $2 AND kind IN ('auth', 'simplified')
                 ORDER BY due_at LIMIT 1 FOR UPDATE SKIP LOCKED
             )
             RETURNING receipt_id, looks, failures, coalesce(asked_at, received_at), kind, hint, traceparent",
        )
        .bind(lease)
        .bind(at)
        .bind(later(at, lease_for))
        .fetch_optional(&mut *tx)
        .await?;
        tx.commit().await?;
        row.map(|(id, looks, failures, asked_at, kind, hint, traceparent)| {
            let hint = hint.map(|Json(hint)| hint).unwrap_or_default();
            let hint = match kind.as_str() {
                "auth" => serde_json::from_value(hint).map(Hint::Auth),
                _ => serde_json::from_value(hint).map(Hint::Simplified),
            };
            Ok(ClaimedReceipt {
                id: ReceiptId::from_uuid(id),
                lease,
                looks: usize::try_from(looks).unwrap_or_default(),
                failures: usize::try_from(failures).unwrap_or_default(),
                asked_at,
                hint: hint.map_err(|error| {
                    StoreError::Corrupt(format!("receipts.hint of {id}: {error}"))
                })?,
                traceparent: traceparent.and_then(|text| text.parse().ok()),
            })
        })
        .transpose()
    }

    /// Of how many connections look-ups at the vault are due, counted up to a limit. Many hints of one
    /// connection are one look-up.
    pub async fn look_ups_due(&self, at: DateTime<Utc>, limit: i64) -> Result<i64, StoreError> {
        let mut tx = self.begin(As::Worker).await?;
        let due = sqlx::query_scalar(
            "SELECT count(*) FROM (
                 (SELECT DISTINCT coalesce(hint #>> '{tags,connection_ref}', hint ->> 'connectionId') FROM (
                      SELECT hint FROM receipts WHERE settled_at IS NULL AND due_at <= $1 LIMIT 20 * $2
                  ) AS receipts LIMIT $2)
                 UNION ALL
                 (SELECT connection_id::text FROM attempts WHERE status = 'open' AND due_at <= $1 LIMIT $2)
             ) AS due",
        )
        .bind(at)
        .bind(limit)
        .fetch_one(&mut *tx)
        .await?;
        tx.commit().await?;
        Ok(due)
    }

    /// Ends a receipt that changes nothing.
    pub async fn settle_receipt(
        &self,
        receipt: &ClaimedReceipt,
        outcome: ReceiptOutcome,
        at: DateTime<Utc>,
    ) -> Result<(), StoreError> {
        let mut tx = self.begin(As::Worker).await?;
        // A lost lease means that another worker ended it, or will.
        let has_ended =
            end_receipt(&mut tx, receipt.id, receipt.lease, outcome.as_str(), at).await?;
        tx.commit().await?;
        if has_ended {
            self.metrics.receipt(outcome.as_str());
        }
        Ok(())
    }

    /// Looks at a receipt again later.
    pub async fn postpone_receipt(
        &self,
        receipt: &ClaimedReceipt,
        why: Postponed,
        due_at: DateTime<Utc>,
    ) -> Result<(), StoreError> {
        let (looks, failures) = why.counts();
        let mut tx = self.begin(As::Worker).await?;
        // What was not listed is asked anew; all else still asks what it did.
        sqlx::query(
            "UPDATE receipts SET due_at = $3, lease = NULL, looks = looks + $4, failures = failures + $5,
                asked_at = CASE WHEN $4 > 0 THEN $3 ELSE asked_at END
             WHERE receipt_id = $1 AND lease = $2",
        )
        .bind(receipt.id.as_uuid())
        .bind(receipt.lease)
        .bind(due_at)
        .bind(looks)
        .bind(failures)
        .execute(&mut *tx)
        .await?;
        tx.commit().await?;
        Ok(())
    }
}

/// Ends a receipt; `false`, if its lease was lost.
pub(super) async fn end_receipt(
    tx: &mut Tx,
    id: ReceiptId,
    lease: Uuid,
    outcome: &str,
    at: DateTime<Utc>,
) -> Result<bool, StoreError> {
    let ended = sqlx::query(
        "UPDATE receipts SET settled_at = $3, outcome = $4, lease = NULL WHERE receipt_id = $1 AND lease = $2",
    )
    .bind(id.as_uuid())
    .bind(lease)
    .bind(at)
    .bind(outcome)
    .execute(&mut **tx)
    .await?;
    Ok(ended.rows_affected() == 1)
}
