//! Who is calling: from what Envoy verified, never from a header that a caller could write.

use crate::{denial::Denial, policy::AcceptedName};
use contract::principal::Principal;

/// The names in the client certificate that the listener required and verified, as Envoy's
/// formatters render them: joined by commas, or `-` where there are none.
#[derive(Debug, Clone, Copy, Default)]
pub struct Peer<'a> {
    /// `%DOWNSTREAM_PEER_URI_SAN%`
    pub uri_names: Option<&'a [u8]>,
    /// `%DOWNSTREAM_PEER_DNS_SAN%`
    pub dns_names: Option<&'a [u8]>,
}

/// The principal that the certificate names, by the first accepted kind that it has.
///
/// A certificate with two names of one kind is refused, because it says that its holder is two
/// workloads; SPIFFE allows exactly one URI. A name with a comma in it looks like two and is refused
/// as such; neither a SPIFFE ID nor a DNS name can have one.
pub fn identify(accepted: &[AcceptedName], peer: Peer<'_>) -> Result<Principal, Denial> {
    for kind in accepted {
        let names = match kind {
            AcceptedName::Uri => peer.uri_names,
            AcceptedName::Dns => peer.dns_names,
        };
        let Some(name) = only_name(names)? else { continue };
        let principal = match kind {
            AcceptedName::Uri => name.parse().map(Principal::Spiffe),
            AcceptedName::Dns => name.parse().map(Principal::Dns),
        };
        return principal.map_err(|_unknown| Denial::IdentityMalformed);
    }
    Err(Denial::NoIdentity)
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
    use AcceptedName::{Dns, Uri};

    #[track_caller]
    fn check(accepted: &[AcceptedName], uri: &str, dns: &str, expected: Result<&str, Denial>) {
        let peer = Peer { uri_names: Some(uri.as_bytes()), dns_names: Some(dns.as_bytes()) };
        let identified = identify(accepted, peer).map(|principal| principal.to_string());
        assert_eq!(identified, expected.map(str::to_owned), "{accepted:?} {uri:?} {dns:?}");
    }

    #[test]
    fn the_first_accepted_kind_of_name_decides() {
        let spiffe = "spiffe://acme.example/app";
        check(&[Uri], spiffe, "-", Ok(spiffe));
        check(&[Uri], spiffe, "a.example,b.example", Ok(spiffe));
        check(&[Uri, Dns], spiffe, "a.example", Ok(spiffe));
        check(&[Dns, Uri], spiffe, "a.example", Ok("dns:a.example"));
        check(&[Uri, Dns], "-", "a.example", Ok("dns:a.example"));
    }

    #[test]
    fn a_certificate_without_an_accepted_name_is_nobody() {
        check(&[Uri], "-", "a.example", Err(Denial::NoIdentity));
        check(&[Uri, Dns], "", "-", Err(Denial::NoIdentity));
        check(&[], "spiffe://acme.example/app", "a.example", Err(Denial::NoIdentity));
        assert_eq!(identify(&[Uri, Dns], Peer::default()), Err(Denial::NoIdentity));
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
        let peer = Peer { uri_names: Some(b"spiffe://acme.example/\xff"), dns_names: None };
        assert_eq!(identify(&[Uri], peer), Err(Denial::IdentityMalformed));
    }
}
