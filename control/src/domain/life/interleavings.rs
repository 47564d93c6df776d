//! Whatever the vault, the user and the network do, in whatever order: what can never be.

use super::*;
use crate::domain::connection::fixture::{attempt, connection};
use proptest::prelude::*;

/// An event that a small world can bring: three attempts, two names at the vault, two accounts.
fn event() -> impl Strategy<Value = Event> {
    let number = || (1..=3_u64).prop_map(attempt);
    let vault = prop_oneof![Just("bound"), Just("other")];
    let vault = vault.prop_map(|name| name.parse::<NangoConnectionId>().unwrap());
    let refresh =
        prop_oneof![Just(Refresh::Works), Just(Refresh::Fails), Just(Refresh::FailsWithMany)];
    let profile = || {
        prop_oneof![Just(None), Just(Some("1")), Just(Some("2"))]
            .prop_map(|id| Profile { account_id: id.map(str::to_owned), ..Profile::default() })
    };
    let token =
        prop_oneof![Just(Token::Accepted), Just(Token::Rejected), Just(Token::RejectedWithMany)];
    prop_oneof![
        number()
            .prop_map(|attempt| Event::CallbackFailed { attempt, reason: Reason::AccessDenied }),
        (number(), vault, refresh, profile()).prop_map(|(attempt, vault, refresh, profile)| {
            Event::Listed { attempt, vault, refresh, profile }
        }),
        number().prop_map(|attempt| Event::ApprovalAwaited { attempt }),
        Just(Event::Missing),
        (token, profile()).prop_map(|(token, profile)| Event::Probed { token, profile }),
        (number(), any::<bool>()).prop_map(|(attempt, was_called_back)| {
            Event::DeadlinePassed { attempt, was_called_back }
        }),
        number().prop_map(|attempt| Event::Reconnected { attempt, scopes: None }),
        Just(Event::DeleteAsked),
        Just(Event::VaultEmptied),
    ]
}

/// What a store does with an effect, without one.
fn carry_out(connection: Connection, effect: &Effect, at: DateTime<Utc>) -> Connection {
    match effect {
        Effect::Unchanged | Effect::Extra(_) | Effect::Refused(_) => connection,
        Effect::Noted(doubts) => Connection { doubts: *doubts, ..connection },
        Effect::Changed(transition) => connection.after(transition, at),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_order_of_events_leads_where_a_connection_may_not_be(
        events in prop::collection::vec((event(), 0..4000_i64), 0..60),
        may_change_account: bool,
    ) {
        let mut connection = connection(Pending);
        let mut seconds = 0_i64;
        for (event, wait) in events {
            seconds = i64::saturating_add(seconds, wait);
            let at = DateTime::from_timestamp(seconds, 0).unwrap();
            let before = connection.clone();
            let effect = connection.apply(event.clone(), Rules { at, may_change_account });
            let changed = if let Effect::Changed(changed) = &effect { Some(changed) } else { None };
            connection = carry_out(connection, &effect, at);
            let now = connection.status;
            // A deletion is never taken back, and nothing but its own end ends it.
            let was_ending = matches!(before.status, Deleting | Deleted);
            prop_assert!(!was_ending || matches!(now, Deleting | Deleted), "{event:?}");
            prop_assert!(before.status != Deleted || changed.is_none(), "{event:?}");
            // Of the vault's successes one is bound, and no other takes its place.
            if matches!(now, Active | NeedsReauth) && matches!(before.status, Active | NeedsReauth) {
                prop_assert_eq!(&connection.vault, &before.vault);
            }
            prop_assert!(!matches!(now, Active | NeedsReauth) || connection.vault.is_some());
            // Every success that is not the bound one is undone, and the bound one never.
            if let Effect::Extra(extra) = &effect
                && matches!(now, Active | NeedsReauth)
            {
                prop_assert_ne!(Some(extra), connection.vault.as_ref());
            }
            // Who waits, waits for something: a pending connection has its attempt.
            prop_assert!(now != Pending || connection.open_attempt.is_some(), "{event:?}");
            prop_assert!(!matches!(now, Failed | Expired | Deleting | Deleted)
                || connection.open_attempt.is_none(), "{event:?}");
            // A new status has its event, unless it is not verified yet whose account it is.
            if let Some(transition) = changed && !connection.is_unverified() {
                let is_news = transition.status != before.status;
                let is_asked = matches!(event, Event::DeleteAsked | Event::Reconnected { .. });
                prop_assert!(!is_news || is_asked || transition.event.is_some(), "{event:?}");
            }
            // Another account is there only where the operator lets it.
            let known = before.profile.account_id.as_ref();
            if known.is_some() && matches!(before.status, Active | NeedsReauth) && !may_change_account {
                prop_assert_eq!(connection.profile.account_id.as_ref(), known);
            }
            // The same event again changes nothing that a client application could see.
            let again = connection.apply(event.clone(), Rules { at, may_change_account });
            let is_repeatable = !matches!(event, Event::Reconnected { .. });
            prop_assert!(!is_repeatable || !matches!(again, Effect::Changed(_)), "{event:?} twice: {again:?}");
        }
    }
}
