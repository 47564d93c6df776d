//! Whom we believe to be the receiver, and as whom we come: the TLS of new connections.

use super::failed::Failed;
use crate::{
    domain::outcome::NoAnswer,
    tls::{Identity, Watched},
};
use rustls::{
    ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme,
    client::{
        ResolvesClientCert, Resumption, WebPkiServerVerifier,
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    },
    crypto::aws_lc_rs,
    pki_types::{CertificateDer, ServerName, UnixTime},
    sign::CertifiedKey,
};
use std::sync::{Arc, Mutex, PoisonError};

/// The system's roots and our CA, or a destination's own CA alone; and our certificate as it is now.
#[derive(Debug)]
pub(super) struct Trust {
    identity: Option<Arc<Watched>>,
    roots: Roots,
    /// For as long as our certificate is the same: to read all roots anew costs more than a handshake.
    made: Mutex<Option<Made>>,
}

#[derive(Debug)]
pub(super) enum Roots {
    SystemAndOurs(Arc<RootCertStore>),
    Own(RootCertStore),
}

#[derive(Debug)]
struct Made {
    of: Option<Arc<Identity>>,
    config: Arc<ClientConfig>,
}

/// The roots that this host trusts. None at all is said, and no reason to stop.
pub(super) fn system_roots() -> RootCertStore {
    let found = rustls_native_certs::load_native_certs();
    let mut roots = RootCertStore::empty();
    let (taken, ignored) = roots.add_parsable_certificates(found.certs);
    if taken == 0 {
        tracing::warn!(
            ignored,
            "this host trusts no CA: receivers need certificates of MTLS_CA_PATH"
        );
    }
    roots
}

impl Trust {
    pub(super) const fn new(identity: Option<Arc<Watched>>, roots: Roots) -> Self {
        Self { identity, roots, made: Mutex::new(None) }
    }

    /// The same identity, and other roots.
    pub(super) fn with_roots(&self, roots: Roots) -> Self {
        Self::new(self.identity.clone(), roots)
    }

    pub(super) fn identity(&self) -> Option<Arc<Identity>> {
        self.identity.as_ref().map(|watched| watched.current())
    }

    /// The TLS of connections that are made from now on.
    pub(super) fn config(&self) -> Result<Arc<ClientConfig>, Failed> {
        let identity = self.identity();
        let mut made = self.made.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(Made { of, config }) = made.as_ref()
            && of.as_ref().map(Arc::as_ptr) == identity.as_ref().map(Arc::as_ptr)
        {
            return Ok(Arc::clone(config));
        }
        let config = Arc::new(self.make(identity.as_deref(), Arc::default())?);
        *made = Some(Made { of: identity, config: Arc::clone(&config) });
        Ok(config)
    }

    /// The TLS of one connection that is looked at.
    pub(super) fn observed(&self, seen: Arc<Seen>) -> Result<Arc<ClientConfig>, Failed> {
        self.make(self.identity().as_deref(), seen).map(Arc::new)
    }

    fn make(&self, identity: Option<&Identity>, seen: Arc<Seen>) -> Result<ClientConfig, Failed> {
        let unusable =
            |error: &dyn std::fmt::Display| Failed::new(NoAnswer::OurIdentity, error.to_string());
        let mut roots = match &self.roots {
            Roots::SystemAndOurs(system) => (**system).clone(),
            Roots::Own(own) => own.clone(),
        };
        if let (Roots::SystemAndOurs(_), Some(identity)) = (&self.roots, identity) {
            roots.add_parsable_certificates(identity.roots.iter().cloned());
        }
        let provider = Arc::new(aws_lc_rs::default_provider());
        let verifier =
            WebPkiServerVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider))
                .build()
                .map_err(|error| unusable(&error))?;
        let key = identity.map(|identity| Arc::clone(&identity.key));
        let mut config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| unusable(&error))?
            // It notes what it is shown; what is right is decided by the library's own verifier.
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(Noting {
                verifier,
                seen: Arc::clone(&seen),
            }))
            .with_client_cert_resolver(Arc::new(Ours { key, seen }));
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        // In a session that is resumed nobody looks at the receiver's certificate, which may have expired since.
        config.resumption = Resumption::disabled();
        Ok(config)
    }
}

/// What a handshake showed.
#[derive(Debug, Default)]
pub(super) struct Seen {
    shown: Mutex<Shown>,
}

#[derive(Debug, Default, Clone)]
pub(super) struct Shown {
    /// Theirs, the receiver's own first.
    pub(super) chain: Vec<CertificateDer<'static>>,
    pub(super) asked_for_ours: bool,
}

impl Seen {
    pub(super) fn shown(&self) -> Shown {
        self.shown.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn note(&self, note: impl FnOnce(&mut Shown)) {
        note(&mut self.shown.lock().unwrap_or_else(PoisonError::into_inner));
    }
}

#[derive(Debug)]
struct Noting {
    verifier: Arc<WebPkiServerVerifier>,
    seen: Arc<Seen>,
}

impl ServerCertVerifier for Noting {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        self.seen.note(|shown| {
            let chain = std::iter::once(end_entity).chain(intermediates);
            shown.chain = chain.map(|certificate| certificate.clone().into_owned()).collect();
        });
        self.verifier.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.verifier.verify_tls12_signature(message, certificate, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.verifier.verify_tls13_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.verifier.supported_verify_schemes()
    }
}

#[derive(Debug)]
struct Ours {
    key: Option<Arc<CertifiedKey>>,
    seen: Arc<Seen>,
}

impl ResolvesClientCert for Ours {
    fn resolve(
        &self,
        _issuers: &[&[u8]],
        _schemes: &[SignatureScheme],
    ) -> Option<Arc<CertifiedKey>> {
        self.seen.note(|shown| shown.asked_for_ours = true);
        self.key.clone()
    }

    fn has_certs(&self) -> bool {
        self.key.is_some()
    }
}
