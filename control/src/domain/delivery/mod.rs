//! How a delivery goes on after a try.

use super::outcome::{Fault, Outcome};
use chrono::{DateTime, TimeDelta, Utc};
use std::{str::FromStr, sync::Arc, time::Duration};

/// What follows a try.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NextStep {
    Done,
    RetryIn(Duration),
    GiveUp,
}

impl NextStep {
    /// What follows a try that went to an address which was put away meanwhile: that it failed there says nothing
    /// of the one that is there now.
    #[must_use]
    pub const fn elsewhere(self) -> Self {
        match self {
            Self::Done => self,
            Self::RetryIn(_) | Self::GiveUp => Self::RetryIn(Duration::ZERO),
        }
    }
}

const fn minutes(minutes: u64) -> Duration {
    Duration::from_secs(minutes.saturating_mul(60))
}

/// The waits after the first, second, … failed try: about three days, as the Standard Webhooks
/// specification advises.
pub const RETRY_SCHEDULE: [Duration; 9] = [
    Duration::from_secs(5),
    minutes(5),
    minutes(30),
    minutes(2 * 60),
    minutes(5 * 60),
    minutes(10 * 60),
    minutes(14 * 60),
    minutes(20 * 60),
    minutes(24 * 60),
];

/// For how long nothing but faults of ours may keep a delivery waiting: as long as the schedule.
pub const OUR_FAULTS_MAX: TimeDelta = TimeDelta::days(3);

/// After a fault of ours the wait is as long as the fault has lasted, within these.
const OUR_WAIT: (Duration, Duration) = (Duration::from_secs(5), minutes(5));

/// `Retry-After` may put a try off by so much, or by the schedule's wait if that is more.
const RETRY_AFTER_MAX: Duration = minutes(60);

/// How often, and how long apart, a receiver is tried.
const WAITS_MAX: usize = 20;
const WAIT_MAX: Duration = minutes(7 * 24 * 60);

/// The waits between tries.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Schedule(Arc<[Duration]>);

impl Default for Schedule {
    fn default() -> Self {
        Self(RETRY_SCHEDULE.into())
    }
}

/// A text that is no schedule.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("1 to {WAITS_MAX} waits of 1s to 7d, such as 5s,5m,2h")]
pub struct BadSchedule;

impl FromStr for Schedule {
    type Err = BadSchedule;

    fn from_str(text: &str) -> Result<Self, BadSchedule> {
        let waits = text.split(',').map(|wait| read_wait(wait.trim()));
        let waits = waits.collect::<Option<Vec<_>>>().ok_or(BadSchedule)?;
        if waits.len() > WAITS_MAX {
            return Err(BadSchedule);
        }
        Ok(Self(waits.into()))
    }
}

fn read_wait(text: &str) -> Option<Duration> {
    let (count, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    let seconds: u64 = match unit {
        "s" => 1,
        "m" => 60,
        "h" => 60 * 60,
        "d" => 24 * 60 * 60,
        _ => return None,
    };
    let is_number = count.bytes().all(|byte| byte.is_ascii_digit());
    let count: u64 = count.parse().ok().filter(|_| is_number)?;
    let wait = Duration::from_secs(count.checked_mul(seconds)?);
    (!wait.is_zero() && wait <= WAIT_MAX).then_some(wait)
}

/// Whether a try that begins now ends before the lease does, however long it takes: after that, another worker
/// may be sending the same.
pub fn has_time(now: DateTime<Utc>, longest: Duration, lease_until: DateTime<Utc>) -> bool {
    TimeDelta::from_std(longest)
        .is_ok_and(|longest| lease_until.signed_duration_since(now) >= longest)
}

/// How far a delivery has come.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Progress {
    /// How many tries the receiver has had.
    pub tries: usize,
    /// Since when nothing but faults of ours was seen.
    pub our_fault_since: Option<DateTime<Utc>>,
    /// When it is due, where it goes before that: as a probe, or because its destination began anew.
    pub early_until: Option<DateTime<Utc>>,
}

impl Progress {
    /// A fault of ours uses no try of the receiver's, and neither does one before its time that fails.
    #[must_use]
    pub fn after(self, outcome: Outcome, at: DateTime<Utc>) -> Self {
        match outcome.fault() {
            Some(_) if self.early_until.is_some() => self,
            Some(Fault::Ours) => {
                Self { our_fault_since: Some(self.our_fault_since.unwrap_or(at)), ..self }
            }
            None | Some(Fault::Network | Fault::Theirs) => Self {
                tries: self.tries.saturating_add(1),
                our_fault_since: None,
                early_until: None,
            },
        }
    }
}

impl Schedule {
    /// The longest wait, but for the jitter, after each number of tries, from none on, where the receiver named none.
    pub fn longest_waits(&self) -> Vec<Duration> {
        let (_, ours) = OUR_WAIT;
        [ours].into_iter().chain(self.0.iter().map(|wait| ours.max(*wait))).collect()
    }

    /// Decides what follows a try that ended `at`. One that went before its time and failed changes nothing: it is
    /// due when it was. Otherwise it goes by how far the delivery had come before it. `jitter`, from
    /// 0 to 1, adds up to a fifth, so that receivers which failed together are not tried together.
    ///
    /// What a receiver asks for by `Retry-After` with a 429 or 503 takes the place of the schedule's wait, but
    /// is never sooner than the schedule's first wait, and never later than an hour or the schedule's wait,
    /// whichever is more.
    pub fn after_try(
        &self,
        before: Progress,
        outcome: Outcome,
        at: DateTime<Utc>,
        jitter: f64,
    ) -> NextStep {
        if matches!(outcome, Outcome::Delivered { .. }) {
            return NextStep::Done;
        }
        if let Some(due_at) = before.early_until {
            return NextStep::RetryIn(
                due_at.signed_duration_since(at).to_std().unwrap_or_default(),
            );
        }
        let wait = match before.after(outcome, at).our_fault_since {
            Some(since) => our_wait(at.signed_duration_since(since)),
            None => self.0.get(before.tries).map(|wait| self.asked_wait(*wait, outcome)),
        };
        let jitter = 1.0 + jitter.clamp(0.0, 1.0) / 5.0;
        wait.map_or(NextStep::GiveUp, |wait| NextStep::RetryIn(wait.mul_f64(jitter)))
    }

    fn asked_wait(&self, scheduled: Duration, outcome: Outcome) -> Duration {
        match outcome {
            Outcome::Refused { status: 429 | 503, retry_after: Some(asked) } => {
                let soonest = self.0.first().copied().unwrap_or(scheduled);
                asked.min(RETRY_AFTER_MAX.max(scheduled)).max(soonest)
            }
            Outcome::Delivered { .. } | Outcome::Refused { .. } | Outcome::NoAnswer(_) => scheduled,
        }
    }
}

fn our_wait(lasted: TimeDelta) -> Option<Duration> {
    let (shortest, longest) = OUR_WAIT;
    let is_over = lasted >= OUR_FAULTS_MAX;
    let wait = lasted.to_std().unwrap_or_default().clamp(shortest, longest);
    (!is_over).then_some(wait)
}

#[cfg(test)]
mod tests;
