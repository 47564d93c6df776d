//! Whose account a credential is, and whether a provider takes it.

use super::{
    tests::{
        Seen::{Became, Doubted, Nothing},
        at, changed, listed, of_account, seen,
    },
    *,
};
use crate::domain::connection::fixture::{attempt, connection};

#[test]
fn an_unknown_account_is_verified_by_the_providers_answer_and_by_nothing_else() {
    let mut reconnected = connection(Active);
    reconnected.profile = of_account("1");
    reconnected.open_attempt = Some(attempt(1));
    let entered = changed(reconnected.apply(listed(1, "bound", Refresh::Works), at(0)));
    assert_eq!(
        (entered.status, entered.reason, entered.event, entered.probes),
        (NeedsReauth, NewReason::Now(Reason::AccountUnverified), None, true)
    );
    let unverified = reconnected.after(&entered, at(0).at);
    assert_eq!(unverified.next_action(), Some("wait"));
    let probed = |token, profile| Event::Probed { token, profile };
    let is = |status, event| Became(status, Some(event));
    for (event, expected) in [
        (probed(Token::Accepted, of_account("1")), is(Active, EventType::Reauthorized)),
        (probed(Token::Accepted, of_account("2")), is(NeedsReauth, EventType::NeedsReauth)),
        (probed(Token::Accepted, Profile::default()), Nothing),
        (probed(Token::Rejected, Profile::default()), Doubted),
        (listed(1, "bound", Refresh::Works), Nothing),
        (listed(9, "bound", Refresh::Works), Nothing),
        (listed(9, "bound", Refresh::Fails), Nothing),
        (Event::Missing, Doubted),
    ] {
        assert_eq!(seen(&unverified.apply(event.clone(), at(0))), expected, "{event:?}");
    }
    let accepts = Rules { may_change_account: true, ..at(0) };
    let other = changed(unverified.apply(probed(Token::Accepted, of_account("2")), accepts));
    assert_eq!((other.status, other.profile), (Active, Some(of_account("2"))));
    let rejected_since = Some(at(0).at);
    let rejected = Connection { doubts: Doubts { rejected_since, ..Doubts::NONE }, ..unverified };
    let lost = changed(rejected.apply(probed(Token::Rejected, Profile::default()), at(60)));
    assert_eq!(lost.reason, NewReason::Now(Reason::TokenRejected));
}

#[test]
fn where_any_account_is_welcome_an_unknown_one_is_active_and_not_named() {
    let mut reconnected = connection(Active);
    reconnected.profile = of_account("1");
    reconnected.open_attempt = Some(attempt(1));
    let accepts = Rules { may_change_account: true, ..at(0) };
    let accepted = changed(reconnected.apply(listed(1, "bound", Refresh::Works), accepts));
    assert_eq!((accepted.status, accepted.probes), (Active, true));
    assert_eq!(accepted.profile, Some(Profile::default()));
}

#[test]
fn what_was_asked_before_a_reconnect_ended_is_said_of_another_credential() {
    let mut asked = connection(Active);
    asked.profile = of_account("1");
    asked.open_attempt = Some(attempt(1));
    let unverified = asked
        .clone()
        .after(&changed(asked.apply(listed(1, "bound", Refresh::Works), at(1))), at(1).at);
    assert!(unverified.is_unverified());
    assert!(!unverified.has_credential_of(&asked));
    assert!(unverified.has_credential_of(&unverified.clone()));
    let mut started = asked.clone();
    started.open_attempt = None;
    assert!(asked.has_credential_of(&started), "a reconnect that has not ended changed nothing");
}

#[test]
fn a_renewal_that_nobody_waited_for_vouches_for_no_account() {
    for (status, reason, is_open) in [
        (Active, None, false),
        (Active, None, true),
        (Active, Some(Reason::RefreshFailing), false),
        (NeedsReauth, Some(Reason::RefreshFailed), false),
        (NeedsReauth, Some(Reason::TokenRejected), true),
        (NeedsReauth, Some(Reason::AccountChanged), false),
        (NeedsReauth, Some(Reason::AccountUnverified), false),
    ] {
        let mut before = connection(status);
        before.profile = of_account("1");
        before.reason = reason.map(|reason| reason.as_str().to_owned());
        before.open_attempt = is_open.then(|| attempt(1));
        let renewal = || listed(7, "bound", Refresh::Works);
        let entered = changed(before.apply(renewal(), at(0)));
        assert_eq!((entered.event, entered.probes), (None, true), "{status:?} {reason:?}");
        let after = before.clone().after(&entered, at(0).at);
        assert!(after.is_unverified(), "{status:?} {reason:?}");
        assert_eq!(after.open_attempt, before.open_attempt);
        assert!(!after.has_credential_of(&before), "an answer about the one before is no answer");
        assert_eq!(after.apply(renewal(), at(0)), Effect::Unchanged, "it is judged once");
        let probed = |id| Event::Probed { token: Token::Accepted, profile: of_account(id) };
        assert_eq!(changed(after.apply(probed("1"), at(0))).event, Some(EventType::Reauthorized));
        let refused = changed(after.apply(probed("2"), at(0)));
        assert_eq!(refused.reason, NewReason::Now(Reason::AccountChanged));
        let refused = after.clone().after(&refused, at(0).at);
        assert_eq!(refused.apply(renewal(), at(0)), Effect::Unchanged, "it is judged once");
        // Where any account is welcome, the next answer names it.
        let accepts = Rules { may_change_account: true, ..at(0) };
        let accepted = changed(before.apply(renewal(), accepts));
        assert_eq!(
            (accepted.status == NeedsReauth, accepted.probes),
            (status == NeedsReauth && reason != Some(Reason::RefreshFailed), true)
        );
    }
}

#[test]
fn what_an_attempt_brought_is_judged_when_it_ends_and_not_before() {
    let mut before = connection(Active);
    before.profile = of_account("1");
    before.open_attempt = Some(attempt(3));
    let of = |id: Option<&str>| Event::Listed {
        attempt: attempt(3),
        vault: "bound".parse().unwrap(),
        refresh: Refresh::Works,
        profile: Profile { account_id: id.map(str::to_owned), ..Profile::default() },
    };
    for id in [Some("1"), Some("2"), None] {
        let ended = changed(before.apply(of(id), at(0)));
        let ended = before.clone().after(&ended, at(0).at);
        assert_eq!(ended.apply(of(None), at(0)), Effect::Unchanged, "{id:?}");
    }
    for event in [
        Event::CallbackFailed { attempt: attempt(3), reason: Reason::AccessDenied },
        Event::DeadlinePassed { attempt: attempt(3), was_called_back: true },
        Event::Reconnected { attempt: attempt(4), scopes: None },
    ] {
        let ended = changed(before.apply(event.clone(), at(0)));
        let late = before.clone().after(&ended, at(0).at);
        let renewed = changed(late.apply(of(None), at(0)));
        assert_eq!(renewed.reason, NewReason::Now(Reason::AccountUnverified), "{event:?}");
    }
}

#[test]
fn a_token_that_is_rejected_with_many_is_believed_to_be_revoked_after_an_hour() {
    let rejected = |token| Event::Probed { token, profile: Profile::default() };
    let mut active = connection(Active);
    active.profile = of_account("1");
    let Effect::Noted(doubts) = active.apply(rejected(Token::RejectedWithMany), at(0)) else {
        panic!("not noted")
    };
    active.doubts = doubts;
    assert_eq!(active.apply(rejected(Token::RejectedWithMany), at(3599)), Effect::Unchanged);
    for (token, seconds) in [(Token::Rejected, 60), (Token::RejectedWithMany, 3600)] {
        let lost = changed(active.apply(rejected(token), at(seconds)));
        assert_eq!(lost.reason, NewReason::Now(Reason::TokenRejected), "{token:?}");
        assert!(lost.probes, "it is asked again");
        let lost = active.clone().after(&lost, at(seconds).at);
        let taken = |profile| Event::Probed { token: Token::Accepted, profile };
        let back = changed(lost.apply(taken(of_account("1")), at(seconds)));
        assert_eq!((back.status, back.event), (Active, Some(EventType::Recovered)));
        assert_eq!(lost.apply(taken(of_account("2")), at(seconds)), Effect::Unchanged);
        assert_eq!(lost.apply(taken(Profile::default()), at(seconds)), Effect::Unchanged);
    }
}
