//! Secrets that are made for one run and known to nobody else.

use base64::{Engine as _, engine::general_purpose::STANDARD};

/// 32 random bytes as hex: for passwords and assertion keys.
pub fn hex() -> String {
    hex::encode(rand::random::<[u8; 32]>())
}

/// A key as Nango makes them: a UUID of version 4.
pub fn nango_key() -> String {
    uuid::Builder::from_random_bytes(rand::random()).into_uuid().to_string()
}

/// A secret for signing notifications.
pub fn signing_secret() -> String {
    format!("whsec_{}", STANDARD.encode(rand::random::<[u8; 32]>()))
}
