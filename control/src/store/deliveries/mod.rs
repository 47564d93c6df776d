//! Deliveries: notifications on their way, claimed round by round and recorded try by try.

mod claim;
mod given_up;
mod hastened;
mod history;
mod record;
mod rescue;

use crate::domain::{
    delivery::{NextStep, Progress},
    destination_health::Turn,
    outcome::Outcome,
    traceparent::Traceparent,
};
use chrono::{DateTime, Utc};
use contract::id::{ConnectionId, DeliveryId, EventId, TenantId};
use std::time::Duration;
use uuid::Uuid;

pub(super) use hastened::hasten;

pub use claim::Round;
pub use history::{AttemptShown, DeliveryShown};
pub use rescue::Stranded;

/// A delivery that one worker may send until its lease runs out.
#[derive(Debug, Clone)]
pub struct ClaimedDelivery {
    pub id: DeliveryId,
    pub lease: Uuid,
    /// When it may be another worker's.
    pub lease_until: DateTime<Utc>,
    pub tenant: TenantId,
    pub connection: ConnectionId,
    pub event: EventId,
    /// The exact bytes of the notification.
    pub body: String,
    /// The trace of what caused it.
    pub traceparent: Option<Traceparent>,
    pub progress: Progress,
    /// It waits for no other delivery, and none waits for it.
    pub is_redelivery: bool,
    /// Its destination is paused, and this one shows whether it takes something again.
    pub is_probe: bool,
}

/// One HTTP try.
#[derive(Debug, Clone)]
pub struct Try {
    pub started_at: DateTime<Utc>,
    pub duration: Duration,
    pub outcome: Outcome,
    /// Why no answer came, in words for people.
    pub detail: Option<String>,
    /// How the answer begins.
    pub answer: Option<String>,
}

/// A try that ended, and what follows it.
#[derive(Debug, Clone)]
pub struct Finished {
    pub delivery: ClaimedDelivery,
    /// The version of its tenant's own destination that it was sent to; 0, where it was the operator's.
    pub destination: i64,
    pub attempt: Try,
    pub ended_at: DateTime<Utc>,
    pub next: NextStep,
}

/// What came of recording tries.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Recorded {
    /// The deliveries whose try was written down. A worker that lost its lease writes nothing: another one
    /// has sent the same event, and recorded that.
    pub deliveries: Vec<DeliveryId>,
    /// The destinations that stand otherwise now, and why.
    pub turns: Vec<(TenantId, Turn, Option<String>)>,
}
