//! Every outcome of a try, after every number of tries.

use super::*;
use crate::domain::outcome::NoAnswer;

fn at(seconds: i64) -> DateTime<Utc> {
    DateTime::from_timestamp(seconds, 0).unwrap()
}

fn refused(status: u16, retry_after: Option<u64>) -> Outcome {
    Outcome::Refused { status, retry_after: retry_after.map(Duration::from_secs) }
}

fn next(tries: usize, outcome: Outcome, jitter: f64) -> NextStep {
    let before = Progress { tries, our_fault_since: None, early_until: None };
    Schedule::default().after_try(before, outcome, at(0), jitter)
}

#[test]
fn whatever_was_delivered_is_done() {
    for tries in [0, 8, 9, usize::MAX] {
        for our_fault_since in [None, Some(at(0))] {
            let before = Progress { tries, our_fault_since, early_until: None };
            let delivered = Outcome::Delivered { status: 204 };
            let next = Schedule::default().after_try(before, delivered, at(9), 0.5);
            assert_eq!(next, NextStep::Done);
        }
    }
}

#[test]
fn what_the_receiver_or_the_network_did_is_tried_again_for_about_three_days() {
    let total: Duration = RETRY_SCHEDULE.iter().sum();
    assert!((minutes(75 * 60)..minutes(76 * 60)).contains(&total), "{total:?}");
    let failed = NoAnswer::ALL.map(Outcome::NoAnswer).into_iter();
    let failed = failed.filter(|outcome| outcome.fault() != Some(Fault::Ours));
    let refused = [301, 400, 404, 410, 429, 500, 503].map(|status| refused(status, None));
    for outcome in failed.chain(refused) {
        for (tries, wait) in RETRY_SCHEDULE.into_iter().enumerate() {
            assert_eq!(next(tries, outcome, 0.0), NextStep::RetryIn(wait), "{outcome:?}");
        }
        for tries in [RETRY_SCHEDULE.len(), usize::MAX] {
            assert_eq!(next(tries, outcome, 0.0), NextStep::GiveUp, "{outcome:?}");
        }
    }
}

#[test]
fn jitter_adds_at_most_a_fifth() {
    for (jitter, seconds) in [(-1.0, 5), (0.0, 5), (1.0, 6), (7.0, 6)] {
        let expected = NextStep::RetryIn(Duration::from_secs(seconds));
        assert_eq!(next(0, refused(500, None), jitter), expected);
    }
}

/// `Retry-After` of a 429 or 503: the try, what is asked, the wait in seconds.
#[test]
fn what_a_receiver_asks_for_is_honoured_within_bounds() {
    for status in [429, 503] {
        for (tries, asked, seconds) in [
            (0, 0, 5),
            (0, 4, 5),
            (0, 7, 7),
            (0, 3600, 3600),
            (0, 3601, 3600),
            (0, u64::MAX, 3600),
            // It may come back sooner than the schedule says.
            (2, 60, 60),
            // The schedule waits two hours here, and so may the receiver ask.
            (3, 7200, 7200),
            (3, 7201, 7200),
        ] {
            let expected = NextStep::RetryIn(Duration::from_secs(seconds));
            assert_eq!(next(tries, refused(status, Some(asked)), 0.0), expected, "{tries} {asked}");
        }
        assert_eq!(next(9, refused(status, Some(1)), 0.0), NextStep::GiveUp);
    }
    // Of no other answer.
    for status in [301, 400, 500, 502, 504] {
        let expected = NextStep::RetryIn(Duration::from_secs(5));
        assert_eq!(next(0, refused(status, Some(60)), 0.0), expected);
    }
}

#[test]
fn a_fault_of_ours_uses_no_try_and_is_given_up_after_three_days() {
    let three_days = OUR_FAULTS_MAX.num_seconds();
    for why in NoAnswer::ALL {
        let outcome = Outcome::NoAnswer(why);
        let is_ours = outcome.fault() == Some(Fault::Ours);
        let before = Progress { tries: 4, our_fault_since: None, early_until: None };
        let expected = if is_ours {
            Progress { tries: 4, our_fault_since: Some(at(7)), early_until: None }
        } else {
            Progress { tries: 5, our_fault_since: None, early_until: None }
        };
        assert_eq!(before.after(outcome, at(7)), expected, "{why:?}");
        if !is_ours {
            continue;
        }
        for (lasted, wait) in
            [(-9, 5), (0, 5), (6, 6), (299, 299), (400, 300), (three_days - 1, 300)]
        {
            // Even after the receiver's last try.
            let before = Progress { tries: 9, our_fault_since: Some(at(0)), early_until: None };
            let next = Schedule::default().after_try(before, outcome, at(lasted), 0.0);
            assert_eq!(next, NextStep::RetryIn(Duration::from_secs(wait)), "{why:?} {lasted}");
        }
        let before = Progress { tries: 0, our_fault_since: Some(at(0)), early_until: None };
        let next = Schedule::default().after_try(before, outcome, at(three_days), 0.0);
        assert_eq!(next, NextStep::GiveUp);
    }
}

#[test]
fn an_answer_of_the_receiver_ends_a_fault_of_ours() {
    let before = Progress { tries: 1, our_fault_since: Some(at(0)), early_until: None };
    let after = before.after(refused(500, None), at(9));
    assert_eq!(after, Progress { tries: 2, our_fault_since: None, early_until: None });
}

#[test]
fn a_schedule_is_a_list_of_waits() {
    let seconds = |text: &str| {
        let Schedule(waits) = text.parse::<Schedule>().ok()?;
        Some(waits.iter().map(Duration::as_secs).collect::<Vec<_>>())
    };
    assert_eq!(seconds("5s,5m, 2h ,1d"), Some(vec![5, 300, 7200, 86_400]));
    assert_eq!(seconds("7d"), Some(vec![604_800]));
    assert_eq!(seconds(&vec!["1s"; 20].join(",")), Some(vec![1; 20]));
    for bad in ["", "5", "s", "0s", "8d", "+5s", "-5s", "5.5s", "5s,", "5 s", "5é", "99999999999d"]
    {
        assert_eq!(seconds(bad), None, "{bad}");
    }
    assert_eq!(seconds(&vec!["1s"; 21].join(",")), None);
    let short: Schedule = "1s,2s".parse().unwrap();
    let after = |tries| {
        let before = Progress { tries, our_fault_since: None, early_until: None };
        short.after_try(before, refused(500, None), at(0), 0.0)
    };
    assert_eq!(after(1), NextStep::RetryIn(Duration::from_secs(2)));
    assert_eq!(after(2), NextStep::GiveUp);
}

#[test]
fn what_could_last_longer_than_its_lease_is_not_begun() {
    let longest = Duration::from_secs(15);
    for (now, expected) in [(0, true), (10, true), (11, false), (25, false), (1000, false)] {
        assert_eq!(has_time(at(now), longest, at(25)), expected, "{now}");
    }
}

#[test]
fn a_probe_before_its_time_that_fails_changes_nothing() {
    let early = |tries| Progress { tries, our_fault_since: None, early_until: Some(at(90)) };
    for outcome in
        [refused(500, None), refused(503, Some(7)), Outcome::NoAnswer(NoAnswer::OurResolver)]
    {
        // Not even the last try is used up.
        for tries in [1, RETRY_SCHEDULE.len()] {
            let schedule = Schedule::default();
            let next = schedule.after_try(early(tries), outcome, at(30), 1.0);
            assert_eq!(next, NextStep::RetryIn(Duration::from_mins(1)), "{outcome:?}");
            let late = schedule.after_try(early(tries), outcome, at(91), 1.0);
            assert_eq!(late, NextStep::RetryIn(Duration::ZERO), "it took longer than that");
            assert_eq!(early(tries).after(outcome, at(30)), early(tries));
        }
    }
    let taken = Outcome::Delivered { status: 204 };
    assert_eq!(Schedule::default().after_try(early(1), taken, at(30), 0.0), NextStep::Done);
}
