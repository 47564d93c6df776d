//! The signature of a webhook: however its body is cut, it is verified as one; whatever is changed, it is
//! refused.

use crate::{config, near};
use contract::{
    keys::KeyRing,
    signature::{BadSignature, MalformedSignature, WebhookVerifier, sign},
};
use proptest::{collection::vec, prelude::*, sample::Index};
use sha2::{Digest, Sha256};

/// RFC 2104 by its definition, with nothing but the hash.
fn hmac_by_definition(key: &[u8], body: &[u8]) -> String {
    let mut block = [0; 64];
    if key.len() > block.len() {
        block[..32].copy_from_slice(&Sha256::digest(key));
    } else {
        block[..key.len()].copy_from_slice(key);
    }
    let padded = |pad: u8| block.map(|byte| byte ^ pad);
    let inner = Sha256::digest([&padded(0x36), body].concat());
    hex::encode(Sha256::digest([padded(0x5c).as_slice(), inner.as_slice()].concat()))
}

fn ring(text: &str) -> KeyRing {
    KeyRing::parse(text.as_bytes()).unwrap()
}

/// Which key verifies, or nothing, whatever the reason.
fn verify(keys: &KeyRing, claimed: &[u8], chunks: &[&[u8]]) -> Option<String> {
    let mut verifier = WebhookVerifier::new(keys, claimed).ok()?;
    for chunk in chunks {
        verifier.update(chunk);
    }
    verifier.finish().ok().map(|body| body.key().to_string())
}

fn secrets() -> impl Strategy<Value = String> {
    prop_oneof!["[!-+--9;-~]{16,63}", "[!-+--9;-~]{64,65}", "[!-+--9;-~]{66,140}"]
}

fn bodies() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![vec(any::<u8>(), 0..300), "[ -~]{0,80}".prop_map(String::into_bytes)]
}

/// The body in pieces, some of them empty.
fn cut<'a>(body: &'a [u8], cuts: &[Index]) -> Vec<&'a [u8]> {
    let mut ends: Vec<usize> = cuts.iter().map(|cut| cut.index(body.len() + 1)).collect();
    ends.sort_unstable();
    ends.push(body.len());
    let mut begin = 0;
    let chunks = ends.into_iter().map(|end| &body[std::mem::replace(&mut begin, end)..end]);
    chunks.collect()
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn a_signature_is_the_hmac_by_its_definition(secret in secrets(), body in bodies()) {
        let signature = sign(&ring(&secret), &body);
        prop_assert_eq!(signature, hmac_by_definition(secret.as_bytes(), &body));
    }

    #[test]
    fn a_body_is_verified_however_it_is_cut(
        secret in secrets(),
        body in bodies(),
        cuts in vec(any::<Index>(), 0..6),
    ) {
        let claimed = hmac_by_definition(secret.as_bytes(), &body);
        let chunks = cut(&body, &cuts);
        prop_assert_eq!(&chunks.concat(), &body);
        prop_assert_eq!(verify(&ring(&secret), claimed.as_bytes(), &chunks), Some("1".to_owned()));
    }

    #[test]
    fn a_body_with_any_bit_flipped_is_refused_however_it_is_cut(
        body in bodies().prop_filter("there is a bit", |body| !body.is_empty()),
        (at, bit, cuts) in (any::<Index>(), 0..8_u8, vec(any::<Index>(), 0..4)),
    ) {
        let keys = ring("0123456789abcdef");
        let claimed = sign(&keys, &body);
        let mut changed = body.clone();
        changed[at.index(body.len())] ^= 1 << bit;
        prop_assert_eq!(verify(&keys, claimed.as_bytes(), &cut(&changed, &cuts)), None);
        let (shorter, _) = body.split_at(at.index(body.len()));
        prop_assert_eq!(verify(&keys, claimed.as_bytes(), &[shorter]), None);
        prop_assert_eq!(verify(&keys, claimed.as_bytes(), &[&body, &[bit]]), None);
    }

    #[test]
    fn a_signature_with_any_bit_flipped_is_refused(
        body in bodies(),
        (at, bit) in (any::<Index>(), 0..8_u8),
    ) {
        let keys = ring("0123456789abcdef");
        let mut claimed = sign(&keys, &body).into_bytes();
        claimed[at.index(64)] ^= 1 << bit;
        prop_assert_eq!(verify(&keys, &claimed, &[&body]), None);
    }

    #[test]
    fn a_claim_is_well_formed_if_it_is_64_lower_case_hex_digits_and_verifies_if_it_is_the_one(
        body in bodies(),
        claimed in near(prop_oneof![
            "[0-9a-f]{62,66}",
            "[0-9a-fA-F]{64}",
            "[0-9a-f]{32}",
            ".{0,70}",
        ]),
    ) {
        let keys = ring("0123456789abcdef");
        let is_digit = |character: char| matches!(character, '0'..='9' | 'a'..='f');
        let is_well_formed = claimed.len() == 64 && claimed.chars().all(is_digit);
        match WebhookVerifier::new(&keys, claimed.as_bytes()) {
            Err(MalformedSignature) => prop_assert!(!is_well_formed, "{}", claimed),
            Ok(mut verifier) => {
                prop_assert!(is_well_formed, "{}", claimed);
                verifier.update(&body);
                prop_assert_eq!(verifier.finish().map(|_| ()), Err(BadSignature));
            }
        }
        let good = sign(&keys, &body);
        for claimed in [good.to_uppercase(), format!("{good} "), format!("0x{good}")] {
            prop_assert_eq!(verify(&keys, claimed.as_bytes(), &[&body]), None);
        }
    }

    /// While keys rotate, the ring has several; a stranger's key is none of them.
    #[test]
    fn of_several_keys_the_one_that_signed_is_named_and_a_strangers_verifies_nothing(
        values in proptest::collection::btree_set("[a-z]{16,20}", 2..9),
        who: Index,
        body in bodies(),
    ) {
        let mut values: Vec<String> = values.into_iter().collect();
        let stranger = values.pop().unwrap();
        let entries: Vec<String> =
            values.iter().enumerate().map(|(n, value)| format!("k{n}:{value}")).collect();
        let keys = ring(&entries.join(","));
        let signer = who.index(values.len());
        let claimed = sign(&ring(&values[signer]), &body);
        prop_assert_eq!(verify(&keys, claimed.as_bytes(), &[&body]), Some(format!("k{signer}")));
        prop_assert_eq!(sign(&keys, &body), sign(&ring(&values[0]), &body));
        let claimed = sign(&ring(&stranger), &body);
        prop_assert_eq!(verify(&keys, claimed.as_bytes(), &[&body]), None);
    }

    /// The ids of the keys may be read in a log, the keys and the claim may not.
    #[test]
    fn a_verifier_prints_no_key_and_no_claim(secret in "[a-z]{32,40}", body in bodies()) {
        let keys = ring(&format!("my-id:{secret}"));
        let claimed = sign(&keys, &body);
        let printed = format!("{:?}", WebhookVerifier::new(&keys, claimed.as_bytes()).unwrap());
        prop_assert!(printed.contains("my-id"));
        prop_assert!(!printed.contains(&secret) && !printed.contains(&claimed));
    }
}
