//! Secrets that rotate: several at once, each with an id, written `id:value,id:value`.

use std::{fmt, str::FromStr};
use zeroize::Zeroizing;

/// Shorter secrets can be guessed; 16 bytes are 128 bits at best.
pub const SECRET_BYTES_MIN: usize = 16;

/// What secrets of the Standard Webhooks specification begin with. It is the same for all and protects nothing.
const WEBHOOK_PREFIX: &str = "whsec_";

/// More keys than a rotation needs would only make every verification slower.
pub const KEYS_MAX: usize = 8;

/// The id of a key that was written without one.
const BARE_KEY_ID: &str = "1";

/// Names a key in headers and logs, where the key itself must never be.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct KeyId(String);

impl KeyId {
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for KeyId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl FromStr for KeyId {
    type Err = UnusableKeys;

    fn from_str(text: &str) -> Result<Self, UnusableKeys> {
        let is_id_byte = |byte: u8| byte.is_ascii_alphanumeric() || b"_-".contains(&byte);
        if (1..=32).contains(&text.len()) && text.bytes().all(is_id_byte) {
            Ok(Self(text.to_owned()))
        } else {
            Err(UnusableKeys::Id)
        }
    }
}

/// Bytes that are wiped when dropped and never printed.
#[derive(Clone)]
pub struct Secret(Zeroizing<Vec<u8>>);

impl Secret {
    /// The bytes themselves, for a MAC and for nothing else.
    pub fn expose(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Secret(..)")
    }
}

/// Why a text cannot serve as keys. It never quotes the text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum UnusableKeys {
    #[error("there is no key")]
    Missing,
    #[error("a key id must be 1 to 32 letters, digits, '_' or '-'")]
    Id,
    #[error("each key id may occur once; write id:value,id:value")]
    DuplicateId,
    #[error(
        "a key must have at least {SECRET_BYTES_MIN} bytes, besides the prefix {WEBHOOK_PREFIX}"
    )]
    TooShort,
    #[error(
        "a key must be printable ASCII, without white space inside it and without a byte order mark"
    )]
    Unprintable,
    #[error("there may be at most {KEYS_MAX} keys")]
    TooMany,
}

/// One or more keys. The first signs; all verify.
#[derive(Debug, Clone)]
pub struct KeyRing {
    first: Key,
    others: Vec<Key>,
}

/// A secret and the id it is known by.
#[derive(Debug, Clone)]
pub struct Key {
    pub id: KeyId,
    pub secret: Secret,
}

impl KeyRing {
    /// Reads `id:value,id:value`, or one bare value.
    ///
    /// White space around entries is dropped, because a secret that is mounted from a file often
    /// ends with a newline. Envoy renders a secret that it does not have as `-`; like every other
    /// text that could be guessed, that is refused for its length.
    pub fn parse(text: &[u8]) -> Result<Self, UnusableKeys> {
        let text = std::str::from_utf8(text).map_err(|_not_utf8| UnusableKeys::Unprintable)?;
        let mut keys: Vec<Key> = Vec::new();
        for entry in text.trim().split(',').map(str::trim).filter(|entry| !entry.is_empty()) {
            let (id, value) = entry.split_once(':').unwrap_or((BARE_KEY_ID, entry));
            let key = Key { id: id.trim().parse()?, secret: secret(value.trim())? };
            if keys.iter().any(|other| other.id == key.id) {
                return Err(UnusableKeys::DuplicateId);
            }
            keys.push(key);
        }
        if keys.len() > KEYS_MAX {
            return Err(UnusableKeys::TooMany);
        }
        let mut keys = keys.into_iter();
        let first = keys.next().ok_or(UnusableKeys::Missing)?;
        Ok(Self { first, others: keys.collect() })
    }

    /// The key that signs.
    pub fn signing(&self) -> &Key {
        &self.first
    }

    /// Every key, the signing one first.
    pub fn iter(&self) -> impl Iterator<Item = &Key> {
        std::iter::once(&self.first).chain(&self.others)
    }

    pub fn find(&self, id: &KeyId) -> Option<&Key> {
        self.iter().find(|key| key.id == *id)
    }
}

/// The one rule for every secret of a setting, whoever made it: long enough that it cannot be guessed, and only
/// characters that an operator can see. White space around it must be trimmed before.
pub fn check_secret(value: &str) -> Result<(), UnusableKeys> {
    if !value.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(UnusableKeys::Unprintable);
    }
    if value.strip_prefix(WEBHOOK_PREFIX).unwrap_or(value).len() < SECRET_BYTES_MIN {
        return Err(UnusableKeys::TooShort);
    }
    Ok(())
}

fn secret(value: &str) -> Result<Secret, UnusableKeys> {
    check_secret(value)?;
    Ok(Secret(Zeroizing::new(value.as_bytes().to_vec())))
}

#[cfg(test)]
impl KeyRing {
    /// A ring that no text can name, for the vectors of an RFC.
    pub(crate) fn of_bytes(id: &str, secret: &[u8]) -> Self {
        let secret = Secret(Zeroizing::new(secret.to_vec()));
        Self { first: Key { id: id.parse().unwrap(), secret }, others: Vec::new() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OLD: &str = "0123456789abcdef";
    const NEW: &str = "fedcba9876543210";

    #[track_caller]
    fn check(text: &str, expected: Result<&[(&str, &str)], UnusableKeys>) {
        let parsed = KeyRing::parse(text.as_bytes()).map(|ring| {
            ring.iter()
                .map(|key| {
                    let value = String::from_utf8(key.secret.expose().to_vec()).unwrap();
                    (key.id.to_string(), value)
                })
                .collect::<Vec<_>>()
        });
        let expected = expected.map(|keys| {
            keys.iter().map(|(id, value)| ((*id).to_owned(), (*value).to_owned())).collect()
        });
        assert_eq!(parsed, expected, "{text:?}");
    }

    #[test]
    fn a_bare_value_has_the_id_1() {
        check(OLD, Ok(&[("1", OLD)]));
        check(&format!(" {OLD}\n"), Ok(&[("1", OLD)]));
    }

    #[test]
    fn several_keys_keep_their_order_so_that_the_first_signs() {
        check(&format!("b:{NEW}, a:{OLD},\n"), Ok(&[("b", NEW), ("a", OLD)]));
        let ring = KeyRing::parse(format!("b:{NEW},a:{OLD}").as_bytes()).unwrap();
        assert_eq!(ring.signing().id.as_str(), "b");
        assert!(ring.find(&"a".parse().unwrap()).is_some());
        assert!(ring.find(&"c".parse().unwrap()).is_none());
    }

    #[test]
    fn a_key_that_could_be_guessed_is_refused() {
        check("", Err(UnusableKeys::Missing));
        check(" \n", Err(UnusableKeys::Missing));
        check("-", Err(UnusableKeys::TooShort));
        check("1:-", Err(UnusableKeys::TooShort));
        check("0123456789abcde", Err(UnusableKeys::TooShort));
        check(&format!("a:{OLD},b:"), Err(UnusableKeys::TooShort));
        // Without the prefix these are as short.
        check("whsec_", Err(UnusableKeys::TooShort));
        check(&format!("a:{OLD},b:whsec_"), Err(UnusableKeys::TooShort));
        check("whsec_0123456789abcde", Err(UnusableKeys::TooShort));
        check("whsec_0123456789abcdef", Ok(&[("1", "whsec_0123456789abcdef")]));
    }

    #[test]
    fn an_ambiguous_or_unreadable_list_is_refused() {
        check(&format!("{OLD},{NEW}"), Err(UnusableKeys::DuplicateId));
        check(&format!("a:{OLD},a:{NEW}"), Err(UnusableKeys::DuplicateId));
        check(&format!("a b:{OLD}"), Err(UnusableKeys::Id));
        check(&format!(":{OLD}"), Err(UnusableKeys::Id));
        check(",", Err(UnusableKeys::Missing));
        check("\u{feff}", Err(UnusableKeys::Unprintable));
        check(&format!("\u{feff}{OLD}"), Err(UnusableKeys::Unprintable));
        check(&format!("{OLD}\u{feff}"), Err(UnusableKeys::Unprintable));
        check("0123456789 abcdef", Err(UnusableKeys::Unprintable));
        check("0123456789\u{e9}abcdef", Err(UnusableKeys::Unprintable));
        let list = |count| (0..count).map(|n| format!("k{n}:{OLD}")).collect::<Vec<_>>().join(",");
        assert!(KeyRing::parse(list(8).as_bytes()).is_ok());
        check(&list(9), Err(UnusableKeys::TooMany));
    }

    #[test]
    fn a_secret_does_not_print() {
        let ring = KeyRing::parse(OLD.as_bytes()).unwrap();
        assert!(!format!("{ring:?}").contains(OLD));
    }
}
