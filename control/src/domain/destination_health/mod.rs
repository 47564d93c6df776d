//! How a destination takes what it is sent: whether it is sent everything, a probe now and then, or nothing.

use super::{
    audit::AuditAction,
    outcome::{Fault, Outcome},
};
use chrono::{DateTime, TimeDelta, Utc};

/// A destination is paused when so many tries failed in a row …
pub const PAUSE_AFTER_FAILURES: u32 = 10;

/// … over at least this time: ten that fail together are one accident.
pub const PAUSE_AFTER: TimeDelta = TimeDelta::minutes(5);

/// The wait before the first probe; it doubles with each that fails.
pub const PROBE_FIRST: TimeDelta = TimeDelta::seconds(30);

/// The longest wait between two probes.
pub const PROBE_MAX: TimeDelta = TimeDelta::hours(1);

/// How old the time of the last success may be in the database: writing it with every success would make
/// one row of a busy tenant the busiest of all.
const SUCCESS_AGE: TimeDelta = TimeDelta::seconds(10);

/// "Gone": whoever answers this wants nothing any more.
const GONE: u16 = 410;

/// What a destination is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// Everything.
    Active,
    /// One delivery at `probe_at`, and all others once it is taken.
    Paused { probe_at: DateTime<Utc>, probes: u32 },
    /// Nothing, until it is put again.
    Stopped,
}

impl Standing {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Paused { .. } => "paused",
            Self::Stopped => "stopped",
        }
    }
}

/// How a destination stands, and since when.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DestinationHealth {
    pub standing: Standing,
    /// Why it is not active: how its last try ended.
    pub reason: Option<String>,
    pub since: DateTime<Utc>,
    /// How many tries failed in a row, by no fault of ours.
    pub failures: u32,
    pub failing_since: Option<DateTime<Utc>>,
    pub last_success_at: Option<DateTime<Utc>>,
    pub last_failure_at: Option<DateTime<Utc>>,
}

/// A try, as far as its destination's health is concerned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tried {
    pub outcome: Outcome,
    pub at: DateTime<Utc>,
    /// It was let through a pause.
    pub is_probe: bool,
}

/// A change of standing; each is told in trail and log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Turn {
    Paused,
    Resumed,
    Stopped,
}

impl Turn {
    pub const fn audit(self) -> AuditAction {
        match self {
            Self::Paused => AuditAction::DestinationPaused,
            Self::Resumed => AuditAction::DestinationResumed,
            Self::Stopped => AuditAction::DestinationStopped,
        }
    }
}

impl DestinationHealth {
    /// A destination that was not tried yet, or was put again.
    pub const fn new(at: DateTime<Utc>) -> Self {
        Self {
            standing: Standing::Active,
            reason: None,
            since: at,
            failures: 0,
            failing_since: None,
            last_success_at: None,
            last_failure_at: None,
        }
    }

    /// Decides what a try changes. `jitter`, from 0 to 1, adds up to a fifth to a probe's wait.
    pub fn after(&self, tried: Tried, jitter: f64) -> (Self, Option<Turn>) {
        let fault = tried.outcome.fault();
        match (self.standing, fault) {
            // What is sent now was under way when it was stopped.
            (Standing::Stopped, _) => (self.clone(), None),
            (standing, None) => self.after_success(standing, tried.at),
            // It says nothing of the receiver, so the wait does not grow.
            (Standing::Paused { probes, .. }, Some(Fault::Ours)) if tried.is_probe => {
                let standing = paused(probes, tried.at, jitter);
                (Self { standing, ..self.clone() }, None)
            }
            (Standing::Active | Standing::Paused { .. }, Some(Fault::Ours)) => (self.clone(), None),
            (standing, Some(Fault::Network | Fault::Theirs)) => {
                self.after_failure(standing, tried, jitter)
            }
        }
    }

    fn after_success(&self, standing: Standing, at: DateTime<Utc>) -> (Self, Option<Turn>) {
        if standing != Standing::Active {
            let last_success_at = Some(at);
            let last_failure_at = self.last_failure_at;
            let resumed = Self { last_success_at, last_failure_at, ..Self::new(at) };
            return (resumed, Some(Turn::Resumed));
        }
        let age = self.last_success_at.map(|last| at.signed_duration_since(last));
        if self.failures == 0 && age.is_some_and(|age| age < SUCCESS_AGE) {
            return (self.clone(), None);
        }
        let last_success_at = Some(at);
        (Self { failures: 0, failing_since: None, last_success_at, ..self.clone() }, None)
    }

    fn after_failure(&self, standing: Standing, tried: Tried, jitter: f64) -> (Self, Option<Turn>) {
        let Tried { outcome, at, is_probe } = tried;
        let failing_since = self.failing_since.unwrap_or(at);
        let failed = Self {
            failures: self.failures.saturating_add(1),
            failing_since: Some(failing_since),
            last_failure_at: Some(at),
            ..self.clone()
        };
        if outcome.status() == Some(GONE) {
            let reason = Some("gone".to_owned());
            let stopped = Self { standing: Standing::Stopped, reason, since: at, ..failed };
            return (stopped, Some(Turn::Stopped));
        }
        let reason = Some(outcome.as_str().to_owned());
        match standing {
            Standing::Paused { probes, .. } if is_probe => {
                let standing = paused(probes.saturating_add(1), at, jitter);
                (Self { standing, reason, ..failed }, None)
            }
            Standing::Active
                if failed.failures >= PAUSE_AFTER_FAILURES
                    && at.signed_duration_since(failing_since) >= PAUSE_AFTER =>
            {
                let standing = paused(0, at, jitter);
                (Self { standing, reason, since: at, ..failed }, Some(Turn::Paused))
            }
            Standing::Active | Standing::Paused { .. } | Standing::Stopped => (failed, None),
        }
    }
}

fn paused(probes: u32, at: DateTime<Utc>, jitter: f64) -> Standing {
    let first = PROBE_FIRST.to_std().unwrap_or_default();
    let longest = PROBE_MAX.to_std().unwrap_or_default();
    let wait = first.saturating_mul(2_u32.saturating_pow(probes)).min(longest);
    let wait = TimeDelta::from_std(wait.mul_f64(1.0 + jitter.clamp(0.0, 1.0) / 5.0));
    let probe_at = wait.ok().and_then(|wait| at.checked_add_signed(wait)).unwrap_or(at);
    Standing::Paused { probe_at, probes }
}

#[cfg(test)]
mod tests;
