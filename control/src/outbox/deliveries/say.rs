//! What the log says of deliveries and destinations.

use crate::{
    domain::{delivery::NextStep, destination_health::Turn},
    store::{ClaimedDelivery, Finished},
};
use contract::id::TenantId;

pub(super) fn tried(finished: &Finished) {
    let Finished { delivery, attempt, next, .. } = finished;
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

pub(super) fn turned(tenant: &TenantId, turn: Turn, reason: Option<&str>) {
    let reason = reason.unwrap_or_default();
    match turn {
        Turn::Paused => tracing::error!(
            tenant.id = %tenant, reason,
            "the destination of `{tenant}` is paused and sent a probe now and then: {reason}"
        ),
        Turn::Resumed => tracing::info!(
            tenant.id = %tenant, "the destination of `{tenant}` takes notifications again"
        ),
        Turn::Stopped => tracing::error!(
            tenant.id = %tenant, reason,
            "the destination of `{tenant}` is stopped until it is put again: {reason}"
        ),
    }
}
