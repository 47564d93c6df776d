//! What is done where a client asks for a delivery again: one that ended is sent once more, one that waits for its
//! next attempt is attempted now, and none overtakes its predecessor.

use contract::id::{DeliveryId, EventId};

/// Where a delivery stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stands {
    pub event: EventId,
    /// `blocked`, `ready`, `delivered` or `exhausted`.
    pub status: String,
    /// Whether it is being attempted.
    pub is_under_way: bool,
    /// The delivery of the same connection that goes first.
    pub predecessor: Option<DeliveryId>,
    /// Whether its destination takes nothing until it is put again.
    pub is_stopped: bool,
}

/// What is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Again {
    /// It ended: a new delivery of the same event.
    Redeliver,
    /// Its next attempt is due now.
    Retry,
    /// It is being attempted: nothing.
    UnderWay,
    /// It waits for this one, which may be retried.
    Blocked(Option<DeliveryId>),
    /// Nothing is sent to its destination.
    Stopped,
}

impl Stands {
    pub fn again(&self) -> Again {
        match self.status.as_str() {
            "ready" if self.is_under_way => Again::UnderWay,
            "ready" if self.is_stopped => Again::Stopped,
            "ready" => Again::Retry,
            "blocked" => Again::Blocked(self.predecessor),
            _ => Again::Redeliver,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_standing_has_its_answer() {
        let first = DeliveryId::from_parts(1, &[1; 10]);
        for (status, is_under_way, is_stopped, expected) in [
            ("ready", false, false, Again::Retry),
            ("ready", true, false, Again::UnderWay),
            ("ready", true, true, Again::UnderWay),
            ("ready", false, true, Again::Stopped),
            ("blocked", false, false, Again::Blocked(Some(first))),
            ("blocked", false, true, Again::Blocked(Some(first))),
            ("delivered", false, false, Again::Redeliver),
            ("delivered", false, true, Again::Redeliver),
            ("exhausted", false, false, Again::Redeliver),
        ] {
            let event = EventId::from_parts(1, &[1; 10]);
            let status = status.to_owned();
            let stands =
                Stands { event, status, is_under_way, predecessor: Some(first), is_stopped };
            assert_eq!(stands.again(), expected, "{stands:?}");
        }
    }
}
