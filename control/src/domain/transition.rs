//! What each event changes in each state: the table of a connection's life.

use super::{
    audit::AuditAction,
    connection::{Connection, Reason, Status},
    notification::EventType,
    profile::Profile,
};
use contract::id::{AttemptId, NangoConnectionId};
use std::time::Duration;

/// A browser that was sent on to Nango before the deletion may still make a connection there, and its
/// webhook may be lost. So the vault is looked at again: soon, and after Nango's cookie has expired.
const LOOK_AFTER_DELETION: [Duration; 2] = [Duration::from_mins(2), Duration::from_mins(65)];

/// Something that happened to a connection.
#[derive(Debug, Clone, PartialEq)]
pub enum Event {
    /// The provider sent the user back with an error.
    CallbackFailed { attempt: AttemptId, reason: Reason },
    /// The vault was asked, and holds a credential that this attempt made.
    Confirmed { attempt: AttemptId, vault: NangoConnectionId, profile: Profile },
    /// The client application asked for its deletion.
    DeleteAsked,
    /// The deletion is done: the vault was asked, and holds nothing for it.
    VaultEmptied,
}

/// What an event does.
#[derive(Debug, Clone, PartialEq)]
#[must_use]
pub enum Effect {
    /// Nothing that anybody could see.
    Unchanged,
    Changed(Transition),
    /// The vault holds one more success than this connection may have; it must be deleted there.
    Extra(NangoConnectionId),
}

/// What one event changes. State, audit line, event and job are committed together.
#[derive(Debug, Clone, PartialEq)]
pub struct Transition {
    pub status: Status,
    pub reason: Option<Reason>,
    /// How the open attempt ended; no attempt stays open in a transition that says so.
    pub attempt_ended: Option<AttemptEnd>,
    /// What the vault was seen to hold.
    pub confirmed: Option<(NangoConnectionId, Profile)>,
    pub audit: AuditAction,
    pub event: Option<EventType>,
    /// After which waits the vault must be emptied.
    pub empties_vault: &'static [Duration],
}

/// How an attempt ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AttemptEnd {
    Done,
    Failed,
    /// Something else was asked for before anybody finished it.
    Superseded,
}

impl AttemptEnd {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Failed => "failed",
            Self::Superseded => "superseded",
        }
    }
}

impl Connection {
    /// What `event` does to this connection.
    ///
    /// The vault repeats itself, and reorders and loses what it says, so that an event which already
    /// happened changes nothing, and a success that comes too late is undone at the vault.
    pub fn apply(&self, event: Event) -> Effect {
        match (self.status, event) {
            (Status::Pending, Event::CallbackFailed { attempt, reason })
                if self.open_attempt == Some(attempt) =>
            {
                Effect::Changed(Transition {
                    reason: Some(reason),
                    attempt_ended: Some(AttemptEnd::Failed),
                    event: Some(EventType::Failed),
                    ..Transition::to(Status::Failed, AuditAction::Failed)
                })
            }
            (Status::Pending, Event::Confirmed { attempt, vault, profile })
                if self.open_attempt == Some(attempt) =>
            {
                Effect::Changed(Transition {
                    attempt_ended: Some(AttemptEnd::Done),
                    confirmed: Some((vault, profile)),
                    event: Some(EventType::Activated),
                    ..Transition::to(Status::Active, AuditAction::Activated)
                })
            }
            (Status::Active | Status::NeedsReauth, Event::Confirmed { vault, .. })
                if self.vault.as_ref() == Some(&vault) =>
            {
                Effect::Unchanged
            }
            (_, Event::Confirmed { vault, .. }) => Effect::Extra(vault),
            (
                Status::Pending
                | Status::Active
                | Status::NeedsReauth
                | Status::Failed
                | Status::Expired,
                Event::DeleteAsked,
            ) => Effect::Changed(Transition {
                reason: Some(Reason::Requested),
                attempt_ended: self.open_attempt.map(|_open| AttemptEnd::Superseded),
                empties_vault: &[Duration::ZERO],
                ..Transition::to(Status::Deleting, AuditAction::DeleteAsked)
            }),
            (Status::Deleting, Event::VaultEmptied) => Effect::Changed(Transition {
                reason: Some(Reason::Requested),
                event: Some(EventType::Deleted),
                empties_vault: &LOOK_AFTER_DELETION,
                ..Transition::to(Status::Deleted, AuditAction::Deleted)
            }),
            (Status::Deleting | Status::Deleted, Event::DeleteAsked)
            | (_, Event::CallbackFailed { .. } | Event::VaultEmptied) => Effect::Unchanged,
        }
    }
}

impl Transition {
    fn to(status: Status, audit: AuditAction) -> Self {
        Self {
            status,
            reason: None,
            attempt_ended: None,
            confirmed: None,
            audit,
            event: None,
            empties_vault: &[],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::connection::fixture::{attempt, connection};
    use Status::{Active, Deleted, Deleting, Failed, Pending};

    /// What can be seen of an effect: the new status and the event, or what is undone.
    #[derive(Debug, PartialEq)]
    enum Seen {
        Nothing,
        Became(Status, Option<EventType>),
        Undone,
    }

    fn seen(effect: Effect) -> Seen {
        match effect {
            Effect::Unchanged => Seen::Nothing,
            Effect::Changed(transition) => Seen::Became(transition.status, transition.event),
            Effect::Extra(_) => Seen::Undone,
        }
    }

    fn failed(number: u64) -> Event {
        Event::CallbackFailed { attempt: attempt(number), reason: Reason::AccessDenied }
    }

    fn confirmed(number: u64, vault: &str) -> Event {
        let vault = vault.parse().unwrap();
        Event::Confirmed { attempt: attempt(number), vault, profile: Profile::default() }
    }

    /// Every status answers `event`, in the order of [`Status::ALL`].
    #[track_caller]
    fn check(event: Event, expected: [Seen; 7]) {
        for (status, expected) in Status::ALL.into_iter().zip(expected) {
            let effect = seen(connection(status).apply(event.clone()));
            assert_eq!(effect, expected, "{status:?} × {event:?}");
        }
    }

    #[test]
    fn every_state_answers_every_event() {
        use Seen::{Became, Nothing, Undone};
        const N: Seen = Nothing;
        const U: Seen = Undone;
        let failed_now = Became(Failed, Some(EventType::Failed));
        let active_now = Became(Active, Some(EventType::Activated));
        let deleted_now = Became(Deleted, Some(EventType::Deleted));
        let deleting = || Became(Deleting, None);
        //      Pending, Active, NeedsReauth, Failed, Expired, Deleting, Deleted
        check(failed(1), [failed_now, N, N, N, N, N, N]);
        check(failed(2), [N, N, N, N, N, N, N]);
        check(confirmed(1, "bound"), [active_now, N, N, U, U, U, U]);
        check(confirmed(2, "other"), [U, U, U, U, U, U, U]);
        check(
            Event::DeleteAsked,
            [deleting(), deleting(), deleting(), deleting(), deleting(), N, N],
        );
        check(Event::VaultEmptied, [N, N, N, N, N, deleted_now, N]);
    }

    #[test]
    fn a_second_success_of_the_same_attempt_is_undone() {
        let active = connection(Active);
        assert_eq!(active.apply(confirmed(1, "second")), Effect::Extra("second".parse().unwrap()));
    }

    #[test]
    fn a_deletion_closes_the_attempt_that_is_open() {
        let Effect::Changed(transition) = connection(Pending).apply(Event::DeleteAsked) else {
            panic!("a pending connection can be deleted");
        };
        assert_eq!(transition.attempt_ended, Some(AttemptEnd::Superseded));
        assert_eq!(transition.empties_vault, [Duration::ZERO]);
        let Effect::Changed(transition) = connection(Active).apply(Event::DeleteAsked) else {
            panic!("an active connection can be deleted");
        };
        assert_eq!(transition.attempt_ended, None);
    }

    #[test]
    fn a_failure_keeps_its_reason_and_a_success_clears_it() {
        let Effect::Changed(transition) = connection(Pending).apply(failed(1)) else {
            panic!("a pending connection can fail");
        };
        assert_eq!(transition.reason, Some(Reason::AccessDenied));
        let Effect::Changed(transition) = connection(Pending).apply(confirmed(1, "n")) else {
            panic!("a pending connection can succeed");
        };
        assert_eq!(transition.reason, None);
    }
}
