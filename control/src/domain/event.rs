//! What can happen to a connection.

use super::{connection::Reason, profile::Profile};
use chrono::{DateTime, Utc};
use contract::id::{AttemptId, NangoConnectionId};

/// Something that happened to a connection.
#[derive(Debug, Clone, PartialEq)]
pub enum Event {
    /// The provider, or Nango in its place, said that this attempt failed.
    CallbackFailed { attempt: AttemptId, reason: Reason },
    /// The browser came back, and an owner of the organization has to approve the installation.
    ApprovalAwaited { attempt: AttemptId },
    /// The vault was asked, and lists a credential that this attempt made.
    Listed { attempt: AttemptId, vault: NangoConnectionId, refresh: Refresh, profile: Profile },
    /// The vault was asked for what is bound here, and has nothing of that name.
    Missing,
    /// The provider was asked with the credential.
    Probed { token: Token, profile: Profile },
    /// The attempt's time is up, and a last look at the vault found nothing of it.
    DeadlinePassed { attempt: AttemptId, was_called_back: bool },
    /// The client application asked for another attempt, which was opened at the vault.
    /// `scopes`, where it requests others than the connection has.
    Reconnected { attempt: AttemptId, scopes: Option<Vec<String>> },
    /// The client application asked for its deletion.
    DeleteAsked,
    /// The deletion is done: the vault was asked, and holds nothing for it.
    VaultEmptied,
}

/// Whether the vault can refresh the credential, as its list says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refresh {
    /// Nothing is wrong that the vault knows of.
    Works,
    Fails,
    /// It fails, and so do many of the same integration: an outage of the provider looks like that,
    /// and costs nobody a connection.
    FailsWithMany,
}

/// What a provider says of a token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Token {
    Accepted,
    Rejected,
    /// It is rejected, and so are most others of the same integration that were tried: a provider's outage looks like that.
    RejectedWithMany,
}

/// What an operator decided, and when it is.
#[derive(Debug, Clone, Copy)]
pub struct Rules {
    pub at: DateTime<Utc>,
    /// Whether a reconnect may bring another upstream account.
    pub may_change_account: bool,
}

impl Rules {
    /// For whatever says nothing of an account.
    pub const fn at(at: DateTime<Utc>) -> Self {
        Self { at, may_change_account: false }
    }
}
