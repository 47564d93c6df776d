//! Our certificate, key and CA, read from files again and again: for the edge that calls us and the
//! receivers we call.

mod callers;
mod explain;
mod identity;
mod watched;

use crate::config::MtlsFiles;
use chrono::{DateTime, Utc};
use rustls::{
    ServerConfig,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
};
use std::{fs, path::Path};
use x509_parser::{certificate::X509Certificate, prelude::FromDer, time::ASN1Time};

pub use callers::{Callers, NotTrusted};
pub use explain::explain;
pub use identity::Identity;
pub use watched::{Look, Watched};

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
}

/// The server that the files make, for whoever wants to know whether they fit together.
pub(crate) fn server(files: &MtlsFiles) -> Result<ServerConfig, Unusable> {
    Ok(Identity::of(files, &identity::Contents::read(files)?)?.server())
}

fn read_file(path: &Path) -> Result<Vec<u8>, Unusable> {
    fs::read(path).map_err(|error| Unusable::file(path, &error))
}

/// The certificates in a PEM file, of which there must be one at least.
pub(crate) fn read_certificates(
    path: &Path,
    pem: &[u8],
) -> Result<Vec<CertificateDer<'static>>, Unusable> {
    without_mark(path, pem)?;
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
    without_mark(path, pem)?;
    let key = PrivateKeyDer::from_pem_slice(pem).map_err(|error| Unusable::file(path, &error))?;
    if key.secret_der().is_empty() {
        return Err(Unusable::file(path, &"the key in it is empty"));
    }
    Ok(key)
}

/// A byte order mark hides the line that it stands before, and with it a file's first certificate.
fn without_mark(path: &Path, pem: &[u8]) -> Result<(), Unusable> {
    let marks: [&[u8]; 3] = [b"\xef\xbb\xbf", b"\xff\xfe", b"\xfe\xff"];
    if marks.iter().any(|mark| pem.starts_with(mark)) {
        return Err(Unusable::file(path, &"it begins with a byte order mark; save it without"));
    }
    Ok(())
}

/// From when until when a certificate is valid.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Life {
    pub(crate) from: DateTime<Utc>,
    pub(crate) until: DateTime<Utc>,
}

/// The lives of the certificates in a PEM file.
pub(crate) fn read_lives(path: &Path, pem: &[u8]) -> Result<Vec<Life>, Unusable> {
    read_certificates(path, pem)?.iter().map(|der| life(path, der)).collect()
}

fn life(path: &Path, der: &CertificateDer<'_>) -> Result<Life, Unusable> {
    let (_rest, certificate) =
        X509Certificate::from_der(der).map_err(|error| Unusable::file(path, &error))?;
    let validity = certificate.validity();
    Ok(Life { from: time(validity.not_before), until: time(validity.not_after) })
}

pub(crate) fn time(at: ASN1Time) -> DateTime<Utc> {
    DateTime::from_timestamp(at.timestamp(), 0).unwrap_or_default()
}
