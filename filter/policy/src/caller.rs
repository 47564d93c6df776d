//! A made-up request: what the filter would be given if this principal called.

use contract::{
    header::{FORWARDED_CERT, NANGO_SIGNATURE},
    keys::KeyRing,
    principal::Principal,
    signature::sign,
};
use filter::{
    head::RawHeader,
    identity::Peer,
    pipeline::{Request, Secrets},
    policy::{IdentitySource, Listener, Policy},
};

/// In place of every secret; a policy has none. What it signs is thrown away.
const STAND_IN_KEY: &[u8] = b"stand-in-for-every-key";

/// The end of every made-up certificate; the clock of a made-up request stands before it.
const CERTIFICATE_END: &[u8] = b"253402300799";

/// Envoy's text for a certificate without a name of the kind.
const NO_NAME: &str = "-";

/// What a [`Request`] borrows from.
#[derive(Debug)]
pub(crate) struct Caller {
    headers: Vec<(&'static str, String)>,
    uri_name: String,
    dns_name: String,
    istio_principal: Option<String>,
}

impl Caller {
    /// A request with nothing wrong but what the policy may find wrong: it declares JSON, and its
    /// body, which is empty, is signed.
    pub(crate) fn new(
        policy: &Policy,
        principal: Option<&Principal>,
        (method, target): (&str, &str),
    ) -> Self {
        // Without a signature a webhook is refused: a mistake here cannot make it look permitted.
        let signature = KeyRing::parse(STAND_IN_KEY).map_or(String::new(), |keys| sign(&keys, b""));
        let mut caller = Self {
            headers: vec![
                (":method", method.to_owned()),
                (":path", target.to_owned()),
                ("content-type", "application/json".to_owned()),
                (NANGO_SIGNATURE, signature),
            ],
            uri_name: NO_NAME.to_owned(),
            dns_name: NO_NAME.to_owned(),
            istio_principal: None,
        };
        match &policy.listener {
            Listener::Clients { identity, .. } => caller.show(identity, principal),
            // Nobody is asked for a certificate.
            Listener::Public { .. } => {}
        }
        caller
    }

    /// Shows the principal where the policy looks for it, with the one name that it has.
    fn show(&mut self, source: &IdentitySource, principal: Option<&Principal>) {
        match source {
            IdentitySource::Certificate { .. } => self.certify(principal),
            IdentitySource::ForwardedCertificate { hop } => {
                self.certify(Some(hop));
                // As a proxy writes it that is told to send both kinds.
                let element = match principal {
                    Some(Principal::Spiffe(id)) => format!("URI={}", id.as_str()),
                    Some(Principal::Dns(name)) => format!("URI=;DNS={}", name.as_str()),
                    None => "URI=".to_owned(),
                };
                self.headers.push((FORWARDED_CERT, element));
            }
            IdentitySource::IstioPeer => {
                self.istio_principal = match principal {
                    Some(Principal::Spiffe(id)) => Some(id.as_str().to_owned()),
                    // Istio knows workloads by SPIFFE IDs only.
                    Some(Principal::Dns(_)) | None => None,
                };
            }
        }
    }

    fn certify(&mut self, principal: Option<&Principal>) {
        match principal {
            Some(Principal::Spiffe(id)) => id.as_str().clone_into(&mut self.uri_name),
            Some(Principal::Dns(name)) => name.as_str().clone_into(&mut self.dns_name),
            None => {}
        }
    }

    pub(crate) fn headers(&self) -> Vec<RawHeader<'_>> {
        self.headers.iter().map(|(name, value)| (name.as_bytes(), value.as_bytes())).collect()
    }

    pub(crate) fn request<'a>(&'a self, headers: &'a [RawHeader<'a>]) -> Request<'a> {
        Request {
            headers,
            peer: Peer {
                uri_names: Some(self.uri_name.as_bytes()),
                dns_names: Some(self.dns_name.as_bytes()),
                certificate_end: Some(CERTIFICATE_END),
                istio_principal: self.istio_principal.as_deref().map(str::as_bytes),
            },
            secrets: Secrets {
                assertion_keys: Some(STAND_IN_KEY),
                webhook_keys: Some(STAND_IN_KEY),
            },
            has_body: false,
        }
    }
}
