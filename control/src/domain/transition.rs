//! What an event does to a connection, as a value: the store commits it.

use super::{
    audit::AuditAction,
    connection::{Connection, Doubts, LastAuthorization, Reason, Status},
    notification::EventType,
    profile::Profile,
};
use chrono::{DateTime, Utc};
use contract::id::{AttemptId, NangoConnectionId};
use std::time::Duration;

/// What an event does.
#[derive(Debug, Clone, PartialEq)]
#[must_use]
#[expect(clippy::large_enum_variant, reason = "one at a time: it is made, carried out and gone")]
pub enum Effect {
    /// Nothing.
    Unchanged,
    /// Nothing that a client application could see: what was noticed is kept for the next look.
    Noted(Doubts),
    Changed(Transition),
    /// The vault holds one more success than this connection may have; it must be deleted there.
    Extra(NangoConnectionId),
    /// It cannot be done to a connection in this state.
    Refused(Refused),
}

/// Why something cannot be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refused {
    BeingDeleted,
    Deleted,
}

/// What one event changes. State, audit line, event and job are committed together.
#[derive(Debug, Clone, PartialEq)]
pub struct Transition {
    pub status: Status,
    pub reason: NewReason,
    /// How the open attempt ended, and why; no attempt stays open in a transition that says so.
    pub attempt_ended: Option<(AttemptEnd, Option<Reason>)>,
    /// The attempt that is open from now on.
    pub attempt_opened: Option<AttemptId>,
    /// What it requests, where that is something else than before.
    pub asked_scopes: Option<Vec<String>>,
    /// What the vault was seen to hold.
    pub confirmed: Option<NangoConnectionId>,
    /// Who the user is, where that was learned.
    pub profile: Option<Profile>,
    pub doubts: Doubts,
    pub audit: AuditAction,
    pub event: Option<EventType>,
    /// After which waits the vault must be emptied.
    pub empties_vault: &'static [Duration],
    /// Whether the provider must be asked whose account it is, or whether it takes the token again.
    pub probes: bool,
    /// The attempt that renewed the credential although it had ended.
    pub renewed_by: Option<AttemptId>,
}

/// What becomes of the reason.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NewReason {
    /// It stays, even if it is one of a newer release.
    Kept,
    Cleared,
    Now(Reason),
}

/// How an attempt ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AttemptEnd {
    Done,
    Failed,
    /// Something else was asked for before anybody finished it.
    Superseded,
    Expired,
}

impl AttemptEnd {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Failed => "failed",
            Self::Superseded => "superseded",
            Self::Expired => "expired",
        }
    }

    /// As client applications know it.
    pub const fn outcome(self) -> &'static str {
        match self {
            Self::Done => "succeeded",
            Self::Failed | Self::Superseded | Self::Expired => self.as_str(),
        }
    }
}

impl Transition {
    /// To a status, for no reason, and with no doubts.
    pub(super) const fn to(status: Status, audit: AuditAction) -> Self {
        Self {
            status,
            reason: NewReason::Cleared,
            attempt_ended: None,
            attempt_opened: None,
            asked_scopes: None,
            confirmed: None,
            profile: None,
            doubts: Doubts::NONE,
            audit,
            event: None,
            empties_vault: &[],
            probes: false,
            renewed_by: None,
        }
    }

    /// Why, as a client application is told: an attempt that failed beside a connection that goes on has
    /// a reason of its own.
    pub fn told_reason<'a>(&self, of_connection: Option<&'a str>) -> Option<&'a str> {
        match (self.event, self.attempt_ended) {
            (Some(EventType::ReauthorizationFailed), Some((_, reason))) => {
                reason.map(Reason::as_str)
            }
            _ => of_connection,
        }
    }
}

impl Connection {
    /// This connection after a transition at that time.
    #[must_use]
    pub fn after(mut self, transition: &Transition, at: DateTime<Utc>) -> Self {
        if self.status != transition.status {
            self.since = at;
        }
        self.status = transition.status;
        match transition.reason {
            NewReason::Kept => {}
            NewReason::Cleared => self.reason = None,
            NewReason::Now(reason) => self.reason = Some(reason.as_str().to_owned()),
        }
        self.doubts = transition.doubts;
        if let Some((end, reason)) = transition.attempt_ended {
            let is_judged = end == AttemptEnd::Done || reason == Some(Reason::AccountChanged);
            self.judged_attempts.extend(self.open_attempt.take().filter(|_| is_judged));
            self.last_authorization = Some(LastAuthorization {
                outcome: end.outcome().to_owned(),
                reason: reason.map(|reason| reason.as_str().to_owned()),
                at,
            });
            let asked = self.asked_scopes.take();
            if end == AttemptEnd::Done {
                self.requested_scopes = asked.unwrap_or(self.requested_scopes);
            }
        }
        if let Some(opened) = transition.attempt_opened {
            self.open_attempt = Some(opened);
            let asked = transition.asked_scopes.clone();
            // What begins anew has nothing else to request; what works keeps what it has until it is renewed.
            if self.status == Status::Pending {
                self.requested_scopes = asked.unwrap_or(self.requested_scopes);
            } else {
                self.asked_scopes = asked;
            }
        }
        if let Some(vault) = &transition.confirmed {
            self.vault = Some(vault.clone());
            self.checked_at = Some(at);
        }
        self.renewed_by = transition.renewed_by.or(self.renewed_by);
        if let Some(profile) = &transition.profile {
            self.profile = profile.clone();
        }
        self.version = self.version.saturating_add(1);
        if transition.event.is_some() {
            self.sequence = self.sequence.saturating_add(1);
        }
        self
    }
}
