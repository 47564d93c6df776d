//! How far ahead each kind of time may be.
//!
//! One that is further ahead was written by a wrong clock: what waits for it would wait for as long as that clock was wrong. It
//! is due now instead, because work that is done early finds out that it is early, and work that is late is late for all.

use super::{delivery::Schedule, skew::SKEW_MAX};
use chrono::TimeDelta;
use std::time::Duration;

/// A time that says when something was: ahead of now by no more than two clocks may differ.
pub const PAST: TimeDelta = SKEW_MAX;

/// Work that is claimed, until its lease ends: 45 s at most (`outbox`).
pub const LEASED: TimeDelta = TimeDelta::seconds(60);

/// Work at Nango that waits: for the budget it is sent away for ten minutes and a fifth, all else is sooner.
pub const WAITING: TimeDelta = TimeDelta::minutes(20);

/// An attempt whose browser may still come, and its deadline (`http/opened.rs`).
pub const ATTEMPT: TimeDelta = TimeDelta::seconds(60 * 60 + 10);

/// A ticket (`http/callback.rs`).
pub const TICKET: TimeDelta = TimeDelta::seconds(5 * 60 + 10);

/// The last look after a deletion (`domain/life`).
pub const DELETION: TimeDelta = TimeDelta::minutes(70);

/// A probe of a provider that does not say who the user is (`probing.rs`).
pub const PROBE: TimeDelta = TimeDelta::hours(25);

/// A batch of a redelivery whose destination takes nothing.
pub const REDELIVERY: TimeDelta = TimeDelta::seconds(75);

/// A claim of a call with an idempotency key.
pub const CALL: TimeDelta = TimeDelta::seconds(75);

/// For each number of tries, from none on, how many seconds a delivery may wait after the last of them. A receiver that said
/// when to come back may have said more.
pub fn waits(schedule: &Schedule) -> Vec<f64> {
    let longest = |wait: &Duration| wait.mul_f64(1.2).as_secs_f64() + PAST.as_seconds_f64();
    schedule.longest_waits().iter().map(longest).collect()
}
