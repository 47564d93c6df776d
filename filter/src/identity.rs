//! Who is calling: from the one source that the policy names, never from a header that a caller could
//! write.

use crate::{
    denial::Denial,
    forwarded::{self, UnusableForwarded},
    head::Head,
    policy::{IdentitySource, NameKind},
};
use contract::{header::FORWARDED_CERT, principal::Principal};

/// What Envoy knows about the other end of the connection, as its formatters render it: joined by
/// commas, or `-` where there is nothing.
#[derive(Debug, Clone, Copy, Default)]
pub struct Peer<'a> {
    /// `%DOWNSTREAM_PEER_URI_SAN%`, of the certificate that the listener required and verified.
    pub uri_names: Option<&'a [u8]>,
    /// `%DOWNSTREAM_PEER_DNS_SAN%`
    pub dns_names: Option<&'a [u8]>,
    /// The filter state object `io.istio.peer_principal`.
    pub istio_principal: Option<&'a [u8]>,
}

/// The principal, by the policy's source.
///
/// Two names of one kind are refused, because they say that the holder is two workloads; SPIFFE allows
/// exactly one URI. A name with a comma in it looks like two and is refused as such; neither a SPIFFE ID
/// nor a DNS name can have one.
pub fn identify(
    source: &IdentitySource,
    peer: Peer<'_>,
    head: &Head<'_>,
) -> Result<Principal, Denial> {
    match source {
        IdentitySource::Certificate { names } => certificate(names, peer),
        IdentitySource::ForwardedCertificate { hop } => {
            let kind = match hop {
                Principal::Spiffe(_) => NameKind::Uri,
                Principal::Dns(_) => NameKind::Dns,
            };
            if certificate(&[kind], peer).as_ref() != Ok(hop) {
                return Err(Denial::IdentityHopUnknown);
            }
            let value = head.one(FORWARDED_CERT)?.ok_or(Denial::NoIdentity)?;
            match forwarded::read_uri(value) {
                Ok(Some(uri)) => principal(NameKind::Uri, &uri),
                Ok(None) => Err(Denial::NoIdentity),
                Err(UnusableForwarded::Several) => Err(Denial::IdentityAmbiguous),
                Err(UnusableForwarded::Malformed) => Err(Denial::IdentityMalformed),
            }
        }
        IdentitySource::IstioPeer => match only_name(peer.istio_principal)? {
            Some(uri) => principal(NameKind::Uri, uri),
            None => Err(Denial::NoIdentity),
        },
    }
}

/// The principal of the connection's own certificate. A later kind never makes up for a bad earlier one.
fn certificate(kinds: &[NameKind], peer: Peer<'_>) -> Result<Principal, Denial> {
    for kind in kinds {
        let names = match kind {
            NameKind::Uri => peer.uri_names,
            NameKind::Dns => peer.dns_names,
        };
        if let Some(name) = only_name(names)? {
            return principal(*kind, name);
        }
    }
    Err(Denial::NoIdentity)
}

fn principal(kind: NameKind, name: &str) -> Result<Principal, Denial> {
    let principal = match kind {
        NameKind::Uri => name.parse().map(Principal::Spiffe),
        NameKind::Dns => name.parse().map(Principal::Dns),
    };
    principal.map_err(|_unknown| Denial::IdentityMalformed)
}

fn only_name(names: Option<&[u8]>) -> Result<Option<&str>, Denial> {
    match names {
        None | Some(b"" | b"-") => Ok(None),
        Some(names) if names.contains(&b',') => Err(Denial::IdentityAmbiguous),
        Some(name) => str::from_utf8(name).map(Some).map_err(|_not_utf8| Denial::IdentityMalformed),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use NameKind::{Dns, Uri};

    const GATEWAY: &str = "spiffe://acme.example/gateway";

    fn head<'a>(forwarded: &[&'a str]) -> Head<'a> {
        let mut raw = vec![(b":method".as_slice(), b"GET".as_slice()), (b":path", b"/health")];
        raw.extend(forwarded.iter().map(|value| (FORWARDED_CERT.as_bytes(), value.as_bytes())));
        Head::read(&raw).unwrap()
    }

    #[track_caller]
    fn check(kinds: &[NameKind], uri: &str, dns: &str, expected: Result<&str, Denial>) {
        let peer = Peer {
            uri_names: Some(uri.as_bytes()),
            dns_names: Some(dns.as_bytes()),
            istio_principal: Some(b"spiffe://acme.example/from-istio"),
        };
        let source = IdentitySource::Certificate { names: kinds.to_vec() };
        // Whoever writes the header is not believed.
        let head = head(&["URI=spiffe://acme.example/from-a-header"]);
        let identified = identify(&source, peer, &head).map(|principal| principal.to_string());
        assert_eq!(identified, expected.map(str::to_owned), "{kinds:?} {uri:?} {dns:?}");
    }

    #[test]
    fn the_first_kind_of_name_decides() {
        let spiffe = "spiffe://acme.example/app";
        check(&[Uri], spiffe, "-", Ok(spiffe));
        check(&[Uri], spiffe, "a.example,b.example", Ok(spiffe));
        check(&[Uri, Dns], spiffe, "a.example", Ok(spiffe));
        check(&[Dns, Uri], spiffe, "a.example", Ok("dns:a.example"));
        check(&[Uri, Dns], "-", "a.example", Ok("dns:a.example"));
    }

    #[test]
    fn a_certificate_without_a_name_of_these_kinds_is_nobody() {
        check(&[Uri], "-", "a.example", Err(Denial::NoIdentity));
        check(&[Uri, Dns], "", "-", Err(Denial::NoIdentity));
        check(&[], "spiffe://acme.example/app", "a.example", Err(Denial::NoIdentity));
    }

    #[test]
    fn a_certificate_with_two_names_of_the_deciding_kind_is_refused() {
        let two = "spiffe://acme.example/a,spiffe://acme.example/b";
        check(&[Uri], two, "-", Err(Denial::IdentityAmbiguous));
        // It must not fall through to a name that the certificate's issuer meant for something else.
        check(&[Uri, Dns], two, "a.example", Err(Denial::IdentityAmbiguous));
        check(&[Dns], "-", "a.example,b.example", Err(Denial::IdentityAmbiguous));
    }

    #[test]
    fn a_malformed_name_is_refused_and_not_passed_over() {
        check(&[Uri, Dns], "https://acme.example", "a.example", Err(Denial::IdentityMalformed));
        check(&[Uri, Dns], "spiffe://acme.example", "a.example", Err(Denial::IdentityMalformed));
        check(&[Dns], "-", "*.example", Err(Denial::IdentityMalformed));
        let source = IdentitySource::Certificate { names: vec![Uri] };
        let peer = Peer { uri_names: Some(b"spiffe://acme.example/\xff"), ..Peer::default() };
        assert_eq!(identify(&source, peer, &head(&[])), Err(Denial::IdentityMalformed));
    }

    #[track_caller]
    fn check_forwarded(peer_uri: &str, forwarded: &[&str], expected: Result<&str, Denial>) {
        let source = IdentitySource::ForwardedCertificate { hop: GATEWAY.parse().unwrap() };
        let peer = Peer {
            uri_names: Some(peer_uri.as_bytes()),
            dns_names: Some(b"gateway.acme.example"),
            istio_principal: None,
        };
        let identified = identify(&source, peer, &head(forwarded));
        let identified = identified.map(|principal| principal.to_string());
        assert_eq!(identified, expected.map(str::to_owned), "{peer_uri} {forwarded:?}");
    }

    #[test]
    fn a_forwarded_certificate_is_believed_of_the_named_hop_only() {
        let app = "Hash=0a;URI=spiffe://acme.example/app;DNS=a.example";
        check_forwarded(GATEWAY, &[app], Ok("spiffe://acme.example/app"));
        for stranger in ["spiffe://acme.example/app", "spiffe://acme.example/gateway2", "-", ""] {
            check_forwarded(stranger, &[app], Err(Denial::IdentityHopUnknown));
        }
        let two = format!("{GATEWAY},spiffe://acme.example/app");
        check_forwarded(&two, &[app], Err(Denial::IdentityHopUnknown));
    }

    #[test]
    fn the_hop_itself_is_not_its_caller() {
        check_forwarded(GATEWAY, &[], Err(Denial::NoIdentity));
        check_forwarded(GATEWAY, &["Hash=0a;URI="], Err(Denial::NoIdentity));
        check_forwarded(GATEWAY, &["Hash=0a;URI=;DNS=a.example"], Err(Denial::NoIdentity));
    }

    #[test]
    fn a_forwarded_certificate_that_could_be_read_in_two_ways_is_refused() {
        let one = "URI=spiffe://acme.example/app";
        check_forwarded(GATEWAY, &[one, one], Err(Denial::HeaderDuplicated));
        let elements = format!("{one},{one}");
        check_forwarded(GATEWAY, &[&elements], Err(Denial::IdentityAmbiguous));
        let names = format!("{one};{one}");
        check_forwarded(GATEWAY, &[&names], Err(Denial::IdentityAmbiguous));
        check_forwarded(GATEWAY, &["URI"], Err(Denial::IdentityMalformed));
        check_forwarded(GATEWAY, &[""], Err(Denial::IdentityMalformed));
        check_forwarded(GATEWAY, &["URI=https://acme.example/app"], Err(Denial::IdentityMalformed));
    }

    #[track_caller]
    fn check_istio(principal: Option<&str>, expected: Result<&str, Denial>) {
        let peer = Peer {
            istio_principal: principal.map(str::as_bytes),
            uri_names: Some(b"spiffe://cluster.local/ns/istio-system/sa/waypoint"),
            dns_names: None,
        };
        let identified = identify(&IdentitySource::IstioPeer, peer, &head(&[]));
        let identified = identified.map(|principal| principal.to_string());
        assert_eq!(identified, expected.map(str::to_owned), "{principal:?}");
    }

    #[test]
    fn istios_peer_is_believed_where_the_policy_says_so() {
        let app = "spiffe://cluster.local/ns/acme/sa/app";
        check_istio(Some(app), Ok(app));
        check_istio(None, Err(Denial::NoIdentity));
        check_istio(Some("-"), Err(Denial::NoIdentity));
        check_istio(Some(""), Err(Denial::NoIdentity));
        check_istio(Some(&format!("{app},{app}")), Err(Denial::IdentityAmbiguous));
        check_istio(Some("acme"), Err(Denial::IdentityMalformed));
    }
}
