//! Every standing answers every outcome.

use super::*;
use crate::domain::outcome::NoAnswer;
use std::time::Duration;

fn at(seconds: i64) -> DateTime<Utc> {
    DateTime::from_timestamp(seconds, 0).unwrap()
}

fn standing(probe_at: i64, probes: u32) -> Standing {
    Standing::Paused { probe_at: at(probe_at), probes }
}

fn in_state(standing: Standing) -> DestinationHealth {
    let reason = (standing != Standing::Active).then(|| "timeout".to_owned());
    let failing_since = Some(at(0));
    DestinationHealth {
        standing,
        reason,
        failures: 3,
        failing_since,
        ..DestinationHealth::new(at(0))
    }
}

const PAUSED: Standing = Standing::Paused { probe_at: DateTime::<Utc>::UNIX_EPOCH, probes: 2 };
const DELIVERED: Outcome = Outcome::Delivered { status: 204 };
const REFUSED: Outcome = Outcome::Refused { status: 500, retry_after: None };
const THROTTLED: Outcome =
    Outcome::Refused { status: 429, retry_after: Some(Duration::from_secs(9)) };
const GONE: Outcome = Outcome::Refused { status: 410, retry_after: None };
const TIMEOUT: Outcome = Outcome::NoAnswer(NoAnswer::Timeout);
const OURS: Outcome = Outcome::NoAnswer(NoAnswer::OurResolver);

/// What an outcome makes of a standing at second 100: standing, turn, failures in a row, reason.
#[track_caller]
fn check(
    before: Standing,
    (outcome, is_probe): (Outcome, bool),
    expected: (Standing, Option<Turn>, u32, Option<&str>),
) {
    let tried = Tried { outcome, at: at(100), is_probe };
    let (after, turn) = in_state(before).after(tried, 0.0);
    let found = (after.standing, turn, after.failures, after.reason.as_deref());
    assert_eq!(found, expected, "{before:?} {outcome:?} {is_probe}");
    // The database's CHECKs.
    assert_eq!(after.failures == 0, after.failing_since.is_none());
    assert_eq!(after.standing == Standing::Active, after.reason.is_none());
    let has_turned = turn.is_some();
    assert_eq!(after.since == at(100), has_turned, "{before:?} {outcome:?}");
}

#[test]
fn every_standing_answers_every_outcome() {
    use Standing::{Active, Stopped};
    let stopped = Some(Turn::Stopped);
    for is_probe in [false, true] {
        // Three failures and a hundred seconds are no reason to pause.
        check(Active, (DELIVERED, is_probe), (Active, None, 0, None));
        check(Active, (REFUSED, is_probe), (Active, None, 4, None));
        check(Active, (THROTTLED, is_probe), (Active, None, 4, None));
        check(Active, (TIMEOUT, is_probe), (Active, None, 4, None));
        check(Active, (OURS, is_probe), (Active, None, 3, None));
        check(Active, (GONE, is_probe), (Stopped, stopped, 4, Some("gone")));
        // The first 2xx resumes, whoever brings it; 410 stops.
        check(PAUSED, (DELIVERED, is_probe), (Active, Some(Turn::Resumed), 0, None));
        check(PAUSED, (GONE, is_probe), (Stopped, stopped, 4, Some("gone")));
        // Nothing but putting it again starts what was stopped.
        for outcome in [DELIVERED, REFUSED, THROTTLED, TIMEOUT, OURS, GONE] {
            check(Stopped, (outcome, is_probe), (Stopped, None, 3, Some("timeout")));
        }
    }
    // A probe that fails is followed by a later one; what was under way says nothing of probes.
    check(PAUSED, (REFUSED, true), (standing(340, 3), None, 4, Some("refused")));
    check(PAUSED, (THROTTLED, true), (standing(340, 3), None, 4, Some("refused")));
    check(PAUSED, (TIMEOUT, true), (standing(340, 3), None, 4, Some("timeout")));
    check(PAUSED, (OURS, true), (standing(220, 2), None, 3, Some("timeout")));
    for outcome in [REFUSED, THROTTLED, TIMEOUT] {
        check(PAUSED, (outcome, false), (PAUSED, None, 4, Some("timeout")));
    }
    check(PAUSED, (OURS, false), (PAUSED, None, 3, Some("timeout")));
}

/// Fails once at each of these seconds; when it was paused, if it was.
fn paused_at(seconds: impl IntoIterator<Item = i64>) -> Option<i64> {
    let mut health = DestinationHealth::new(at(0));
    for second in seconds {
        let tried = Tried { outcome: REFUSED, at: at(second), is_probe: false };
        let (after, turn) = health.after(tried, 0.0);
        if turn.is_some() {
            let first_probe = standing(second.saturating_add(30), 0);
            assert_eq!((turn, after.standing), (Some(Turn::Paused), first_probe));
            return Some(second);
        }
        health = after;
    }
    None
}

#[test]
fn only_failures_that_are_many_and_last_pause() {
    assert_eq!(paused_at((0..10).map(|n| n * 40)), Some(360));
    assert_eq!(paused_at((0..9).map(|n| n * 40)), None, "nine");
    assert_eq!(paused_at((0..100).map(|_| 7)), None, "a hundred in one moment");
    assert_eq!(paused_at((0..100).chain([299])), None);
    assert_eq!(paused_at((0..100).chain([300])), Some(300));
    assert_eq!(paused_at([0, 86_400]), None, "two in a day");
}

#[test]
fn a_success_in_between_begins_the_count_anew() {
    let mut health = DestinationHealth::new(at(0));
    for second in (0..1000).map(|n| n * 60) {
        let outcome = if second % 540 == 0 { DELIVERED } else { REFUSED };
        let (after, turn) = health.after(Tried { outcome, at: at(second), is_probe: false }, 0.0);
        assert_eq!(turn, None);
        health = after;
    }
}

#[test]
fn probes_wait_longer_and_longer_up_to_an_hour() {
    let mut health = in_state(standing(0, 0));
    let mut waits = Vec::new();
    for _ in 0..9 {
        let tried = Tried { outcome: TIMEOUT, at: at(0), is_probe: true };
        health = health.after(tried, 0.0).0;
        let Standing::Paused { probe_at, .. } = health.standing else { panic!("{health:?}") };
        waits.push(probe_at.timestamp());
    }
    assert_eq!(waits, [60, 120, 240, 480, 960, 1920, 3600, 3600, 3600]);
    let tried = Tried { outcome: TIMEOUT, at: at(0), is_probe: true };
    for (jitter, wait) in [(1.0, 72), (7.0, 72), (-1.0, 60)] {
        assert_eq!(in_state(standing(0, 0)).after(tried, jitter).0.standing, standing(wait, 1));
    }
    // However long it lasts.
    let last = in_state(standing(0, u32::MAX)).after(tried, 0.0).0.standing;
    assert_eq!(last, standing(3600, u32::MAX));
}

#[test]
fn a_success_is_written_down_once_in_ten_seconds() {
    let first = Tried { outcome: DELIVERED, at: at(0), is_probe: false };
    let (health, _) = DestinationHealth::new(at(0)).after(first, 0.0);
    assert_eq!(health.last_success_at, Some(at(0)));
    for (second, written) in [(9, 0), (10, 10)] {
        let (after, _) = health.after(Tried { at: at(second), ..first }, 0.0);
        assert_eq!(after.last_success_at, Some(at(written)));
    }
}
