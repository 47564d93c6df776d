//! How long what happened is kept. The trail is kept for good, and what is not finished until it is.

use chrono::{DateTime, TimeDelta, Utc};

/// A deleted connection must be known for as long as a late success of it can come: Nango keeps a flow for
/// 48 h, and its webhook may be an hour late.
pub const EVENTS_DAYS_MIN: u16 = 3;
pub const DELIVERIES_DAYS_MIN: u16 = 1;
pub const DAYS_MAX: u16 = 3650;

/// For how long what is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retention {
    /// What applications may still ask for: events since they occurred, connections since they were deleted.
    events: TimeDelta,
    /// How it came and went, since it ended: receipts, jobs, deliveries with their attempts. That is several
    /// times what the events are, so that it may be kept for a shorter time; an event takes what is left of
    /// its finished deliveries with it.
    deliveries: TimeDelta,
}

impl Retention {
    /// Nothing, if either is out of its range.
    pub fn of_days(events: u16, deliveries: u16) -> Option<Self> {
        let is_in_range = (EVENTS_DAYS_MIN..=DAYS_MAX).contains(&events)
            && (DELIVERIES_DAYS_MIN..=DAYS_MAX).contains(&deliveries);
        is_in_range.then(|| Self {
            events: TimeDelta::days(events.into()),
            deliveries: TimeDelta::days(deliveries.into()),
        })
    }

    /// Events from then or before are no longer kept.
    pub fn events_until(self, now: DateTime<Utc>) -> DateTime<Utc> {
        now.checked_sub_signed(self.events).unwrap_or(DateTime::UNIX_EPOCH)
    }

    /// What ended then or before is no longer kept.
    pub fn deliveries_until(self, now: DateTime<Utc>) -> DateTime<Utc> {
        now.checked_sub_signed(self.deliveries).unwrap_or(DateTime::UNIX_EPOCH)
    }
}

/// An event's place in its feed, and when it occurred.
pub type Placed = (i64, DateTime<Utc>);

/// How far a feed is let go of: its oldest events in order, up to the first that is kept. A feed never has
/// a hole, so that an old event behind a young one stays for a little longer.
pub fn let_go(oldest_first: &[Placed], until: DateTime<Utc>) -> Option<i64> {
    let old = oldest_first.iter().take_while(|(_, occurred_at)| *occurred_at <= until);
    old.last().map(|(position, _)| *position)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> DateTime<Utc> {
        DateTime::from_timestamp(seconds, 0).unwrap()
    }

    #[test]
    fn each_kind_has_its_time() {
        let retention = Retention::of_days(30, 7).unwrap();
        let now = at(40 * 86_400);
        assert_eq!(retention.events_until(now), at(10 * 86_400));
        assert_eq!(retention.deliveries_until(now), at(33 * 86_400));
        for (events, deliveries) in [(2, 30), (3651, 30), (30, 0), (30, 3651)] {
            assert_eq!(Retention::of_days(events, deliveries), None, "{events} {deliveries}");
        }
        assert!(Retention::of_days(3, 1).is_some() && Retention::of_days(3650, 3650).is_some());
    }

    #[test]
    fn a_feed_is_let_go_of_up_to_the_first_event_that_is_kept() {
        let feed = [(4, at(1)), (5, at(3)), (6, at(2)), (7, at(9)), (8, at(1))];
        for (until, expected) in
            [(0, None), (1, Some(4)), (2, Some(4)), (3, Some(6)), (8, Some(6)), (9, Some(8))]
        {
            assert_eq!(let_go(&feed, at(until)), expected, "until {until}");
        }
        assert_eq!(let_go(&[], at(9)), None);
    }
}
