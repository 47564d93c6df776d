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
    /// `%DOWNSTREAM_PEER_CERT_V_END(%s)%`: the last second of the certificate's validity, since 1970.
    pub certificate_end: Option<&'a [u8]>,
    /// The filter state object `io.istio.peer_principal`.
    pub istio_principal: Option<&'a [u8]>,
}

/// The principal, by the policy's source.
///
/// Two names of one kind are refused, because they say that the holder is two workloads; SPIFFE allows
/// exactly one URI. A name with a comma in it looks like two and is refused as such; neither a SPIFFE ID
/// nor a DNS name can have one.
///
/// A certificate is compared with the clock at every request: TLS verifies it in a full handshake only, so that a
/// connection that lasts, or a session that is resumed again and again, would outlive it.
pub fn identify(
    source: &IdentitySource,
    peer: Peer<'_>,
    head: &Head<'_>,
    now_ms: u64,
) -> Result<Principal, Denial> {
    match source {
        IdentitySource::Certificate { names } => {
            let principal = certificate(names, peer)?;
            require_valid(peer, now_ms)?;
            Ok(principal)
        }
        IdentitySource::ForwardedCertificate { hop } => {
            let kind = match hop {
                Principal::Spiffe(_) => NameKind::Uri,
                Principal::Dns(_) => NameKind::Dns,
            };
            if certificate(&[kind], peer).as_ref() != Ok(hop) {
                return Err(Denial::IdentityHopUnknown);
            }
            require_valid(peer, now_ms)?;
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

/// A certificate is valid up to and including the second in which it ends (RFC 5280, 4.1.2.5).
fn require_valid(peer: Peer<'_>, now_ms: u64) -> Result<(), Denial> {
    let end = peer.certificate_end.and_then(|text| str::from_utf8(text).ok());
    let end: i64 = end.and_then(|text| text.parse().ok()).ok_or(Denial::CertificateEndUnknown)?;
    let is_valid = u64::try_from(end).is_ok_and(|end| now_ms / 1000 <= end);
    if is_valid { Ok(()) } else { Err(Denial::CertificateExpired) }
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

    const NOW: u64 = 1_795_340_000_500;
    /// This very second.
    const END: Option<&[u8]> = Some(b"1795340000");

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
            certificate_end: END,
            istio_principal: Some(b"spiffe://acme.example/from-istio"),
        };
        let source = IdentitySource::Certificate { names: kinds.to_vec() };
        // Whoever writes the header is not believed.
        let head = head(&["URI=spiffe://acme.example/from-a-header"]);
        let identified = identify(&source, peer, &head, NOW).map(|principal| principal.to_string());
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
        assert_eq!(identify(&source, peer, &head(&[]), NOW), Err(Denial::IdentityMalformed));
    }

    #[track_caller]
    fn check_forwarded(peer_uri: &str, forwarded: &[&str], expected: Result<&str, Denial>) {
        let source = IdentitySource::ForwardedCertificate { hop: GATEWAY.parse().unwrap() };
        let peer = Peer {
            uri_names: Some(peer_uri.as_bytes()),
            dns_names: Some(b"gateway.acme.example"),
            certificate_end: END,
            istio_principal: None,
        };
        let identified = identify(&source, peer, &head(forwarded), NOW);
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
            ..Peer::default()
        };
        let identified = identify(&IdentitySource::IstioPeer, peer, &head(&[]), NOW);
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

    #[test]
    fn a_certificate_is_believed_up_to_its_last_second_and_only_if_that_is_known() {
        let expired = Err(Denial::CertificateExpired);
        let unknown = Err(Denial::CertificateEndUnknown);
        let app = "spiffe://acme.example/app";
        for (end, expected) in [
            (Some("1795340000"), Ok(())),
            (Some("1795340001"), Ok(())),
            (Some("253402300799"), Ok(())),
            (Some("1795339999"), expired.clone()),
            (Some("0"), expired.clone()),
            (Some("-1"), expired),
            (None, unknown.clone()),
            (Some(""), unknown.clone()),
            (Some("-"), unknown.clone()),
            (Some("%s"), unknown.clone()),
            (Some("1795340000 "), unknown.clone()),
            (Some("2026-11-22T00:00:00.000Z"), unknown.clone()),
            (Some("99999999999999999999"), unknown),
        ] {
            let peer = |name: &'static str| Peer {
                uri_names: Some(name.as_bytes()),
                certificate_end: end.map(str::as_bytes),
                ..Peer::default()
            };
            let source = IdentitySource::Certificate { names: vec![Uri] };
            let own = identify(&source, peer(app), &head(&[]), NOW);
            assert_eq!(own.map(|_principal| ()), expected, "{end:?}");
            let source = IdentitySource::ForwardedCertificate { hop: GATEWAY.parse().unwrap() };
            let head = head(&["URI=spiffe://acme.example/app"]);
            let hops = identify(&source, peer(GATEWAY), &head, NOW);
            assert_eq!(hops.map(|_principal| ()), expected, "the hop's: {end:?}");
        }
    }
}
