//! When the next work of each lane is due, and how long a replica with nothing to do may sleep.

use chrono::{DateTime, TimeDelta, Utc};
use std::time::Duration;

/// How long a replica sleeps at most. A change notification wakes it sooner; one whose sender died before it was sent is made up
/// for by this.
const SAFETY_POLL: Duration = Duration::from_secs(5);

/// The same while notifications do not arrive, and while work is due that nobody here could begin.
pub const POLL: Duration = Duration::from_secs(1);

/// A kind of work that workers wait for. A new one needs its column in `store/due.rs`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Lane {
    /// Webhooks to be confirmed.
    Receipts,
    /// Authorization attempts to be looked up.
    Attempts,
    Jobs,
    /// The walk through Nango's list.
    Reconciliation,
    Deliveries,
    /// Deliveries whose destination works again, which need not wait for their time.
    Expedited,
    Redeliveries,
    /// Events and audit lines without a position.
    Sequence,
}

impl Lane {
    pub const ALL: [Self; 8] = [
        Self::Receipts,
        Self::Attempts,
        Self::Jobs,
        Self::Reconciliation,
        Self::Deliveries,
        Self::Expedited,
        Self::Redeliveries,
        Self::Sequence,
    ];
}

/// When the next work of each lane is due; nothing, where there is none.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct NextDue {
    pub receipts: Option<DateTime<Utc>>,
    pub attempts: Option<DateTime<Utc>>,
    pub jobs: Option<DateTime<Utc>>,
    pub reconciliation: Option<DateTime<Utc>>,
    pub deliveries: Option<DateTime<Utc>>,
    pub expedited: Option<DateTime<Utc>>,
    pub redeliveries: Option<DateTime<Utc>>,
    pub sequence: Option<DateTime<Utc>>,
}

/// What follows from what is due.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// Lanes with work that is due.
    pub wake: Vec<Lane>,
    /// Ask again then, because more is due then …
    pub due_at: Option<DateTime<Utc>>,
    /// … or after so long.
    pub poll_in: Duration,
}

impl NextDue {
    const fn of(&self, lane: Lane) -> Option<DateTime<Utc>> {
        match lane {
            Lane::Receipts => self.receipts,
            Lane::Attempts => self.attempts,
            Lane::Jobs => self.jobs,
            Lane::Reconciliation => self.reconciliation,
            Lane::Deliveries => self.deliveries,
            Lane::Expedited => self.expedited,
            Lane::Redeliveries => self.redeliveries,
            Lane::Sequence => self.sequence,
        }
    }

    /// Decides who is woken, and when to look again. What is due and stays so is being worked on, or waits for a free slot: it
    /// is looked at as often as when nothing is heard.
    pub fn plan(&self, now: DateTime<Utc>, is_listening: bool) -> Plan {
        let is_due = |lane: &Lane| self.of(*lane).is_some_and(|due_at| due_at <= now);
        let wake: Vec<Lane> = Lane::ALL.into_iter().filter(is_due).collect();
        let later = Lane::ALL.iter().filter_map(|lane| self.of(*lane));
        let due_at = later.filter(|due_at| *due_at > now).min();
        let poll_in = if is_listening && wake.is_empty() { SAFETY_POLL } else { POLL };
        Plan { wake, due_at, poll_in }
    }
}

/// How long whoever asked what is due waits before asking again, whatever happens: a busy replica has news many times a second,
/// and its workers find their next work themselves.
pub fn rest_after(took: TimeDelta) -> Duration {
    const LEAST: Duration = Duration::from_millis(100);
    /// Of one connection's time, a twentieth may be used for asking.
    const REST: u32 = 20;
    took.to_std().unwrap_or_default().saturating_mul(REST).clamp(LEAST, POLL)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> DateTime<Utc> {
        DateTime::from_timestamp(seconds, 0).unwrap()
    }

    #[test]
    fn each_lane_is_woken_when_its_work_is_due_and_no_other_is() {
        let all = |due_at| NextDue {
            receipts: Some(due_at),
            attempts: Some(due_at),
            jobs: Some(due_at),
            reconciliation: Some(due_at),
            deliveries: Some(due_at),
            expedited: Some(due_at),
            redeliveries: Some(due_at),
            sequence: Some(due_at),
        };
        assert_eq!(all(at(100)).plan(at(100), true).wake, Lane::ALL);
        assert_eq!(all(at(100)).plan(at(99), true).wake, []);
        let one = NextDue { jobs: Some(at(100)), deliveries: Some(at(101)), ..NextDue::default() };
        assert_eq!(one.plan(at(100), true).wake, [Lane::Jobs]);
    }

    #[test]
    fn an_idle_replica_sleeps_until_something_is_due_and_polls_now_and_then() {
        let nothing = NextDue::default();
        let idle = Plan { wake: vec![], due_at: None, poll_in: SAFETY_POLL };
        assert_eq!(nothing.plan(at(100), true), idle);
        assert_eq!(nothing.plan(at(100), false), Plan { poll_in: POLL, ..idle.clone() });
        let later = NextDue { jobs: Some(at(107)), attempts: Some(at(103)), ..nothing };
        assert_eq!(later.plan(at(100), true), Plan { due_at: Some(at(103)), ..idle });
        // What is due and stays so is asked for again soon, and what comes later is not forgotten.
        let busy = NextDue { receipts: Some(at(90)), ..later };
        let expected = Plan { wake: vec![Lane::Receipts], due_at: Some(at(103)), poll_in: POLL };
        assert_eq!(busy.plan(at(100), true), expected);
    }

    #[test]
    fn whoever_asks_rests_twenty_times_as_long_within_bounds() {
        for (took, rest) in [(0, 100), (4, 100), (6, 120), (40, 800), (60, 1000), (-5, 100)] {
            let rested = rest_after(TimeDelta::milliseconds(took));
            assert_eq!(rested, Duration::from_millis(rest), "{took}");
        }
    }
}
