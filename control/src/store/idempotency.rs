//! Idempotency keys: who works on a call, and what its repeats are answered.

use super::{As, Store, StoreError, tx::Tx};
use crate::domain::idempotency::{
    ANSWER_LIFE, Answer, CLAIM_LIFE, Fingerprint, Held, IdempotencyKey, Verdict,
};
use chrono::{DateTime, TimeDelta, Utc};
use contract::{id::TenantId, principal::Principal};
use sqlx::types::Json;
use uuid::Uuid;

/// How many answers are forgotten in one transaction.
const FORGOTTEN_AT_ONCE: i64 = 500;

/// A call with a key. Two principals never meet in one, whatever keys they choose.
#[derive(Debug, Clone, Copy)]
pub struct Call<'a> {
    pub tenant: &'a TenantId,
    pub principal: &'a Principal,
    pub key: &'a IdempotencyKey,
    pub fingerprint: Fingerprint,
}

/// A call that one process may carry out until its lease runs out.
#[derive(Debug, Clone)]
pub struct Claim {
    tenant: TenantId,
    principal: String,
    key: IdempotencyKey,
    lease: Uuid,
}

/// What came of claiming a call.
#[derive(Debug)]
pub enum Claimed {
    Ours(Claim),
    /// It was carried out, and answered so.
    Repeat(Answer),
    /// It is being carried out.
    InUse,
    /// Its key was another call's.
    Reused,
}

type Row =
    (Vec<u8>, DateTime<Utc>, Option<i32>, Option<Json<Vec<(String, String)>>>, Option<Vec<u8>>);

impl Store {
    /// Claims a call before anything is done for it.
    pub async fn claim_call(
        &self,
        call: Call<'_>,
        at: DateTime<Utc>,
    ) -> Result<Claimed, StoreError> {
        let claim = Claim {
            tenant: call.tenant.clone(),
            principal: call.principal.to_string(),
            key: call.key.clone(),
            lease: self.mint.lease(),
        };
        let mut tx = self.begin(As::Tenant(call.tenant)).await?;
        let claimed = if insert(&mut tx, &claim, call.fingerprint, at).await? {
            Claimed::Ours(claim)
        } else {
            let Some(held) = lock(&mut tx, &claim).await? else {
                // It was there, was over, and was removed in between: the next repeat begins anew.
                return Ok(Claimed::InUse);
            };
            match held.judge(call.fingerprint, at) {
                Verdict::TakeOver => {
                    take_over(&mut tx, &claim, call.fingerprint, at).await?;
                    Claimed::Ours(claim)
                }
                Verdict::Repeat(answer) => Claimed::Repeat(answer),
                Verdict::InUse => Claimed::InUse,
                Verdict::Reused => Claimed::Reused,
            }
        };
        tx.commit().await?;
        Ok(claimed)
    }

    /// Gives up a claim of which nothing came, so that a repeat is carried out. An answer that was
    /// committed stays.
    pub async fn release_call(&self, claim: &Claim, at: DateTime<Utc>) -> Result<(), StoreError> {
        let mut tx = self.begin(As::Tenant(&claim.tenant)).await?;
        sqlx::query(
            "UPDATE idempotency_keys SET until = $5
             WHERE tenant_id = $1 AND principal = $2 AND key = $3 AND lease = $4 AND status IS NULL",
        )
        .bind(claim.tenant.as_str())
        .bind(&claim.principal)
        .bind(claim.key.as_str())
        .bind(claim.lease)
        .bind(at)
        .execute(&mut *tx)
        .await?;
        tx.commit().await?;
        Ok(())
    }

    /// Keeps the answer of a call that changed nothing; `false`, if its lease was lost.
    pub async fn keep_answer(
        &self,
        claim: &Claim,
        answer: &Answer,
        at: DateTime<Utc>,
    ) -> Result<bool, StoreError> {
        let mut tx = self.begin(As::Tenant(&claim.tenant)).await?;
        let is_ours = end_call(&mut tx, claim, answer, at).await?;
        tx.commit().await?;
        Ok(is_ours)
    }

    /// Removes some of what is over; `true`, if there may be more.
    pub async fn forget_answers(&self, at: DateTime<Utc>) -> Result<bool, StoreError> {
        let mut tx = self.begin(As::Worker).await?;
        let removed = sqlx::query(
            "DELETE FROM idempotency_keys WHERE (tenant_id, principal, key) IN (
                 SELECT tenant_id, principal, key FROM idempotency_keys
                 WHERE until <= $1 ORDER BY until LIMIT $2
             ) AND until <= $1",
        )
        .bind(at)
        .bind(FORGOTTEN_AT_ONCE)
        .execute(&mut *tx)
        .await?;
        tx.commit().await?;
        Ok(i64::try_from(removed.rows_affected()).unwrap_or(i64::MAX) >= FORGOTTEN_AT_ONCE)
    }
}

/// Keeps a call's answer, in the transaction of what it answers; `false`, if its lease was lost.
pub(super) async fn end_call(
    tx: &mut Tx,
    claim: &Claim,
    answer: &Answer,
    at: DateTime<Utc>,
) -> Result<bool, StoreError> {
    let ended = sqlx::query(
        "UPDATE idempotency_keys SET until = $5, status = $6, headers = $7, body = $8
         WHERE tenant_id = $1 AND principal = $2 AND key = $3 AND lease = $4 AND status IS NULL",
    )
    .bind(claim.tenant.as_str())
    .bind(&claim.principal)
    .bind(claim.key.as_str())
    .bind(claim.lease)
    .bind(after(at, ANSWER_LIFE))
    .bind(i32::from(answer.status))
    .bind(Json(&answer.headers))
    .bind(&answer.body)
    .execute(&mut **tx)
    .await?;
    Ok(ended.rows_affected() == 1)
}

/// Claims a key that nobody used; `false`, if somebody did. Of two at once, one waits here for the other.
async fn insert(
    tx: &mut Tx,
    claim: &Claim,
    fingerprint: Fingerprint,
    at: DateTime<Utc>,
) -> Result<bool, StoreError> {
    let inserted = sqlx::query(
        "INSERT INTO idempotency_keys (tenant_id, principal, key, fingerprint, lease, until)
         VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT DO NOTHING",
    )
    .bind(claim.tenant.as_str())
    .bind(&claim.principal)
    .bind(claim.key.as_str())
    .bind(fingerprint.as_bytes().as_slice())
    .bind(claim.lease)
    .bind(after(at, CLAIM_LIFE))
    .execute(&mut **tx)
    .await?;
    Ok(inserted.rows_affected() == 1)
}

/// What is kept under the key; nobody else takes it over until the transaction ends.
async fn lock(tx: &mut Tx, claim: &Claim) -> Result<Option<Held>, StoreError> {
    let row: Option<Row> = sqlx::query_as(
        "SELECT fingerprint, until, status, headers, body FROM idempotency_keys
         WHERE tenant_id = $1 AND principal = $2 AND key = $3 FOR UPDATE",
    )
    .bind(claim.tenant.as_str())
    .bind(&claim.principal)
    .bind(claim.key.as_str())
    .fetch_optional(&mut **tx)
    .await?;
    let Some((fingerprint, until, status, headers, body)) = row else { return Ok(None) };
    let corrupt = |what: &str| StoreError::Corrupt(format!("idempotency_keys.{what}"));
    let fingerprint = fingerprint.try_into().map_err(|_bytes| corrupt("fingerprint"))?;
    let answer = match (status, headers, body) {
        (Some(status), Some(Json(headers)), Some(body)) => {
            let status = u16::try_from(status).map_err(|_large| corrupt("status"))?;
            Some(Answer { status, headers, body })
        }
        _ => None,
    };
    Ok(Some(Held { fingerprint: Fingerprint::from_bytes(fingerprint), until, answer }))
}

async fn take_over(
    tx: &mut Tx,
    claim: &Claim,
    fingerprint: Fingerprint,
    at: DateTime<Utc>,
) -> Result<(), StoreError> {
    sqlx::query(
        "UPDATE idempotency_keys
         SET fingerprint = $4, lease = $5, until = $6, status = NULL, headers = NULL, body = NULL
         WHERE tenant_id = $1 AND principal = $2 AND key = $3",
    )
    .bind(claim.tenant.as_str())
    .bind(&claim.principal)
    .bind(claim.key.as_str())
    .bind(fingerprint.as_bytes().as_slice())
    .bind(claim.lease)
    .bind(after(at, CLAIM_LIFE))
    .execute(&mut **tx)
    .await?;
    Ok(())
}

fn after(at: DateTime<Utc>, life: TimeDelta) -> DateTime<Utc> {
    at.checked_add_signed(life).unwrap_or(at)
}
