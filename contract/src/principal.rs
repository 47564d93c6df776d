//! Who is calling, as the certificate that Envoy verified names it.

use std::{fmt, str::FromStr};

/// A workload identity. Holding one means that its text was parsed by the rules of its kind.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Principal {
    /// A SPIFFE ID, from the URI subject alternative name.
    Spiffe(SpiffeId),
    /// A DNS name, from the DNS subject alternative name; written `dns:name`.
    Dns(DnsName),
}

/// A text that names no workload.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum UnknownPrincipal {
    #[error("a principal is written spiffe://<trust domain>/<path> or dns:<name>")]
    Kind,
    #[error("the SPIFFE trust domain must be 1 to 255 of a-z, 0-9, '.', '_' and '-'")]
    TrustDomain,
    #[error("the SPIFFE path must be one or more segments of letters, digits, '.', '_' and '-'")]
    Path,
    #[error("a SPIFFE ID has at most 2048 bytes")]
    TooLong,
    #[error("the DNS name must be lower-case labels of letters, digits and '-', joined by '.'")]
    DnsName,
}

impl fmt::Display for Principal {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Spiffe(id) => formatter.write_str(&id.0),
            Self::Dns(name) => write!(formatter, "dns:{}", name.0),
        }
    }
}

impl FromStr for Principal {
    type Err = UnknownPrincipal;

    fn from_str(text: &str) -> Result<Self, UnknownPrincipal> {
        match text.strip_prefix("dns:") {
            Some(name) => name.parse().map(Self::Dns),
            None => text.parse().map(Self::Spiffe),
        }
    }
}

/// A SPIFFE ID of a workload: a trust domain and a path.
///
/// The rules are those of the SPIFFE-ID standard, sections 2.1 to 2.3. A trust domain alone names no
/// workload and is refused.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SpiffeId(String);

/// SPIFFE-ID, section 2.3.
const SPIFFE_ID_BYTES_MAX: usize = 2048;

impl SpiffeId {
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for SpiffeId {
    type Err = UnknownPrincipal;

    fn from_str(text: &str) -> Result<Self, UnknownPrincipal> {
        if text.len() > SPIFFE_ID_BYTES_MAX {
            return Err(UnknownPrincipal::TooLong);
        }
        let rest = text.strip_prefix("spiffe://").ok_or(UnknownPrincipal::Kind)?;
        let (trust_domain, path) = rest.split_once('/').ok_or(UnknownPrincipal::Path)?;
        let is_domain_byte =
            |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"._-".contains(&byte);
        if !(1..=255).contains(&trust_domain.len()) || !trust_domain.bytes().all(is_domain_byte) {
            return Err(UnknownPrincipal::TrustDomain);
        }
        if path.split('/').all(is_spiffe_segment) {
            Ok(Self(text.to_owned()))
        } else {
            Err(UnknownPrincipal::Path)
        }
    }
}

/// Refuses the dot segments too: a proxy on the way may resolve them, and then two texts would name
/// one workload.
fn is_spiffe_segment(segment: &str) -> bool {
    !matches!(segment, "" | "." | "..")
        && segment.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte))
}

/// A DNS name in lower case, without wildcard and without a final dot, by RFC 1123 section 2.1.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct DnsName(String);

impl DnsName {
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for DnsName {
    type Err = UnknownPrincipal;

    /// Folds upper case, because DNS names are equal whatever their case.
    fn from_str(text: &str) -> Result<Self, UnknownPrincipal> {
        let name = text.to_ascii_lowercase();
        if name.len() <= 253 && name.split('.').all(is_dns_label) {
            Ok(Self(name))
        } else {
            Err(UnknownPrincipal::DnsName)
        }
    }
}

fn is_dns_label(label: &str) -> bool {
    (1..=63).contains(&label.len())
        && !label.starts_with('-')
        && !label.ends_with('-')
        && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, expected: Result<&str, UnknownPrincipal>) {
        let parsed = text.parse::<Principal>().map(|principal| principal.to_string());
        assert_eq!(parsed, expected.map(str::to_owned), "{text:?}");
    }

    #[test]
    fn a_spiffe_id_names_a_workload_in_a_trust_domain() {
        check("spiffe://acme.example/app", Ok("spiffe://acme.example/app"));
        check("spiffe://cluster.local/ns/a/sa/b", Ok("spiffe://cluster.local/ns/a/sa/b"));
        check("spiffe://acme.example", Err(UnknownPrincipal::Path));
        check("spiffe://acme.example/", Err(UnknownPrincipal::Path));
        check("spiffe://acme.example/a//b", Err(UnknownPrincipal::Path));
        check("spiffe://acme.example/a/../b", Err(UnknownPrincipal::Path));
        check("spiffe://acme.example/a/./b", Err(UnknownPrincipal::Path));
        check("spiffe://acme.example/a%2fb", Err(UnknownPrincipal::Path));
        check("spiffe://acme.example/a?b", Err(UnknownPrincipal::Path));
        check("spiffe://acme.example/a,b", Err(UnknownPrincipal::Path));
        check("spiffe:///app", Err(UnknownPrincipal::TrustDomain));
        check("spiffe://Acme.example/app", Err(UnknownPrincipal::TrustDomain));
        check("spiffe://acme.example:443/app", Err(UnknownPrincipal::TrustDomain));
        check("spiffe://user@acme.example/app", Err(UnknownPrincipal::TrustDomain));
        check("SPIFFE://acme.example/app", Err(UnknownPrincipal::Kind));
        check("https://acme.example/app", Err(UnknownPrincipal::Kind));
        check("", Err(UnknownPrincipal::Kind));
        let longest = format!("spiffe://a/{}", "b".repeat(2048 - 11));
        check(&longest, Ok(&longest));
        check(&format!("{longest}b"), Err(UnknownPrincipal::TooLong));
    }

    #[test]
    fn a_dns_name_is_equal_whatever_its_case() {
        check("dns:Runner.acme.example", Ok("dns:runner.acme.example"));
        check("dns:localhost", Ok("dns:localhost"));
        check("dns:", Err(UnknownPrincipal::DnsName));
        check("dns:*.acme.example", Err(UnknownPrincipal::DnsName));
        check("dns:acme.example.", Err(UnknownPrincipal::DnsName));
        check("dns:-acme.example", Err(UnknownPrincipal::DnsName));
        check("dns:acme_.example", Err(UnknownPrincipal::DnsName));
        check(&format!("dns:{}.example", "a".repeat(64)), Err(UnknownPrincipal::DnsName));
    }

    #[test]
    fn a_dns_name_is_never_taken_for_a_spiffe_id() {
        check("acme.example", Err(UnknownPrincipal::Kind));
        check("dns:spiffe://acme.example/app", Err(UnknownPrincipal::DnsName));
    }
}
