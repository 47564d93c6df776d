//! How many calls Nango takes a minute, how they are shared out, and when there are more.
//!
//! Nango counts calls per account, whoever makes them. So each class of calls has a bucket that all
//! replicas lease from; [`Purse`] is what a replica does with a lease.

mod purse;

use chrono::{DateTime, TimeDelta, Utc};
use std::str::FromStr;

pub use purse::{Purse, Taken};

/// What a call is for. Each has its share, so that none can starve the others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CallClass {
    /// Opens a connect session. A user waits for it.
    Start,
    /// Asks whether what is claimed is so.
    Confirm,
    /// Deletes, sweeps, checks.
    Upkeep,
    /// Reads who the user is at the provider.
    Profile,
}

impl CallClass {
    pub const ALL: [Self; 4] = [Self::Start, Self::Confirm, Self::Upkeep, Self::Profile];

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Start => "start",
            Self::Confirm => "confirm",
            Self::Upkeep => "upkeep",
            Self::Profile => "profile",
        }
    }

    const fn percent(self) -> u32 {
        match self {
            Self::Start => 50,
            Self::Confirm => 25,
            Self::Upkeep => 15,
            Self::Profile => 10,
        }
    }

    /// How many calls are of use only together: a deletion is a call and a look whether it is done.
    pub const fn together(self) -> u32 {
        match self {
            Self::Upkeep => 2,
            Self::Start | Self::Confirm | Self::Profile => 1,
        }
    }
}

/// The setting `NANGO_CALLS_PER_MINUTE`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CallsPerMinute(u32);

/// A text that is no such number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a number from 1 to 100000")]
pub struct NotCallsPerMinute;

impl CallsPerMinute {
    pub const fn count(self) -> u32 {
        self.0
    }
}

impl FromStr for CallsPerMinute {
    type Err = NotCallsPerMinute;

    fn from_str(text: &str) -> Result<Self, NotCallsPerMinute> {
        let calls = text.parse().map_err(|_not_a_number| NotCallsPerMinute)?;
        if (1..=100_000).contains(&calls) { Ok(Self(calls)) } else { Err(NotCallsPerMinute) }
    }
}

/// How long a leased call may be kept. What was not made by then lapses, so that a replica that died
/// has nothing to give back.
pub const LEASE_LIFE: TimeDelta = TimeDelta::seconds(3);

/// The microseconds of a minute, of a lease's life, and of the two seconds that a call may be under way:
/// whatever arrives at Nango within 60 s was leased within this time.
///
/// It is one call in a bucket's unit, too. So a bucket that gains `n` calls in that time gains `n` units a
/// microsecond, and nothing is ever rounded.
const CALL: i64 = 65_000_000;

/// How far ahead a caller may be asked to come back.
pub const HORIZON: TimeDelta = TimeDelta::minutes(10);

/// How many callers a replica may send away before it asks again when the next ones should come …
const SLOTS: u32 = 8;

/// … and how much of the time to come it reserves for them, but for one slot: callers of the other replicas come after it.
const RESERVED_FOR: TimeDelta = TimeDelta::seconds(5);

/// A clock that is this far behind the bucket's is right, and the bucket's was wrong: one replica may be ahead and the
/// other behind by as much as is borne.
const SKEW: TimeDelta = TimeDelta::seconds(6);

/// A class's part of a minute.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Share {
    /// How many calls may be made at once after a rest.
    capacity: u32,
    /// How many more there are in each window.
    refill: u32,
    together: u32,
}

impl Share {
    /// A quarter may be spent at once, and the rest comes in over the minute, so that no sixty seconds
    /// have more than the share. However small the limit is, no class is left without any call.
    pub fn of(class: CallClass, limit: CallsPerMinute) -> Self {
        let CallsPerMinute(limit) = limit;
        let together = class.together();
        let calls = (limit.saturating_mul(class.percent()) / 100).max(together);
        let capacity = (calls / 4).max(together);
        Self { capacity, refill: calls.saturating_sub(capacity).max(1), together }
    }

    /// The most that can be left.
    pub const fn capacity(self) -> u32 {
        self.capacity
    }

    /// The most that one replica takes out at once.
    fn chunk_max(self) -> u32 {
        (self.capacity / 4).clamp(self.together, 64)
    }

    /// How long it takes until so much has come in.
    fn time_for(self, units: i64) -> TimeDelta {
        let refill = i64::from(self.refill);
        let micros = units.saturating_add(refill.saturating_sub(1)).checked_div(refill);
        TimeDelta::microseconds(micros.unwrap_or_default().clamp(0, CALL.saturating_mul(2)))
    }
}

/// What is left of a share, for all replicas.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bucket {
    /// What was in it at `filled_at`.
    pub level: i64,
    pub filled_at: DateTime<Utc>,
    /// Until when callers who were sent away have been asked to come back.
    pub promised_at: DateTime<Utc>,
}

/// What a replica asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Wanted {
    /// Fewer calls are of no use.
    pub least: u32,
    pub most: u32,
    /// Whether it has no more times at which those whom it sends away should come back.
    pub needs_slots: bool,
}

/// What a replica gets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Leased {
    Calls(u32),
    /// Nothing before `refill_at`; whoever is sent away comes back at the next of the slots.
    Nothing {
        refill_at: DateTime<Utc>,
        slots: Slots,
    },
}

/// When callers who are sent away should come back: one after the other, as fast as calls come in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Slots {
    next: DateTime<Utc>,
    each: TimeDelta,
    left: u32,
}

impl Slots {
    const NONE: Self = Self { next: DateTime::UNIX_EPOCH, each: TimeDelta::zero(), left: 0 };

    /// The next one that is not over yet.
    fn next_after(&mut self, at: DateTime<Utc>) -> Option<DateTime<Utc>> {
        self.find(|slot| *slot > at)
    }
}

impl Iterator for Slots {
    type Item = DateTime<Utc>;

    fn next(&mut self) -> Option<DateTime<Utc>> {
        self.left = self.left.checked_sub(1)?;
        let slot = self.next;
        self.next = plus(slot, self.each);
        Some(slot)
    }
}

impl Bucket {
    /// Takes out as many calls as are wanted and there, or nothing.
    pub fn lease(self, share: Share, wanted: Wanted, at: DateTime<Utc>) -> (Self, Leased) {
        let Wanted { least, most, needs_slots } = wanted;
        let filled = self.filled(share, at);
        let least = least.clamp(1, share.capacity);
        let whole = u32::try_from(filled.level / CALL).unwrap_or_default();
        if whole < least {
            let lacking = units(least).saturating_sub(filled.level);
            let refill_at = plus(filled.filled_at, share.time_for(lacking));
            let (promised_at, slots) = if needs_slots {
                filled.promise(refill_at, share.time_for(units(least)), at)
            } else {
                (filled.promised_at, Slots::NONE)
            };
            return (Self { promised_at, ..filled }, Leased::Nothing { refill_at, slots });
        }
        let calls = whole.min(most.max(least));
        let level = filled.level.saturating_sub(units(calls));
        (Self { level, ..filled }, Leased::Calls(calls))
    }

    /// How many calls are in it.
    pub fn calls(self, share: Share, at: DateTime<Utc>) -> u32 {
        u32::try_from(self.filled(share, at).level / CALL).unwrap_or_default()
    }

    fn filled(self, share: Share, at: DateTime<Utc>) -> Self {
        let since = at.signed_duration_since(self.filled_at);
        let filled_at = if since < -SKEW { at } else { self.filled_at.max(at) };
        let gained = since.num_microseconds().unwrap_or(i64::MAX).max(0);
        let gained = gained.saturating_mul(i64::from(share.refill));
        let level = self.level.saturating_add(gained).clamp(0, units(share.capacity));
        Self { level, filled_at, ..self }
    }

    /// The next slots that nobody was told yet, and until when all were told then.
    fn promise(
        self,
        refill_at: DateTime<Utc>,
        each: TimeDelta,
        at: DateTime<Utc>,
    ) -> (DateTime<Utc>, Slots) {
        let horizon = plus(at, HORIZON);
        // The last promise before the horizon may end one slot behind it. One that ends later was a wrong clock's.
        let is_believed = self.promised_at <= plus(plus(horizon, each), SKEW);
        let promised_at = if is_believed { self.promised_at } else { refill_at };
        let next = promised_at.max(refill_at);
        if next >= horizon {
            let slots = Slots { next: horizon, each: TimeDelta::zero(), left: SLOTS };
            return (promised_at, slots);
        }
        let all = Slots { next, each, left: SLOTS };
        let end = horizon.min(plus(next, RESERVED_FOR));
        let left = all.clone().take_while(|slot| *slot < end).count();
        let slots = Slots { left: u32::try_from(left).unwrap_or(SLOTS), ..all };
        let promised_at = slots.clone().last().map_or(next, |last| plus(last, each));
        (promised_at, slots)
    }
}

fn units(calls: u32) -> i64 {
    i64::from(calls).saturating_mul(CALL)
}

fn plus(at: DateTime<Utc>, by: TimeDelta) -> DateTime<Utc> {
    at.checked_add_signed(by).unwrap_or(at)
}

#[cfg(test)]
mod tests;
