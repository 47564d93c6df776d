//! What is kept for a while and must not be read by whoever reads the database: sealed with
//! AES-256-GCM, and bound to what it belongs to.

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use contract::keys::{Key, KeyId, KeyRing};
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::{Digest, Sha256};
use std::{fmt, sync::Arc};

/// Keeps keys of other uses of the same text apart.
const PURPOSE: &[u8] = b"connections data encryption v1";

/// What the check value of a key is made of.
const CHECKED: &[u8] = b"connections data encryption key check v1";

/// Seals with the first of several keys and opens with any.
#[derive(Clone)]
pub struct Sealer(Arc<[Usable]>);

/// A key in the form that it is used in.
struct Usable {
    id: KeyId,
    key: LessSafeKey,
    check: KeyCheck,
}

/// What tells a key from every other and reveals nothing of it. It is kept, so that another key under the same id is
/// noticed before it is used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KeyCheck(pub [u8; 32]);

impl fmt::Debug for Sealer {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Sealer(..)")
    }
}

/// It cannot be sealed, or is no seal of ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not sealed by a key that is known here, or for something else")]
pub struct BadSeal;

impl Sealer {
    pub fn new(keys: &KeyRing) -> Result<Self, BadSeal> {
        keys.iter().map(derived).collect::<Result<_, _>>().map(Self)
    }

    /// The key that seals, and those that only open.
    pub fn key_ids(&self) -> impl Iterator<Item = &KeyId> {
        self.0.iter().map(|usable| &usable.id)
    }

    /// Each key's check value, that of the one that seals first.
    pub fn checks(&self) -> impl Iterator<Item = (&KeyId, KeyCheck)> {
        self.0.iter().map(|usable| (&usable.id, usable.check))
    }

    /// Seals a text for `owner`, with random bytes that are used for nothing else.
    pub fn seal(
        &self,
        text: &str,
        owner: &str,
        random: [u8; NONCE_LEN],
    ) -> Result<String, BadSeal> {
        let Usable { id, key, check: _ } = self.0.first().ok_or(BadSeal)?;
        let mut sealed = text.as_bytes().to_vec();
        let nonce = Nonce::assume_unique_for_key(random);
        let owner = Aad::from(owner.as_bytes());
        key.seal_in_place_append_tag(nonce, owner, &mut sealed).map_err(|_full| BadSeal)?;
        let sealed = [&random[..], &sealed].concat();
        Ok(format!("{id}.{}", URL_SAFE_NO_PAD.encode(sealed)))
    }

    /// Opens what was sealed for `owner`.
    pub fn open(&self, sealed: &str, owner: &str) -> Result<String, BadSeal> {
        let (id, encoded) = sealed.split_once('.').ok_or(BadSeal)?;
        let known = self.0.iter().find(|known| known.id.as_str() == id);
        let key = &known.ok_or(BadSeal)?.key;
        let bytes = URL_SAFE_NO_PAD.decode(encoded).map_err(|_not_base64| BadSeal)?;
        let (nonce, text) = bytes.split_first_chunk::<NONCE_LEN>().ok_or(BadSeal)?;
        let mut text = text.to_vec();
        let owner = Aad::from(owner.as_bytes());
        let nonce = Nonce::assume_unique_for_key(*nonce);
        let text = key.open_in_place(nonce, owner, &mut text).map_err(|_forged| BadSeal)?;
        std::str::from_utf8(text).map(str::to_owned).map_err(|_not_text| BadSeal)
    }
}

fn derived(key: &Key) -> Result<Usable, BadSeal> {
    let secret = key.secret.expose();
    let bytes = Sha256::new().chain_update(PURPOSE).chain_update(secret).finalize();
    let unbound = UnboundKey::new(&AES_256_GCM, &bytes).map_err(|_length| BadSeal)?;
    let mac = Hmac::<Sha256>::new_from_slice(secret).map_err(|_length| BadSeal)?;
    let check = KeyCheck(mac.chain_update(CHECKED).finalize().into_bytes().into());
    Ok(Usable { id: key.id.clone(), key: LessSafeKey::new(unbound), check })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sealer(keys: &str) -> Sealer {
        Sealer::new(&KeyRing::parse(keys.as_bytes()).unwrap()).unwrap()
    }

    const OLD: &str = "old:0123456789abcdef0123456789abcdef";
    const NEW: &str = "new:fedcba9876543210fedcba9876543210";

    #[test]
    fn what_is_sealed_is_opened_by_any_of_the_keys_and_for_its_owner_only() {
        let sealed = sealer(OLD).seal("code=secret", "acme/1", [7; 12]).unwrap();
        assert!(!sealed.contains("secret"));
        let both = sealer(&format!("{NEW},{OLD}"));
        assert_eq!(both.open(&sealed, "acme/1").as_deref(), Ok("code=secret"));
        assert_eq!(both.open(&sealed, "acme/2"), Err(BadSeal));
        assert_eq!(sealer(NEW).open(&sealed, "acme/1"), Err(BadSeal));
        // Another key under the same id.
        let forged = sealer("old:fedcba9876543210fedcba9876543210");
        assert_eq!(forged.open(&sealed, "acme/1"), Err(BadSeal));
    }

    #[test]
    fn the_first_key_seals_and_its_id_is_there_to_be_read() {
        let both = sealer(&format!("{NEW},{OLD}"));
        assert_eq!(both.key_ids().map(KeyId::as_str).collect::<Vec<_>>(), ["new", "old"]);
        assert!(both.seal("text", "acme/1", [7; 12]).unwrap().starts_with("new."));
    }

    #[test]
    fn a_check_value_is_the_keys_whatever_its_id_and_shows_nothing_of_it() {
        let check = |keys: &str| sealer(keys).checks().next().unwrap().1;
        assert_eq!(check(OLD), check("other:0123456789abcdef0123456789abcdef"));
        assert_ne!(check(OLD), check("old:0123456789abcdef0123456789abcdee"));
        let both = sealer(&format!("{NEW},{OLD}"));
        let ids: Vec<&str> = both.checks().map(|(id, _)| id.as_str()).collect();
        assert_eq!((ids, both.checks().last().unwrap().1), (vec!["new", "old"], check(OLD)));
    }

    #[test]
    fn what_was_changed_or_cut_off_is_not_opened() {
        let keys = sealer(OLD);
        let sealed = keys.seal("code=secret", "acme/1", [7; 12]).unwrap();
        let mut cut = sealed.clone();
        cut.truncate(sealed.len() - 2);
        for text in ["", "old", "old.", "old.AAAA", ".AAAA", &cut] {
            assert_eq!(keys.open(text, "acme/1"), Err(BadSeal), "{text}");
        }
        let mut changed = sealed.into_bytes();
        let last = changed.len() - 3;
        changed[last] = if changed[last] == b'A' { b'B' } else { b'A' };
        assert_eq!(keys.open(std::str::from_utf8(&changed).unwrap(), "acme/1"), Err(BadSeal));
    }
}
