//! The ways in which a webhook can be signed, and can seem to be.

use crate::support::{Edge, SIGNATURE};
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::{Digest as _, Sha256};

/// How a webhook is signed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Signature {
    None,
    Good,
    /// With the second key of the list.
    GoodBySecondKey,
    OfAnotherBody,
    ByAnotherKey,
    /// With the key that Envoy renders a missing one as.
    ByDash,
    UpperCase,
    Twice,
    GoodAndBad,
    JoinedToItself,
    /// SHA-256 over key and body, as Nango's older header has it.
    LegacyOnly,
    LegacyInItsPlace,
    Text(&'static str),
}

impl Signature {
    /// Whether it is right, and nothing else is.
    pub const fn is_good(self) -> bool {
        matches!(self, Self::Good | Self::GoodBySecondKey)
    }

    /// Whether it has a right one beside another, so that bytes that change may leave only that.
    pub const fn may_become_good(self) -> bool {
        matches!(self, Self::Twice | Self::GoodAndBad | Self::JoinedToItself)
    }

    pub fn headers(self, edge: &Edge, body: &[u8]) -> Vec<(&'static str, String)> {
        let keys: Vec<&str> = edge.webhook_keys.trim().split(',').collect();
        let secret = |key: usize| keys[key].split(':').next_back().unwrap();
        let good = by(secret(0), body);
        let legacy = Sha256::new().chain_update(secret(0)).chain_update(body).finalize();
        let legacy = hex::encode(legacy);
        let values = match self {
            Self::None => vec![],
            Self::Good => vec![good],
            Self::GoodBySecondKey => vec![by(secret(1), body)],
            Self::OfAnotherBody => vec![by(secret(0), b"another body")],
            Self::ByAnotherKey => vec![by("another-key-of-somebody", body)],
            Self::ByDash => vec![by("-", body)],
            Self::UpperCase => vec![good.to_uppercase()],
            Self::Twice => vec![good.clone(), good],
            Self::GoodAndBad => vec![good, by("another-key-of-somebody", body)],
            Self::JoinedToItself => vec![format!("{good},{good}")],
            Self::LegacyOnly => return vec![("x-nango-signature", legacy)],
            Self::LegacyInItsPlace => vec![legacy],
            Self::Text(text) => vec![text.to_owned()],
        };
        values.into_iter().map(|value| (SIGNATURE, value)).collect()
    }
}

/// HMAC as Nango makes it, without the code under test.
fn by(key: &str, body: &[u8]) -> String {
    let mac = Hmac::<Sha256>::new_from_slice(key.as_bytes()).unwrap().chain_update(body);
    hex::encode(mac.finalize().into_bytes())
}
