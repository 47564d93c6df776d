//! What an operator allows on one listener: a JSON document, read once and checked whole.
//!
//! Every problem is reported at once, by its place. A policy that does not load opens nothing.

mod document;
mod grants;
mod pattern;

pub use self::grants::{GrantIndex, Grants};

use self::document::{Document, DryRunDocument, GrantDocument, IdentityDocument};
use contract::{keys::KeyRing, principal::Principal};
use serde::Deserialize;
use std::fmt;

/// Longer versions than this would make long names of metrics.
const VERSION_BYTES_MAX: usize = 64;

/// Which table of routes a listener has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum ListenerKind {
    /// Client applications, over mTLS.
    Clients,
    /// Browsers and Nango.
    Public,
}

impl ListenerKind {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Clients => "clients",
            Self::Public => "public",
        }
    }
}

/// A kind of name in a client certificate that may stand for a principal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum NameKind {
    /// The URI subject alternative name, which must be a SPIFFE ID.
    Uri,
    /// The DNS subject alternative name.
    Dns,
}

/// Where the identity of a caller is taken from. There is no default and no falling back: a source that
/// the policy does not name is not believed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum IdentitySource {
    /// The certificate of the connection, by the first of these kinds that it has.
    Certificate { names: Vec<NameKind> },
    /// The URI name that a proxy before this one says its caller's certificate has, if the connection's
    /// own certificate is that proxy's.
    ForwardedCertificate { hop: Principal },
    /// What Istio says of the caller inside a waypoint, where the connection has no certificate.
    IstioPeer,
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

/// How webhooks are verified.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Webhook {
    pub keys: SecretSource,
    pub max_body_bytes: u64,
}

/// A policy that was checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Policy {
    /// The operator's name for this text, for logs and metrics.
    pub version: String,
    pub assertion_keys: SecretSource,
    /// Whether Envoy's `allow_on_headers_stop_iteration` is set. Without it no callback follows a head that was
    /// held, and the request hangs; a module cannot see how it is set.
    pub holds_head: bool,
    pub listener: Listener,
}

/// What is particular to a listener.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Listener {
    Clients {
        identity: IdentitySource,
        grants: Grants,
        /// Grants that are tried beside those that hold: they are counted and logged, and change nothing.
        dry_run: Option<Grants>,
    },
    Public {
        webhook: Webhook,
    },
}

impl Listener {
    pub const fn kind(&self) -> ListenerKind {
        match self {
            Self::Clients { .. } => ListenerKind::Clients,
            Self::Public { .. } => ListenerKind::Public,
        }
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
        let Document {
            version,
            listener,
            assertion_keys,
            holds_head,
            webhook,
            identity,
            grants,
            dry_run,
        } = document;
        let mut problems = Vec::new();
        let listener = match listener {
            ListenerKind::Public => {
                if identity.is_some() || grants.is_some() || dry_run.is_some() {
                    let problem = "identity, grants, dryRun: belong to the clients listener";
                    problems.push(problem.to_owned());
                }
                if !holds_head {
                    // The body would be verified after control was called.
                    let problem =
                        "holdsHead: the public listener verifies webhooks, and cannot without";
                    problems.push(problem.to_owned());
                }
                read_webhook(webhook, &mut problems)
            }
            ListenerKind::Clients => {
                if webhook.is_some() {
                    problems.push("webhook: belongs to the public listener".to_owned());
                }
                read_clients((identity, grants, dry_run), &mut problems)
            }
        };
        if !is_version(&version) {
            problems.push("version: 1 to 64 letters, digits, '.', '_' and '-'".to_owned());
        }
        match listener {
            Some(listener) if problems.is_empty() => {
                Ok(Self { version, assertion_keys, holds_head, listener })
            }
            _ => Err(UnusablePolicy(problems)),
        }
    }
}

impl Policy {
    /// Refuses secrets of the environment that cannot be used, each by the name of its variable. They stay what they
    /// are for as long as the module runs; secrets in filter state come and go, and are judged at every request.
    pub fn check_environment<Text: AsRef<[u8]>>(
        &self,
        read: impl Fn(&str) -> Option<Text>,
    ) -> Result<(), UnusablePolicy> {
        let webhook_keys = match &self.listener {
            Listener::Public { webhook } => Some(&webhook.keys),
            Listener::Clients { .. } => None,
        };
        let sources = std::iter::once(&self.assertion_keys).chain(webhook_keys);
        let problems: Vec<String> = sources
            .filter_map(|source| match source {
                SecretSource::FilterState(_) => None,
                SecretSource::Environment(name) => {
                    let text = read(name);
                    let text = text.as_ref().map_or(b"".as_slice(), AsRef::as_ref);
                    let unusable = KeyRing::parse(text).err()?;
                    Some(format!("the environment's {name}: {unusable}"))
                }
            })
            .collect();
        if problems.is_empty() { Ok(()) } else { Err(UnusablePolicy(problems)) }
    }
}

fn is_version(version: &str) -> bool {
    (1..=VERSION_BYTES_MAX).contains(&version.len())
        && version.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte))
}

fn read_webhook(webhook: Option<Webhook>, problems: &mut Vec<String>) -> Option<Listener> {
    let webhook = webhook.filter(|webhook| webhook.max_body_bytes > 0);
    if webhook.is_none() {
        problems.push("webhook: required, with maxBodyBytes of at least 1".to_owned());
    }
    webhook.map(|webhook| Listener::Public { webhook })
}

fn read_clients(
    (identity, grants, dry_run): (
        Option<IdentityDocument>,
        Option<Vec<GrantDocument>>,
        Option<DryRunDocument>,
    ),
    problems: &mut Vec<String>,
) -> Option<Listener> {
    if identity.is_none() {
        problems.push("identity: required".to_owned());
    }
    if grants.is_none() {
        problems.push("grants: required, if empty".to_owned());
    }
    let identity = identity.and_then(|identity| read_identity(identity, problems));
    let grants = Grants::read(grants.unwrap_or_default(), "grants", problems);
    let dry_run = dry_run.map(|dry_run| Grants::read(dry_run.grants, "dryRun.grants", problems));
    identity.map(|identity| Listener::Clients { identity, grants, dry_run })
}

fn read_identity(document: IdentityDocument, problems: &mut Vec<String>) -> Option<IdentitySource> {
    match document {
        IdentityDocument::Certificate { names } => {
            if names.is_empty() {
                problems.push("identity.names: name at least one of uri, dns".to_owned());
            }
            Some(IdentitySource::Certificate { names })
        }
        IdentityDocument::ForwardedCertificate { hop } => match hop.parse() {
            Ok(hop) => Some(IdentitySource::ForwardedCertificate { hop }),
            Err(unknown) => {
                problems.push(format!("identity.hop: {unknown}"));
                None
            }
        },
        IdentityDocument::IstioPeer {} => Some(IdentitySource::IstioPeer),
    }
}

#[cfg(test)]
mod tests;
