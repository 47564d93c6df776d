//! How far our clock is from the database's. A lease is given by one replica's clock and taken over by another's:
//! they are compared by the one clock that all of them can ask.

use chrono::{DateTime, TimeDelta, Utc};

/// Two replicas that are so far off to either side are still nearer to each other than the time that a lease lasts
/// longer than a try.
pub const SKEW_MAX: TimeDelta = TimeDelta::seconds(3);

/// How far ours is ahead at least, or, below zero, behind: `there` was read some time between our `before` and
/// our `after`.
pub fn skew(before: DateTime<Utc>, there: DateTime<Utc>, after: DateTime<Utc>) -> TimeDelta {
    if there < before {
        before.signed_duration_since(there)
    } else if there > after {
        after.signed_duration_since(there)
    } else {
        TimeDelta::zero()
    }
}

pub fn is_far(skew: TimeDelta) -> bool {
    skew.abs() > SKEW_MAX
}

/// For people.
pub fn said(skew: TimeDelta) -> String {
    let way = if skew > TimeDelta::zero() { "ahead of" } else { "behind" };
    format!("{} s {way} the database's", skew.num_seconds().abs())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_that_took_long_proves_no_difference() {
        let second = |second: i64| DateTime::from_timestamp(1_795_340_000 + second, 0).unwrap();
        for (before, there, after, expected) in
            [(0, 0, 0, 0), (0, 7, 9, 0), (0, 9, 9, 0), (5, 0, 6, 5), (0, 9, 2, -7)]
        {
            let skew = skew(second(before), second(there), second(after));
            assert_eq!(skew, TimeDelta::seconds(expected), "{before} {there} {after}");
        }
    }

    #[test]
    fn what_is_far_is_far_to_either_side() {
        for (seconds, expected) in [(0, false), (3, false), (-3, false), (4, true), (-4, true)] {
            assert_eq!(is_far(TimeDelta::seconds(seconds)), expected, "{seconds}");
        }
        assert_eq!(said(TimeDelta::seconds(-4)), "4 s behind the database's");
        assert_eq!(said(TimeDelta::milliseconds(30_500)), "30 s ahead of the database's");
    }
}
