//! The signature of a Nango webhook, verified chunk by chunk against several keys.
//!
//! Nango signs the raw body bytes with HMAC-SHA256 under the text of the environment's signing key,
//! and sends the lower-case hex in `X-Nango-Hmac-Sha256`. Nothing else is signed: no time, no URL.
//! Its older `X-Nango-Signature` is SHA-256 over key and body, which can be extended by a stranger
//! who saw one; nobody here reads it.

use crate::keys::{KeyId, KeyRing};
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

/// Hex digits of one SHA-256.
const SIGNATURE_HEX_DIGITS: usize = 64;

/// A signature header that no key could verify.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the signature must be {SIGNATURE_HEX_DIGITS} lower-case hex digits")]
pub struct MalformedSignature;

/// A body that none of the keys signed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("no key verifies the signature")]
pub struct BadSignature;

/// Proof that a whole body was signed. Only [`WebhookVerifier::finish`] makes one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VerifiedBody {
    key: KeyId,
}

impl VerifiedBody {
    /// Which key verified it.
    pub fn key(&self) -> &KeyId {
        &self.key
    }
}

/// A verification under way: one running MAC for each key.
pub struct WebhookVerifier {
    claimed: [u8; 32],
    macs: Vec<(KeyId, Hmac<Sha256>)>,
}

impl std::fmt::Debug for WebhookVerifier {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let keys: Vec<&KeyId> = self.macs.iter().map(|(id, _)| id).collect();
        formatter.debug_struct("WebhookVerifier").field("keys", &keys).finish_non_exhaustive()
    }
}

impl WebhookVerifier {
    /// Begins to verify a body whose signature is claimed to be `claimed_hex`.
    pub fn new(keys: &KeyRing, claimed_hex: &[u8]) -> Result<Self, MalformedSignature> {
        if claimed_hex.iter().any(u8::is_ascii_uppercase) {
            return Err(MalformedSignature);
        }
        let mut claimed = [0; 32];
        hex::decode_to_slice(claimed_hex, &mut claimed).map_err(|_not_hex| MalformedSignature)?;
        let macs = keys
            .iter()
            // HMAC takes keys of any length, so that no key is left out here.
            .filter_map(|key| {
                let mac = Hmac::new_from_slice(key.secret.expose()).ok()?;
                Some((key.id.clone(), mac))
            })
            .collect();
        Ok(Self { claimed, macs })
    }

    /// Takes the next bytes of the body.
    pub fn update(&mut self, chunk: &[u8]) {
        for (_, mac) in &mut self.macs {
            mac.update(chunk);
        }
    }

    /// Ends the body. Each comparison takes the same time wherever the bytes differ.
    pub fn finish(self) -> Result<VerifiedBody, BadSignature> {
        self.macs
            .into_iter()
            .find_map(|(key, mac)| {
                mac.verify_slice(&self.claimed).ok().map(|()| VerifiedBody { key })
            })
            .ok_or(BadSignature)
    }
}

/// Signs `body` as Nango does, with the first key. For stand-ins and tests.
pub fn sign(keys: &KeyRing, body: &[u8]) -> String {
    match Hmac::<Sha256>::new_from_slice(keys.signing().secret.expose()) {
        Ok(mac) => hex::encode(mac.chain_update(body).finalize().into_bytes()),
        // HMAC takes keys of any length; an empty signature verifies nowhere.
        Err(_unreachable) => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "5f1c0d2e-6a1b-4f3c-9d8e-7b6a5c4d3e2f";
    const OTHER: &str = "11111111-2222-4333-8444-555555555555";

    fn ring(text: &str) -> KeyRing {
        KeyRing::parse(text.as_bytes()).unwrap()
    }

    fn verify(keys: &str, claimed: &str, chunks: &[&[u8]]) -> Option<String> {
        let mut verifier = WebhookVerifier::new(&ring(keys), claimed.as_bytes()).ok()?;
        for chunk in chunks {
            verifier.update(chunk);
        }
        verifier.finish().ok().map(|body| body.key().to_string())
    }

    /// Computed with Nango's own libraries.
    #[test]
    fn a_body_that_nango_signed_is_verified() {
        let body = br#"{"authMode":"OAUTH2","connectionId":"0b0c6c0e-3f6a-4c1e-9d55-9a2f6f0f1a11","environment":"dev","from":"nango","operation":"creation","provider":"github","providerConfigKey":"github","success":true,"tags":{"connection_ref":"018f3c1a-7b1e-7c3e-8a55-2f6f0f1a1122","end_user_id":"user-1","tenant_id":"acme"},"type":"auth"}"#;
        let claimed = "a5b551aa1561382f9b5332b5e927ac305af52a125761f03029c57db216e97c3e";
        assert_eq!(verify(KEY, claimed, &[body]).as_deref(), Some("1"));
        assert_eq!(sign(&ring(KEY), body), claimed);
    }

    #[test]
    fn chunks_verify_like_the_whole_and_order_matters() {
        let claimed = sign(&ring(KEY), b"one two");
        assert!(verify(KEY, &claimed, &[b"one", b"", b" two"]).is_some());
        assert!(verify(KEY, &claimed, &[b" two", b"one"]).is_none());
    }

    #[test]
    fn while_keys_rotate_either_verifies_and_says_which() {
        let both = format!("new:{OTHER},old:{KEY}");
        let claimed = sign(&ring(KEY), b"body");
        assert_eq!(verify(&both, &claimed, &[b"body"]).as_deref(), Some("old"));
        assert_eq!(verify(OTHER, &claimed, &[b"body"]), None);
    }

    #[test]
    fn a_changed_truncated_or_extended_body_is_refused() {
        let claimed = sign(&ring(KEY), b"body");
        assert!(verify(KEY, &claimed, &[b"bodz"]).is_none());
        assert!(verify(KEY, &claimed, &[b"bod"]).is_none());
        assert!(verify(KEY, &claimed, &[b"body\n"]).is_none());
        assert!(verify(KEY, &claimed, &[]).is_none());
    }

    #[test]
    fn a_signature_that_is_no_lower_case_sha256_is_malformed() {
        let good = sign(&ring(KEY), b"body");
        for claimed in [
            "",
            "00",
            good.split_at(1).1,
            &format!("{good}00"),
            &good.to_uppercase(),
            &"zz".repeat(32),
        ] {
            let verifier = WebhookVerifier::new(&ring(KEY), claimed.as_bytes());
            assert!(matches!(verifier, Err(MalformedSignature)), "{claimed:?}");
        }
    }

    #[test]
    fn nangos_legacy_signature_is_not_accepted() {
        use sha2::Digest;
        let legacy = hex::encode(Sha256::new().chain_update(KEY).chain_update(b"body").finalize());
        assert!(verify(KEY, &legacy, &[b"body"]).is_none());
    }
}
