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
    /// This service, finishing what was asked of it.
    Service,
}

impl fmt::Display for Actor {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Principal(principal) => principal.fmt(formatter),
            Self::Browser => formatter.write_str("browser"),
            Self::Vault => formatter.write_str("vault"),
            Self::Service => formatter.write_str("service"),
        }
    }
}

/// What was done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AuditAction {
    Started,
    Failed,
    Activated,
    DeleteAsked,
    Deleted,
    /// The vault holds a success that the connection may not have, and will be told to delete it.
    ExtraFound,
}

impl AuditAction {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Started => "connection.started",
            Self::Failed => "connection.failed",
            Self::Activated => "connection.activated",
            Self::DeleteAsked => "connection.delete_asked",
            Self::Deleted => "connection.deleted",
            Self::ExtraFound => "connection.extra_found",
        }
    }
}
