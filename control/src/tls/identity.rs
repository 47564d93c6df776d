//! What the three files hold, read together: our certificate with its key, and whom we trust.

use super::{Life, Unusable, life, read_certificates, read_file, read_key};
use crate::config::MtlsFiles;
use chrono::{DateTime, Utc};
use rustls::{
    RootCertStore, ServerConfig,
    crypto::aws_lc_rs,
    pki_types::CertificateDer,
    server::{NoServerSessionStorage, WebPkiClientVerifier, danger::ClientCertVerifier},
    sign::CertifiedKey,
    sign::SingleCertAndKey,
};
use sha2::{Digest as _, Sha256};
use std::{fmt, path::Path, sync::Arc};

/// The bytes of the files, before anything is made of them.
pub(super) struct Contents {
    certificate: Vec<u8>,
    key: Vec<u8>,
    ca: Vec<u8>,
}

impl Contents {
    pub(super) fn read(files: &MtlsFiles) -> Result<Self, Unusable> {
        let MtlsFiles { certificate, key, ca } = files;
        let (certificate, key) = (read_file(certificate)?, read_file(key)?);
        Ok(Self { certificate, key, ca: read_file(ca)? })
    }

    /// By which a change is seen without keeping the key.
    pub(super) fn digest(&self) -> [u8; 32] {
        let Self { certificate, key, ca } = self;
        let parts = [certificate, key, ca].map(Sha256::digest);
        Sha256::digest(parts.concat()).into()
    }
}

/// Our identity, and whom we trust besides the system's roots.
pub struct Identity {
    pub(crate) key: Arc<CertifiedKey>,
    pub(crate) roots: Vec<CertificateDer<'static>>,
    callers: Arc<dyn ClientCertVerifier>,
    life: Life,
    ends: Ends,
}

/// When the first certificate of each kind ends, as far as one says so.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Ends {
    pub(crate) identity: Option<DateTime<Utc>>,
    pub(crate) ca: Option<DateTime<Utc>>,
}

impl fmt::Debug for Identity {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Identity(until {})", self.life.until)
    }
}

impl Identity {
    pub(super) fn of(files: &MtlsFiles, contents: &Contents) -> Result<Self, Unusable> {
        let chain = read_certificates(&files.certificate, &contents.certificate)?;
        let life = chain.first().map(|first| life(&files.certificate, first)).transpose()?;
        let life = life.ok_or_else(|| Unusable::file(&files.certificate, &"it is empty"))?;
        let identity = first_end(&files.certificate, &chain);
        let key = read_key(&files.key, &contents.key)?;
        let provider = aws_lc_rs::default_provider();
        let key = CertifiedKey::from_der(chain, key, &provider)
            .map_err(|error| Unusable::file(&files.certificate, &error))?;
        let roots = read_certificates(&files.ca, &contents.ca)?;
        let ends = Ends { identity, ca: first_end(&files.ca, &roots) };
        // Nobody is to find out at the first connection that the CA is none.
        let unusable = |error: &dyn fmt::Display| Unusable::file(&files.ca, error);
        let trusted = trusted(&roots).map_err(|error| unusable(&error))?;
        let callers =
            WebPkiClientVerifier::builder_with_provider(Arc::new(trusted), provider.into())
                .build()
                .map_err(|error| unusable(&error))?;
        Ok(Self { key: Arc::new(key), roots, callers, life, ends })
    }

    /// Judges whether a caller has a certificate of our CA, at the handshake and at each request after it.
    pub(super) fn callers(&self) -> &dyn ClientCertVerifier {
        self.callers.as_ref()
    }

    /// A server that takes only callers with a certificate of our CA, and judges each of their connections anew:
    /// a session that is resumed is one whose certificate nobody looks at, expired or not (`docs/decisions/`).
    pub(crate) fn server(&self) -> ServerConfig {
        let mut server = ServerConfig::builder()
            .with_client_cert_verifier(Arc::clone(&self.callers))
            .with_cert_resolver(Arc::new(SingleCertAndKey::from((*self.key).clone())));
        server.alpn_protocols = vec![b"http/1.1".to_vec()];
        // Sessions by id, for both versions; tickets that hold a session are off by default.
        server.session_storage = Arc::new(NoServerSessionStorage {});
        server.send_tls13_tickets = 0;
        server
    }

    pub(crate) const fn life(&self) -> Life {
        self.life
    }

    pub(crate) const fn ends(&self) -> Ends {
        self.ends
    }

    pub(crate) fn is_valid(&self, at: DateTime<Utc>) -> bool {
        (self.life.from..=self.life.until).contains(&at)
    }
}

fn trusted(certificates: &[CertificateDer<'static>]) -> Result<RootCertStore, rustls::Error> {
    let mut roots = RootCertStore::empty();
    for root in certificates {
        roots.add(root.clone())?;
    }
    Ok(roots)
}

fn first_end(path: &Path, certificates: &[CertificateDer<'_>]) -> Option<DateTime<Utc>> {
    certificates.iter().filter_map(|der| life(path, der).ok()).map(|life| life.until).min()
}
