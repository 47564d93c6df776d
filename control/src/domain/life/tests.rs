//! The table of a connection's life, row by row: every state answers every event.

use super::*;
use crate::domain::connection::fixture::{attempt, connection};

/// What can be seen of an effect.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Seen {
    Nothing,
    /// Kept for the next look.
    Doubted,
    Became(Status, Option<EventType>),
    Undone,
    Refused,
}

use Seen::{Became, Doubted, Nothing, Undone};
const N: Seen = Nothing;
const D: Seen = Doubted;
const U: Seen = Undone;
const R: Seen = Seen::Refused;

pub(super) fn seen(effect: &Effect) -> Seen {
    match effect {
        Effect::Unchanged => Nothing,
        Effect::Noted(_) => Doubted,
        Effect::Changed(transition) => Became(transition.status, transition.event),
        Effect::Extra(_) => Undone,
        Effect::Refused(_) => Seen::Refused,
    }
}

pub(super) fn at(seconds: i64) -> Rules {
    Rules::at(DateTime::from_timestamp(seconds, 0).unwrap())
}

pub(super) fn listed(number: u64, vault: &str, refresh: Refresh) -> Event {
    let vault = vault.parse().unwrap();
    Event::Listed { attempt: attempt(number), vault, refresh, profile: Profile::default() }
}

pub(super) fn of_account(id: &str) -> Profile {
    Profile { account_id: Some(id.to_owned()), ..Profile::default() }
}

pub(super) fn changed(effect: Effect) -> Transition {
    let Effect::Changed(transition) = effect else { panic!("nothing changed: {effect:?}") };
    transition
}

/// A connection in each status, in the order of [`Status::ALL`], with attempt 1 open where it says so.
fn each(is_open: bool) -> Vec<Connection> {
    let open = |status| {
        let mut connection = connection(status);
        if matches!(status, Active | NeedsReauth) {
            connection.open_attempt = is_open.then(|| attempt(1));
        }
        connection
    };
    Status::ALL.into_iter().map(open).collect()
}

#[track_caller]
fn check(is_open: bool, event: Event, expected: [Seen; 7]) {
    for (connection, expected) in each(is_open).into_iter().zip(expected) {
        let effect = connection.apply(event.clone(), at(0));
        assert_eq!(seen(&effect), expected, "{:?} × {event:?}", connection.status);
    }
}

#[test]
fn every_state_answers_every_event() {
    let became = |status, event| Became(status, Some(event));
    let failed = became(Failed, EventType::Failed);
    let expired = became(Expired, EventType::Expired);
    let active = became(Active, EventType::Activated);
    let failing = Became(Active, None);
    let deleting = Became(Deleting, None);
    let denied =
        |number| Event::CallbackFailed { attempt: attempt(number), reason: Reason::AccessDenied };
    let late = |was_called_back| Event::DeadlinePassed { attempt: attempt(1), was_called_back };
    let probed = |token| Event::Probed { token, profile: Profile::default() };
    let [works, fails] = [Refresh::Works, Refresh::Fails];
    let reconnected = Event::Reconnected { attempt: attempt(2), scopes: None };
    let [pending, stays, needs] =
        [Became(Pending, None), Became(Active, None), Became(NeedsReauth, None)];
    //                             Pending, Active, NeedsReauth, Failed, Expired, Deleting, Deleted
    check(false, denied(1), [failed, N, N, N, N, N, N]);
    check(false, denied(2), [N, N, N, N, N, N, N]);
    check(false, listed(1, "bound", works), [active, N, N, U, U, U, U]);
    check(false, listed(1, "bound", fails), [active, failing, N, U, U, U, U]);
    check(false, listed(2, "other", works), [U, U, U, U, U, U, U]);
    let approval = |number| Event::ApprovalAwaited { attempt: attempt(number) };
    let waits = became(Pending, EventType::Updated);
    check(false, approval(1), [waits, N, N, N, N, N, N]);
    check(false, approval(2), [N, N, N, N, N, N, N]);
    check(false, Event::Missing, [N, D, D, N, N, N, N]);
    check(false, probed(Token::Accepted), [N, N, N, N, N, N, N]);
    check(false, probed(Token::Rejected), [N, D, N, N, N, N, N]);
    check(false, late(false), [expired, N, N, N, N, N, N]);
    check(false, late(true), [failed, N, N, N, N, N, N]);
    check(false, reconnected, [pending, stays, needs, pending, pending, R, R]);
    check(false, Event::DeleteAsked, [deleting, deleting, deleting, deleting, deleting, N, N]);
    check(false, Event::VaultEmptied, [N, N, N, N, N, became(Deleted, EventType::Deleted), N]);
}

#[test]
fn every_state_answers_what_becomes_of_a_reconnect() {
    let unharmed = |status| Became(status, Some(EventType::ReauthorizationFailed));
    let again = Became(Active, Some(EventType::Reauthorized));
    let [active, needs] = [unharmed(Active), unharmed(NeedsReauth)];
    let failed = Became(Failed, Some(EventType::Failed));
    let expired = Became(Expired, Some(EventType::Expired));
    let activated = Became(Active, Some(EventType::Activated));
    let denied = Event::CallbackFailed { attempt: attempt(1), reason: Reason::AccessDenied };
    let late = Event::DeadlinePassed { attempt: attempt(1), was_called_back: false };
    //                             Pending, Active, NeedsReauth, Failed, Expired, Deleting, Deleted
    check(true, denied, [failed, active, needs, N, N, N, N]);
    check(true, late, [expired, active, needs, N, N, N, N]);
    check(true, listed(1, "bound", Refresh::Works), [activated, again, again, U, U, U, U]);
    check(true, listed(1, "other", Refresh::Works), [activated, U, U, U, U, U, U]);
}

#[test]
fn a_failed_reconnect_leaves_the_connection_as_it_was_and_says_why() {
    let mut active = connection(Active);
    active.open_attempt = Some(attempt(1));
    active.reason = Some("refresh_failing".to_owned());
    let denied = Event::CallbackFailed { attempt: attempt(1), reason: Reason::AccessDenied };
    let transition = changed(active.apply(denied, at(0)));
    assert_eq!((transition.status, transition.reason), (Active, NewReason::Kept));
    assert_eq!(transition.told_reason(active.reason.as_deref()), Some("access_denied"));
    assert_eq!(transition.attempt_ended, Some((AttemptEnd::Failed, Some(Reason::AccessDenied))));
}

#[test]
fn a_new_attempt_supersedes_the_open_one_whose_success_is_undone() {
    let pending = connection(Pending);
    let transition =
        changed(pending.apply(Event::Reconnected { attempt: attempt(2), scopes: None }, at(0)));
    assert_eq!(transition.attempt_ended, Some((AttemptEnd::Superseded, None)));
    assert_eq!(transition.attempt_opened, Some(attempt(2)));
    let mut pending = pending;
    pending.open_attempt = transition.attempt_opened;
    let late = pending.apply(listed(1, "late", Refresh::Works), at(1));
    assert_eq!(late, Effect::Extra("late".parse().unwrap()));
}

#[test]
fn what_is_missing_is_deleted_when_it_is_missing_twice() {
    let mut active = connection(Active);
    let Effect::Noted(doubts) = active.apply(Event::Missing, at(0)) else { panic!("not noted") };
    active.doubts = doubts;
    assert_eq!(active.apply(Event::Missing, at(59)), Effect::Unchanged);
    let transition = changed(active.apply(Event::Missing, at(60)));
    assert_eq!((transition.status, transition.event), (Deleted, Some(EventType::Deleted)));
    assert_eq!(transition.reason, NewReason::Now(Reason::GoneAtVault));
    // Seen in between, the count begins anew.
    let seen = active.apply(listed(9, "bound", Refresh::Works), at(30));
    assert_eq!(seen, Effect::Noted(Doubts::NONE));
}

#[test]
fn a_refresh_that_fails_costs_the_connection_only_after_its_grace_and_not_with_many() {
    let fails = |refresh| listed(9, "bound", refresh);
    let mut active = connection(Active);
    let first = changed(active.apply(fails(Refresh::Fails), at(0)));
    assert_eq!((first.status, first.event), (Active, None));
    assert_eq!(first.reason, NewReason::Now(Reason::RefreshFailing));
    active.doubts = first.doubts;
    active.reason = Some(Reason::RefreshFailing.as_str().to_owned());
    assert_eq!(active.apply(fails(Refresh::Fails), at(3599)), Effect::Unchanged);
    assert_eq!(active.apply(fails(Refresh::FailsWithMany), at(9999)), Effect::Unchanged);
    let lost = changed(active.apply(fails(Refresh::Fails), at(3600)));
    assert_eq!((lost.status, lost.event), (NeedsReauth, Some(EventType::NeedsReauth)));
    let back = changed(active.apply(fails(Refresh::Works), at(3600)));
    assert_eq!(
        (back.status, back.reason, back.event),
        (Active, NewReason::Cleared, Some(EventType::Recovered))
    );
    assert_eq!(back.doubts, Doubts::NONE);
}

#[test]
fn a_reason_is_cleared_by_its_own_kind_of_evidence_only() {
    let taken = || Event::Probed { token: Token::Accepted, profile: of_account("1") };
    let works = || listed(9, "bound", Refresh::Works);
    let rows = [
        // The reason, whether a sweep without errors ends it, and whether a good probe does.
        (Reason::RefreshFailed, true, false),
        (Reason::TokenRejected, false, true),
        (Reason::AccountChanged, false, false),
    ];
    for (reason, by_sweep, by_probe) in rows {
        let mut lost = connection(NeedsReauth);
        lost.reason = Some(reason.as_str().to_owned());
        for (event, ends) in [(works(), by_sweep), (taken(), by_probe)] {
            let expected = if ends { Became(Active, Some(EventType::Recovered)) } else { N };
            assert_eq!(seen(&lost.apply(event.clone(), at(0))), expected, "{reason:?} × {event:?}");
        }
    }
}

#[test]
fn a_token_is_rejected_when_it_is_rejected_twice() {
    let rejected = || Event::Probed { token: Token::Rejected, profile: Profile::default() };
    let mut active = connection(Active);
    let Effect::Noted(doubts) = active.apply(rejected(), at(0)) else { panic!("not noted") };
    active.doubts = doubts;
    assert_eq!(active.apply(rejected(), at(59)), Effect::Unchanged);
    let lost = changed(active.apply(rejected(), at(60)));
    assert_eq!((lost.status, lost.reason), (NeedsReauth, NewReason::Now(Reason::TokenRejected)));
    let taken = Event::Probed { token: Token::Accepted, profile: Profile::default() };
    assert_eq!(active.apply(taken, at(60)), Effect::Noted(Doubts::NONE));
}

#[test]
fn another_account_is_refused_unless_the_operator_lets_it() {
    let mut active = connection(Active);
    active.profile = of_account("1");
    active.open_attempt = Some(attempt(1));
    let of = |id| Event::Listed {
        attempt: attempt(1),
        vault: "bound".parse().unwrap(),
        refresh: Refresh::Works,
        profile: of_account(id),
    };
    let refused = changed(active.apply(of("2"), at(0)));
    assert_eq!(refused.status, NeedsReauth);
    assert_eq!(refused.reason, NewReason::Now(Reason::AccountChanged));
    assert_eq!(refused.profile, None, "whose it was stays known");
    let let_in = Rules { may_change_account: true, ..at(0) };
    let accepted = changed(active.apply(of("2"), let_in));
    assert_eq!((accepted.status, accepted.profile), (Active, Some(of_account("2"))));
    // Once refused, only the known account mends it, and nobody's does not.
    let mut refused = active.clone();
    refused.status = NeedsReauth;
    refused.reason = Some(Reason::AccountChanged.as_str().to_owned());
    let unknown = changed(refused.apply(listed(1, "bound", Refresh::Works), at(0)));
    assert_eq!((unknown.status, unknown.event), (NeedsReauth, None));
    assert_eq!(changed(refused.apply(of("1"), at(0))).status, Active);
    let same = changed(active.apply(of("1"), at(0)));
    assert_eq!((same.status, same.event), (Active, Some(EventType::Reauthorized)));
    // A reconnect that nobody waited for is seen by the next probe.
    let probe = Event::Probed { token: Token::Accepted, profile: of_account("2") };
    assert_eq!(changed(active.apply(probe, at(0))).status, NeedsReauth);
}

#[test]
fn what_is_learned_of_the_user_later_is_told() {
    let active = connection(Active);
    let probe = || Event::Probed { token: Token::Accepted, profile: of_account("1") };
    let learned = changed(active.apply(probe(), at(0)));
    assert_eq!((learned.status, learned.event), (Active, Some(EventType::Updated)));
    let mut knows = active;
    knows.profile = of_account("1");
    assert_eq!(knows.apply(probe(), at(0)), Effect::Unchanged);
}

#[test]
fn a_deletion_closes_the_attempt_that_is_open_and_looks_again_later() {
    let transition = changed(connection(Pending).apply(Event::DeleteAsked, at(0)));
    assert_eq!(transition.attempt_ended, Some((AttemptEnd::Superseded, None)));
    assert_eq!(transition.empties_vault, [Duration::ZERO]);
    let transition = changed(connection(Active).apply(Event::DeleteAsked, at(0)));
    assert_eq!(transition.attempt_ended, None);
    let transition = changed(connection(Deleting).apply(Event::VaultEmptied, at(0)));
    assert_eq!(transition.empties_vault, LOOK_AFTER_DELETION);
}

/// Whatever a wrong clock dated in the future begins when it is seen again.
#[test]
fn a_doubt_from_the_future_begins_now_and_is_not_in_doubt_for_ever() {
    let tomorrow = DateTime::from_timestamp(86_400, 0);
    let mut connection = connection(Active);
    connection.doubts.missing_since = tomorrow;
    connection.doubts.rejected_since = tomorrow;
    let rejected = Event::Probed { token: Token::Rejected, profile: Profile::default() };
    for (event, expected) in [(Event::Missing, Deleted), (rejected, NeedsReauth)] {
        let Effect::Noted(doubts) = connection.apply(event.clone(), at(1000)) else { panic!() };
        let later = Connection { doubts, ..connection.clone() };
        assert_eq!(later.apply(event.clone(), at(1059)), Effect::Unchanged, "{event:?}");
        assert_eq!(changed(later.apply(event, at(1060))).status, expected);
    }
}
