//! Whose deliveries are sent next: every tenant in its turn, and none in more places than its receiver earns.

use super::outcome::{Fault, NoAnswer, Outcome};
use chrono::{DateTime, TimeDelta, Utc};
use contract::id::TenantId;
use std::collections::{BTreeMap, BTreeSet};

/// How many are under way in one process at most.
const PLACES: usize = 256;

/// How many of them the operator's destination has at most, which is one receiver of many tenants: when it
/// hangs, there are places for those who have a destination of their own.
pub const PLACES_OPERATORS: usize = PLACES / 2;

/// How many are claimed together at most; the query of a claim has the same limit.
pub const BATCH: usize = 64;

/// The places of a tenant whose receiver is not known yet: few, so that a few receivers that hang do not
/// have all places before the first of them times out.
const PLACES_FIRST: usize = 4;

/// The places of a tenant whose receiver answers well, however much it is sent.
pub const PLACES_MAX: usize = 32;

/// How long the last place of a receiver that failed in it stays empty. A dead one fails at once, and with
/// a backlog it would otherwise have a claim, a try and a record after the other, faster than all who are
/// well together.
const REST: TimeDelta = TimeDelta::seconds(1);

/// The places of one tenant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Place {
    /// How many it may have.
    cap: usize,
    under_way: usize,
    rests_until: Option<DateTime<Utc>>,
}

impl Place {
    fn free(self, at: DateTime<Utc>) -> usize {
        let rests = self.rests_until.is_some_and(|until| at < until);
        if rests { 0 } else { self.cap.saturating_sub(self.under_way) }
    }
}

impl Default for Place {
    fn default() -> Self {
        Self { cap: PLACES_FIRST, under_way: 0, rests_until: None }
    }
}

/// A tenant that has something due, as a walk from tenant to tenant found it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Due {
    pub tenant: TenantId,
    /// How many, or the most that a claim may take of it, if there are more.
    pub deliveries: usize,
    /// Its destination is paused, and one of them may go as a probe.
    pub is_probe: bool,
    /// It is told at the operator's destination, as others are.
    pub is_operators: bool,
}

impl Due {
    /// How many could go now, were there places.
    fn wanted(&self) -> usize {
        if self.is_probe { self.deliveries.min(1) } else { self.deliveries }
    }
}

/// What a tenant may have of a claim, and has.
#[derive(Debug)]
struct Allotted {
    due: Due,
    most: usize,
    share: usize,
}

/// A part of the way from the first tenant with something waiting to the last.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Walk {
    /// Those that have something due, in order.
    pub due: Vec<Due>,
    /// The tenant that the walk came to; nothing, if it came to the end.
    pub came_to: Option<TenantId>,
}

/// When a claim has a chance to find more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    AtOnce,
    /// More is due than there are places for.
    WithAPlace,
    /// Nothing more is due.
    WhenWoken,
}

/// How many of whose deliveries are claimed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shares {
    pub shares: Vec<(Due, usize)>,
    pub next: Next,
}

/// The places of one process, and how far it has gone round the tenants.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Places {
    /// Whoever has something under way, or a receiver that failed last.
    tenants: BTreeMap<TenantId, Place>,
    under_way: usize,
    /// Whoever had more due than places when it was looked at last.
    short: BTreeSet<TenantId>,
    /// One of those has a place again.
    has_room: bool,
    /// How many of those go to the operator's destination, and whom its places were given to last.
    operators: usize,
    operators_after: Option<TenantId>,
    /// The tenant that the round came to.
    after: Option<TenantId>,
    /// Somebody on this round had more due than there was room for in a claim.
    left_over: bool,
}

impl Places {
    /// Where the walk goes on, if there is a place for what it finds.
    pub fn goes_on_after(&self) -> Option<Option<&TenantId>> {
        (self.under_way < PLACES).then_some(self.after.as_ref())
    }

    /// Shares the free places out among those who have something due: one each, in order, then another
    /// one each, until there is no more of either.
    pub fn share(&mut self, walk: Walk, at: DateTime<Utc>) -> Shares {
        let Walk { due, came_to } = walk;
        let mut free = PLACES.saturating_sub(self.under_way).min(BATCH);
        let in_turn = self.in_turn(&due, at);
        let mut shares = self.allot(due, &in_turn, at);
        let mut has_changed = true;
        while has_changed {
            has_changed = false;
            for Allotted { due: _, most, share } in &mut shares {
                if share >= most {
                    continue;
                }
                if let Some(left) = free.checked_sub(1) {
                    *share = share.saturating_add(1);
                    free = left;
                    has_changed = true;
                }
            }
        }
        let mut is_short = false;
        for Allotted { due, most, share } in &shares {
            if *share < due.wanted() && share >= most {
                is_short = true;
                self.short.insert(due.tenant.clone());
            } else {
                self.short.remove(&due.tenant);
            }
        }
        // Whoever got nothing for want of a place of the operator's is the first to have one.
        let unserved =
            in_turn.iter().position(|nth| shares.get(*nth).is_some_and(|it| it.share == 0));
        let served = unserved.unwrap_or(in_turn.len()).checked_sub(1);
        let served = served.and_then(|last| shares.get(*in_turn.get(last)?));
        self.operators_after =
            served.map(|it| it.due.tenant.clone()).or_else(|| self.operators_after.take());
        let unserved = shares.iter().position(|it| it.share == 0 && it.most > 0);
        self.left_over |= shares.iter().any(|it| it.share < it.most);
        // Whoever got nothing for want of room is the first of the next claim.
        self.after = match unserved {
            Some(unserved) => {
                let served = unserved.checked_sub(1).and_then(|last| shares.get(last));
                served.map(|it| it.due.tenant.clone()).or_else(|| self.after.clone())
            }
            None => came_to,
        };
        let is_round_over = unserved.is_none() && self.after.is_none();
        let next = if !is_round_over || std::mem::take(&mut self.left_over) {
            Next::AtOnce
        } else if is_short {
            Next::WithAPlace
        } else {
            Next::WhenWoken
        };
        let shares = shares.into_iter().filter(|it| it.share > 0);
        Shares { shares: shares.map(|it| (it.due, it.share)).collect(), next }
    }

    /// Those who are told at the operator's destination and may have a place: first whoever comes after the one
    /// that had the last of them.
    fn in_turn(&self, due: &[Due], at: DateTime<Utc>) -> Vec<usize> {
        let waits = |due: &Due| due.is_operators && self.may_have(due, at) > 0;
        let all = due.iter().zip(0..).filter(|(due, _)| waits(due));
        let (later, earlier): (Vec<_>, Vec<_>) =
            all.partition(|(due, _)| Some(&due.tenant) > self.operators_after.as_ref());
        later.into_iter().chain(earlier).map(|(_, nth)| nth).collect()
    }

    /// The most that each of them may have, whatever room there is in a claim: one place of the operator's each,
    /// then another one each.
    fn allot(&self, due: Vec<Due>, in_turn: &[usize], at: DateTime<Utc>) -> Vec<Allotted> {
        let allotted = |due: Due| {
            let most = if due.is_operators { 0 } else { self.may_have(&due, at) };
            Allotted { due, most, share: 0 }
        };
        let mut all: Vec<Allotted> = due.into_iter().map(allotted).collect();
        let mut free = PLACES_OPERATORS.saturating_sub(self.operators);
        let mut has_changed = true;
        while has_changed {
            has_changed = false;
            for nth in in_turn {
                let Some(it) = all.get_mut(*nth) else { continue };
                if it.most < self.may_have(&it.due, at)
                    && let Some(left) = free.checked_sub(1)
                {
                    it.most = it.most.saturating_add(1);
                    free = left;
                    has_changed = true;
                }
            }
        }
        all
    }

    fn may_have(&self, due: &Due, at: DateTime<Utc>) -> usize {
        let place = self.tenants.get(&due.tenant).copied().unwrap_or_default();
        let free = place.free(at).min(due.deliveries);
        // A probe needs no free place: it is the one delivery that may show that there are places again.
        if due.is_probe { due.wanted() } else { free }
    }

    /// One of a tenant's deliveries is under way.
    pub fn take(&mut self, tenant: &TenantId, is_operators: bool) {
        self.under_way = self.under_way.saturating_add(1);
        self.operators = self.operators.saturating_add(usize::from(is_operators));
        let place = self.tenants.entry(tenant.clone()).or_default();
        place.under_way = place.under_way.saturating_add(1);
    }

    /// A try of a tenant's ended. A receiver that takes what it is sent earns a place; one that fails loses
    /// half of its places, down to one, and whoever fails in that one rests.
    pub fn learn(&mut self, tenant: &TenantId, outcome: Outcome, at: DateTime<Utc>) {
        let Some(place) = self.tenants.get_mut(tenant) else { return };
        let is_taken = is_taken(outcome);
        if is_taken == Some(false) && place.cap <= 1 {
            place.rests_until = at.checked_add_signed(REST);
        }
        place.cap = match is_taken {
            Some(true) => place.cap.saturating_add(1).min(PLACES_MAX),
            Some(false) => (place.cap / 2).max(1),
            None => place.cap,
        };
        if is_taken == Some(true) {
            place.rests_until = None;
        }
    }

    /// The place of one of a tenant's deliveries is free.
    pub fn give_back(&mut self, tenant: &TenantId, is_operators: bool, at: DateTime<Utc>) {
        self.has_room |= self.under_way >= PLACES;
        self.has_room |= is_operators && self.operators >= PLACES_OPERATORS;
        self.under_way = self.under_way.saturating_sub(1);
        self.operators = self.operators.saturating_sub(usize::from(is_operators));
        let Some(place) = self.tenants.get_mut(tenant) else { return };
        place.under_way = place.under_way.saturating_sub(1);
        self.has_room |= place.free(at) > 0 && self.short.remove(tenant);
        // Whoever is idle and well begins anew the next time, so that this holds no tenant for ever.
        if place.under_way == 0 && place.cap >= PLACES_FIRST {
            self.tenants.remove(tenant);
        }
    }

    /// Whether a place came free, since this was asked last, that somebody waits for: only then does a claim
    /// find more. Of many who are well, each end would otherwise cost a claim for one who hangs.
    pub fn has_room(&mut self) -> bool {
        std::mem::take(&mut self.has_room)
    }
}

/// Whether a receiver took what it was sent; nothing, where the fault was ours alone. A name that our resolver
/// does not come to know costs no try, but places: whoever has such a name must not have all of them.
const fn is_taken(outcome: Outcome) -> Option<bool> {
    match (outcome, outcome.fault()) {
        (_, None) => Some(true),
        (Outcome::NoAnswer(NoAnswer::OurResolver), _)
        | (_, Some(Fault::Network | Fault::Theirs)) => Some(false),
        (_, Some(Fault::Ours)) => None,
    }
}

#[cfg(test)]
mod tests;
