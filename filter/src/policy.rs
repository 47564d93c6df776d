//! What an operator allows on one listener: a JSON document, read once and checked whole.
//!
//! Unknown fields are refused, so that a misspelt restriction is noticed, and every problem is
//! reported at once. A policy that does not load opens nothing.

use contract::{action::Action, id::TenantId, principal::Principal};
use serde::Deserialize;
use std::{
    collections::{HashMap, HashSet},
    fmt,
};

/// Which table of routes a listener has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum ListenerKind {
    /// Client applications, over mTLS.
    Clients,
    /// Browsers and Nango.
    Public,
}

/// A kind of name in a client certificate that may stand for a principal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum AcceptedName {
    /// The URI subject alternative name, which must be a SPIFFE ID.
    Uri,
    /// The DNS subject alternative name.
    Dns,
}

/// Where the host finds a secret. The policy never holds one: it is shown in Envoy's config dump.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub enum SecretSource {
    /// A filter state object that Envoy fills from SDS; it rotates without a restart.
    FilterState(String),
    /// An environment variable of the VM, where SDS cannot be had.
    Environment(String),
}

/// A policy as written.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Document {
    version: String,
    listener: ListenerKind,
    assertion_keys: SecretSource,
    #[serde(default)]
    webhook: Option<Webhook>,
    #[serde(default)]
    identity: Option<Vec<AcceptedName>>,
    #[serde(default)]
    grants: Option<Vec<GrantDocument>>,
}

/// How webhooks are verified.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Webhook {
    pub keys: SecretSource,
    pub max_body_bytes: u64,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct GrantDocument {
    principal: String,
    tenants: Vec<TenantId>,
    actions: Vec<Action>,
}

/// A policy that was checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Policy {
    /// The operator's name for this text, for logs and metrics.
    pub version: String,
    pub listener: ListenerKind,
    pub assertion_keys: SecretSource,
    /// Present on the public listener.
    pub webhook: Option<Webhook>,
    /// Empty on the public listener.
    pub identity: Vec<AcceptedName>,
    pub grants: Grants,
}

/// Who may do what for whom.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Grants(HashMap<Principal, HashMap<TenantId, HashSet<Action>>>);

impl Grants {
    pub fn allow(&self, principal: &Principal, tenant: &TenantId, action: Action) -> bool {
        self.0
            .get(principal)
            .and_then(|tenants| tenants.get(tenant))
            .is_some_and(|actions| actions.contains(&action))
    }
}

/// Everything that is wrong with a policy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnusablePolicy(pub Vec<String>);

impl fmt::Display for UnusablePolicy {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "the policy is unusable: {}", self.0.join("; "))
    }
}

impl std::error::Error for UnusablePolicy {}

impl Policy {
    pub fn parse(json: &[u8]) -> Result<Self, UnusablePolicy> {
        let document: Document = serde_json::from_slice(json)
            .map_err(|error| UnusablePolicy(vec![error.to_string()]))?;
        let Document { version, listener, assertion_keys, webhook, identity, grants } = document;
        let mut problems = Vec::new();
        match listener {
            ListenerKind::Clients => {
                if webhook.is_some() {
                    problems.push("webhook: belongs to the public listener".to_owned());
                }
                if identity.as_ref().is_none_or(Vec::is_empty) {
                    problems.push("identity: name at least one of uri, dns".to_owned());
                }
                if grants.is_none() {
                    problems.push("grants: required, if empty".to_owned());
                }
            }
            ListenerKind::Public => {
                if webhook.as_ref().is_none_or(|webhook| webhook.max_body_bytes == 0) {
                    problems.push("webhook: required, with maxBodyBytes of at least 1".to_owned());
                }
                if identity.is_some() || grants.is_some() {
                    problems.push("identity, grants: belong to the clients listener".to_owned());
                }
            }
        }
        let grants = read_grants(grants.unwrap_or_default(), &mut problems);
        if problems.is_empty() {
            let identity = identity.unwrap_or_default();
            Ok(Self { version, listener, assertion_keys, webhook, identity, grants })
        } else {
            Err(UnusablePolicy(problems))
        }
    }
}

/// Two grants may not say something about the same principal, tenant and action: whoever removes one
/// of them believes that the access is gone.
fn read_grants(documents: Vec<GrantDocument>, problems: &mut Vec<String>) -> Grants {
    let mut grants = Grants::default();
    for (index, document) in documents.into_iter().enumerate() {
        let GrantDocument { principal, tenants, actions } = document;
        if tenants.is_empty() || actions.is_empty() {
            problems.push(format!("grants[{index}]: name at least one tenant and one action"));
        }
        let principal = match principal.parse::<Principal>() {
            Ok(principal) => principal,
            Err(unknown) => {
                problems.push(format!("grants[{index}].principal: {unknown}"));
                continue;
            }
        };
        let granted = grants.0.entry(principal).or_default();
        for tenant in tenants {
            for action in &actions {
                if !granted.entry(tenant.clone()).or_default().insert(*action) {
                    problems
                        .push(format!("grants[{index}]: {action} for {tenant} is granted twice"));
                }
            }
        }
    }
    grants
}

#[cfg(test)]
mod tests {
    use super::*;

    const CLIENTS: &str = r#"{"version":"1","listener":"clients","assertionKeys":{"filterState":"a"},
        "identity":["uri"],"grants":[{"principal":"spiffe://acme.example/app","tenants":["acme"],"actions":["read"]}]}"#;
    const PUBLIC: &str = r#"{"version":"1","listener":"public","assertionKeys":{"environment":"A"},
        "webhook":{"keys":{"filterState":"w"},"maxBodyBytes":1024}}"#;

    #[track_caller]
    fn check_refused(json: &str, because: &str) {
        let UnusablePolicy(problems) = Policy::parse(json.as_bytes()).unwrap_err();
        assert!(problems.iter().any(|problem| problem.contains(because)), "{problems:?}");
    }

    #[test]
    fn a_policy_of_either_listener_loads() {
        let clients = Policy::parse(CLIENTS.as_bytes()).unwrap();
        assert_eq!(clients.listener, ListenerKind::Clients);
        let public = Policy::parse(PUBLIC.as_bytes()).unwrap();
        assert_eq!(public.webhook.unwrap().max_body_bytes, 1024);
    }

    #[test]
    fn a_grant_allows_what_it_says_and_nothing_beside_it() {
        let grants = Policy::parse(CLIENTS.as_bytes()).unwrap().grants;
        let allow = |principal: &str, tenant: &str, action| {
            grants.allow(&principal.parse().unwrap(), &tenant.parse().unwrap(), action)
        };
        assert!(allow("spiffe://acme.example/app", "acme", Action::Read));
        assert!(!allow("spiffe://acme.example/app", "acme", Action::Delete));
        assert!(!allow("spiffe://acme.example/app", "rival", Action::Read));
        assert!(!allow("spiffe://acme.example/app", "Acme", Action::Read));
        assert!(!allow("spiffe://acme.example/application", "acme", Action::Read));
        assert!(!allow("spiffe://rival.example/app", "acme", Action::Read));
        assert!(!allow("dns:acme.example", "acme", Action::Read));
    }

    #[test]
    fn whatever_is_misspelt_is_refused() {
        check_refused("", "EOF");
        check_refused(&CLIENTS.replace("grants", "grant"), "unknown field `grant`");
        check_refused(&CLIENTS.replace("tenants", "tenant"), "unknown field `tenant`");
        check_refused(&CLIENTS.replace("read", "raed"), "unknown variant `raed`");
        check_refused(&CLIENTS.replace("clients", "client"), "unknown variant `client`");
        check_refused(&CLIENTS.replace("\"uri\"", "\"email\""), "unknown variant `email`");
        check_refused(&CLIENTS.replace("acme\"]", "ac me\"]"), "TenantId must be");
        check_refused(&CLIENTS.replace("spiffe:", "spifee:"), "grants[0].principal");
        check_refused(&PUBLIC.replace("keys", "key"), "unknown field `key`");
        check_refused(&PUBLIC.replace("1024", "-1"), "invalid value");
    }

    #[test]
    fn whatever_is_missing_or_out_of_place_is_refused() {
        check_refused(&CLIENTS.replace("[\"uri\"]", "[]"), "identity: name at least one");
        check_refused(&CLIENTS.replace("\"acme\"", ""), "name at least one tenant");
        check_refused(&CLIENTS.replace("\"clients\"", "\"public\""), "webhook: required");
        check_refused(
            &PUBLIC.replace("\"public\"", "\"clients\""),
            "belongs to the public listener",
        );
        check_refused(&PUBLIC.replace("1024", "0"), "maxBodyBytes of at least 1");
    }

    #[test]
    fn a_grant_that_repeats_another_is_refused() {
        let grant =
            r#"{"principal":"spiffe://acme.example/app","tenants":["acme"],"actions":["read"]}"#;
        let twice = CLIENTS.replace(grant, &format!("{grant},{grant}"));
        check_refused(&twice, "grants[1]: read for acme is granted twice");
    }

    #[test]
    fn all_problems_are_reported_at_once() {
        let json = CLIENTS.replace("[\"uri\"]", "[]").replace("spiffe:", "spifee:");
        let UnusablePolicy(problems) = Policy::parse(json.as_bytes()).unwrap_err();
        assert_eq!(problems.len(), 2, "{problems:?}");
    }
}
