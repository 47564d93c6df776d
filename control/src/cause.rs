//! An error in words: what went wrong, and every cause below it.

use crate::tls;
use std::{error::Error, io};

/// Says an error and its causes, joined by colons. A cause that its parent already said is not said twice.
pub fn chain(error: &(dyn Error + 'static)) -> String {
    let mut said = words(error);
    let mut source = error.source();
    while let Some(cause) = source {
        let words = words(cause);
        if !said.ends_with(&words) {
            said.push_str(": ");
            said.push_str(&words);
        }
        source = cause.source();
    }
    said
}

/// What one error says; of TLS's, whose own text is debug output, an explanation.
fn words(error: &(dyn Error + 'static)) -> String {
    tls_error(error).map_or_else(|| error.to_string(), tls::explain)
}

/// The error of TLS that this one is. An I/O error does not count what it wraps among its causes.
pub fn tls_error<'a>(error: &'a (dyn Error + 'static)) -> Option<&'a rustls::Error> {
    let wrapped = error.downcast_ref::<io::Error>().and_then(|error| error.get_ref());
    match wrapped {
        Some(wrapped) => tls_error(wrapped),
        None => error.downcast_ref(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{io, num::ParseIntError};

    #[derive(Debug, thiserror::Error)]
    #[error("cannot read it")]
    struct Unreadable(#[source] ParseIntError);

    #[test]
    fn an_error_is_said_with_its_causes() {
        let error = Unreadable("x".parse::<u8>().unwrap_err());
        assert_eq!(chain(&error), "cannot read it: invalid digit found in string");
    }

    #[test]
    fn an_error_of_tls_is_explained_wherever_it_is_wrapped() {
        let unknown = rustls::Error::InvalidCertificate(rustls::CertificateError::UnknownIssuer);
        for error in [
            Box::<dyn Error>::from(unknown.clone()),
            io::Error::new(io::ErrorKind::InvalidData, unknown.clone()).into(),
            io::Error::other(io::Error::other(unknown)).into(),
        ] {
            let said = chain(error.as_ref());
            assert!(said.starts_with("the certificate is not signed by"), "{said}");
            assert!(!said.contains("UnknownIssuer"), "{said}");
        }
    }

    #[test]
    fn what_was_said_is_not_repeated() {
        let error = io::Error::other(io::Error::other("closed"));
        assert_eq!(chain(&error), "closed");
    }
}
