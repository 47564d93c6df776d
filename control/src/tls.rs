//! Our certificate, key and CA, read from files: for the edge that calls us and the receivers we call.

use crate::config::MtlsFiles;
use chrono::{DateTime, Utc};
use reqwest::{Certificate, Identity};
use rustls::{
    RootCertStore, ServerConfig,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
    server::WebPkiClientVerifier,
};
use std::{fs, path::Path, sync::Arc};
use x509_parser::{certificate::X509Certificate, prelude::FromDer, time::ASN1Time};

/// Why the files cannot serve.
#[derive(Debug, thiserror::Error)]
#[error("{what} is unusable: {why}")]
pub struct Unusable {
    what: String,
    why: String,
}

impl Unusable {
    fn file(path: &Path, why: &dyn std::fmt::Display) -> Self {
        Self { what: path.display().to_string(), why: why.to_string() }
    }

    pub(crate) fn client(error: &reqwest::Error) -> Self {
        Self { what: "the TLS client".to_owned(), why: error.to_string() }
    }
}

/// A server that takes only callers with a certificate of our CA.
pub(crate) fn server(files: &MtlsFiles) -> Result<ServerConfig, Unusable> {
    let MtlsFiles { certificate, key, ca } = files;
    let mut roots = RootCertStore::empty();
    for root in read_certificates(ca, &read_file(ca)?)? {
        roots.add(root).map_err(|error| Unusable::file(ca, &error))?;
    }
    let verifier = WebPkiClientVerifier::builder(Arc::new(roots))
        .build()
        .map_err(|error| Unusable::file(ca, &error))?;
    let chain = read_certificates(certificate, &read_file(certificate)?)?;
    let mut server = ServerConfig::builder()
        .with_client_cert_verifier(verifier)
        .with_single_cert(chain, read_key(key, &read_file(key)?)?)
        .map_err(|error| Unusable::file(certificate, &error))?;
    server.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(server)
}

/// Our identity as a client, and whom it trusts besides the system's roots.
pub(crate) fn client(files: &MtlsFiles) -> Result<(Identity, Vec<Certificate>), Unusable> {
    let MtlsFiles { certificate, key, ca } = files;
    let mut pem = read_file(certificate)?;
    // A file need not end with a newline, and then its last line would run into the key's first.
    pem.push(b'\n');
    pem.extend(read_file(key)?);
    let identity = Identity::from_pem(&pem).map_err(|error| Unusable::file(certificate, &error))?;
    let roots = Certificate::from_pem_bundle(&read_file(ca)?)
        .map_err(|error| Unusable::file(ca, &error))?;
    Ok((identity, roots))
}

fn read_file(path: &Path) -> Result<Vec<u8>, Unusable> {
    fs::read(path).map_err(|error| Unusable::file(path, &error))
}

/// The certificates in a PEM file, of which there must be one at least.
pub(crate) fn read_certificates(
    path: &Path,
    pem: &[u8],
) -> Result<Vec<CertificateDer<'static>>, Unusable> {
    let certificates = CertificateDer::pem_slice_iter(pem)
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| Unusable::file(path, &error))?;
    if certificates.is_empty() {
        return Err(Unusable::file(path, &"there is no certificate in it"));
    }
    Ok(certificates)
}

/// The private key in a PEM file.
pub(crate) fn read_key(path: &Path, pem: &[u8]) -> Result<PrivateKeyDer<'static>, Unusable> {
    PrivateKeyDer::from_pem_slice(pem).map_err(|error| Unusable::file(path, &error))
}

/// From when until when a certificate is valid.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Life {
    pub(crate) from: DateTime<Utc>,
    pub(crate) until: DateTime<Utc>,
}

/// The lives of the certificates in a PEM file.
pub(crate) fn read_lives(path: &Path, pem: &[u8]) -> Result<Vec<Life>, Unusable> {
    let read = |der: &CertificateDer<'_>| {
        let (_rest, certificate) =
            X509Certificate::from_der(der).map_err(|error| Unusable::file(path, &error))?;
        let validity = certificate.validity();
        let time = |at: ASN1Time| DateTime::from_timestamp(at.timestamp(), 0).unwrap_or_default();
        Ok(Life { from: time(validity.not_before), until: time(validity.not_after) })
    };
    read_certificates(path, pem)?.iter().map(read).collect()
}
