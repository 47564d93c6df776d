//! A policy as its operator writes it. Unknown fields are refused, so that a misspelt restriction is
//! noticed.

use super::{ListenerKind, NameKind, SecretSource, Webhook};
use contract::action::Action;
use serde::Deserialize;

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Document {
    pub version: String,
    pub listener: ListenerKind,
    pub assertion_keys: SecretSource,
    #[serde(default = "holds_head")]
    pub holds_head: bool,
    #[serde(default)]
    pub webhook: Option<Webhook>,
    #[serde(default)]
    pub identity: Option<IdentityDocument>,
    #[serde(default)]
    pub grants: Option<Vec<GrantDocument>>,
    #[serde(default)]
    pub dry_run: Option<DryRunDocument>,
}

/// What `envoy/` and the `EnvoyFilter` of `envoy/istio` set.
const fn holds_head() -> bool {
    true
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", rename_all_fields = "camelCase", deny_unknown_fields)]
pub(super) enum IdentityDocument {
    Certificate { names: Vec<NameKind> },
    ForwardedCertificate { hop: String },
    IstioPeer {},
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct GrantDocument {
    pub principal: String,
    #[serde(default)]
    pub tenants: Vec<String>,
    pub actions: Vec<Action>,
}

/// Grants that are tried beside those that hold.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct DryRunDocument {
    pub grants: Vec<GrantDocument>,
}
