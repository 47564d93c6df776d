//! What a grant may allow: a closed list, so that a policy with a misspelt action does not load.

use serde::{Deserialize, Serialize};
use std::{fmt, str::FromStr};

/// One thing that a principal may be allowed to do for a tenant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Action {
    /// Start and restart authorisations.
    Connect,
    /// See connections, their events and their deliveries.
    Read,
    /// Delete connections.
    Delete,
    /// Say where notifications go, and have them sent again.
    Notify,
    /// Read the audit trail.
    Audit,
    /// Erase an end user.
    Erase,
    /// Call a provider's API through the vault.
    Proxy,
}

/// A text that names no action.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("action must be one of connect, read, delete, notify, audit, erase, proxy")]
pub struct UnknownAction;

impl Action {
    pub const ALL: [Self; 7] = [
        Self::Connect,
        Self::Read,
        Self::Delete,
        Self::Notify,
        Self::Audit,
        Self::Erase,
        Self::Proxy,
    ];

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Connect => "connect",
            Self::Read => "read",
            Self::Delete => "delete",
            Self::Notify => "notify",
            Self::Audit => "audit",
            Self::Erase => "erase",
            Self::Proxy => "proxy",
        }
    }
}

impl fmt::Display for Action {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}

impl FromStr for Action {
    type Err = UnknownAction;

    fn from_str(text: &str) -> Result<Self, UnknownAction> {
        Self::ALL.into_iter().find(|action| action.as_str() == text).ok_or(UnknownAction)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_action_has_one_name_in_text_and_in_json() {
        for action in Action::ALL {
            assert_eq!(action.to_string().parse(), Ok(action));
            assert_eq!(serde_json::to_value(action).unwrap(), action.as_str());
        }
    }

    #[test]
    fn a_misspelt_action_is_no_action() {
        for text in ["", "Connect", "write", "connect "] {
            assert_eq!(text.parse::<Action>(), Err(UnknownAction), "{text:?}");
        }
    }
}
