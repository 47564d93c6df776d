//! How far a clock is from the database's, and what follows from that for whoever writes times by it.
//!
//! All replicas go by the database's clock, because a lease is given by one of them and taken over by another.

use chrono::{DateTime, TimeDelta, Utc};

/// Two replicas that are so far off to either side are still nearer to each other than the time that a lease lasts
/// longer than a try.
pub const SKEW_MAX: TimeDelta = TimeDelta::seconds(3);

/// For how long nothing is written after a clock was found far off: whoever read it before that may wait for a connection
/// (3 s) and an answer (12 s) until he writes what he read.
const DOUBTED_FOR: TimeDelta = TimeDelta::seconds(15);

/// The database's time, carried on by a monotonic clock: whoever sets the host's clock moves nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Followed {
    /// The database's time when the monotonic clock began.
    began_at: DateTime<Utc>,
    state: State,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Never compared.
    Unknown,
    Follows,
    /// Found far off; trusted again at this time, unless it is far off once more.
    DoubtedUntil(DateTime<Utc>),
}

/// How a clock stands that follows the database's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// It was never compared.
    Unknown,
    Follows,
    /// It was far off a moment ago, and nothing is written by it.
    Doubted,
}

/// Why nothing is written by a clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Jump {
    #[error("this replica's clock was {}; it is corrected, and nothing is written for {} s", said(*.0), DOUBTED_FOR.num_seconds())]
    Found(TimeDelta),
    #[error(
        "this replica's clock was far from the database's a moment ago; nothing is written by it yet"
    )]
    Doubted,
}

impl Followed {
    /// A clock that was never compared, whose monotonic clock begins at this time.
    pub const fn new(began_at: DateTime<Utc>) -> Self {
        Self { began_at, state: State::Unknown }
    }

    /// What it shows when the monotonic clock has run for so long.
    pub fn at(&self, elapsed: TimeDelta) -> DateTime<Utc> {
        self.began_at.checked_add_signed(elapsed).unwrap_or(self.began_at)
    }

    /// Takes an answer of the database over, which was read some time between `before` and `after`. It is corrected by no
    /// more than the answer proves, so that slow answers do not move it about; and what asked with a clock that was far off
    /// must not be written.
    pub fn after(
        self,
        (before, there, after): (TimeDelta, DateTime<Utc>, TimeDelta),
    ) -> (Self, Result<(), Jump>) {
        let skew = skew(self.at(before), there, self.at(after));
        let corrected = self.moved(TimeDelta::zero().checked_sub(&skew).unwrap_or_default());
        if is_far(skew) {
            let until = there.checked_add_signed(DOUBTED_FOR).unwrap_or(there);
            let state = State::DoubtedUntil(until);
            return (Self { state, ..corrected }, Err(Jump::Found(skew)));
        }
        match self.state {
            State::DoubtedUntil(until) if there < until => (corrected, Err(Jump::Doubted)),
            State::Unknown | State::Follows | State::DoubtedUntil(_) => {
                (Self { state: State::Follows, ..corrected }, Ok(()))
            }
        }
    }

    pub fn standing(&self, elapsed: TimeDelta) -> Standing {
        match self.state {
            State::Unknown => Standing::Unknown,
            State::DoubtedUntil(until) if self.at(elapsed) < until => Standing::Doubted,
            State::Follows | State::DoubtedUntil(_) => Standing::Follows,
        }
    }

    /// The same, showing another time.
    #[must_use]
    pub fn moved(self, by: TimeDelta) -> Self {
        Self { began_at: self.began_at.checked_add_signed(by).unwrap_or(self.began_at), ..self }
    }
}

/// How far ours is ahead at least, or, below zero, behind: `there` was read some time between our `before` and
/// our `after`.
pub fn skew(before: DateTime<Utc>, there: DateTime<Utc>, after: DateTime<Utc>) -> TimeDelta {
    if there < before {
        before.signed_duration_since(there)
    } else if there > after {
        after.signed_duration_since(there)
    } else {
        TimeDelta::zero()
    }
}

pub fn is_far(skew: TimeDelta) -> bool {
    skew.abs() > SKEW_MAX
}

/// For people.
pub fn said(skew: TimeDelta) -> String {
    let way = if skew > TimeDelta::zero() { "ahead of" } else { "behind" };
    format!("{} s {way} the database's", skew.num_seconds().abs())
}

#[cfg(test)]
#[expect(clippy::arithmetic_side_effects, reason = "the numbers of a test are small")]
mod tests {
    use super::*;

    #[test]
    fn an_answer_that_took_long_proves_no_difference() {
        let second = |second: i64| DateTime::from_timestamp(1_795_340_000 + second, 0).unwrap();
        for (before, there, after, expected) in
            [(0, 0, 0, 0), (0, 7, 9, 0), (0, 9, 9, 0), (5, 0, 6, 5), (0, 9, 2, -7)]
        {
            let skew = skew(second(before), second(there), second(after));
            assert_eq!(skew, TimeDelta::seconds(expected), "{before} {there} {after}");
        }
    }

    fn at(second: i64) -> DateTime<Utc> {
        DateTime::from_timestamp(1_795_340_000 + second, 0).unwrap()
    }

    /// A clock that has followed the database's, which began at 0.
    fn following() -> Followed {
        let (clock, learned) = Followed::new(at(0)).after(asked(1, 1, 1));
        assert_eq!(learned, Ok(()));
        clock
    }

    fn asked(before: i64, there: i64, after: i64) -> (TimeDelta, DateTime<Utc>, TimeDelta) {
        (TimeDelta::seconds(before), at(there), TimeDelta::seconds(after))
    }

    fn shows(clock: Followed, elapsed: i64) -> i64 {
        clock.at(TimeDelta::seconds(elapsed)).signed_duration_since(at(0)).num_seconds()
    }

    fn stands(clock: Followed, elapsed: i64) -> Standing {
        clock.standing(TimeDelta::seconds(elapsed))
    }

    #[test]
    fn a_clock_follows_the_databases_by_no_more_than_its_answers_prove() {
        assert_eq!(stands(Followed::new(at(0)), 5), Standing::Unknown);
        let clock = following();
        assert_eq!((stands(clock, 1), shows(clock, 7)), (Standing::Follows, 7));
        for (before, there, after, expected) in [
            (10, 10, 10, 20),
            (10, 14, 20, 20),
            (10, 10, 90, 20),
            (10, 13, 10, 23),
            (10, 8, 11, 18),
        ] {
            let (clock, learned) = clock.after(asked(before, there, after));
            assert_eq!(learned, Ok(()), "{before} {there} {after}");
            assert_eq!(shows(clock, 20), expected, "{before} {there} {after}");
        }
    }

    #[test]
    fn by_a_clock_that_was_far_off_nothing_is_written_until_who_read_it_is_done() {
        for far in [-3600, -4, 4, 3600] {
            for clock in [following(), Followed::new(at(0))] {
                let (clock, learned) = clock.after(asked(10, 10 + far, 10));
                assert_eq!(learned, Err(Jump::Found(TimeDelta::seconds(-far))));
                assert_eq!((shows(clock, 10), stands(clock, 10)), (10 + far, Standing::Doubted));
                let (clock, learned) = clock.after(asked(24, 24 + far, 24));
                assert_eq!((learned, stands(clock, 24)), (Err(Jump::Doubted), Standing::Doubted));
                let (clock, learned) = clock.after(asked(25, 25 + far, 25));
                assert_eq!((learned, stands(clock, 25)), (Ok(()), Standing::Follows));
                assert_eq!(shows(clock, 30), 30 + far);
            }
        }
    }

    #[test]
    fn a_clock_that_jumps_again_is_doubted_again() {
        let (clock, _) = following().after(asked(10, 3610, 10));
        let (clock, learned) = clock.after(asked(20, 20, 20));
        assert_eq!(learned, Err(Jump::Found(TimeDelta::seconds(3600))));
        assert_eq!((stands(clock, 34), stands(clock, 35)), (Standing::Doubted, Standing::Follows));
    }

    #[test]
    fn what_is_far_is_far_to_either_side() {
        for (seconds, expected) in [(0, false), (3, false), (-3, false), (4, true), (-4, true)] {
            assert_eq!(is_far(TimeDelta::seconds(seconds)), expected, "{seconds}");
        }
        assert_eq!(said(TimeDelta::seconds(-4)), "4 s behind the database's");
        assert_eq!(said(TimeDelta::milliseconds(30_500)), "30 s ahead of the database's");
    }
}
