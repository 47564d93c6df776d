//! One line of the trail: who did what.

use contract::principal::Principal;
use std::fmt;

/// Who did it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Actor {
    /// A client application.
    Principal(Principal),
    /// An end user's browser, known by the state it came back with.
    Browser,
    /// Nango, as it was confirmed.
    Vault,
    /// Who runs this deployment, by a command.
    Operator,
    /// This service, finishing what was asked of it.
    Service,
}

impl fmt::Display for Actor {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Principal(principal) => principal.fmt(formatter),
            Self::Browser => formatter.write_str("browser"),
            Self::Vault => formatter.write_str("vault"),
            Self::Operator => formatter.write_str("operator"),
            Self::Service => formatter.write_str("service"),
        }
    }
}

/// What was done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AuditAction {
    Started,
    Failed,
    Expired,
    Activated,
    RefreshFailing,
    RefreshWorks,
    NeedsReauth,
    Recovered,
    ReconnectAsked,
    Reauthorized,
    ReauthorizationFailed,
    AccountChanged,
    AccountUnverified,
    Updated,
    DeleteAsked,
    Deleted,
    /// The vault holds a success that the connection may not have, and will be told to delete it.
    ExtraFound,
    /// A credential with our tags that no connection here has was deleted at the vault, by an operator.
    OrphanRemoved,
    DestinationPaused,
    DestinationResumed,
    DestinationStopped,
    /// It was put again.
    DestinationRestarted,
    RedeliveryAsked,
    /// A delivery that waits for its next attempt is to be attempted now.
    RetryAsked,
    DestinationSet,
    DestinationTested,
    DestinationRemoved,
}

impl AuditAction {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Started => "connection.started",
            Self::Failed => "connection.failed",
            Self::Expired => "connection.expired",
            Self::Activated => "connection.activated",
            Self::RefreshFailing => "connection.refresh_failing",
            Self::RefreshWorks => "connection.refresh_works",
            Self::NeedsReauth => "connection.needs_reauth",
            Self::Recovered => "connection.recovered",
            Self::ReconnectAsked => "connection.reconnect_asked",
            Self::Reauthorized => "connection.reauthorized",
            Self::ReauthorizationFailed => "connection.reauthorization_failed",
            Self::AccountUnverified => "connection.account_unverified",
            Self::AccountChanged => "connection.account_changed",
            Self::Updated => "connection.updated",
            Self::DeleteAsked => "connection.delete_asked",
            Self::Deleted => "connection.deleted",
            Self::ExtraFound => "connection.extra_found",
            Self::OrphanRemoved => "credential.orphan_removed",
            Self::DestinationPaused => "destination.paused",
            Self::DestinationResumed => "destination.resumed",
            Self::DestinationStopped => "destination.stopped",
            Self::DestinationRestarted => "destination.restarted",
            Self::RedeliveryAsked => "delivery.redelivery_asked",
            Self::RetryAsked => "delivery.retry_asked",
            Self::DestinationSet => "destination.set",
            Self::DestinationTested => "destination.tested",
            Self::DestinationRemoved => "destination.removed",
        }
    }
}
