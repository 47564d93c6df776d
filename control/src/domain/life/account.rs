//! Whose account a reconnect brought. While another account than before is refused and nobody knows whose this one
//! is, the connection is not active, and no notification names an account that was not verified.

use super::{
    AttemptId, Effect, EventType, NangoConnectionId, NewReason, Refresh, Rules, Token, Transition,
    in_use,
};
use crate::domain::{
    audit::AuditAction,
    connection::{Connection, Doubts, Reason, Status},
    profile::Profile,
    transition::AttemptEnd,
};

impl Connection {
    pub(super) fn is_of_another_account(&self, profile: &Profile) -> bool {
        let known = self.profile.account_id.as_ref();
        known.zip(profile.account_id.as_ref()).is_some_and(|(known, seen)| known != seen)
    }

    /// The open attempt of a connection that was authorized before succeeded.
    pub(super) fn reauthorized(
        &self,
        vault: NangoConnectionId,
        refresh: Refresh,
        profile: Profile,
        rules: Rules,
    ) -> Effect {
        let is_known = profile.account_id.is_some();
        if self.is_of_another_account(&profile) && !rules.may_change_account {
            // Nango has the other account's credential by now; ours is gone.
            return Effect::Changed(Transition {
                attempt_ended: Some((AttemptEnd::Failed, Some(Reason::AccountChanged))),
                ..another_account()
            });
        }
        // What was granted before is not what is granted now.
        let unread = |known: Profile| Profile { scopes: profile.scopes.clone(), ..known };
        if !is_known && self.profile.account_id.is_some() && !rules.may_change_account {
            return Effect::Changed(Transition {
                reason: NewReason::Now(Reason::AccountUnverified),
                attempt_ended: Some((AttemptEnd::Done, Some(Reason::AccountUnverified))),
                confirmed: Some(vault),
                profile: Some(unread(self.profile.clone())),
                probes: true,
                ..Transition::to(Status::NeedsReauth, AuditAction::AccountUnverified)
            });
        }
        Effect::Changed(Transition {
            attempt_ended: Some((AttemptEnd::Done, None)),
            confirmed: Some(vault),
            // Any account is welcome, and this one is named as soon as it is known.
            profile: Some(if is_known { profile } else { unread(Profile::default()) }),
            probes: !is_known,
            audit: AuditAction::Reauthorized,
            event: Some(EventType::Reauthorized),
            ..in_use(refresh, rules.at)
        })
    }

    /// Whether the credential of this attempt was accepted, or refused for its account.
    pub(super) fn has_judged(&self, attempt: AttemptId) -> bool {
        self.renewed_by == Some(attempt) || self.judged_attempts.contains(&attempt)
    }

    /// An attempt that nobody waits for any more renewed the credential at Nango.
    pub(super) fn renewed(&self, attempt: AttemptId, refresh: Refresh, rules: Rules) -> Effect {
        let is_known = self.profile.account_id.is_some();
        let transition = if is_known && !rules.may_change_account {
            Transition {
                reason: NewReason::Now(Reason::AccountUnverified),
                ..Transition::to(Status::NeedsReauth, AuditAction::AccountUnverified)
            }
        } else {
            match self.seen(refresh, rules) {
                Effect::Changed(transition) => transition,
                Effect::Noted(doubts) => {
                    Transition { doubts, ..self.staying(AuditAction::Updated) }
                }
                Effect::Unchanged | Effect::Extra(_) | Effect::Refused(_) => {
                    self.staying(AuditAction::Updated)
                }
            }
        };
        let confirmed = self.vault.clone();
        Effect::Changed(Transition {
            confirmed,
            probes: true,
            renewed_by: Some(attempt),
            ..transition
        })
    }

    /// Whether Nango should hold a credential of it.
    pub const fn is_authorized(&self) -> bool {
        matches!(self.status, Status::Active | Status::NeedsReauth)
    }

    /// Whether nothing was renewed since `earlier`: what a provider said of the credential then is said of this one.
    pub fn has_credential_of(&self, earlier: &Self) -> bool {
        let credential =
            |of: &Self| (of.vault.clone(), of.last_authorization.clone(), of.renewed_by);
        credential(self) == credential(earlier)
    }

    /// Whether a reconnect brought a credential whose account is not known yet.
    pub fn is_unverified(&self) -> bool {
        self.status == Status::NeedsReauth && self.is_because(Reason::AccountUnverified)
    }

    /// The provider was asked whose credential it is, while that was not known.
    pub(super) fn verified(&self, token: Token, profile: Profile, rules: Rules) -> Effect {
        if token != Token::Accepted {
            return self.rejected(token, rules);
        }
        // A reconnect that was started meanwhile has an end of its own.
        let ended = |end| self.open_attempt.is_none().then_some(end);
        if profile.account_id.is_none() {
            return self.noted(Doubts { rejected_since: None, ..self.doubts });
        }
        if self.is_of_another_account(&profile) && !rules.may_change_account {
            let end = (AttemptEnd::Failed, Some(Reason::AccountChanged));
            return Effect::Changed(Transition { attempt_ended: ended(end), ..another_account() });
        }
        Effect::Changed(Transition {
            attempt_ended: ended((AttemptEnd::Done, None)),
            profile: Some(profile.or_scopes_of(&self.profile)),
            event: Some(EventType::Reauthorized),
            ..Transition::to(Status::Active, AuditAction::Reauthorized)
        })
    }
}

fn another_account() -> Transition {
    Transition {
        reason: NewReason::Now(Reason::AccountChanged),
        event: Some(EventType::NeedsReauth),
        ..Transition::to(Status::NeedsReauth, AuditAction::AccountChanged)
    }
}
