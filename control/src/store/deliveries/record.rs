//! Records tries that ended, many in one transaction: each is written, and what follows it, or nothing.

use super::{
    Finished, Recorded, Try,
    rescue::{lock_connections, make_next_ready},
};
use crate::{
    domain::{delivery::NextStep, destination_health::Tried, outcome::Fault},
    store::{As, Store, StoreError, later, tx::Tx, wake},
};
use chrono::{DateTime, Utc};
use std::collections::{BTreeMap, BTreeSet};
use uuid::Uuid;

impl Store {
    /// Records tries; `jitter` is for the next probe of a destination that is paused.
    ///
    /// Locks are taken in one order, so that no two who record can wait for each other: connections, then
    /// deliveries, then destinations, each by its key.
    pub async fn record_tries(
        &self,
        finished: &[Finished],
        jitter: f64,
    ) -> Result<Recorded, StoreError> {
        let mut tx = self.begin(As::Worker).await?;
        wait_shortly(&mut tx).await?;
        let (tenants, connections) = promotes(finished.iter().map(|it| (it, it.next)));
        lock_connections(&mut tx, &tenants, &connections).await?;
        let held = lock_held(&mut tx, finished).await?;
        let held: Vec<&Finished> = finished
            .iter()
            .filter(|finished| held.contains(&finished.delivery.id.as_uuid()))
            .collect();
        if held.is_empty() {
            return Ok(Recorded::default());
        }
        let tried: Vec<_> = held
            .iter()
            .map(|finished| {
                let Finished { delivery, destination, attempt, ended_at: at, .. } = finished;
                let tried =
                    Tried { outcome: attempt.outcome, at: *at, is_probe: delivery.is_probe };
                (&delivery.tenant, *destination, tried)
            })
            .collect();
        let (turns, versions) = self.record_health(&mut tx, &tried, jitter).await?;
        let held: Vec<Held<'_>> = held.into_iter().map(|it| Held::new(it, &versions)).collect();
        move_on(&mut tx, &held).await?;
        write_tries(&mut tx, &held).await?;
        let has_promoted = promote(&mut tx, &held).await?;
        if has_promoted || !turns.is_empty() || held.iter().any(|held| held.is_elsewhere) {
            wake(&mut tx);
        }
        tx.commit().await?;
        let deliveries = held.iter().map(|held| held.finished.delivery.id).collect();
        Ok(Recorded { deliveries, turns })
    }
}

/// A try whose lease was still ours.
struct Held<'a> {
    finished: &'a Finished,
    next: NextStep,
    /// It failed at an address that was put away meanwhile.
    is_elsewhere: bool,
}

impl<'a> Held<'a> {
    /// `versions` are those of all who failed and have a destination of their own.
    fn new(finished: &'a Finished, versions: &BTreeMap<String, i64>) -> Self {
        let current = versions.get(finished.delivery.tenant.as_str()).copied().unwrap_or_default();
        let has_failed = finished.attempt.outcome.fault().is_some();
        let is_elsewhere = has_failed && finished.destination != current;
        let next = if is_elsewhere { finished.next.elsewhere() } else { finished.next };
        Self { finished, next, is_elsewhere }
    }

    /// How many tries of the receiver it was, and how many that are not counted against it: of one before its time,
    /// or elsewhere, only that it was taken is. Together they number the attempts, for an earlier release too.
    fn counts(&self) -> (i32, i32) {
        let is_early = self.finished.delivery.progress.early_until.is_some();
        match self.finished.attempt.outcome.fault() {
            Some(_) if is_early || self.is_elsewhere => (0, 1),
            Some(Fault::Ours) => (0, 1),
            None | Some(Fault::Network | Fault::Theirs) => (1, 0),
        }
    }

    fn our_fault_since(&self) -> Option<DateTime<Utc>> {
        let Finished { delivery, attempt, ended_at, .. } = self.finished;
        let before = delivery.progress;
        if self.is_elsewhere {
            before.our_fault_since
        } else {
            before.after(attempt.outcome, *ended_at).our_fault_since
        }
    }
}

/// A row that somebody holds for longer keeps all others of a batch from being recorded. That is refused (55P03),
/// not unavailable: asking for the same again would wait for the same row.
async fn wait_shortly(tx: &mut Tx) -> Result<(), StoreError> {
    sqlx::query("SET LOCAL lock_timeout = '2s'").execute(&mut **tx).await?;
    Ok(())
}

/// Those whose end lets another go.
fn promotes<'a>(
    finished: impl Iterator<Item = (&'a Finished, NextStep)>,
) -> (Vec<&'a str>, Vec<Uuid>) {
    finished
        .filter(|(_, next)| !matches!(next, NextStep::RetryIn(_)))
        .filter(|(finished, _)| !finished.delivery.is_redelivery)
        .map(|(finished, _)| {
            let delivery = &finished.delivery;
            (delivery.tenant.as_str(), delivery.connection.as_uuid())
        })
        .unzip()
}

/// Locks those whose lease is still ours.
async fn lock_held(tx: &mut Tx, finished: &[Finished]) -> Result<BTreeSet<Uuid>, StoreError> {
    let held: Vec<Uuid> = sqlx::query_scalar(
        "SELECT deliveries.delivery_id
         FROM unnest($1::text[], $2::uuid[], $3::uuid[]) AS claimed (tenant_id, delivery_id, lease)
         JOIN deliveries ON deliveries.tenant_id = claimed.tenant_id
             AND deliveries.delivery_id = claimed.delivery_id AND deliveries.lease = claimed.lease
         ORDER BY deliveries.tenant_id, deliveries.delivery_id FOR UPDATE OF deliveries",
    )
    .bind(finished.iter().map(|it| it.delivery.tenant.as_str()).collect::<Vec<_>>())
    .bind(finished.iter().map(|it| it.delivery.id.as_uuid()).collect::<Vec<_>>())
    .bind(finished.iter().map(|it| it.delivery.lease).collect::<Vec<_>>())
    .fetch_all(&mut **tx)
    .await?;
    Ok(held.into_iter().collect())
}

async fn move_on(tx: &mut Tx, held: &[Held<'_>]) -> Result<(), StoreError> {
    let moved: Vec<_> = held
        .iter()
        .map(|held| {
            let ended_at = held.finished.ended_at;
            let (status, due_at) = match held.next {
                NextStep::Done => ("delivered", ended_at),
                NextStep::GiveUp => ("exhausted", ended_at),
                NextStep::RetryIn(wait) => ("ready", later(ended_at, wait)),
            };
            (status, due_at, held.counts(), held.our_fault_since())
        })
        .collect();
    sqlx::query(
        "UPDATE deliveries SET status = moved.status, due_at = moved.due_at, lease = NULL, hastened_from = NULL,
             tries = deliveries.tries + moved.tries, our_faults = deliveries.our_faults + moved.our_faults,
             our_fault_since = moved.our_fault_since,
             ended_at = CASE WHEN moved.status <> 'ready' THEN moved.due_at END
         FROM unnest($1::text[], $2::uuid[], $3::text[], $4::timestamptz[], $5::int[], $6::int[], $7::timestamptz[])
             AS moved (tenant_id, delivery_id, status, due_at, tries, our_faults, our_fault_since)
         WHERE deliveries.tenant_id = moved.tenant_id AND deliveries.delivery_id = moved.delivery_id",
    )
    .bind(held.iter().map(|it| it.finished.delivery.tenant.as_str()).collect::<Vec<_>>())
    .bind(held.iter().map(|it| it.finished.delivery.id.as_uuid()).collect::<Vec<_>>())
    .bind(moved.iter().map(|moved| moved.0).collect::<Vec<_>>())
    .bind(moved.iter().map(|moved| moved.1).collect::<Vec<_>>())
    .bind(moved.iter().map(|moved| moved.2.0).collect::<Vec<_>>())
    .bind(moved.iter().map(|moved| moved.2.1).collect::<Vec<_>>())
    .bind(moved.iter().map(|moved| moved.3).collect::<Vec<_>>())
    .execute(&mut **tx)
    .await?;
    Ok(())
}

async fn write_tries(tx: &mut Tx, held: &[Held<'_>]) -> Result<(), StoreError> {
    let attempts = || held.iter().map(|held| &held.finished.attempt);
    let millis = |attempt: &Try| i64::try_from(attempt.duration.as_millis()).unwrap_or(i64::MAX);
    sqlx::query(
        "INSERT INTO delivery_attempts (tenant_id, delivery_id, try, started_at, duration_ms, outcome, fault,
             http_status, detail, answer)
         SELECT tenant_id, delivery_id, 1 + (
                 SELECT coalesce(max(try), 0) FROM delivery_attempts AS before
                 WHERE before.tenant_id = tried.tenant_id AND before.delivery_id = tried.delivery_id
             ), tried.started_at, tried.duration_ms, tried.outcome,
             tried.fault, tried.http_status, tried.detail, tried.answer
         FROM unnest($1::text[], $2::uuid[], $3::timestamptz[], $4::bigint[], $5::text[], $6::text[], $7::int[],
             $8::text[], $9::text[])
             AS tried (tenant_id, delivery_id, started_at, duration_ms, outcome, fault, http_status, detail, answer)",
    )
    .bind(held.iter().map(|it| it.finished.delivery.tenant.as_str()).collect::<Vec<_>>())
    .bind(held.iter().map(|it| it.finished.delivery.id.as_uuid()).collect::<Vec<_>>())
    .bind(attempts().map(|attempt| attempt.started_at).collect::<Vec<_>>())
    .bind(attempts().map(millis).collect::<Vec<_>>())
    .bind(attempts().map(|attempt| attempt.outcome.as_str()).collect::<Vec<_>>())
    .bind(attempts().map(|attempt| attempt.outcome.fault().map(Fault::as_str)).collect::<Vec<_>>())
    .bind(attempts().map(|attempt| attempt.outcome.status().map(i32::from)).collect::<Vec<_>>())
    .bind(attempts().map(|attempt| attempt.detail.as_deref()).collect::<Vec<_>>())
    .bind(attempts().map(|attempt| attempt.answer.as_deref()).collect::<Vec<_>>())
    .execute(&mut **tx)
    .await?;
    Ok(())
}

/// Makes ready what waited for those that ended; whether there was any.
async fn promote(tx: &mut Tx, held: &[Held<'_>]) -> Result<bool, StoreError> {
    let (tenants, connections) = promotes(held.iter().map(|held| (held.finished, held.next)));
    let Some(at) = held.iter().map(|held| held.finished.ended_at).max() else { return Ok(false) };
    Ok(make_next_ready(tx, &tenants, &connections, at).await? > 0)
}
