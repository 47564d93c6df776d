//! When a provider is asked who a token's user is: until that is known, when it may have stopped to take the token, and once
//! in a while.

use super::{
    connection::{Connection, Reason, Status},
    event::Token,
};
use chrono::TimeDelta;
use std::str::FromStr;

/// Between the first two probes that answer nothing. The wait doubles then.
const FIRST_WAIT: TimeDelta = TimeDelta::seconds(61);
/// A provider that never says who the user is costs one call a day.
const LAST_WAIT: TimeDelta = TimeDelta::hours(24);
/// What a class of calls to Nango has of a minute, in percent, halved: new connections' profiles need the rest.
const PART_OF_A_MINUTE: u32 = 20;

/// The setting `CONNECTION_PROBE_HOURS`: how old the last probe of an active connection may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ProbeInterval(TimeDelta);

/// A text that is no such number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a number of hours from 1 to 8760")]
pub struct NotProbeInterval;

impl ProbeInterval {
    pub const fn get(self) -> TimeDelta {
        self.0
    }
}

impl FromStr for ProbeInterval {
    type Err = NotProbeInterval;

    fn from_str(text: &str) -> Result<Self, NotProbeInterval> {
        let hours: i64 = text.parse().map_err(|_not_a_number| NotProbeInterval)?;
        if !(1..=8760).contains(&hours) {
            return Err(NotProbeInterval);
        }
        TimeDelta::try_hours(hours).map(Self).ok_or(NotProbeInterval)
    }
}

/// How many old connections may be queued for a probe in a minute, at so many calls to Nango a minute.
pub const fn per_minute(calls_per_minute: u32) -> u32 {
    let probes = calls_per_minute / PART_OF_A_MINUTE;
    if probes == 0 { 1 } else { probes }
}

/// From so many rejected tokens on, more than half of those that were tried are many.
const MANY: u64 = 3;

/// How far back tokens that were accepted count.
pub const ACCEPTED_WITHIN: TimeDelta = TimeDelta::minutes(10);
/// How far back tokens that are believed to be revoked count.
pub const REVOKED_WITHIN: TimeDelta = TimeDelta::hours(1);

/// What an integration's provider said of its tokens lately.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Answers {
    pub accepted: u64,
    /// The one in question included.
    pub rejected: u64,
}

impl Answers {
    /// What one more rejection means.
    pub const fn rejection(self) -> Token {
        if self.rejected >= MANY && self.rejected > self.accepted {
            Token::RejectedWithMany
        } else {
            Token::Rejected
        }
    }
}

impl Connection {
    /// Whether a provider's word on its token changes anything.
    pub fn can_be_probed(&self) -> bool {
        self.status == Status::Active || self.is_unverified() || self.is_rejected()
    }

    /// Whether the provider does not take its token, as far as is believed. A provider that is well again takes it.
    fn is_rejected(&self) -> bool {
        self.status == Status::NeedsReauth
            && self.reason.as_deref() == Some(Reason::TokenRejected.as_str())
    }

    /// After which wait it must be probed again, when the first of these probes was asked for so long ago.
    pub fn probe_again_after(&self, age: TimeDelta) -> Option<TimeDelta> {
        let is_open = self.doubts.rejected_since.is_some()
            || self.profile.account_id.is_none()
            || self.is_unverified()
            || self.is_rejected();
        (self.can_be_probed() && is_open).then(|| age.clamp(FIRST_WAIT, LAST_WAIT))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::connection::fixture::connection;
    use chrono::DateTime;

    #[test]
    fn an_interval_is_a_number_of_hours() {
        for (text, expected) in [("1", Some(1)), ("24", Some(24)), ("8760", Some(8760))] {
            let interval = text.parse::<ProbeInterval>().ok().map(ProbeInterval::get);
            assert_eq!(interval, expected.map(TimeDelta::hours), "{text}");
        }
        for text in ["", "0", "-1", "8761", "1.5", "24h"] {
            assert_eq!(text.parse::<ProbeInterval>(), Err(NotProbeInterval), "{text}");
        }
    }

    #[test]
    fn every_status_says_whether_it_is_probed_again() {
        for status in Status::ALL {
            let mut connection = connection(status);
            let is_active = status == Status::Active;
            let first = is_active.then_some(FIRST_WAIT);
            assert_eq!(connection.probe_again_after(TimeDelta::zero()), first, "{status:?}");
            connection.profile.account_id = Some("1".to_owned());
            assert_eq!(connection.probe_again_after(TimeDelta::zero()), None, "{status:?}");
            connection.doubts.rejected_since = Some(DateTime::UNIX_EPOCH);
            assert_eq!(connection.probe_again_after(TimeDelta::zero()), first, "{status:?}");
        }
        for reason in [Reason::AccountUnverified, Reason::TokenRejected] {
            let mut lost = connection(Status::NeedsReauth);
            lost.reason = Some(reason.as_str().to_owned());
            lost.profile.account_id = Some("1".to_owned());
            for (age, expected) in
                [(0, FIRST_WAIT), (600, TimeDelta::seconds(600)), (99_999, LAST_WAIT)]
            {
                let wait = lost.probe_again_after(TimeDelta::seconds(age));
                assert_eq!(wait, Some(expected), "{reason:?}");
            }
        }
    }

    #[test]
    fn most_of_those_that_were_tried_are_many_from_three_on() {
        for (accepted, rejected, with_many) in [
            (0, 1, false),
            (0, 2, false),
            (0, 3, true),
            (2, 3, true),
            (3, 3, false),
            (3, 4, true),
            (100, 20, false),
            (19, 20, true),
        ] {
            let expected = if with_many { Token::RejectedWithMany } else { Token::Rejected };
            let answers = Answers { accepted, rejected };
            assert_eq!(answers.rejection(), expected, "{answers:?}");
        }
    }

    #[test]
    fn old_connections_use_half_of_the_calls_for_profiles() {
        for (calls, expected) in [(1, 1), (20, 1), (200, 10), (100_000, 5000)] {
            assert_eq!(per_minute(calls), expected);
        }
    }
}
