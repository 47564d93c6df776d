//! When to leave Nango alone: after failures it is not asked, then once, and then again by everybody.

use chrono::{DateTime, TimeDelta, Utc};

/// As many failures in a row, or within [`FAILURES_WITHIN`], and nobody asks any more. Nango's own rule
/// for whom it calls is the same: more than five in ten seconds.
const FAILURES_MAX: usize = 5;
const FAILURES_WITHIN: TimeDelta = TimeDelta::seconds(10);

/// How long nobody asks: at first, and doubled each time up to the second.
const REST: TimeDelta = TimeDelta::seconds(10);
const REST_MAX: TimeDelta = TimeDelta::seconds(60);

/// Longer than any call takes. A probe of which nobody told the end by then has none.
const PROBE_LIFE: TimeDelta = TimeDelta::seconds(10);

/// Whoever meets a probe that is under way comes back so soon.
const PROBED_SOON: TimeDelta = TimeDelta::seconds(1);

/// Whether Nango may be asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Breaker(State);

#[derive(Debug, Clone, PartialEq, Eq)]
enum State {
    Closed {
        in_a_row: usize,
        /// The newest ones.
        failed_at: Vec<DateTime<Utc>>,
    },
    Open {
        until: DateTime<Utc>,
        rest: TimeDelta,
    },
    /// One call goes to find out.
    HalfOpen {
        since: DateTime<Utc>,
        rest: TimeDelta,
    },
}

/// What a call is allowed as.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pass {
    Usual,
    /// The one that finds out.
    Probe,
}

/// How a call ended, as far as it says how Nango is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It answered, whatever it said.
    Answered,
    /// No answer, not in time, or 5xx.
    Failed,
    /// It asked to be left alone for so long.
    Limited(TimeDelta),
}

impl Default for Breaker {
    fn default() -> Self {
        Self(CLOSED)
    }
}

const CLOSED: State = State::Closed { in_a_row: 0, failed_at: Vec::new() };

impl Breaker {
    /// Whether everybody may call.
    pub const fn is_closed(&self) -> bool {
        matches!(self.0, State::Closed { .. })
    }

    /// Whether a call is of use now; if not, until when.
    pub fn look(&self, at: DateTime<Utc>) -> Result<Pass, DateTime<Utc>> {
        match self.0 {
            State::Closed { .. } => Ok(Pass::Usual),
            State::Open { until, .. } if at < until => Err(until),
            State::HalfOpen { since, .. } if at < plus(since, PROBE_LIFE) => {
                Err(plus(at, PROBED_SOON))
            }
            State::Open { .. } | State::HalfOpen { .. } => Ok(Pass::Probe),
        }
    }

    /// Allows a call; how it ended must be [told](Self::learn).
    pub fn enter(&mut self, at: DateTime<Utc>) -> Result<Pass, DateTime<Utc>> {
        let pass = self.look(at)?;
        if let State::Open { rest, .. } | State::HalfOpen { rest, .. } = self.0 {
            self.0 = State::HalfOpen { since: at, rest };
        }
        Ok(pass)
    }

    /// Takes in how a call ended.
    pub fn learn(&mut self, pass: Pass, verdict: Verdict, at: DateTime<Utc>) {
        match (&mut self.0, pass, verdict) {
            (State::Closed { in_a_row, .. }, _, Verdict::Answered) => *in_a_row = 0,
            (State::Closed { in_a_row, failed_at }, _, Verdict::Failed) => {
                *in_a_row = in_a_row.saturating_add(1);
                failed_at.retain(|&then| at.signed_duration_since(then) < FAILURES_WITHIN);
                failed_at.push(at);
                if *in_a_row >= FAILURES_MAX || failed_at.len() >= FAILURES_MAX {
                    self.0 = State::Open { until: plus(at, REST), rest: REST };
                }
            }
            (State::Closed { .. }, _, Verdict::Limited(pause)) => {
                self.0 = State::Open { until: plus(at, pause), rest: REST };
            }
            (State::HalfOpen { .. }, Pass::Probe, Verdict::Answered) => self.0 = CLOSED,
            (State::HalfOpen { rest, .. }, Pass::Probe, Verdict::Failed) => {
                let rest = rest.checked_mul(2).unwrap_or(REST_MAX).min(REST_MAX);
                self.0 = State::Open { until: plus(at, rest), rest };
            }
            (State::HalfOpen { rest, .. }, Pass::Probe, Verdict::Limited(pause)) => {
                self.0 = State::Open { until: plus(at, pause), rest: *rest };
            }
            (State::Open { until, .. }, _, Verdict::Limited(pause)) => {
                *until = (*until).max(plus(at, pause));
            }
            // They were under way before the rest began, and say nothing of how Nango is now.
            (State::Open { .. }, _, Verdict::Answered | Verdict::Failed)
            | (State::HalfOpen { .. }, Pass::Usual, _) => {}
        }
    }
}

fn plus(at: DateTime<Utc>, by: TimeDelta) -> DateTime<Utc> {
    at.checked_add_signed(by).unwrap_or(at)
}

#[cfg(test)]
#[expect(clippy::arithmetic_side_effects, reason = "the numbers of a test are small")]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn at(seconds: i64) -> DateTime<Utc> {
        DateTime::from_timestamp(1_795_340_000 + seconds, 0).unwrap()
    }

    /// Calls at those seconds that all end so; the first second at which none was allowed any more.
    fn call(breaker: &mut Breaker, seconds: &[i64], verdict: Verdict) -> Option<i64> {
        seconds.iter().copied().find(|&second| match breaker.enter(at(second)) {
            Ok(pass) => {
                breaker.learn(pass, verdict, at(second));
                false
            }
            Err(_until) => true,
        })
    }

    #[test]
    fn five_failures_in_a_row_open_it_however_slow_they_are() {
        let mut breaker = Breaker::default();
        assert_eq!(call(&mut breaker, &[0, 8, 16, 24], Verdict::Failed), None);
        assert_eq!(call(&mut breaker, &[30], Verdict::Answered), None);
        assert_eq!(call(&mut breaker, &[40, 48, 56, 64, 72], Verdict::Failed), None);
        assert_eq!(breaker.look(at(72)), Err(at(82)));
    }

    #[test]
    fn five_failures_within_ten_seconds_open_it_whatever_is_between() {
        let mut breaker = Breaker::default();
        for second in [0, 2, 4, 6, 8] {
            assert_eq!(call(&mut breaker, &[second], Verdict::Answered), None);
            assert_eq!(call(&mut breaker, &[second], Verdict::Failed), None);
        }
        assert_eq!(breaker.look(at(8)), Err(at(18)));
        let mut breaker = Breaker::default();
        for second in [0, 3, 6, 9, 12, 15, 18] {
            assert_eq!(call(&mut breaker, &[second], Verdict::Failed), None);
            assert_eq!(call(&mut breaker, &[second], Verdict::Answered), None);
        }
    }

    #[test]
    fn one_probe_decides_whether_it_closes() {
        let mut breaker = Breaker::default();
        call(&mut breaker, &[0, 0, 0, 0, 0], Verdict::Failed);
        assert_eq!(breaker.enter(at(10)), Ok(Pass::Probe));
        assert_eq!(breaker.enter(at(10)), Err(at(11)), "one is enough");
        breaker.learn(Pass::Usual, Verdict::Answered, at(10));
        assert_eq!(breaker.enter(at(10)), Err(at(11)), "an old answer says nothing");
        breaker.learn(Pass::Probe, Verdict::Failed, at(10));
        assert_eq!(breaker.enter(at(29)), Err(at(30)), "it rests for twice as long");
        assert_eq!(breaker.enter(at(30)), Ok(Pass::Probe));
        breaker.learn(Pass::Probe, Verdict::Answered, at(30));
        assert_eq!(breaker, Breaker::default());
    }

    #[test]
    fn a_probe_that_nobody_hears_of_again_is_made_again() {
        let mut breaker = Breaker::default();
        call(&mut breaker, &[0, 0, 0, 0, 0], Verdict::Failed);
        assert_eq!(breaker.enter(at(10)), Ok(Pass::Probe));
        assert_eq!(breaker.enter(at(19)), Err(at(20)));
        assert_eq!(breaker.enter(at(20)), Ok(Pass::Probe));
    }

    #[test]
    fn whoever_asks_to_be_left_alone_is() {
        let mut breaker = Breaker::default();
        let pause = |seconds| Verdict::Limited(TimeDelta::seconds(seconds));
        assert_eq!(call(&mut breaker, &[0], pause(54)), None);
        assert_eq!(breaker.look(at(53)), Err(at(54)));
        breaker.learn(Pass::Usual, pause(60), at(1));
        assert_eq!(breaker.look(at(60)), Err(at(61)));
        assert_eq!(breaker.enter(at(61)), Ok(Pass::Probe));
        breaker.learn(Pass::Probe, pause(2), at(61));
        assert_eq!(breaker.look(at(62)), Err(at(63)));
    }

    #[test]
    fn it_rests_for_a_minute_at_most() {
        let mut breaker = Breaker::default();
        call(&mut breaker, &[0, 0, 0, 0, 0], Verdict::Failed);
        let mut now = 0;
        let mut rests = Vec::new();
        for _ in 0..5 {
            let until = breaker.look(at(now)).unwrap_err();
            rests.push(until.signed_duration_since(at(now)).num_seconds());
            now += rests.last().unwrap();
            call(&mut breaker, &[now], Verdict::Failed);
        }
        assert_eq!(rests, [10, 20, 40, 60, 60]);
    }

    proptest! {
        #[test]
        fn whoever_asks_one_after_the_other_meets_at_most_five_failures_in_ten_seconds(
            calls in prop::collection::vec((0..4_i64, any::<bool>()), 1..200),
        ) {
            let mut breaker = Breaker::default();
            let mut now = 0;
            let mut failed = Vec::new();
            for (after, is_well) in calls {
                now += after;
                if let Ok(pass) = breaker.enter(at(now)) {
                    let verdict = if is_well { Verdict::Answered } else { Verdict::Failed };
                    breaker.learn(pass, verdict, at(now));
                    failed.extend((!is_well).then_some(now));
                }
            }
            for &from in &failed {
                let within = failed.iter().filter(|&&it| (from..from + 10).contains(&it)).count();
                prop_assert!(within <= FAILURES_MAX, "{failed:?}");
            }
        }
    }
}
