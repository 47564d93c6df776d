//! Sends the deliveries that are due, several at a time.

use super::Outbox;
use crate::{
    domain::delivery::{NextStep, after_attempt},
    notifier::SEND_TIMEOUT,
    store::{ClaimedDelivery, StoreError, Try},
};
use chrono::TimeDelta;
use futures::future::try_join_all;

/// How many are claimed and sent together.
const BATCH: i64 = 16;

/// Longer than a try may take, so that a delivery is sent twice only after a crash.
const LEASE: TimeDelta = TimeDelta::seconds(SEND_TIMEOUT.as_secs().cast_signed() + 10);

impl Outbox {
    pub(super) async fn send_due(&self) -> Result<bool, StoreError> {
        let claimed = self.store.claim_deliveries(self.clock.now(), LEASE, BATCH).await?;
        if claimed.is_empty() {
            return Ok(false);
        }
        try_join_all(claimed.iter().map(|delivery| self.send(delivery))).await?;
        Ok(true)
    }

    async fn send(&self, delivery: &ClaimedDelivery) -> Result<(), StoreError> {
        let started_at = self.clock.now();
        let outcome = self.notifier.send(delivery.event, &delivery.body, started_at).await;
        let ended_at = self.clock.now();
        let next = after_attempt(delivery.tries, outcome, self.mint.jitter());
        let duration = ended_at.signed_duration_since(started_at).to_std().unwrap_or_default();
        let attempt = Try { started_at, duration, outcome };
        self.store.record_try(delivery, attempt, next, ended_at).await?;
        tell(delivery, attempt, next);
        Ok(())
    }
}

fn tell(delivery: &ClaimedDelivery, attempt: Try, next: NextStep) {
    let ClaimedDelivery { id, tenant, connection, event, .. } = delivery;
    let outcome = attempt.outcome.as_str();
    let status = attempt.outcome.status();
    match next {
        NextStep::Done => tracing::info!(
            delivery.id = %id, event.id = %event, connection.id = %connection, tenant.id = %tenant,
            "notified: event `{event}` of connection `{connection}`"
        ),
        NextStep::RetryIn(wait) => tracing::warn!(
            delivery.id = %id, event.id = %event, connection.id = %connection, tenant.id = %tenant, outcome, status,
            "not notified, tried again in {} s: event `{event}`: {outcome}", wait.as_secs()
        ),
        NextStep::GiveUp => tracing::error!(
            delivery.id = %id, event.id = %event, connection.id = %connection, tenant.id = %tenant, outcome, status,
            "not notified, given up: event `{event}`: {outcome}"
        ),
    }
}
