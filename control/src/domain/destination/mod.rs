//! Where a tenant wants to be told, and what of: checked field by field.

use super::{
    egress::{Egress, is_public},
    notification::EventType,
    returning::read_origin,
    signing::{SigningSecret, new_secret},
};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use chrono::{DateTime, Utc};
use contract::id::TenantId;
use rustls::{
    RootCertStore,
    pki_types::{CertificateDer, ServerName, pem::PemObject as _},
};
use serde::Deserialize;
use std::{collections::BTreeSet, fmt, net::IpAddr};
use url::{Host, Url};
use utoipa::ToSchema;

const URL_BYTES_MAX: usize = 2048;
const CA_BYTES_MAX: usize = 16 << 10;
const ORIGINS_MAX: usize = 20;
/// Two are enough to rotate; each makes the signature's header longer.
const SECRETS_MAX: usize = 4;

/// Where a tenant wants to be told. What is left out is reset, but for the secrets.
#[derive(Clone, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schema(as = NewDestination)]
pub struct DestinationRequest {
    /// Where notifications are sent: a public address without user, password and fragment, at an allowed port. Plain http
    /// is for networks that the operator named.
    #[schema(pattern = "^https?://", max_length = 2048, example = "https://app.example/webhooks")]
    url: String,
    /// Which of them; all, unless it is said.
    #[schema(value_type = Option<Vec<EventType>>)]
    event_types: Option<Vec<String>>,
    /// Where a browser may go back to, such as `https://app.example`; unless it is said, where the operator allows it.
    #[schema(value_type = Option<Vec<ReturnOrigin>>, max_items = 20)]
    return_origins: Option<Vec<String>>,
    /// PEM of 1 to 8 certificates, of one of whom the receiver's must be; unless it is said, the public ones and ours.
    #[schema(max_length = 16384)]
    ca: Option<String>,
    /// What the receiver's certificate must be for, if it is not the URL's host.
    #[schema(min_length = 1, max_length = 253)]
    server_name: Option<String>,
    /// Each of them signs. Unless it is said those there are stay, or else one is made and answered this once.
    #[schema(value_type = Option<Vec<ReceiverSecret>>, min_items = 1, max_items = 4)]
    secrets: Option<Vec<String>>,
    /// The version that is replaced, or nothing is; 0 for none. Unless it is said, whatever is there.
    #[schema(minimum = 0)]
    version: Option<i64>,
}

/// An origin: https, or http of the browser's own machine.
#[derive(Debug, ToSchema)]
#[schema(pattern = "^https?://", example = "https://app.example")]
#[expect(dead_code, reason = "a description; `check_origins` is the rule")]
pub struct ReturnOrigin(String);

/// `whsec_` and the base64 of 24 to 64 random bytes.
#[derive(Debug, ToSchema)]
#[schema(
    pattern = "^whsec_([A-Za-z0-9+/]{4}){8}(([A-Za-z0-9+/]{4}){0,13}([A-Za-z0-9+/][AQgw]==)?|([A-Za-z0-9+/]{4}){0,12}[A-Za-z0-9+/]{2}[AEIMQUYcgkosw048]=)$"
)]
#[expect(dead_code, reason = "a description; `SigningSecret::from_text` is the rule")]
pub struct ReceiverSecret(String);

/// It holds secrets.
impl fmt::Debug for DestinationRequest {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("DestinationRequest").field("url", &self.url).finish_non_exhaustive()
    }
}

/// A destination that can be kept, but for its secrets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewDestination {
    pub url: Url,
    /// Nothing: all of them.
    pub event_types: Option<BTreeSet<EventType>>,
    pub return_origins: Option<Vec<String>>,
    pub ca: Option<String>,
    pub server_name: Option<String>,
    pub secrets: Option<Secrets>,
    pub version: Option<i64>,
}

/// A tenant's own destination, as it is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Destination {
    pub url: Url,
    pub event_types: Option<Vec<String>>,
    pub return_origins: Option<Vec<String>>,
    /// Whom the receiver's certificate must be of; nothing: the system's roots and our CA.
    pub ca: Option<String>,
    /// What it must be for; nothing: the URL's host.
    pub server_name: Option<String>,
    /// Sealed for [`owner`].
    pub secrets: String,
    pub version: i64,
    pub updated_at: DateTime<Utc>,
}

/// What is wrong with a destination, and how to mend it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadDestination {
    #[error(
        "url must be an https:// address of at most {URL_BYTES_MAX} bytes, without user, password and fragment"
    )]
    Url,
    #[error(
        "url must begin with https://; plain http is for networks that the operator names in NOTIFICATION_ALLOWED_NETWORKS"
    )]
    Plain,
    #[error(
        "url must not lead to {0}, which is no public address; the operator may allow its network in NOTIFICATION_ALLOWED_NETWORKS"
    )]
    Address(IpAddr),
    #[error(
        "url must use one of these ports: {0}; the operator may allow others in NOTIFICATION_ALLOWED_PORTS"
    )]
    Port(String),
    #[error("eventTypes must be some of: {0}")]
    EventTypes(String),
    #[error(
        "returnOrigins must be at most {ORIGINS_MAX} origins such as https://app.example; plain http is for localhost"
    )]
    ReturnOrigins,
    #[error("ca must be PEM of 1 to 8 certificates, of at most {CA_BYTES_MAX} bytes")]
    Ca,
    #[error(
        "ca holds a private key: send certificates alone, and replace the key, for it was shown to others"
    )]
    CaKey,
    #[error("serverName must be a DNS name or an IP address, and the url https")]
    ServerName,
    #[error(
        "secrets must be 1 to {SECRETS_MAX} texts whsec_<base64 of 24 to 64 random bytes>; leave it out to keep those there are, or to have one made"
    )]
    Secrets,
    #[error(
        "version must be the version that is replaced, or 0 for none; leave it out to replace whatever is there"
    )]
    Version,
}

impl DestinationRequest {
    pub fn check(self, egress: &Egress) -> Result<NewDestination, BadDestination> {
        let url = check_url(&self.url, egress)?;
        let is_tls = url.scheme() == "https";
        let server_name = self.server_name.map(|name| {
            let is_name = ServerName::try_from(name.as_str()).is_ok() && !name.ends_with('.');
            if is_name && is_tls { Ok(name) } else { Err(BadDestination::ServerName) }
        });
        Ok(NewDestination {
            url,
            event_types: self.event_types.map(|types| check_types(&types)).transpose()?,
            return_origins: self.return_origins.map(|it| check_origins(&it)).transpose()?,
            ca: self.ca.map(|pem| check_ca(&pem)).transpose()?,
            server_name: server_name.transpose()?,
            secrets: self.secrets.map(Secrets::read).transpose()?,
            version: self.version.map(check_version).transpose()?,
        })
    }
}

fn check_version(version: i64) -> Result<i64, BadDestination> {
    if version >= 0 { Ok(version) } else { Err(BadDestination::Version) }
}

fn check_url(text: &str, egress: &Egress) -> Result<Url, BadDestination> {
    let url = Url::parse(text).ok().filter(|url| url.as_str().len() <= URL_BYTES_MAX);
    let url = url.ok_or(BadDestination::Url)?;
    let is_plain =
        url.username().is_empty() && url.password().is_none() && url.fragment().is_none();
    // What the one library lets pass in a query, the other does not send.
    let is_sent = url.as_str().bytes().all(|byte| !b"\"<>\\^`{|}".contains(&byte));
    let is_tls = url.scheme() == "https";
    if !is_plain || !is_sent || !(is_tls || url.scheme() == "http") {
        return Err(BadDestination::Url);
    }
    // A literal is an address in whatever form it was written: the parser knows them all.
    let literal = match url.host() {
        Some(Host::Domain(name)) if name.is_empty() || name.ends_with('.') => {
            return Err(BadDestination::Url);
        }
        Some(Host::Domain(_)) => None,
        Some(Host::Ipv4(address)) => Some(IpAddr::V4(address)),
        Some(Host::Ipv6(address)) => Some(IpAddr::V6(address)),
        None => return Err(BadDestination::Url),
    };
    if let Some(address) = literal
        && !egress.may_reach(address, is_tls)
    {
        let is_refused_for_http = !is_tls && is_public(address);
        return Err(if is_refused_for_http {
            BadDestination::Plain
        } else {
            BadDestination::Address(address)
        });
    }
    // Where a name leads is known when it is called, and looked at then.
    if !is_tls && !egress.names_networks() {
        return Err(BadDestination::Plain);
    }
    let port = url.port_or_known_default().unwrap_or_default();
    if !egress.may_use(port) {
        let ports: Vec<String> = egress.ports().map(|port| port.to_string()).collect();
        return Err(BadDestination::Port(ports.join(", ")));
    }
    Ok(url)
}

fn check_types(types: &[String]) -> Result<BTreeSet<EventType>, BadDestination> {
    let types = types.iter().map(|text| text.parse());
    types.collect::<Result<_, _>>().map_err(|_unknown| {
        BadDestination::EventTypes(EventType::ALL.map(EventType::as_str).join(", "))
    })
}

fn check_origins(origins: &[String]) -> Result<Vec<String>, BadDestination> {
    let read = |text: &String| {
        let url = read_origin(text)?;
        let is_own = match url.host() {
            Some(Host::Domain(name)) => name == "localhost",
            Some(Host::Ipv4(address)) => address.is_loopback(),
            Some(Host::Ipv6(address)) => address.is_loopback(),
            None => false,
        };
        (url.scheme() == "https" || is_own).then(|| url.origin().ascii_serialization())
    };
    let read: Option<Vec<String>> = origins.iter().map(read).collect();
    read.filter(|origins| origins.len() <= ORIGINS_MAX).ok_or(BadDestination::ReturnOrigins)
}

/// The certificates of a CA, written anew. What stands around them is not kept, for it may be anything.
fn check_ca(pem: &str) -> Result<String, BadDestination> {
    if pem.contains("PRIVATE KEY-----") {
        return Err(BadDestination::CaKey);
    }
    roots(pem)?;
    let written: Result<String, _> = CertificateDer::pem_slice_iter(pem.as_bytes())
        .map(|certificate| certificate.map(|certificate| write_pem(&certificate)))
        .collect();
    // Short lines make it longer than it was, if it was written in one.
    let written = written.ok().filter(|written| written.len() <= CA_BYTES_MAX);
    written.ok_or(BadDestination::Ca)
}

fn write_pem(der: &[u8]) -> String {
    let mut pem = "-----BEGIN CERTIFICATE-----\n".to_owned();
    for (nth, letter) in STANDARD.encode(der).chars().enumerate() {
        if nth > 0 && nth.is_multiple_of(64) {
            pem.push('\n');
        }
        pem.push(letter);
    }
    pem.push_str("\n-----END CERTIFICATE-----\n");
    pem
}

/// Which members of a destination a new one changes, by name.
pub fn changed(
    before: Option<&Destination>,
    after: &NewDestination,
    has_new_secrets: bool,
) -> Vec<&'static str> {
    let types = |types: &BTreeSet<EventType>| {
        types.iter().map(|it| it.as_str().to_owned()).collect::<BTreeSet<String>>()
    };
    let known = before.and_then(|before| before.event_types.as_ref());
    let known = known.map(|types| types.iter().cloned().collect::<BTreeSet<String>>());
    let origins = before.and_then(|before| before.return_origins.as_ref());
    let ca = before.and_then(|before| before.ca.as_ref());
    let server_name = before.and_then(|before| before.server_name.as_ref());
    let members = [
        ("url", before.map(|before| &before.url) != Some(&after.url)),
        ("eventTypes", known != after.event_types.as_ref().map(types)),
        ("returnOrigins", origins != after.return_origins.as_ref()),
        ("ca", ca != after.ca.as_ref()),
        ("serverName", server_name != after.server_name.as_ref()),
        ("secrets", has_new_secrets),
    ];
    members.into_iter().filter_map(|(name, is_changed)| is_changed.then_some(name)).collect()
}

/// An address as the trail tells it: without its query, where receivers like to have a token.
pub fn shown(url: &Url) -> String {
    let mut url = url.clone();
    url.set_query(None);
    url.set_fragment(None);
    // Where an address can have neither, it has neither.
    let _has_no_user = url.set_username("").and_then(|()| url.set_password(None)).is_err();
    url.into()
}

/// The roots in a destination's own CA.
pub fn roots(pem: &str) -> Result<RootCertStore, BadDestination> {
    let mut roots = RootCertStore::empty();
    if pem.len() > CA_BYTES_MAX {
        return Err(BadDestination::Ca);
    }
    for certificate in CertificateDer::pem_slice_iter(pem.as_bytes()) {
        let certificate = certificate.map_err(|_malformed| BadDestination::Ca)?;
        roots.add(certificate).map_err(|_no_root| BadDestination::Ca)?;
    }
    if (1..=8).contains(&roots.len()) { Ok(roots) } else { Err(BadDestination::Ca) }
}

/// What a receiver verifies notifications with. The first is the newest; all of them sign.
#[derive(Clone, PartialEq, Eq)]
pub struct Secrets(Vec<String>);

impl fmt::Debug for Secrets {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Secrets(..)")
    }
}

impl Secrets {
    fn read(secrets: Vec<String>) -> Result<Self, BadDestination> {
        let secrets = Self(secrets);
        let is_readable =
            secrets.signing().is_some_and(|signing| (1..=SECRETS_MAX).contains(&signing.len()));
        if is_readable { Ok(secrets) } else { Err(BadDestination::Secrets) }
    }

    /// A new one, made of random bytes.
    pub fn generate(random: [u8; 32]) -> Self {
        Self(vec![new_secret(random)])
    }

    /// As they are sealed, and as their receiver is told them once.
    pub fn expose(&self) -> &[String] {
        &self.0
    }

    /// What was sealed as lines.
    pub fn from_lines(text: &str) -> Option<Vec<SigningSecret>> {
        Self(text.lines().map(str::to_owned).collect()).signing()
    }

    fn signing(&self) -> Option<Vec<SigningSecret>> {
        self.0.iter().map(|text| SigningSecret::from_text(text.as_bytes()).ok()).collect()
    }
}

/// Whose seal it is: one tenant's secrets are of no use to another.
pub fn owner(tenant: &TenantId) -> String {
    format!("destination/{tenant}")
}

#[cfg(test)]
mod tests;
