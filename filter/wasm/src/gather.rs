//! What the pipeline decides by, gathered from Envoy, and what the access log is told of it.

use crate::{
    imports::{self, HostFailed, LogLevel},
    pairs,
};
use filter::{
    identity::Peer,
    pipeline::{self, LogFacts, Request, Secrets, Step},
    policy::{IdentitySource, Listener, Policy, SecretSource},
};
use zeroize::Zeroizing;

/// Filter state objects that the listener fills from the verified client certificate.
const PEER_URI_NAMES: &str = "edge.peer_uri_names";
const PEER_DNS_NAMES: &str = "edge.peer_dns_names";
const PEER_CERTIFICATE_END: &str = "edge.peer_certificate_end";

/// Istio fills it in a waypoint.
const ISTIO_PEER: &str = "io.istio.peer_principal";

/// Decides on the head of the request at hand.
pub(crate) fn begin(policy: &Policy, has_body: bool) -> Result<(Step, LogFacts), HostFailed> {
    let map = imports::request_headers()?;
    let headers = pairs::read(&map).ok_or(HostFailed)?;
    let peer = PeerTexts::read(&policy.listener)?;
    let assertion_keys = read_secret(&policy.assertion_keys)?;
    let webhook_keys = match &policy.listener {
        Listener::Public { webhook } => read_secret(&webhook.keys)?,
        Listener::Clients { .. } => None,
    };
    let request = Request {
        headers: &headers,
        peer: peer.view(),
        secrets: Secrets {
            assertion_keys: assertion_keys.as_deref().map(Vec::as_slice),
            webhook_keys: webhook_keys.as_deref().map(Vec::as_slice),
        },
        has_body,
    };
    let (step, facts) = pipeline::begin(policy, request, now_ms()?);
    tell_log(policy, &facts);
    Ok((step, facts))
}

pub(crate) fn now_ms() -> Result<u64, HostFailed> {
    Ok(imports::now_ns()? / 1_000_000)
}

/// What a [`Peer`] borrows from.
#[derive(Debug, Default)]
struct PeerTexts {
    uri_names: Option<Vec<u8>>,
    dns_names: Option<Vec<u8>>,
    certificate_end: Option<Vec<u8>>,
    istio_principal: Option<Vec<u8>>,
}

impl PeerTexts {
    fn read(listener: &Listener) -> Result<Self, HostFailed> {
        let mut texts = Self::default();
        match listener {
            Listener::Public { .. } => {}
            Listener::Clients { identity: IdentitySource::IstioPeer, .. } => {
                texts.istio_principal = imports::filter_state(ISTIO_PEER)?;
            }
            Listener::Clients { .. } => {
                texts.uri_names = imports::filter_state(PEER_URI_NAMES)?;
                texts.dns_names = imports::filter_state(PEER_DNS_NAMES)?;
                texts.certificate_end = imports::filter_state(PEER_CERTIFICATE_END)?;
            }
        }
        Ok(texts)
    }

    fn view(&self) -> Peer<'_> {
        Peer {
            uri_names: self.uri_names.as_deref(),
            dns_names: self.dns_names.as_deref(),
            certificate_end: self.certificate_end.as_deref(),
            istio_principal: self.istio_principal.as_deref(),
        }
    }
}

/// A variable of the VM.
///
/// Wiped when dropped: this memory is used again for what strangers send.
pub(crate) fn environment(name: &str) -> Option<Zeroizing<Vec<u8>>> {
    std::env::var_os(name).map(|text| Zeroizing::new(text.into_encoded_bytes()))
}

fn read_secret(source: &SecretSource) -> Result<Option<Zeroizing<Vec<u8>>>, HostFailed> {
    Ok(match source {
        SecretSource::FilterState(name) => imports::filter_state(name)?.map(Zeroizing::new),
        SecretSource::Environment(name) => environment(name),
    })
}

/// The log is told what it can be told; a request is not refused because its log line is poorer.
fn tell_log(policy: &Policy, facts: &LogFacts) {
    let facts = [
        ("edge.policy", Some(policy.version.as_str())),
        ("edge.route", facts.route),
        ("edge.principal", facts.principal.as_deref()),
        ("edge.tenant", facts.tenant.as_deref()),
        ("edge.dry_run", facts.dry_run),
    ];
    for (name, value) in facts {
        if let Some(value) = value
            && imports::set_filter_state(name, value).is_err()
        {
            imports::log(LogLevel::Error, &format!("the access log cannot be told {name}"));
        }
    }
}
