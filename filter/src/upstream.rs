//! What the control service is told: first everything is stripped that only the edge may say, then the
//! edge says it.

use crate::{
    head::Head,
    route::{Permit, Requirement},
};
use contract::{
    assertion::{self, Target, Vouched},
    header,
    keys::{KeyId, KeyRing},
};

/// One change to the request's headers. The host makes them in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HeaderChange {
    /// Removes every value.
    Remove(String),
    /// Replaces every value by one.
    Set(&'static str, String),
}

/// Everything that will be vouched for, kept while a body is being verified.
#[derive(Debug)]
pub struct Vouching {
    keys: KeyRing,
    method: String,
    target: String,
    stripped: Vec<String>,
    vouched: Vouched,
}

/// What control needs of a webhook's head, and Envoy on the way. All else is a stranger's: Nango passes
/// the headers of a provider's request on, any number of them.
const KEPT_OF_WEBHOOKS: [&str; 9] = [
    "content-length",
    "content-type",
    "host",
    "traceparent",
    "tracestate",
    "transfer-encoding",
    "x-forwarded-for",
    "x-forwarded-proto",
    header::REQUEST_ID,
];

/// The headers that go no further.
fn stripped(head: &Head<'_>, requirement: Requirement) -> Vec<String> {
    let goes_on = |name: &str| match requirement {
        Requirement::Signature => name.starts_with(':') || KEPT_OF_WEBHOOKS.contains(&name),
        Requirement::Nothing | Requirement::AnyGrant | Requirement::Grant(_) => {
            !name.starts_with(header::EDGE_PREFIX) && name != header::FORWARDED_CERT
        }
    };
    head.names().into_iter().filter(|name| !goes_on(name)).map(str::to_owned).collect()
}

impl Vouching {
    pub fn new(keys: KeyRing, head: &Head<'_>, permit: Permit, request_id: Option<String>) -> Self {
        let action = permit.action();
        let Permit { route, principal, tenant } = permit;
        Self {
            keys,
            method: head.method.to_owned(),
            target: head.target.to_owned(),
            stripped: stripped(head, route.requirement),
            vouched: Vouched { principal, tenant, action, webhook_key: None, request_id },
        }
    }

    /// The header changes that vouch for the request as it passes at `now_ms`.
    pub fn vouch(self, webhook_key: Option<KeyId>, now_ms: u64) -> Vec<HeaderChange> {
        let Self { keys, method, target, stripped, vouched } = self;
        let vouched = Vouched { webhook_key, ..vouched };
        let target = Target { method: &method, path: &target };
        let assertion = assertion::sign(&keys, target, &vouched, now_ms);
        let Vouched { principal, tenant, action, webhook_key, request_id: _ } = vouched;
        let told = [
            (header::PRINCIPAL, principal.map(|principal| principal.to_string())),
            (header::TENANT, tenant.map(String::from)),
            (header::ACTION, action.map(|action| action.to_string())),
            (header::WEBHOOK_KEY, webhook_key.map(|key| key.to_string())),
            (header::ASSERTION, Some(assertion)),
        ];
        let set =
            told.into_iter().filter_map(|(name, value)| Some(HeaderChange::Set(name, value?)));
        stripped.into_iter().map(HeaderChange::Remove).chain(set).collect()
    }
}
