//! The edge assertion: what the edge proves to the control service about one request.
//!
//! The edge headers alone would be believed from anybody who reaches the control service past the
//! edge. The assertion is a MAC over all of them, the method, the exact path and query bytes, the
//! request id and the time. The body is not covered: that hop is loopback, mTLS or the mesh's.
//!
//! On the wire: `v1,<key id>,<unix milliseconds>,<lower-case hex of HMAC-SHA256>`.

use crate::{
    action::Action,
    id::TenantId,
    keys::{Key, KeyId, KeyRing},
    principal::Principal,
};
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

/// How far the clocks of edge and control may differ, both ways, in milliseconds.
pub const FRESH_MS: u64 = 30_000;

/// Separates this MAC from every other use of the same key, and one version from the next.
const DOMAIN: &[u8] = b"connections edge assertion v1";

/// What the edge knows about a request after it let it pass.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Vouched {
    pub principal: Option<Principal>,
    pub tenant: Option<TenantId>,
    pub action: Option<Action>,
    /// The key that verified the webhook.
    pub webhook_key: Option<KeyId>,
    pub request_id: Option<String>,
}

/// The request that is vouched for, as it stands on the wire.
#[derive(Debug, Clone, Copy)]
pub struct Target<'a> {
    pub method: &'a str,
    /// Path and query, byte for byte.
    pub path: &'a str,
}

/// Why an assertion proves nothing. A caller is told none of this.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BadAssertion {
    #[error("the assertion is not written v1,<key id>,<milliseconds>,<hex>")]
    Malformed,
    #[error("the assertion names a key that is not configured")]
    UnknownKey,
    #[error("the assertion is not from the last {FRESH_MS} ms")]
    Stale,
    #[error("the assertion does not match the request")]
    Mismatch,
}

/// Makes the assertion for a request that passed at `now_ms`, with the first key.
pub fn sign(keys: &KeyRing, target: Target<'_>, vouched: &Vouched, now_ms: u64) -> String {
    let key = keys.signing();
    // HMAC takes keys of any length; an empty MAC verifies nowhere.
    let mac = mac(key, target, vouched, now_ms)
        .map(|mac| hex::encode(mac.finalize().into_bytes()))
        .unwrap_or_default();
    format!("v1,{},{now_ms},{mac}", key.id)
}

/// Checks that the edge made `assertion` for exactly this request, within [`FRESH_MS`] of `now_ms`.
pub fn verify(
    keys: &KeyRing,
    assertion: &str,
    target: Target<'_>,
    vouched: &Vouched,
    now_ms: u64,
) -> Result<(), BadAssertion> {
    let parts: Vec<&str> = assertion.split(',').collect();
    let ["v1", key_id, made_text, claimed_hex] = parts.as_slice() else {
        return Err(BadAssertion::Malformed);
    };
    let key_id: KeyId = key_id.parse().map_err(|_not_an_id| BadAssertion::Malformed)?;
    let made_ms: u64 = made_text.parse().map_err(|_not_a_number| BadAssertion::Malformed)?;
    let claimed = hex::decode(claimed_hex).map_err(|_not_hex| BadAssertion::Malformed)?;
    // `+1`, `01` and `0A` are numbers too. What `sign` does not write is not read, so that one assertion
    // has one spelling.
    if made_ms.to_string() != *made_text || hex::encode(&claimed) != *claimed_hex {
        return Err(BadAssertion::Malformed);
    }
    let key = keys.find(&key_id).ok_or(BadAssertion::UnknownKey)?;
    if made_ms.abs_diff(now_ms) > FRESH_MS {
        return Err(BadAssertion::Stale);
    }
    mac(key, target, vouched, made_ms)
        .and_then(|mac| mac.verify_slice(&claimed).ok())
        .ok_or(BadAssertion::Mismatch)
}

/// Each field goes in with its length before it, so that no two requests have the same bytes. An
/// absent field and an empty one are the same; of the fields only the request id could be empty, and it grants
/// nothing.
fn mac(key: &Key, target: Target<'_>, vouched: &Vouched, made_ms: u64) -> Option<Hmac<Sha256>> {
    let mut mac = Hmac::<Sha256>::new_from_slice(key.secret.expose()).ok()?;
    let mut add = |field: &[u8]| {
        // A field longer than four gigabytes does not fit into a request.
        mac.update(&u32::try_from(field.len()).unwrap_or(u32::MAX).to_be_bytes());
        mac.update(field);
    };
    let principal = vouched.principal.as_ref().map(Principal::to_string).unwrap_or_default();
    add(DOMAIN);
    add(key.id.as_str().as_bytes());
    add(&made_ms.to_be_bytes());
    add(target.method.as_bytes());
    add(target.path.as_bytes());
    add(principal.as_bytes());
    add(vouched.tenant.as_ref().map_or("", TenantId::as_str).as_bytes());
    add(vouched.action.map_or("", Action::as_str).as_bytes());
    add(vouched.webhook_key.as_ref().map_or("", KeyId::as_str).as_bytes());
    add(vouched.request_id.as_deref().unwrap_or_default().as_bytes());
    Some(mac)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: u64 = 1_795_340_000_000;
    const TARGET: Target<'_> = Target { method: "GET", path: "/tenants/acme/connections?limit=2" };

    fn ring(text: &str) -> KeyRing {
        KeyRing::parse(text.as_bytes()).unwrap()
    }

    fn keys() -> KeyRing {
        ring("a:0123456789abcdef0123456789abcdef")
    }

    fn vouched() -> Vouched {
        Vouched {
            principal: Some("spiffe://acme.example/app".parse().unwrap()),
            tenant: Some("acme".parse().unwrap()),
            action: Some(Action::Read),
            webhook_key: Some("k1".parse().unwrap()),
            request_id: Some("r-1".to_owned()),
        }
    }

    fn signed() -> String {
        sign(&keys(), TARGET, &vouched(), NOW)
    }

    #[test]
    fn what_the_edge_signed_is_verified() {
        assert_eq!(verify(&keys(), &signed(), TARGET, &vouched(), NOW), Ok(()));
        let nothing = Vouched::default();
        let assertion = sign(&keys(), TARGET, &nothing, NOW);
        assert_eq!(verify(&keys(), &assertion, TARGET, &nothing, NOW), Ok(()));
    }

    #[test]
    fn every_covered_field_is_covered() {
        let path = Target { path: "/tenants/acme/connections?limit=3", ..TARGET };
        let method = Target { method: "DELETE", ..TARGET };
        for target in [path, method] {
            let verified = verify(&keys(), &signed(), target, &vouched(), NOW);
            assert_eq!(verified, Err(BadAssertion::Mismatch), "{target:?}");
        }
        let changes: [fn(&mut Vouched); 7] = [
            |v| v.principal = None,
            |v| v.principal = Some("spiffe://acme.example/apq".parse().unwrap()),
            |v| v.tenant = Some("acmf".parse().unwrap()),
            |v| v.action = Some(Action::Delete),
            |v| v.webhook_key = None,
            |v| v.request_id = Some("r-2".to_owned()),
            // A field that moves into its neighbour.
            |v| (v.webhook_key, v.request_id) = (None, Some("k1r-1".to_owned())),
        ];
        for (index, change) in changes.iter().enumerate() {
            let mut other = vouched();
            change(&mut other);
            let verified = verify(&keys(), &signed(), TARGET, &other, NOW);
            assert_eq!(verified, Err(BadAssertion::Mismatch), "change {index}");
        }
    }

    #[test]
    fn an_assertion_is_fresh_for_thirty_seconds_both_ways() {
        let check = |now, expected| {
            assert_eq!(verify(&keys(), &signed(), TARGET, &vouched(), now), expected, "{now}");
        };
        check(NOW + FRESH_MS, Ok(()));
        check(NOW - FRESH_MS, Ok(()));
        check(NOW + FRESH_MS + 1, Err(BadAssertion::Stale));
        check(NOW - FRESH_MS - 1, Err(BadAssertion::Stale));
        check(0, Err(BadAssertion::Stale));
    }

    #[test]
    fn the_time_cannot_be_moved() {
        let later = signed().replace(&NOW.to_string(), &(NOW + 1).to_string());
        let verified = verify(&keys(), &later, TARGET, &vouched(), NOW);
        assert_eq!(verified, Err(BadAssertion::Mismatch));
    }

    #[test]
    fn while_keys_rotate_either_verifies_and_a_removed_one_does_not() {
        let old = "a:0123456789abcdef0123456789abcdef";
        let both = ring(&format!("b:fedcba9876543210fedcba9876543210,{old}"));
        assert_eq!(verify(&both, &signed(), TARGET, &vouched(), NOW), Ok(()));
        let new = ring("b:fedcba9876543210fedcba9876543210");
        let verified = verify(&new, &signed(), TARGET, &vouched(), NOW);
        assert_eq!(verified, Err(BadAssertion::UnknownKey));
    }

    #[test]
    fn the_same_id_with_another_secret_does_not_verify() {
        let other = ring("a:ffffffffffffffffffffffffffffffff");
        let verified = verify(&other, &signed(), TARGET, &vouched(), NOW);
        assert_eq!(verified, Err(BadAssertion::Mismatch));
    }

    #[test]
    fn a_malformed_assertion_proves_nothing() {
        let good = signed();
        let (head, mac) = good.rsplit_once(',').unwrap();
        for assertion in [
            "",
            "v1",
            "v1,a,1",
            head,
            &format!("{good},"),
            &good.replace("v1", "v2"),
            &good.replace("a,1", "a,+1"),
            &good.replace("a,1", "a,01"),
            &format!("{head},{}", mac.to_uppercase()),
        ] {
            let verified = verify(&keys(), assertion, TARGET, &vouched(), NOW);
            assert_eq!(verified, Err(BadAssertion::Malformed), "{assertion:?}");
        }
        let verified = verify(&keys(), &format!("{head},"), TARGET, &vouched(), NOW);
        assert_eq!(verified, Err(BadAssertion::Mismatch));
    }
}
