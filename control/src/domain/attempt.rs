//! When an open attempt is looked up at the vault, and when it is given up.

use super::connection::Reason;
use chrono::{DateTime, TimeDelta, Utc};

/// The waits after a callback: the vault has a success within seconds, and its list may lag.
const LOOK_AFTER: [TimeDelta; 5] = [
    TimeDelta::seconds(2),
    TimeDelta::seconds(5),
    TimeDelta::seconds(15),
    TimeDelta::seconds(60),
    TimeDelta::seconds(300),
];

/// After a callback the state is used up: what the vault has not got by then, it will never get.
const GIVE_UP_AFTER: TimeDelta = TimeDelta::minutes(10);

/// A vault that comes back after an hour may lag, too: one look that finds nothing decides nothing.
const LOOKS_BEFORE_GIVING_UP: usize = 3;
const LOOKS_BEFORE_BELIEVING: usize = 2;

/// An open attempt, as far as its time goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Waiting {
    /// A callback is accepted before this.
    pub deadline_at: DateTime<Utc>,
    pub called_back_at: Option<DateTime<Utc>>,
    /// How often the vault was asked since the callback, and had nothing.
    pub looks: usize,
    /// Why Nango said that it failed, when this service finished the callback there.
    pub vault_said: Option<Reason>,
}

/// What follows a look that found nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    LookAt(DateTime<Utc>),
    /// What Nango said was true.
    Believe(Reason),
    GiveUp,
}

impl Waiting {
    /// What follows a look at this time that found nothing.
    pub fn after_a_look(self, at: DateTime<Utc>) -> Next {
        if let Some(reason) = self.vault_said {
            // Nango says so of a success as well, when its answer or another of its callbacks was lost.
            let again = LOOK_AFTER.first().and_then(|wait| at.checked_add_signed(*wait));
            let has_looked = self.looks.saturating_add(1) >= LOOKS_BEFORE_BELIEVING;
            let again = again.filter(|_again| !has_looked);
            return again.map_or(Next::Believe(reason), Next::LookAt);
        }
        let ends_at = self.ends_at();
        if at >= ends_at {
            let has_looked = self.looks.saturating_add(1) >= LOOKS_BEFORE_GIVING_UP;
            let is_used_up = self.called_back_at.is_none() || has_looked;
            let wait = LOOK_AFTER.get(self.looks).copied().unwrap_or_default();
            let again = at.checked_add_signed(wait).filter(|_again| !is_used_up);
            return again.map_or(Next::GiveUp, Next::LookAt);
        }
        let next = self.called_back_at.and_then(|called_back_at| {
            let mut waits = LOOK_AFTER.iter().skip(self.looks.saturating_add(1));
            waits
                .find_map(|wait| called_back_at.checked_add_signed(*wait).filter(|next| *next > at))
        });
        Next::LookAt(next.map_or(ends_at, |next| next.min(ends_at)))
    }

    /// When a last look decides.
    fn ends_at(self) -> DateTime<Utc> {
        self.called_back_at
            .and_then(|called_back_at| called_back_at.checked_add_signed(GIVE_UP_AFTER))
            .unwrap_or(self.deadline_at)
    }
}

/// An owner of an organization has this long to approve.
const APPROVAL_FOR: TimeDelta = TimeDelta::days(7);
/// Nango sends a webhook when it learns of the approval; this is for the one that is lost.
const APPROVAL_LOOKS: TimeDelta = TimeDelta::minutes(15);

/// What follows a look at this time that found no approval, where one is awaited since then.
pub fn after_a_look_for_approval(since: DateTime<Utc>, at: DateTime<Utc>) -> Next {
    let is_over = at.signed_duration_since(since) >= APPROVAL_FOR;
    let again = at.checked_add_signed(APPROVAL_LOOKS).filter(|_again| !is_over);
    again.map_or(Next::GiveUp, Next::LookAt)
}

/// When a callback at this time is followed by the first look.
pub fn first_look(called_back_at: DateTime<Utc>) -> DateTime<Utc> {
    let first = LOOK_AFTER.first().and_then(|wait| called_back_at.checked_add_signed(*wait));
    first.unwrap_or(called_back_at)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> DateTime<Utc> {
        DateTime::from_timestamp(seconds, 0).unwrap()
    }

    #[test]
    fn an_attempt_that_nobody_came_back_from_is_looked_up_once_at_its_deadline() {
        let waiting =
            Waiting { deadline_at: at(3600), called_back_at: None, looks: 0, vault_said: None };
        assert_eq!(waiting.after_a_look(at(10)), Next::LookAt(at(3600)));
        assert_eq!(waiting.after_a_look(at(3600)), Next::GiveUp);
    }

    #[test]
    fn a_callback_is_followed_by_looks_that_come_ever_later_and_then_by_the_end() {
        let mut now = first_look(at(100));
        let mut seen = vec![now];
        for looks in 0.. {
            let waiting = Waiting {
                deadline_at: at(3600),
                called_back_at: Some(at(100)),
                looks,
                vault_said: None,
            };
            match waiting.after_a_look(now) {
                Next::LookAt(next) => now = next,
                Next::GiveUp | Next::Believe(_) => break,
            }
            seen.push(now);
        }
        let waits: Vec<i64> = seen.iter().map(|seen| (*seen - at(100)).num_seconds()).collect();
        assert_eq!(waits, [2, 5, 15, 60, 300, 600]);
    }

    #[test]
    fn a_callback_just_before_the_deadline_has_its_time_too() {
        let waiting = Waiting {
            deadline_at: at(3600),
            called_back_at: Some(at(3599)),
            looks: 9,
            vault_said: None,
        };
        assert_eq!(waiting.after_a_look(at(3700)), Next::LookAt(at(4199)));
        assert_eq!(waiting.after_a_look(at(4199)), Next::GiveUp);
    }

    #[test]
    fn a_vault_that_was_away_is_looked_at_more_than_once() {
        let after = |looks| {
            Waiting {
                deadline_at: at(3600),
                called_back_at: Some(at(100)),
                looks,
                vault_said: None,
            }
            .after_a_look(at(9000))
        };
        let seen = [after(0), after(1), after(2)];
        assert_eq!(seen, [Next::LookAt(at(9002)), Next::LookAt(at(9005)), Next::GiveUp]);
    }

    #[test]
    fn looks_that_were_late_are_not_made_up_for() {
        let waiting = Waiting {
            deadline_at: at(3600),
            called_back_at: Some(at(100)),
            looks: 0,
            vault_said: None,
        };
        assert_eq!(waiting.after_a_look(at(130)), Next::LookAt(at(160)));
    }

    #[test]
    fn an_approval_is_awaited_for_seven_days() {
        let after = |seconds| after_a_look_for_approval(at(100), at(seconds));
        assert_eq!(after(102), Next::LookAt(at(1002)));
        assert_eq!(after(100 + 7 * 86_400 - 1), Next::LookAt(at(100 + 7 * 86_400 + 899)));
        assert_eq!(after(100 + 7 * 86_400), Next::GiveUp);
    }

    #[test]
    fn what_nango_says_of_a_failure_is_believed_after_a_second_look() {
        let vault_said = Some(Reason::TokenExchangeFailed);
        let waiting =
            Waiting { deadline_at: at(3600), called_back_at: Some(at(100)), looks: 0, vault_said };
        assert_eq!(waiting.after_a_look(at(100)), Next::LookAt(at(102)));
        let again = Waiting { looks: 1, ..waiting };
        assert_eq!(again.after_a_look(at(102)), Next::Believe(Reason::TokenExchangeFailed));
    }
}
