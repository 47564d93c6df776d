//! The vectors of RFC 4231 for HMAC-SHA-256, through the verifier and the signer themselves.
//!
//! A key that an operator writes is printable ASCII of 16 bytes at least, and every key of the RFC
//! breaks one of these rules. So the rings here are made of bytes, and the last test says which rule
//! stands in the way of which key.

use crate::{
    keys::{KeyRing, UnusableKeys},
    signature::{BadSignature, MalformedSignature, WebhookVerifier, sign},
};

struct Vector {
    section: &'static str,
    key: Vec<u8>,
    data: Vec<u8>,
    /// In lower-case hex; of section 4.6 only the first half is published.
    mac: &'static str,
    /// Why the key cannot be written in a list of keys.
    unusable: UnusableKeys,
}

fn vectors() -> [Vector; 7] {
    let vector = |section, key: &[u8], data: &[u8], mac, unusable| Vector {
        section,
        key: key.to_vec(),
        data: data.to_vec(),
        mac,
        unusable,
    };
    let counting: Vec<u8> = (1..=25).collect();
    [
        vector(
            "4.2",
            &[0x0b; 20],
            b"Hi There",
            "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7",
            // Vertical tabs and form feeds are white space, and nothing is left of such a key.
            UnusableKeys::Missing,
        ),
        vector(
            "4.3",
            b"Jefe",
            b"what do ya want for nothing?",
            "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843",
            UnusableKeys::TooShort,
        ),
        vector(
            "4.4",
            &[0xaa; 20],
            &[0xdd; 50],
            "773ea91e36800e46854db8ebd09181a72959098b3ef8c122d9635514ced565fe",
            UnusableKeys::Unprintable,
        ),
        vector(
            "4.5",
            &counting,
            &[0xcd; 50],
            "82558a389a443c0ea4cc819899f2083a85f0faa3e578f8077a2e3ff46729665b",
            UnusableKeys::Unprintable,
        ),
        vector(
            "4.6",
            &[0x0c; 20],
            b"Test With Truncation",
            "a3b6167473100ee06e0c796c2955552b",
            UnusableKeys::Missing,
        ),
        vector(
            "4.7",
            &[0xaa; 131],
            b"Test Using Larger Than Block-Size Key - Hash Key First",
            "60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54",
            UnusableKeys::Unprintable,
        ),
        vector(
            "4.8",
            &[0xaa; 131],
            b"This is a test using a larger than block-size key and a larger than block-size data. The key needs to be hashed before being used by the HMAC algorithm.",
            "9b09ffa71b942fcb27635fbcd5b0e944bfdc63644f0713938a7f51535c3a35e2",
            UnusableKeys::Unprintable,
        ),
    ]
}

fn verify(keys: &KeyRing, claimed: &str, chunks: &[&[u8]]) -> Result<String, BadSignature> {
    let mut verifier = WebhookVerifier::new(keys, claimed.as_bytes()).unwrap();
    for chunk in chunks {
        verifier.update(chunk);
    }
    verifier.finish().map(|body| body.key().to_string())
}

#[test]
fn a_signature_is_the_mac_that_the_rfc_publishes() {
    for Vector { section, key, data, mac, .. } in vectors() {
        let signed = sign(&KeyRing::of_bytes(section_id(section), &key), &data);
        assert!(signed.starts_with(mac), "{section}: {signed}");
        assert_eq!(signed.len(), 64, "{section}");
    }
}

#[test]
fn every_published_mac_is_verified_at_every_cut() {
    for Vector { section, key, data, mac, .. } in whole_vectors() {
        let keys = KeyRing::of_bytes(section_id(section), &key);
        for cut in 0..=data.len() {
            let (before, after) = data.split_at(cut);
            let verified = verify(&keys, mac, &[before, b"", after]);
            assert_eq!(verified.as_deref(), Ok(section_id(section)), "{section} cut at {cut}");
        }
    }
}

#[test]
fn a_published_mac_verifies_no_other_data_and_under_no_other_key() {
    for Vector { section, key, data, mac, .. } in whole_vectors() {
        let keys = KeyRing::of_bytes("k", &key);
        let (_, shorter) = data.split_first().unwrap();
        assert_eq!(verify(&keys, mac, &[shorter]), Err(BadSignature), "{section}");
        assert_eq!(verify(&keys, mac, &[&data, b"\0"]), Err(BadSignature), "{section}");
        // A block of zeros would be the same key by the definition of HMAC; a one is not.
        let other = KeyRing::of_bytes("k", &[key.as_slice(), b"\x01"].concat());
        assert_eq!(verify(&other, mac, &[&data]), Err(BadSignature), "{section}");
    }
}

/// Section 4.6 is about truncated MACs. Half a MAC is easier to guess, and nobody here takes it.
#[test]
fn a_truncated_mac_is_malformed() {
    for Vector { section, key, mac, .. } in vectors() {
        let half = mac.split_at(32).0;
        let refused = WebhookVerifier::new(&KeyRing::of_bytes("k", &key), half.as_bytes());
        assert!(matches!(refused, Err(MalformedSignature)), "{section}");
    }
}

#[test]
fn no_key_of_the_rfc_can_be_written_in_a_list_of_keys() {
    for Vector { section, key, unusable, .. } in vectors() {
        let refused = KeyRing::parse(&key).map(|_ring| ());
        assert_eq!(refused, Err(unusable), "{section}");
    }
}

/// Those whose MAC is published whole.
fn whole_vectors() -> impl Iterator<Item = Vector> {
    vectors().into_iter().filter(|vector| vector.mac.len() == 64)
}

/// Key ids have no dots.
fn section_id(section: &str) -> &str {
    section.split_at(2).1
}
