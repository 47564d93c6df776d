//! How a delivery goes on after a try.

use super::outcome::Outcome;
use std::time::Duration;

/// What follows a try.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NextStep {
    Done,
    RetryIn(Duration),
    GiveUp,
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

/// Decides what follows the try numbered `attempt`, which counts from zero. `jitter`, from 0 to 1, adds
/// up to a fifth, so that receivers which failed together are not tried together.
pub fn after_attempt(attempt: usize, outcome: Outcome, jitter: f64) -> NextStep {
    match outcome {
        Outcome::Delivered { .. } => NextStep::Done,
        Outcome::Refused { .. } | Outcome::NoAnswer(_) => {
            RETRY_SCHEDULE.get(attempt).map_or(NextStep::GiveUp, |wait| {
                NextStep::RetryIn(wait.mul_f64(1.0 + jitter.clamp(0.0, 1.0) / 5.0))
            })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::outcome::NoAnswer;

    #[test]
    fn whatever_was_delivered_is_done() {
        for attempt in [0, 8, 9, usize::MAX] {
            let next = after_attempt(attempt, Outcome::Delivered { status: 204 }, 0.5);
            assert_eq!(next, NextStep::Done);
        }
    }

    #[test]
    fn whatever_was_not_is_tried_again_for_about_three_days() {
        let total: Duration = RETRY_SCHEDULE.iter().sum();
        assert!((minutes(75 * 60)..minutes(76 * 60)).contains(&total), "{total:?}");
        for outcome in [
            Outcome::Refused { status: 500, retry_after: None },
            Outcome::NoAnswer(NoAnswer::Timeout),
        ] {
            for (attempt, wait) in RETRY_SCHEDULE.into_iter().enumerate() {
                assert_eq!(after_attempt(attempt, outcome, 0.0), NextStep::RetryIn(wait));
            }
            assert_eq!(after_attempt(RETRY_SCHEDULE.len(), outcome, 0.0), NextStep::GiveUp);
        }
    }

    #[test]
    fn jitter_adds_at_most_a_fifth() {
        let next =
            |jitter| after_attempt(0, Outcome::Refused { status: 500, retry_after: None }, jitter);
        assert_eq!(next(1.0), NextStep::RetryIn(Duration::from_secs(6)));
        assert_eq!(next(7.0), NextStep::RetryIn(Duration::from_secs(6)));
        assert_eq!(next(-1.0), NextStep::RetryIn(Duration::from_secs(5)));
    }
}
