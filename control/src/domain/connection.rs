//! A connection and the states it can be in.

use super::{profile::Profile, provider::Provider};
use chrono::{DateTime, Utc};
use contract::id::{AttemptId, ConnectionId, IntegrationId, NangoConnectionId, TenantId};
use serde::{Serialize, Serializer};
use utoipa::ToSchema;

/// Where a connection stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ToSchema)]
#[schema(rename_all = "snake_case")]
pub enum Status {
    /// Started; nobody authorised it yet.
    Pending,
    /// The vault holds a credential for it.
    Active,
    /// The credential stopped working; the user must authorise again.
    NeedsReauth,
    /// The start ended without a credential.
    Failed,
    /// Nobody authorised it in time.
    Expired,
    /// A deletion was asked for and is under way.
    Deleting,
    /// The vault holds nothing for it any more.
    Deleted,
}

impl Status {
    pub const ALL: [Self; 7] = [
        Self::Pending,
        Self::Active,
        Self::NeedsReauth,
        Self::Failed,
        Self::Expired,
        Self::Deleting,
        Self::Deleted,
    ];

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Active => "active",
            Self::NeedsReauth => "needs_reauth",
            Self::Failed => "failed",
            Self::Expired => "expired",
            Self::Deleting => "deleting",
            Self::Deleted => "deleted",
        }
    }

    /// The status of this name.
    pub fn read(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|status| status.as_str() == name)
    }

    /// What the client application can do next, if anything.
    const fn next_action(self) -> Option<&'static str> {
        match self {
            Self::Pending => Some("authorize"),
            Self::NeedsReauth | Self::Failed | Self::Expired => Some("reconnect"),
            Self::Deleting => Some("wait"),
            Self::Active | Self::Deleted => None,
        }
    }
}

impl Serialize for Status {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

/// Why a connection is where it is, or an attempt ended as it did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason {
    /// The user said no at the provider.
    AccessDenied,
    /// The provider sent the user back with another error.
    ProviderError,
    /// The provider did not exchange its code for a token.
    TokenExchangeFailed,
    /// The vault did not take the callback, for another reason.
    VaultRefused,
    /// An owner of the organization has to approve the installation of a GitHub App.
    AwaitingApproval,
    /// Nobody came back from the provider in time.
    NotAuthorized,
    /// Somebody came back, and the vault has nothing of it; why, it does not tell.
    NoConnectionAfterCallback,
    /// The vault cannot refresh the token, and it may pass.
    RefreshFailing,
    /// The vault could not refresh the token for so long that it will not pass.
    RefreshFailed,
    /// The provider does not take the token.
    TokenRejected,
    /// The user authorised another account than before.
    AccountChanged,
    /// The user authorized again, and nobody knows yet whether it was the same account.
    AccountUnverified,
    /// It was deleted at the vault, and not by us.
    GoneAtVault,
    /// The client application asked for it.
    Requested,
}

impl Reason {
    /// What Nango may say of a callback that is finished there.
    const OF_THE_VAULT: [Self; 2] = [Self::TokenExchangeFailed, Self::VaultRefused];

    /// What Nango said, by its name.
    pub fn of_the_vault(name: &str) -> Option<Self> {
        Self::OF_THE_VAULT.into_iter().find(|reason| reason.as_str() == name)
    }

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::AccessDenied => "access_denied",
            Self::ProviderError => "provider_error",
            Self::TokenExchangeFailed => "token_exchange_failed",
            Self::VaultRefused => "vault_refused",
            Self::AwaitingApproval => "awaiting_approval",
            Self::NotAuthorized => "not_authorized",
            Self::NoConnectionAfterCallback => "no_connection_after_callback",
            Self::RefreshFailing => "refresh_failing",
            Self::RefreshFailed => "refresh_failed",
            Self::TokenRejected => "token_rejected",
            Self::AccountChanged => "account_changed",
            Self::AccountUnverified => "account_unverified",
            Self::GoneAtVault => "gone_at_vault",
            Self::Requested => "requested",
        }
    }
}

/// What was noticed and is not yet believed: each needs a second look.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Doubts {
    /// Since when the vault has nothing of this name.
    pub missing_since: Option<DateTime<Utc>>,
    /// Since when the vault cannot refresh the token.
    pub refresh_failing_since: Option<DateTime<Utc>>,
    /// Since when the provider does not take the token.
    pub rejected_since: Option<DateTime<Utc>>,
}

impl Doubts {
    pub const NONE: Self =
        Self { missing_since: None, refresh_failing_since: None, rejected_since: None };
}

/// How an attempt to authorise a connection ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LastAuthorization {
    /// One of [`super::transition::AttemptEnd`]'s outcomes, or of a newer release's while both run.
    pub outcome: String,
    pub reason: Option<String>,
    pub at: DateTime<Utc>,
}

/// One end user's authorised link through one integration, as far as it is known.
#[derive(Debug, Clone, PartialEq)]
pub struct Connection {
    pub tenant: TenantId,
    pub id: ConnectionId,
    /// The end user, by the client application's name for them.
    pub sub: String,
    pub provider: Provider,
    pub integration: IntegrationId,
    pub status: Status,
    /// One of [`Reason`]'s names, or of a newer release's while both run.
    pub reason: Option<String>,
    /// When `status` was entered.
    pub since: DateTime<Utc>,
    /// When the vault was last seen to agree.
    pub checked_at: Option<DateTime<Utc>>,
    /// Counts the changes.
    pub version: i64,
    /// The sequence of the newest event.
    pub sequence: i64,
    /// The attempt that may still succeed.
    pub open_attempt: Option<AttemptId>,
    /// The vault's name for it, once the vault said it.
    pub vault: Option<NangoConnectionId>,
    pub requested_scopes: Vec<String>,
    /// What the open attempt requests, where that is something else.
    pub asked_scopes: Option<Vec<String>>,
    /// The newest attempts whose credential was accepted, or refused for its account.
    pub judged_attempts: Vec<AttemptId>,
    /// The attempt that renewed the credential after it had ended here, if one did.
    pub renewed_by: Option<AttemptId>,
    /// How the last attempt that ended did.
    pub last_authorization: Option<LastAuthorization>,
    pub client_metadata: serde_json::Value,
    pub profile: Profile,
    pub doubts: Doubts,
    pub created_at: DateTime<Utc>,
}

impl Connection {
    /// Which of the requested scopes the user did not grant; nothing, while nobody knows.
    pub fn missing_scopes(&self) -> Option<Vec<&str>> {
        self.profile.scopes.as_ref().map(|granted| granted.missing(&self.requested_scopes))
    }

    /// Which scopes the user granted; nothing, while nobody knows.
    pub fn authorized_scopes(&self) -> Option<&[String]> {
        self.profile.scopes.as_ref().map(|granted| granted.authorized.as_slice())
    }
}

impl Connection {
    /// What the client application can do next, if anything.
    pub fn next_action(&self) -> Option<&'static str> {
        let is_awaiting = self.reason.as_deref() == Some(Reason::AwaitingApproval.as_str());
        if (is_awaiting && self.status == Status::Pending) || self.is_unverified() {
            return Some("wait");
        }
        self.status.next_action()
    }
}

#[cfg(test)]
mod tests {
    use super::Status;

    #[test]
    fn every_status_is_read_by_its_name() {
        for (index, status) in Status::ALL.into_iter().enumerate() {
            // A status that is added must be listed, or its rows could not be read.
            let position = match status {
                Status::Pending => 0,
                Status::Active => 1,
                Status::NeedsReauth => 2,
                Status::Failed => 3,
                Status::Expired => 4,
                Status::Deleting => 5,
                Status::Deleted => 6,
            };
            assert_eq!(position, index);
            assert_eq!(Status::read(status.as_str()), Some(status));
        }
        assert_eq!(Status::read("Pending"), None);
    }
}

#[cfg(test)]
pub(crate) mod fixture {
    //! Connections for the tests of whoever works with them.

    use super::*;
    use Status::{Active, Deleted, Deleting, NeedsReauth, Pending};

    pub(crate) fn attempt(number: u64) -> AttemptId {
        AttemptId::from_parts(number, &[0; 10])
    }

    pub(crate) fn connection(status: Status) -> Connection {
        let has_vault = matches!(status, Active | NeedsReauth | Deleting | Deleted);
        Connection {
            tenant: "acme".parse().unwrap(),
            id: ConnectionId::from_parts(1, &[1; 10]),
            sub: "user-1".to_owned(),
            provider: "github".parse().unwrap(),
            integration: "github".parse().unwrap(),
            status,
            reason: None,
            since: DateTime::UNIX_EPOCH,
            checked_at: None,
            version: 1,
            sequence: 0,
            open_attempt: (status == Pending).then(|| attempt(1)),
            vault: has_vault.then(|| "bound".parse().unwrap()),
            requested_scopes: vec!["repo".to_owned()],
            asked_scopes: None,
            judged_attempts: if has_vault { vec![attempt(1), attempt(9)] } else { Vec::new() },
            renewed_by: None,
            last_authorization: None,
            client_metadata: serde_json::json!({}),
            profile: Profile::default(),
            doubts: Doubts::NONE,
            created_at: DateTime::UNIX_EPOCH,
        }
    }
}
