//! Sends the deliveries that are due, many at a time: a receiver that hangs takes one place of many.

use super::{Outbox, rest};
use crate::{
    cause::chain,
    domain::delivery::{NextStep, after_attempt},
    notifier::{SEND_TIMEOUT, Sent, Target},
    store::{ClaimedDelivery, StoreError, Try},
};
use futures::{FutureExt as _, StreamExt as _, future::join_all, stream::FuturesUnordered};
use std::{panic::AssertUnwindSafe, time::Duration};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// How many are under way at most.
const PLACES: usize = 64;

/// How many are claimed together at most.
const BATCH: usize = 16;

/// Longer than a try may take, so that a delivery is sent twice only after a crash.
const LEASE: Duration = SEND_TIMEOUT.saturating_add(Duration::from_secs(10));

impl Outbox {
    /// Keeps sending until `stop` is cancelled, and then finishes what is under way.
    pub(super) async fn deliver(&self, mut woken: watch::Receiver<()>, stop: CancellationToken) {
        let mut under_way = FuturesUnordered::new();
        while !stop.is_cancelled() {
            let free = PLACES.saturating_sub(under_way.len()).min(BATCH);
            let claimed = match self.claim_due(free).await {
                Ok(claimed) => claimed,
                Err(error) => {
                    tracing::error!(error = chain(&error), "deliveries wait: the store failed");
                    Vec::new()
                }
            };
            let may_be_more = free > 0 && claimed.len() == free;
            under_way.extend(
                claimed.into_iter().map(|(delivery, target)| self.send_safely(delivery, target)),
            );
            if !may_be_more {
                tokio::select! {
                    Some(()) = under_way.next() => {}
                    () = rest(&mut woken, &stop) => {}
                }
            }
        }
        while under_way.next().await.is_some() {}
    }

    /// Sends all that is due, and says how many that were.
    pub(super) async fn send_all_due(&self) -> Result<usize, StoreError> {
        let mut sent = 0_usize;
        loop {
            let claimed = self.claim_due(BATCH).await?;
            if claimed.is_empty() {
                return Ok(sent);
            }
            sent = sent.saturating_add(claimed.len());
            // Each is recorded whatever becomes of the others.
            let recorded =
                join_all(claimed.iter().map(|(delivery, target)| self.send(delivery, target)))
                    .await;
            recorded.into_iter().collect::<Result<(), StoreError>>()?;
        }
    }

    async fn claim_due(&self, limit: usize) -> Result<Vec<(ClaimedDelivery, Target)>, StoreError> {
        if limit == 0 {
            return Ok(Vec::new());
        }
        let claimed = self.store.claim_deliveries(self.clock.now(), LEASE, limit).await?;
        self.with_targets(claimed).await
    }

    async fn send_safely(&self, delivery: ClaimedDelivery, target: Target) {
        let id = delivery.id;
        match AssertUnwindSafe(self.send(&delivery, &target)).catch_unwind().await {
            Ok(Ok(())) => {}
            // It was sent, perhaps taken, and not recorded: when its lease ends it is sent again.
            Ok(Err(error)) => {
                let error = chain(&error);
                tracing::error!(delivery.id = %id, error, "delivery `{id}` was not recorded");
            }
            Err(_panic) => tracing::error!(delivery.id = %id, "delivery `{id}` panicked"),
        }
    }

    async fn send(&self, delivery: &ClaimedDelivery, target: &Target) -> Result<(), StoreError> {
        let started_at = self.clock.now();
        let Sent { outcome, detail, answer: _ } =
            self.notifier.send(target, delivery.event, &delivery.body, started_at).await;
        let ended_at = self.clock.now();
        let next = after_attempt(delivery.tries, outcome, self.mint.jitter());
        let duration = ended_at.signed_duration_since(started_at).to_std().unwrap_or_default();
        let attempt = Try { started_at, duration, outcome, detail };
        tell(delivery, &attempt, next);
        self.store.record_try(delivery, attempt, next, ended_at).await
    }
}

fn tell(delivery: &ClaimedDelivery, attempt: &Try, next: NextStep) {
    let ClaimedDelivery { id, tenant, connection, event, .. } = delivery;
    let outcome = attempt.outcome.as_str();
    let (status, error) = (attempt.outcome.status(), attempt.detail.as_deref());
    match next {
        NextStep::Done => tracing::info!(
            delivery.id = %id, event.id = %event, connection.id = %connection, tenant.id = %tenant,
            "notified: event `{event}` of connection `{connection}`"
        ),
        NextStep::RetryIn(wait) => tracing::warn!(
            delivery.id = %id, event.id = %event, connection.id = %connection, tenant.id = %tenant,
            outcome, status, error,
            "not notified, tried again in {} s: event `{event}`: {outcome}", wait.as_secs()
        ),
        NextStep::GiveUp => tracing::error!(
            delivery.id = %id, event.id = %event, connection.id = %connection, tenant.id = %tenant,
            outcome, status, error,
            "not notified, given up: event `{event}`: {outcome}"
        ),
    }
}
