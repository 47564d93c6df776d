//! What each event changes in each state: the table of a connection's life.
//!
//! The vault repeats itself, and reorders and loses what it says, so that an event which already happened
//! changes nothing, a success that comes too late is undone at the vault, and nothing bad is believed that
//! was seen once.

mod account;
#[cfg(test)]
mod account_tests;
#[cfg(test)]
mod interleavings;
#[cfg(test)]
mod tests;

use super::{
    audit::AuditAction,
    connection::{Connection, Doubts, Reason, Status},
    event::{Event, Refresh, Rules, Token},
    notification::EventType,
    profile::Profile,
    skew::SKEW_MAX,
    transition::{AttemptEnd, Effect, NewReason, Refused, Transition},
};
use chrono::{DateTime, TimeDelta, Utc};
use contract::id::{AttemptId, NangoConnectionId};
use std::time::Duration;

/// A browser that was sent on to Nango before the deletion may still make a connection there, and its
/// webhook may be lost. So the vault is looked at again: soon, and after Nango's cookie has expired.
const LOOK_AFTER_DELETION: [Duration; 2] = [Duration::from_mins(2), Duration::from_mins(65)];

/// What is missing must be missing twice: the vault reads a replica, and moves rows.
const MISSING_FOR: TimeDelta = TimeDelta::seconds(60);
/// A provider's outage looks like a revoked credential, and is over sooner.
const REFRESH_FAILING_FOR: TimeDelta = TimeDelta::hours(1);
/// One answer 401 may be a provider's bad minute.
const REJECTED_FOR: TimeDelta = TimeDelta::seconds(60);
/// Many at once may be its bad hour.
const REJECTED_WITH_MANY_FOR: TimeDelta = TimeDelta::hours(1);

use Status::{Active, Deleted, Deleting, Expired, Failed, NeedsReauth, Pending};

impl Connection {
    /// What `event` does to this connection.
    pub fn apply(&self, event: Event, rules: Rules) -> Effect {
        match event {
            Event::CallbackFailed { attempt, reason } => self.attempt_failed(attempt, reason),
            Event::Listed { attempt, vault, refresh, profile } => match self.status {
                Pending if self.open_attempt == Some(attempt) => {
                    activated(vault, refresh, profile, rules)
                }
                Active | NeedsReauth if self.vault.as_ref() == Some(&vault) => {
                    if self.open_attempt == Some(attempt) {
                        self.reauthorized(vault, refresh, profile, rules)
                    } else if self.has_judged(attempt) {
                        self.seen(refresh, rules)
                    } else {
                        self.renewed(attempt, refresh, rules)
                    }
                }
                Pending | Active | NeedsReauth | Failed | Expired | Deleting | Deleted => {
                    Effect::Extra(vault)
                }
            },
            Event::ApprovalAwaited { attempt } => self.approval_awaited(attempt),
            Event::Missing => self.missing(rules),
            Event::Probed { token, profile } => self.probed(token, profile, rules),
            Event::DeadlinePassed { attempt, was_called_back } => {
                self.deadline_passed(attempt, was_called_back)
            }
            Event::Reconnected { attempt, scopes } => self.reconnected(attempt, scopes),
            Event::DeleteAsked => self.delete_asked(),
            Event::VaultEmptied => match self.status {
                Deleting => Effect::Changed(deleted(Reason::Requested)),
                Pending | Active | NeedsReauth | Failed | Expired | Deleted => Effect::Unchanged,
            },
        }
    }

    /// Its application learns why nothing happens; a connection in use is as it was.
    fn approval_awaited(&self, attempt: AttemptId) -> Effect {
        let is_news =
            self.open_attempt == Some(attempt) && !self.is_because(Reason::AwaitingApproval);
        match self.status {
            Pending if is_news => Effect::Changed(Transition {
                reason: NewReason::Now(Reason::AwaitingApproval),
                event: Some(EventType::Updated),
                ..self.staying(AuditAction::Updated)
            }),
            Pending | Active | NeedsReauth | Failed | Expired | Deleting | Deleted => {
                Effect::Unchanged
            }
        }
    }

    fn attempt_failed(&self, attempt: AttemptId, reason: Reason) -> Effect {
        if self.open_attempt != Some(attempt) {
            return Effect::Unchanged;
        }
        let ended = Some((AttemptEnd::Failed, Some(reason)));
        match self.status {
            Pending => Effect::Changed(Transition {
                reason: NewReason::Now(reason),
                attempt_ended: ended,
                event: Some(EventType::Failed),
                ..Transition::to(Failed, AuditAction::Failed)
            }),
            Active | NeedsReauth => self.reauthorization_failed(AttemptEnd::Failed, reason),
            Failed | Expired | Deleting | Deleted => Effect::Unchanged,
        }
    }

    /// The attempt failed; the connection is what it was before.
    fn reauthorization_failed(&self, end: AttemptEnd, reason: Reason) -> Effect {
        Effect::Changed(Transition {
            attempt_ended: Some((end, Some(reason))),
            event: Some(EventType::ReauthorizationFailed),
            ..self.staying(AuditAction::ReauthorizationFailed)
        })
    }

    /// A transition that changes neither status nor reason.
    fn staying(&self, audit: AuditAction) -> Transition {
        Transition {
            reason: NewReason::Kept,
            doubts: self.doubts,
            ..Transition::to(self.status, audit)
        }
    }

    /// Whether it would be news that a refresh worked, or failed.
    pub fn is_news(&self, refresh_works: bool) -> bool {
        let is_failing = self.doubts.refresh_failing_since.is_some();
        match self.status {
            Active => is_failing == refresh_works,
            NeedsReauth => refresh_works && self.is_because(Reason::RefreshFailed),
            Pending | Failed | Expired | Deleting | Deleted => false,
        }
    }

    fn is_because(&self, reason: Reason) -> bool {
        self.reason.as_deref() == Some(reason.as_str())
    }

    /// The vault lists what is bound here.
    fn seen(&self, refresh: Refresh, rules: Rules) -> Effect {
        let doubts = Doubts { missing_since: None, ..self.doubts };
        match (self.status, refresh) {
            (Active, Refresh::Works) if self.is_because(Reason::RefreshFailing) => {
                Effect::Changed(Transition {
                    doubts: Doubts { refresh_failing_since: None, ..doubts },
                    event: Some(EventType::Recovered),
                    ..Transition::to(Active, AuditAction::RefreshWorks)
                })
            }
            (NeedsReauth, Refresh::Works) if self.is_because(Reason::RefreshFailed) => {
                Effect::Changed(recovered())
            }
            (Active, Refresh::Fails | Refresh::FailsWithMany)
                if believed(doubts.refresh_failing_since, rules.at).is_none() =>
            {
                Effect::Changed(refresh_failing(doubts, rules.at))
            }
            (Active, Refresh::Fails)
                if lasted(doubts.refresh_failing_since, REFRESH_FAILING_FOR, rules.at) =>
            {
                Effect::Changed(needs_reauth(Reason::RefreshFailed))
            }
            (_, _) => self.noted(doubts),
        }
    }

    fn noted(&self, doubts: Doubts) -> Effect {
        if doubts == self.doubts { Effect::Unchanged } else { Effect::Noted(doubts) }
    }

    fn missing(&self, rules: Rules) -> Effect {
        match self.status {
            Active | NeedsReauth if lasted(self.doubts.missing_since, MISSING_FOR, rules.at) => {
                let attempt_ended = self.open_attempt.map(|_| (AttemptEnd::Superseded, None));
                Effect::Changed(Transition { attempt_ended, ..deleted(Reason::GoneAtVault) })
            }
            Active | NeedsReauth => {
                let since = believed(self.doubts.missing_since, rules.at);
                let missing_since = since.or(Some(rules.at));
                self.noted(Doubts { missing_since, ..self.doubts })
            }
            Pending | Failed | Expired | Deleting | Deleted => Effect::Unchanged,
        }
    }

    fn probed(&self, token: Token, profile: Profile, rules: Rules) -> Effect {
        if self.is_unverified() {
            return self.verified(token, profile, rules);
        }
        let is_anothers = self.is_of_another_account(&profile) && !rules.may_change_account;
        match (self.status, token) {
            (Active, Token::Rejected | Token::RejectedWithMany) => self.rejected(token, rules),
            // A reconnect that nobody waited for brought it.
            (Active, Token::Accepted) if is_anothers => {
                Effect::Changed(needs_reauth(Reason::AccountChanged))
            }
            // It may have been renewed since its account was verified.
            (NeedsReauth, Token::Accepted)
                if self.is_because(Reason::TokenRejected)
                    && !is_anothers
                    && profile.account_id.is_some() =>
            {
                let profile = Some(profile.or_scopes_of(&self.profile));
                Effect::Changed(Transition { profile, ..recovered() })
            }
            (Active, Token::Accepted) => {
                let doubts = Doubts { rejected_since: None, ..self.doubts };
                let profile = profile.or_scopes_of(&self.profile);
                if profile.account_id.is_some() && profile != self.profile {
                    Effect::Changed(Transition {
                        profile: Some(profile),
                        doubts,
                        event: Some(EventType::Updated),
                        ..self.staying(AuditAction::Updated)
                    })
                } else {
                    self.noted(doubts)
                }
            }
            (Pending | NeedsReauth | Failed | Expired | Deleting | Deleted, _) => Effect::Unchanged,
        }
    }

    /// The provider does not take the token; it is asked again later, also once that is believed.
    fn rejected(&self, token: Token, rules: Rules) -> Effect {
        let grace = match token {
            Token::RejectedWithMany => REJECTED_WITH_MANY_FOR,
            Token::Rejected | Token::Accepted => REJECTED_FOR,
        };
        let since = self.doubts.rejected_since;
        if lasted(since, grace, rules.at) {
            let lost = needs_reauth(Reason::TokenRejected);
            return Effect::Changed(Transition { probes: true, ..lost });
        }
        let rejected_since = believed(since, rules.at).or(Some(rules.at));
        self.noted(Doubts { rejected_since, ..self.doubts })
    }

    fn deadline_passed(&self, attempt: AttemptId, was_called_back: bool) -> Effect {
        if self.open_attempt != Some(attempt) {
            return Effect::Unchanged;
        }
        match (self.status, was_called_back) {
            (Pending, false) => Effect::Changed(Transition {
                reason: NewReason::Now(Reason::NotAuthorized),
                attempt_ended: Some((AttemptEnd::Expired, Some(Reason::NotAuthorized))),
                event: Some(EventType::Expired),
                ..Transition::to(Expired, AuditAction::Expired)
            }),
            (Pending, true) => self.attempt_failed(attempt, Reason::NoConnectionAfterCallback),
            (Active | NeedsReauth, false) => {
                self.reauthorization_failed(AttemptEnd::Expired, Reason::NotAuthorized)
            }
            (Active | NeedsReauth, true) => {
                let reason = Reason::NoConnectionAfterCallback;
                self.reauthorization_failed(AttemptEnd::Failed, reason)
            }
            (Failed | Expired | Deleting | Deleted, _) => Effect::Unchanged,
        }
    }

    fn reconnected(&self, attempt: AttemptId, asked_scopes: Option<Vec<String>>) -> Effect {
        let attempt_ended = self.open_attempt.map(|_| (AttemptEnd::Superseded, None));
        let opened = |transition: Transition| {
            let attempt_opened = Some(attempt);
            Effect::Changed(Transition {
                attempt_ended,
                attempt_opened,
                asked_scopes,
                ..transition
            })
        };
        match self.status {
            Pending | Failed | Expired => {
                opened(Transition::to(Pending, AuditAction::ReconnectAsked))
            }
            Active | NeedsReauth => opened(self.staying(AuditAction::ReconnectAsked)),
            Deleting => Effect::Refused(Refused::BeingDeleted),
            Deleted => Effect::Refused(Refused::Deleted),
        }
    }

    /// What a reconnect renews at the vault: nothing, where the connection begins anew.
    pub fn renewable(&self) -> Result<Option<&NangoConnectionId>, Refused> {
        match self.status {
            Pending | Failed | Expired => Ok(None),
            Active | NeedsReauth => Ok(self.vault.as_ref()),
            Deleting => Err(Refused::BeingDeleted),
            Deleted => Err(Refused::Deleted),
        }
    }

    fn delete_asked(&self) -> Effect {
        match self.status {
            Pending | Active | NeedsReauth | Failed | Expired => Effect::Changed(Transition {
                reason: NewReason::Now(Reason::Requested),
                attempt_ended: self.open_attempt.map(|_| (AttemptEnd::Superseded, None)),
                empties_vault: &[Duration::ZERO],
                ..Transition::to(Deleting, AuditAction::DeleteAsked)
            }),
            Deleting | Deleted => Effect::Unchanged,
        }
    }
}

fn activated(vault: NangoConnectionId, refresh: Refresh, profile: Profile, rules: Rules) -> Effect {
    Effect::Changed(Transition {
        attempt_ended: Some((AttemptEnd::Done, None)),
        confirmed: Some(vault),
        probes: profile.account_id.is_none(),
        profile: Some(profile),
        event: Some(EventType::Activated),
        ..in_use(refresh, rules.at)
    })
}

/// Active, with what the vault says of refreshing.
fn in_use(refresh: Refresh, at: DateTime<Utc>) -> Transition {
    match refresh {
        Refresh::Works => Transition::to(Active, AuditAction::Activated),
        Refresh::Fails | Refresh::FailsWithMany => {
            Transition { audit: AuditAction::Activated, ..refresh_failing(Doubts::NONE, at) }
        }
    }
}

/// Still of use, perhaps; nobody need act yet, so that nobody is told.
fn refresh_failing(doubts: Doubts, at: DateTime<Utc>) -> Transition {
    Transition {
        reason: NewReason::Now(Reason::RefreshFailing),
        doubts: Doubts { refresh_failing_since: Some(at), ..doubts },
        ..Transition::to(Active, AuditAction::RefreshFailing)
    }
}

fn needs_reauth(reason: Reason) -> Transition {
    Transition {
        reason: NewReason::Now(reason),
        event: Some(EventType::NeedsReauth),
        ..Transition::to(NeedsReauth, AuditAction::NeedsReauth)
    }
}

fn recovered() -> Transition {
    Transition {
        event: Some(EventType::Recovered),
        ..Transition::to(Active, AuditAction::Recovered)
    }
}

fn deleted(reason: Reason) -> Transition {
    Transition {
        reason: NewReason::Now(reason),
        event: Some(EventType::Deleted),
        empties_vault: &LOOK_AFTER_DELETION,
        ..Transition::to(Deleted, AuditAction::Deleted)
    }
}

/// What a wrong clock dated in the future begins when it is seen again: it would otherwise be in doubt for ever, or nearly.
fn believed(since: Option<DateTime<Utc>>, at: DateTime<Utc>) -> Option<DateTime<Utc>> {
    since.filter(|since| since.signed_duration_since(at) <= SKEW_MAX)
}

/// Whether something was so at `since`, and long enough ago.
fn lasted(since: Option<DateTime<Utc>>, least: TimeDelta, at: DateTime<Utc>) -> bool {
    since.is_some_and(|since| at.signed_duration_since(since) >= least)
}
