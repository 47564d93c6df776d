//! Whose account a reconnect brought. While another account than before is refused and nobody knows whose this one
//! is, the connection is not active, and no notification names an account that was not verified.

use super::{
    Effect, EventType, NangoConnectionId, NewReason, Refresh, Rules, Transition, believed, in_use,
    lasted, needs_reauth,
};
use crate::domain::{
    audit::AuditAction,
    connection::{Connection, Doubts, Reason, Status},
    life::REJECTED_FOR,
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

    /// Whether Nango should hold a credential of it.
    pub const fn is_authorized(&self) -> bool {
        matches!(self.status, Status::Active | Status::NeedsReauth)
    }

    /// Whether no attempt has ended since `earlier`: what a provider said of the credential then is said of this one.
    pub fn has_credential_of(&self, earlier: &Self) -> bool {
        self.vault == earlier.vault && self.last_authorization == earlier.last_authorization
    }

    /// Whether a reconnect brought a credential whose account is not known yet.
    pub fn is_unverified(&self) -> bool {
        self.status == Status::NeedsReauth && self.is_because(Reason::AccountUnverified)
    }

    /// The provider was asked whose credential it is, while that was not known.
    pub(super) fn verified(&self, is_taken: bool, profile: Profile, rules: Rules) -> Effect {
        // A reconnect that was started meanwhile has an end of its own.
        let ended = |end| self.open_attempt.is_none().then_some(end);
        let rejected_since = self.doubts.rejected_since;
        if !is_taken {
            return if lasted(rejected_since, REJECTED_FOR, rules.at) {
                Effect::Changed(needs_reauth(Reason::TokenRejected))
            } else {
                let rejected_since = believed(rejected_since, rules.at).or(Some(rules.at));
                self.noted(Doubts { rejected_since, ..self.doubts })
            };
        }
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
