//! The outside services that are configured, and our way to each.

use super::{description::Descriptions, granted::ScopeRules, profile::Mapping};
use contract::id::{IntegrationId, MalformedId};
use serde::Serialize;
use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    str::FromStr,
};

/// A provider's name in our API: `github` for the setting `GITHUB_INTEGRATION_KEY`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct Provider(String);

impl Provider {
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Provider {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

/// A text that names no provider.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a provider is named by 1 to 63 lower-case letters, digits, '-' and '_'")]
pub struct MalformedProvider;

impl FromStr for Provider {
    type Err = MalformedProvider;

    fn from_str(text: &str) -> Result<Self, MalformedProvider> {
        let is_name_byte =
            |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-_".contains(&byte);
        if (1..=63).contains(&text.len()) && text.bytes().all(is_name_byte) {
            Ok(Self(text.to_owned()))
        } else {
            Err(MalformedProvider)
        }
    }
}

/// The providers that can be connected to, and what is described of each.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Catalogue {
    integrations: BTreeMap<Provider, IntegrationId>,
    described: Descriptions,
}

/// No provider, and what is known of the usual ones.
impl Default for Catalogue {
    fn default() -> Self {
        Self { integrations: BTreeMap::new(), described: Descriptions::built_in() }
    }
}

impl Catalogue {
    /// Adds the provider that the setting `<PROVIDER>_INTEGRATION_KEY` names.
    pub fn add(&mut self, name: &str, integration: &str) -> Result<(), MalformedEntry> {
        let provider = name.to_ascii_lowercase().parse()?;
        self.integrations.insert(provider, integration.parse()?);
        Ok(())
    }

    /// Adds to, and replaces, what is described of providers.
    pub fn describe(&mut self, described: Descriptions) {
        self.described.extend(described);
    }

    pub fn integration(&self, provider: &Provider) -> Option<&IntegrationId> {
        self.integrations.get(provider)
    }

    /// Where the provider says who the user is. It is known of providers that were taken out, too: their
    /// connections live on.
    pub fn mapping(&self, provider: &Provider) -> Option<&Mapping> {
        self.described.mapping(provider)
    }

    /// The scopes that may be asked for; nothing, where every scope may.
    pub fn scopes(&self, provider: &Provider) -> Option<&BTreeSet<String>> {
        self.described.scopes(provider)
    }

    /// Where the provider says which scopes were granted.
    pub fn granted(&self, provider: &Provider) -> Option<&ScopeRules> {
        self.described.granted(provider)
    }

    /// What is added to an authorization request so that the provider shows its consent screen in any case.
    pub fn consent(&self, provider: &Provider) -> Option<&BTreeMap<String, String>> {
        self.described.consent(provider)
    }

    /// What the provider calls itself in a callback's `iss`.
    pub fn issuer(&self, provider: &Provider) -> Option<&str> {
        self.described.issuer(provider)
    }

    pub fn is_empty(&self) -> bool {
        self.integrations.is_empty()
    }

    pub fn providers(&self) -> impl Iterator<Item = &Provider> {
        self.integrations.keys()
    }
}

/// A setting that adds no provider.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum MalformedEntry {
    #[error(transparent)]
    Provider(#[from] MalformedProvider),
    #[error(transparent)]
    Integration(#[from] MalformedId),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_setting_adds_a_provider_under_its_lower_case_name() {
        let mut catalogue = Catalogue::default();
        catalogue.add("GITHUB", "github-prod").unwrap();
        let integration = catalogue.integration(&"github".parse().unwrap()).unwrap();
        assert_eq!(integration.as_str(), "github-prod");
        assert!(catalogue.integration(&"gitlab".parse().unwrap()).is_none());
    }

    #[test]
    fn a_setting_without_a_name_or_with_a_malformed_key_adds_nothing() {
        let mut catalogue = Catalogue::default();
        assert!(catalogue.add("", "github").is_err());
        assert!(catalogue.add("GITHUB", "").is_err());
        assert!(catalogue.add("GITHUB", "a/b").is_err());
        assert!(catalogue.is_empty());
    }
}
