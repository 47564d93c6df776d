//! The signature of a notification, by the Standard Webhooks specification, version 1.0.0.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use contract::keys::Key;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use std::fmt;

/// The names of the three headers.
pub mod header {
    pub const ID: &str = "webhook-id";
    pub const TIMESTAMP: &str = "webhook-timestamp";
    pub const SIGNATURE: &str = "webhook-signature";
}

/// A secret that a receiver verifies notifications with: `whsec_` and the base64 of 24 to 64 bytes.
#[derive(Clone)]
pub struct SigningSecret(Hmac<Sha256>);

/// What secrets of the operator's look like.
pub const FORM: &str = "whsec_<base64 of 24 to 64 random bytes>, or id:whsec_…,id:whsec_…";

/// A text that is no signing secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("is malformed; set it to {FORM}")]
pub struct MalformedSecret;

impl fmt::Debug for SigningSecret {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("SigningSecret(..)")
    }
}

impl SigningSecret {
    pub fn read(key: &Key) -> Result<Self, MalformedSecret> {
        Self::from_text(key.secret.expose())
    }

    /// Reads `whsec_…`.
    pub fn from_text(text: &[u8]) -> Result<Self, MalformedSecret> {
        let encoded = text.strip_prefix(b"whsec_").ok_or(MalformedSecret)?;
        let bytes = STANDARD.decode(encoded).map_err(|_not_base64| MalformedSecret)?;
        if !(24..=64).contains(&bytes.len()) {
            return Err(MalformedSecret);
        }
        Hmac::new_from_slice(&bytes).map(Self).map_err(|_impossible| MalformedSecret)
    }
}

/// A secret as its receiver is told it.
pub fn new_secret(random: [u8; 32]) -> String {
    format!("whsec_{}", STANDARD.encode(random))
}

/// The signature header's value: one signature for each secret, so that a receiver that knows any of
/// them can verify. `timestamp` is in seconds.
pub fn sign(secrets: &[SigningSecret], id: &str, timestamp: i64, body: &str) -> String {
    let signatures = secrets.iter().map(|SigningSecret(mac)| {
        let mac = mac.clone().chain_update(format!("{id}.{timestamp}.{body}"));
        format!("v1,{}", STANDARD.encode(mac.finalize().into_bytes()))
    });
    signatures.collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use contract::keys::KeyRing;

    /// The example of the specification's reference libraries.
    const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

    fn secrets(text: &str) -> Vec<SigningSecret> {
        let keys = KeyRing::parse(text.as_bytes()).unwrap();
        keys.iter().map(|key| SigningSecret::read(key).unwrap()).collect()
    }

    fn signature(text: &str) -> String {
        let body = r#"{"test": 2432232314}"#;
        sign(&secrets(text), "msg_p5jXN8AQM9LWM0D4loKWxJek", 1_614_265_330, body)
    }

    #[test]
    fn a_signature_is_what_the_specification_says() {
        assert_eq!(signature(SECRET), "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
    }

    #[test]
    fn while_secrets_rotate_each_signs() {
        let both = format!("new:{SECRET},old:whsec_MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=");
        let signatures = signature(&both);
        assert_eq!(signatures.split(' ').filter(|one| one.starts_with("v1,")).count(), 2);
        assert!(signatures.starts_with(&signature(SECRET)));
    }

    #[test]
    fn a_text_that_is_no_signing_secret_is_refused() {
        for text in [
            "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=",
            "whsec_0123456789abcdef",
            "whsec_not-base64-not-base64-not-base64",
        ] {
            let keys = KeyRing::parse(text.as_bytes()).unwrap();
            assert!(SigningSecret::read(keys.signing()).is_err(), "{text}");
        }
    }
}
