//! What one replica does with its leases: most calls are taken from it, and cost no transaction.

use super::{
    CallClass, CallsPerMinute, HORIZON, LEASE_LIFE, Leased, SKEW, Share, Slots, Wanted, plus,
};
use chrono::{DateTime, Utc};

/// One replica's calls of one class.
#[derive(Debug, Clone)]
pub struct Purse {
    share: Share,
    /// How many are left of the chunk that was leased last.
    calls: u32,
    /// How many of it were made.
    spent: u32,
    lapses_at: DateTime<Utc>,
    /// Until then there is nothing to lease.
    empty_until: DateTime<Utc>,
    slots: Slots,
}

/// What a purse says to whoever wants to call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Taken {
    /// Call, before this time.
    Spent(DateTime<Utc>),
    /// There is nothing left; come back at this time.
    ComeBackAt(DateTime<Utc>),
    /// Lease so much, and [`Purse::put`] it in.
    Lease(Wanted),
}

impl Purse {
    pub fn new(class: CallClass, limit: CallsPerMinute) -> Self {
        Self::empty(Share::of(class, limit))
    }

    const fn empty(share: Share) -> Self {
        Self {
            share,
            calls: 0,
            spent: 0,
            lapses_at: DateTime::UNIX_EPOCH,
            empty_until: DateTime::UNIX_EPOCH,
            slots: Slots::NONE,
        }
    }

    pub const fn share(&self) -> Share {
        self.share
    }

    /// Takes calls out, all or none.
    pub fn take(&mut self, wanted: u32, at: DateTime<Utc>) -> Taken {
        // A clock that was set back since: what was leased by it is worth nothing, and nobody is put off by it.
        if self.lapses_at > plus(plus(at, LEASE_LIFE), SKEW) || self.empty_until > plus(at, HORIZON)
        {
            *self = Self::empty(self.share);
        }
        if at < self.lapses_at
            && let Some(left) = self.calls.checked_sub(wanted)
        {
            self.calls = left;
            self.spent = self.spent.saturating_add(wanted);
            return Taken::Spent(self.lapses_at);
        }
        if at < self.empty_until
            && let Some(slot) = self.slots.next_after(at)
        {
            return Taken::ComeBackAt(slot);
        }
        // Whoever used a chunk up gets twice as much, and whoever let some lapse gets what was of use: a
        // replica with little to do must not keep calls from one with much.
        let was_used_up = self.calls == 0 && at < self.lapses_at;
        let most = if was_used_up { self.spent.saturating_mul(2) } else { self.spent };
        let most = most.min(self.share.chunk_max()).max(wanted);
        let needs_slots = self.slots.clone().next_after(at).is_none();
        Taken::Lease(Wanted { least: wanted, most, needs_slots })
    }

    /// Puts in what was leased at `at`, and takes the calls out for which it was leased.
    pub fn put(&mut self, leased: Leased, wanted: u32, at: DateTime<Utc>) -> Taken {
        match leased {
            Leased::Calls(calls) => {
                // What was left is not kept: it lapses sooner than this.
                self.calls = calls.saturating_sub(wanted);
                self.spent = wanted.min(calls);
                self.lapses_at = plus(at, LEASE_LIFE);
                Taken::Spent(self.lapses_at)
            }
            Leased::Nothing { refill_at, slots } => {
                self.empty_until = refill_at;
                if self.slots.clone().next_after(at).is_none() {
                    self.slots = slots;
                }
                Taken::ComeBackAt(self.slots.next_after(at).unwrap_or(refill_at))
            }
        }
    }
}
