//! When the vault is looked at for one connection: many hints share one look, and none of them is lost.
//!
//! A look answers every hint that came before it began. A hint that comes after it leads to another one, at
//! most [`APART`] later.

use chrono::{DateTime, TimeDelta, Utc};
use contract::id::AttemptId;

/// Between two looks for one connection. Hints cost a stranger nothing, and each look costs one of the 200
/// calls that Nango takes a minute.
const APART: TimeDelta = TimeDelta::seconds(30);

/// The same for a hint that refreshing fails, or works again, where that would be news …
const REFRESHES_APART: TimeDelta = TimeDelta::seconds(1);

/// … for so many within [`APART`]: Nango says it once each time that it changes, and a stranger as often as he likes.
const REFRESHES_MAX: u8 = 2;

/// A check sees all that a hint's look sees, and more. It waits less, so that it comes first and answers the
/// hints that wait with it.
const CHECKS_APART: TimeDelta = TimeDelta::seconds(25);

/// How many looks for one attempt need not wait, because its user does: one for the webhook, and one for a
/// list that lags. Others come by the attempt's own time.
const HURRIES_MAX: u8 = 2;

/// When to see what came of a look that somebody else makes now.
const UNDER_WAY: TimeDelta = TimeDelta::seconds(2);

/// The last look for a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LastLook {
    /// When it began.
    pub at: DateTime<Utc>,
    /// Whether the vault listed anything, once that was applied; nothing while it is under way.
    pub found: Option<bool>,
}

/// What is known of the looks for a connection.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Looks {
    pub last: Option<LastLook>,
    /// For which attempt looks did not wait, and how many.
    pub hurried: Option<(AttemptId, u8)>,
    /// Since when, and how many looks for hints of refreshing did not wait.
    pub refreshes: Option<(DateTime<Utc>, u8)>,
}

/// Who wants a look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wish {
    /// A webhook, of this time. `awaited` is the attempt that it may be the success of: one whose browser
    /// came back.
    Hint { asked_at: DateTime<Utc>, awaited: Option<AttemptId> },
    /// A webhook of this time, which says of refreshing what would be news.
    RefreshHint { asked_at: DateTime<Utc> },
    /// Somebody who asked at this time. What only a hint's look saw is no answer to him.
    Check { asked_at: DateTime<Utc> },
}

/// What is to be done about a wish.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Turn {
    /// Look now, and keep this.
    Now(Looks),
    Wait(DateTime<Utc>),
    /// A look that began later than the wish was applied already.
    Answered {
        found: bool,
    },
}

impl Looks {
    pub fn turn(&self, wish: Wish, now: DateTime<Utc>) -> Turn {
        let begun = Some(LastLook { at: now, found: None });
        let unhurried = Turn::Now(Self { last: begun, ..*self });
        // What another clock says of the future is not believed, and keeps nobody waiting.
        let Some(last) = self.last.filter(|last| last.at <= now) else { return unhurried };
        if last.found.is_none() && now < plus(last.at, APART) {
            return Turn::Wait(plus(now, UNDER_WAY));
        }
        let (asked_at, sooner) = match wish {
            Wish::Hint { asked_at, awaited } => {
                let hurried = awaited.and_then(|attempt| self.hurry(attempt));
                (asked_at, hurried.map(|hurried| Self { hurried: Some(hurried), ..*self }))
            }
            Wish::RefreshHint { asked_at } => {
                if last.found.is_some()
                    && last.at <= asked_at
                    && now < plus(last.at, REFRESHES_APART)
                {
                    return Turn::Wait(plus(last.at, REFRESHES_APART));
                }
                let refreshes = self.refresh(now);
                (asked_at, refreshes.map(|refreshes| Self { refreshes: Some(refreshes), ..*self }))
            }
            Wish::Check { asked_at } => {
                // It waits no longer than that, however many hints have looked meanwhile.
                let due_at = plus(last.at.min(asked_at), CHECKS_APART);
                return if now >= due_at { unhurried } else { Turn::Wait(due_at) };
            }
        };
        match last.found {
            // In the same instant nobody knows what was first.
            Some(found) if last.at > asked_at => Turn::Answered { found },
            Some(_) | None if now >= plus(last.at, APART) => unhurried,
            Some(_) | None => match sooner {
                Some(looks) => Turn::Now(Self { last: begun, ..looks }),
                None => Turn::Wait(plus(last.at, APART)),
            },
        }
    }

    /// One more look that does not wait, if there may be one.
    fn hurry(&self, attempt: AttemptId) -> Option<(AttemptId, u8)> {
        let so_far = self.hurried.filter(|(of, _)| *of == attempt).map_or(0, |(_, looks)| looks);
        (so_far < HURRIES_MAX).then(|| (attempt, so_far.saturating_add(1)))
    }

    /// One more look for a hint of refreshing, if there may be one.
    fn refresh(&self, now: DateTime<Utc>) -> Option<(DateTime<Utc>, u8)> {
        let is_counted = |since: DateTime<Utc>| since <= now && now < plus(since, APART);
        let (since, so_far) =
            self.refreshes.filter(|(since, _)| is_counted(*since)).unwrap_or((now, 0));
        (so_far < REFRESHES_MAX).then(|| (since, so_far.saturating_add(1)))
    }
}

fn plus(at: DateTime<Utc>, by: TimeDelta) -> DateTime<Utc> {
    at.checked_add_signed(by).unwrap_or(at)
}

#[cfg(test)]
#[expect(clippy::arithmetic_side_effects, reason = "the numbers of a test are small")]
mod tests {
    use super::*;
    use crate::domain::connection::fixture::attempt;

    fn at(seconds: i64) -> DateTime<Utc> {
        DateTime::from_timestamp(1_795_340_000 + seconds, 0).unwrap()
    }

    fn looked(second: i64, found: Option<bool>) -> Looks {
        Looks { last: Some(LastLook { at: at(second), found }), hurried: None, refreshes: None }
    }

    fn hint(second: i64) -> Wish {
        Wish::Hint { asked_at: at(second), awaited: None }
    }

    fn check_wish(second: i64) -> Wish {
        Wish::Check { asked_at: at(second) }
    }

    const NOW: Turn = Turn::Now(Looks { last: None, hurried: None, refreshes: None });

    /// What is kept of a look that begins is asserted for all of them at once.
    #[track_caller]
    fn check(looks: Looks, wish: Wish, now: i64, expected: Turn) {
        let turn = looks.turn(wish, at(now));
        let turn = if let Turn::Now(kept) = turn {
            assert_eq!(kept.last, Some(LastLook { at: at(now), found: None }));
            assert_eq!(kept.hurried, looks.hurried, "{wish:?} hurries at {now}");
            assert_eq!(kept.refreshes, looks.refreshes, "{wish:?} hurries at {now}");
            NOW
        } else {
            turn
        };
        assert_eq!(turn, expected, "{looks:?} {wish:?} at {now}");
    }

    #[test]
    fn a_wish_waits_is_answered_or_has_its_look() {
        let never = Looks::default();
        let [saw, saw_nothing] = [looked(100, Some(true)), looked(100, Some(false))];
        let looking = looked(100, None);
        let wait = |second| Turn::Wait(at(second));
        for wish in [hint(100), check_wish(100)] {
            check(never, wish, 100, NOW);
            check(looking, wish, 101, wait(103));
            check(looking, wish, 129, wait(131));
            // Whoever looked has died.
            check(looking, wish, 130, NOW);
        }
        // A hint that came before.
        check(saw, hint(99), 101, Turn::Answered { found: true });
        check(saw, hint(99), 200, Turn::Answered { found: true });
        check(saw_nothing, hint(99), 101, Turn::Answered { found: false });
        check(looking, hint(99), 101, wait(103));
        check(looking, hint(99), 130, NOW);
        // One that came at the same time, or after.
        for second in [100, 101, 129] {
            for looks in [saw, saw_nothing] {
                check(looks, hint(second), second, wait(130));
                check(looks, hint(second), 129, wait(130));
                check(looks, hint(second), 130, NOW);
            }
        }
        // A check is no hint: it is not answered by what a hint saw.
        for looks in [saw, saw_nothing] {
            check(looks, check_wish(99), 110, wait(124));
            check(looks, check_wish(99), 124, NOW);
            check(looks, check_wish(110), 110, wait(125));
            check(looks, check_wish(110), 125, NOW);
        }
        // However often others looked since.
        check(looked(130, Some(true)), check_wish(110), 134, wait(135));
        check(looked(130, Some(true)), check_wish(110), 135, NOW);
    }

    #[test]
    fn a_hint_of_refreshing_waits_for_a_second_and_only_many_wait_for_longer() {
        let refresh = |second| Wish::RefreshHint { asked_at: at(second) };
        let counted = |looks: Looks, second| match looks.turn(refresh(second), at(second)) {
            Turn::Now(kept) => kept.refreshes,
            turn @ (Turn::Wait(_) | Turn::Answered { .. }) => panic!("{turn:?}"),
        };
        for found in [true, false] {
            let looks = looked(100, Some(found));
            check(looks, refresh(100), 100, Turn::Wait(at(101)));
            check(looks, refresh(99), 101, Turn::Answered { found });
            check(looks, refresh(130), 130, NOW);
            assert_eq!(counted(looks, 101), Some((at(101), 1)));
            let once = Looks { refreshes: Some((at(90), 1)), ..looks };
            assert_eq!(counted(once, 119), Some((at(90), 2)));
            let often = Looks { refreshes: Some((at(90), 2)), ..looks };
            check(often, refresh(119), 119, Turn::Wait(at(130)));
            assert_eq!(counted(often, 120), Some((at(120), 1)), "another half minute");
            let ahead = Looks { refreshes: Some((at(3600), 2)), ..looks };
            assert_eq!(counted(ahead, 120), Some((at(120), 1)), "a wrong clock's");
        }
        check(looked(100, None), refresh(101), 101, Turn::Wait(at(103)));
    }

    #[test]
    fn a_clock_that_was_ahead_keeps_nobody_waiting() {
        for found in [None, Some(false), Some(true)] {
            check(looked(101, found), check_wish(100), 100, NOW);
            check(looked(101, found), hint(99), 100, NOW);
        }
    }

    #[test]
    fn an_attempt_whose_user_waits_has_two_looks_at_once_and_then_waits_as_all() {
        let wish =
            |second, number| Wish::Hint { asked_at: at(second), awaited: Some(attempt(number)) };
        let mut looks = looked(100, Some(false));
        for hurries in [1, 2] {
            let Turn::Now(kept) = looks.turn(wish(101, 7), at(101)) else { panic!("it waits") };
            assert_eq!(kept.hurried, Some((attempt(7), hurries)));
            looks = Looks { last: looks.last, ..kept };
        }
        assert_eq!(looks.turn(wish(101, 7), at(101)), Turn::Wait(at(130)));
        // Another attempt has its own.
        let Turn::Now(kept) = looks.turn(wish(101, 8), at(101)) else { panic!("it waits") };
        assert_eq!(kept.hurried, Some((attempt(8), 1)));
        // A hint that is answered takes no look, whoever waits.
        let answered = Turn::Answered { found: false };
        assert_eq!(looked(100, Some(false)).turn(wish(99, 9), at(101)), answered);
    }

    #[test]
    fn however_fast_hints_come_looks_are_apart_and_the_last_hint_has_one() {
        for found in [true, false] {
            let (mut looks, mut waiting, mut seen) = (Looks::default(), Vec::new(), Vec::new());
            for second in 0..200 {
                if second < 60 {
                    waiting.push(at(second));
                }
                let wish = |asked_at| Wish::Hint { asked_at, awaited: None };
                waiting.retain(|&asked_at| match looks.turn(wish(asked_at), at(second)) {
                    Turn::Now(kept) => {
                        let last = kept.last.map(|last| LastLook { found: Some(found), ..last });
                        looks = Looks { last, ..kept };
                        seen.push(second);
                        false
                    }
                    Turn::Wait(_) => true,
                    Turn::Answered { found: told } => {
                        assert_eq!(told, found);
                        false
                    }
                });
            }
            assert_eq!(seen, [0, 30, 60]);
            assert!(waiting.is_empty(), "{waiting:?}");
        }
    }
}
