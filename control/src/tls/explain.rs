//! Why a server could not be trusted, in words for people: what is wrong, and what to do. None of them is a library's
//! debug output.

use chrono::{DateTime, Utc};
use rustls::{
    AlertDescription, CertificateError, Error, InvalidMessage, PeerIncompatible,
    pki_types::{ServerName, UnixTime},
};
use std::fmt;

/// An error of TLS, as the side that connects sees it.
#[expect(clippy::wildcard_enum_match_arm, reason = "a library's enum, which may grow")]
pub fn explain(error: &Error) -> String {
    match error {
        Error::InvalidCertificate(error) => certificate(error),
        Error::NoCertificatesPresented => {
            "the server sent no certificate; install one at the server".to_owned()
        }
        Error::AlertReceived(alert) => of_alert(*alert),
        Error::InvalidMessage(InvalidMessage::InvalidContentType) => {
            "the server does not speak TLS at this port; use the port that speaks https".to_owned()
        }
        Error::InvalidMessage(why) => {
            format!("the server sent a TLS message that cannot be read: {}", words(why))
        }
        Error::PeerIncompatible(PeerIncompatible::ServerDoesNotSupportTls12Or13) => {
            "the server speaks neither TLS 1.2 nor TLS 1.3; enable one of them at the server"
                .to_owned()
        }
        Error::PeerIncompatible(why) => {
            format!("the server and this service have no way of TLS in common: {}", words(why))
        }
        Error::PeerMisbehaved(why) => format!("the server breaks the rules of TLS: {}", words(why)),
        Error::InvalidCertRevocationList(why) => {
            format!("a list of revoked certificates cannot be used: {}", words(why))
        }
        Error::InvalidEncryptedClientHello(why) => {
            format!("the server refuses an encrypted client hello: {}", words(why))
        }
        Error::InconsistentKeys(why) => {
            format!("a key does not fit its certificate: {}", words(why))
        }
        Error::InappropriateMessage { .. } | Error::InappropriateHandshakeMessage { .. } => {
            "the server sent a TLS message out of turn".to_owned()
        }
        // These print as words.
        other => other.to_string(),
    }
}

const RENEW: &str = "install a renewed one at the server";
const SET_CLOCKS: &str = "wait until then, or correct the clock of the host that is wrong";

#[expect(clippy::wildcard_enum_match_arm, reason = "the others have a text that is fixed")]
fn certificate(error: &CertificateError) -> String {
    match error {
        CertificateError::Expired => format!("the certificate has expired; {RENEW}"),
        CertificateError::ExpiredContext { not_after, .. } => {
            format!("the certificate expired on {}; {RENEW}", date(*not_after))
        }
        CertificateError::NotValidYet => format!("the certificate is not valid yet; {SET_CLOCKS}"),
        CertificateError::NotValidYetContext { not_before, .. } => {
            format!("the certificate is not valid before {}; {SET_CLOCKS}", date(*not_before))
        }
        CertificateError::NotValidForNameContext { expected, presented } => {
            not_for(expected, presented)
        }
        CertificateError::Other(error) => of_library(error),
        other => match fixed(other) {
            Some(text) => text.to_owned(),
            None => format!("the certificate cannot be verified: {}", words(other)),
        },
    }
}

#[expect(clippy::wildcard_enum_match_arm, reason = "a library's enum, which may grow")]
fn fixed(error: &CertificateError) -> Option<&'static str> {
    Some(match error {
        CertificateError::BadEncoding => {
            "the certificate is malformed; install one that is encoded as X.509 says"
        }
        CertificateError::Revoked => "the certificate was revoked; install another one",
        CertificateError::UnhandledCriticalExtension => {
            "the certificate has a critical extension that is not supported; have it issued without"
        }
        CertificateError::UnknownIssuer => {
            "the certificate is not signed by an authority that is trusted here; have the server send its \
             intermediate certificates too, or name its authority here"
        }
        CertificateError::UnknownRevocationStatus => {
            "it is not known whether the certificate was revoked; provide a list of its authority"
        }
        CertificateError::ExpiredRevocationList
        | CertificateError::ExpiredRevocationListContext { .. } => {
            "the list of revoked certificates has expired; provide the authority's current one"
        }
        CertificateError::BadSignature => {
            "the certificate is not signed by the authority that it names, or the handshake not with its key; \
             install a certificate with its own key and chain"
        }
        CertificateError::NotValidForName => {
            "the certificate is not valid for the server's name; have it issued for that"
        }
        CertificateError::InvalidPurpose | CertificateError::InvalidPurposeContext { .. } => {
            "the certificate is not for servers; have it issued with the extended key usage serverAuth"
        }
        CertificateError::InvalidOcspResponse => {
            "the server's proof that its certificate is not revoked (OCSP) is invalid; renew it there"
        }
        CertificateError::ApplicationVerificationFailure => "the certificate was refused",
        // One of its variants is put away, and may not be named.
        other if words(other).starts_with("unsupported signature algorithm") => {
            "the certificate is signed with an algorithm that is not supported; have it issued with ECDSA or RSA \
             and SHA-256 or better"
        }
        _ => return None,
    })
}

/// What the verifier says that has no variant of its own.
fn of_library(error: &rustls::OtherError) -> String {
    let said = error.to_string();
    if said.contains("CaUsedAsEndEntity") {
        return "the certificate is an authority's own; have the authority sign one for the server"
            .to_owned();
    }
    // A name of the library's, or a sentence.
    let is_name = said.bytes().all(|byte| byte.is_ascii_alphanumeric());
    let said = if is_name { split(&said) } else { said };
    format!("the certificate cannot be verified: {said}")
}

fn not_for(expected: &ServerName<'_>, presented: &[String]) -> String {
    let expected = expected.to_str();
    let names: Vec<&str> = presented.iter().map(|name| bare(name)).collect();
    let names = if names.is_empty() { "no name at all".to_owned() } else { names.join(", ") };
    format!(
        "the certificate is not valid for {expected}; have it issued for that name. It is valid for {names}"
    )
}

/// `DnsName("a.example")` is a.example.
fn bare(name: &str) -> &str {
    let within = name.split_once('(').and_then(|(_kind, rest)| rest.strip_suffix(')'));
    within.unwrap_or(name).trim_matches('"')
}

#[expect(clippy::wildcard_enum_match_arm, reason = "a library's enum, which may grow")]
fn of_alert(alert: AlertDescription) -> String {
    match alert {
        AlertDescription::CertificateRequired | AlertDescription::NoCertificate => {
            "the server requires a client certificate".to_owned()
        }
        AlertDescription::UnknownCA => {
            "the server does not trust the authority of the client certificate".to_owned()
        }
        AlertDescription::CertificateExpired => {
            "the server says that the client certificate has expired".to_owned()
        }
        AlertDescription::CertificateRevoked => {
            "the server says that the client certificate was revoked".to_owned()
        }
        AlertDescription::BadCertificate
        | AlertDescription::UnsupportedCertificate
        | AlertDescription::CertificateUnknown
        | AlertDescription::AccessDenied => {
            format!("the server does not accept the client certificate ({})", words(&alert))
        }
        AlertDescription::UnrecognisedName => "the server has no such name".to_owned(),
        AlertDescription::ProtocolVersion => {
            "the server speaks neither TLS 1.2 nor TLS 1.3".to_owned()
        }
        other => format!("the server ended the handshake with the alert \"{}\"", words(&other)),
    }
}

fn date(at: UnixTime) -> String {
    let seconds = i64::try_from(at.as_secs()).ok();
    let date: Option<DateTime<Utc>> = seconds.and_then(|it| DateTime::from_timestamp(it, 0));
    date.map_or_else(|| "a day that is out of range".to_owned(), |date| date.to_string())
}

/// The name of a variant, as words.
fn words(variant: &impl fmt::Debug) -> String {
    let printed = format!("{variant:?}");
    let ends = printed.find(|it: char| !it.is_ascii_alphanumeric()).unwrap_or(printed.len());
    split(printed.get(..ends).unwrap_or(&printed))
}

/// `BadRecordMac` is bad record mac.
fn split(name: &str) -> String {
    let mut words = String::new();
    let mut is_upper = true;
    for character in name.chars() {
        if character.is_ascii_uppercase() && !is_upper {
            words.push(' ');
        }
        is_upper = character.is_ascii_uppercase();
        words.push(character.to_ascii_lowercase());
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustls::{OtherError, server::ParsedCertificate};
    use std::{sync::Arc, time::Duration};

    fn at(seconds: u64) -> UnixTime {
        UnixTime::since_unix_epoch(Duration::from_secs(seconds))
    }

    #[derive(Debug, thiserror::Error)]
    #[error("{0}")]
    struct Said(&'static str);

    fn other(said: &'static str) -> CertificateError {
        CertificateError::Other(OtherError(Arc::new(Said(said))))
    }

    /// Every variant that rustls has.
    fn certificate_errors() -> Vec<(CertificateError, &'static str)> {
        let name = || ServerName::try_from("app.example").unwrap();
        let presented =
            vec![r#"DnsName("other.example")"#.to_owned(), "IpAddress(10.0.0.7)".to_owned()];
        let not_for =
            |presented| CertificateError::NotValidForNameContext { expected: name(), presented };
        let unsupported = CertificateError::UnsupportedSignatureAlgorithmContext {
            signature_algorithm_id: vec![6, 9, 42],
            supported_algorithms: Vec::new(),
        };
        let unfit = CertificateError::UnsupportedSignatureAlgorithmForPublicKeyContext {
            signature_algorithm_id: vec![6, 9, 42],
            public_key_algorithm_id: vec![6, 9, 43],
        };
        let purpose = CertificateError::InvalidPurposeContext {
            required: rustls::ExtendedKeyPurpose::ServerAuth,
            presented: vec![rustls::ExtendedKeyPurpose::Other(vec![1, 3, 6])],
        };
        let (time, past) = (at(1_795_340_000), at(1_795_000_000));
        vec![
            (CertificateError::BadEncoding, "is malformed"),
            (CertificateError::Expired, "has expired"),
            (
                CertificateError::ExpiredContext { time, not_after: past },
                "expired on 2026-11-18 11:06:40 UTC; install a renewed one",
            ),
            (CertificateError::NotValidYet, "not valid yet"),
            (
                CertificateError::NotValidYetContext { time: past, not_before: time },
                "not valid before 2026-11-22 09:33:20 UTC; wait",
            ),
            (CertificateError::Revoked, "was revoked; install another"),
            (CertificateError::UnhandledCriticalExtension, "a critical extension"),
            (CertificateError::UnknownIssuer, "not signed by an authority that is trusted here"),
            (CertificateError::UnknownRevocationStatus, "not known whether"),
            (CertificateError::ExpiredRevocationList, "list of revoked certificates has expired"),
            (
                CertificateError::ExpiredRevocationListContext { time, next_update: past },
                "list of revoked certificates has expired",
            ),
            (CertificateError::BadSignature, "not signed by the authority that it names"),
            (unsupported, "an algorithm that is not supported"),
            (unfit, "an algorithm that is not supported"),
            (CertificateError::NotValidForName, "not valid for the server's name"),
            (
                not_for(presented),
                "not valid for app.example; have it issued for that name. It is valid for other.example, 10.0.0.7",
            ),
            (not_for(Vec::new()), "It is valid for no name at all"),
            (CertificateError::InvalidPurpose, "serverAuth"),
            (purpose, "serverAuth"),
            (CertificateError::InvalidOcspResponse, "(OCSP) is invalid"),
            (CertificateError::ApplicationVerificationFailure, "was refused"),
            (other("CaUsedAsEndEntity"), "is an authority's own"),
            (other("PathLenConstraintViolated"), "verified: path len constraint violated"),
            (other("it says so"), "verified: it says so"),
        ]
    }

    #[test]
    fn every_error_of_a_certificate_is_said_in_words() {
        for (error, expected) in certificate_errors() {
            let name = format!("{error:?}");
            let name = name.split([' ', '(', '{']).next().unwrap().to_owned();
            let said = explain(&Error::InvalidCertificate(error));
            assert!(said.contains(expected), "{name}: {said}");
            assert!(!said.contains(&name) && !said.contains(['{', '"', '[']), "{name}: {said}");
        }
    }

    #[test]
    fn what_else_ends_a_handshake_is_said_in_words() {
        use rustls::PeerMisbehaved;
        for (error, expected) in [
            (Error::NoCertificatesPresented, "sent no certificate"),
            (Error::InvalidMessage(InvalidMessage::InvalidContentType), "does not speak TLS"),
            (Error::InvalidMessage(InvalidMessage::MessageTooLarge), "read: message too large"),
            (
                Error::PeerIncompatible(PeerIncompatible::ServerDoesNotSupportTls12Or13),
                "neither TLS 1.2 nor TLS 1.3",
            ),
            (
                Error::PeerIncompatible(PeerIncompatible::NoCipherSuitesInCommon),
                "in common: no cipher suites in common",
            ),
            (
                Error::PeerMisbehaved(PeerMisbehaved::DuplicateServerHelloExtensions),
                "rules of TLS: duplicate server hello extensions",
            ),
            (Error::AlertReceived(AlertDescription::CertificateRequired), "requires a client"),
            (Error::AlertReceived(AlertDescription::UnknownCA), "does not trust the authority"),
            (Error::AlertReceived(AlertDescription::CertificateExpired), "certificate has expired"),
            (Error::AlertReceived(AlertDescription::CertificateRevoked), "was revoked"),
            (
                Error::AlertReceived(AlertDescription::BadCertificate),
                "does not accept the client certificate (bad certificate)",
            ),
            (Error::AlertReceived(AlertDescription::UnrecognisedName), "has no such name"),
            (Error::AlertReceived(AlertDescription::ProtocolVersion), "neither TLS 1.2"),
            (
                Error::AlertReceived(AlertDescription::HandshakeFailure),
                "with the alert \"handshake failure\"",
            ),
            (Error::DecryptError, "cannot decrypt"),
        ] {
            let said = explain(&error);
            assert!(said.contains(expected), "{error:?}: {said}");
        }
    }

    #[test]
    fn a_real_verifiers_errors_are_said_in_words() {
        use rustls::client::verify_server_name;
        let key = rcgen::KeyPair::generate().unwrap();
        let made = rcgen::CertificateParams::new(["other.example".to_owned()]).unwrap();
        let certificate = made.self_signed(&key).unwrap();
        let parsed = ParsedCertificate::try_from(certificate.der()).unwrap();
        let expected = ServerName::try_from("app.example").unwrap();
        let said = explain(&verify_server_name(&parsed, &expected).unwrap_err());
        let ends = "not valid for app.example; have it issued for that name. It is valid for other.example";
        assert!(said.ends_with(ends), "{said}");
    }
}
