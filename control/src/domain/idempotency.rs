//! A call that may be repeated without being done twice: its key, what it is, and what a repeat gets.
//!
//! After the IETF's draft-ietf-httpapi-idempotency-key-header.

use chrono::{DateTime, TimeDelta, Utc};
use sha2::{Digest, Sha256};
use std::fmt;

const KEY_BYTES_MAX: usize = 255;

/// How long whoever works on a call has it alone; longer than all calls to the vault together may take.
/// After a crash, a repeat is taken over when it is over.
pub const CLAIM_LIFE: TimeDelta = TimeDelta::seconds(60);

/// How long an answer can be had again.
pub const ANSWER_LIFE: TimeDelta = TimeDelta::hours(24);

/// The caller's own name for one call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IdempotencyKey(String);

/// A header that is no key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "Idempotency-Key must occur once, with 1 to {KEY_BYTES_MAX} printable ASCII characters, in quotes or without"
)]
pub struct BadKey;

impl IdempotencyKey {
    /// Reads a header's value. The draft has a string in quotes (RFC 9651); most clients send it bare, and
    /// both are the same key.
    pub fn read(value: &[u8]) -> Result<Self, BadKey> {
        let text = std::str::from_utf8(value).map_err(|_not_ascii| BadKey)?;
        let key = match text.strip_prefix('"') {
            Some(rest) => unquote(rest).ok_or(BadKey)?,
            None => text.to_owned(),
        };
        let is_printable = key.bytes().all(|byte| matches!(byte, b' '..=b'~'));
        if is_printable && (1..=KEY_BYTES_MAX).contains(&key.len()) {
            Ok(Self(key))
        } else {
            Err(BadKey)
        }
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// What is inside a quoted string, from after its first quote to its last.
fn unquote(rest: &str) -> Option<String> {
    let mut inside = String::new();
    let mut chars = rest.chars();
    loop {
        match chars.next()? {
            '"' => return chars.next().is_none().then_some(inside),
            '\\' => inside.push(chars.next().filter(|escaped| matches!(escaped, '"' | '\\'))?),
            char => inside.push(char),
        }
    }
}

/// What a call is: of two calls with one fingerprint, the second repeats the first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fingerprint([u8; 32]);

impl Fingerprint {
    /// Over the bytes as they were sent. Each field but the last goes in with its length before it.
    pub fn of(method: &str, path: &str, body: &[u8]) -> Self {
        let mut digest = Sha256::new();
        for field in [method, path] {
            digest.update(u64::try_from(field.len()).unwrap_or(u64::MAX).to_be_bytes());
            digest.update(field);
        }
        Self(digest.chain_update(body).finalize().into())
    }

    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }
}

/// What a call was answered, to be said again byte for byte.
#[derive(Clone, PartialEq, Eq)]
pub struct Answer {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

/// A start's answer holds a state.
impl fmt::Debug for Answer {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Answer").field("status", &self.status).finish_non_exhaustive()
    }
}

/// What is kept under a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Held {
    pub fingerprint: Fingerprint,
    /// How long the claim holds, or the answer is kept.
    pub until: DateTime<Utc>,
    /// Nothing, while the call is worked on.
    pub answer: Option<Answer>,
}

/// What a call gets whose key was used before.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// What was kept is over; the call is carried out.
    TakeOver,
    /// The answer that was given.
    Repeat(Answer),
    /// The first call is still worked on.
    InUse,
    /// The key was another call's.
    Reused,
}

impl Held {
    pub fn judge(self, fingerprint: Fingerprint, now: DateTime<Utc>) -> Verdict {
        if self.until <= now {
            return Verdict::TakeOver;
        }
        if self.fingerprint != fingerprint {
            return Verdict::Reused;
        }
        self.answer.map_or(Verdict::InUse, Verdict::Repeat)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(value: &[u8], expected: Option<&str>) {
        let key = IdempotencyKey::read(value);
        assert_eq!(key.as_ref().map(IdempotencyKey::as_str).ok(), expected, "{value:?}");
    }

    #[test]
    fn a_key_is_the_same_in_quotes_and_without() {
        check(
            b"8e03978e-40d5-43dd-bc93-6894a57f9324",
            Some("8e03978e-40d5-43dd-bc93-6894a57f9324"),
        );
        check(br#""8e03978e""#, Some("8e03978e"));
        check(br#""a \"b\" \\ c""#, Some(r#"a "b" \ c"#));
        check(br#"a"b"#, Some(r#"a"b"#));
        check(&[b'k'; 255], Some(&"k".repeat(255)));
    }

    #[test]
    fn what_is_empty_long_broken_or_not_ascii_is_no_key() {
        for value in [
            &b""[..],
            br#""""#,
            br#"""#,
            br#""a"#,
            br#""a"b"#,
            br#""a";p=1"#,
            br#""a\n""#,
            br#""a\"#,
            b"a\tb",
            b"a\x7f",
            "é".as_bytes(),
            b"\xff",
            &[b'k'; 256],
        ] {
            check(value, None);
        }
    }

    #[test]
    fn a_fingerprint_tells_method_path_and_body_apart() {
        let first = Fingerprint::of("POST", "/a", b"b");
        assert_eq!(Fingerprint::of("POST", "/a", b"b"), first);
        for (method, path, body) in
            [("PUT", "/a", "b"), ("POST", "/ab", ""), ("POST", "/a", "b "), ("POST/", "a", "b")]
        {
            assert_ne!(Fingerprint::of(method, path, body.as_bytes()), first, "{method} {path}");
        }
    }

    #[test]
    fn every_state_of_a_key_answers_every_call() {
        let now = DateTime::UNIX_EPOCH;
        let later = now + TimeDelta::microseconds(1);
        let same = Fingerprint::of("POST", "/", b"same");
        let other = Fingerprint::of("POST", "/", b"other");
        let answer = Answer { status: 201, headers: Vec::new(), body: b"{}".to_vec() };
        let check = |is_answered: bool, until, fingerprint, expected| {
            let held =
                Held { fingerprint: same, until, answer: is_answered.then(|| answer.clone()) };
            assert_eq!(held.judge(fingerprint, now), expected);
        };
        check(false, later, same, Verdict::InUse);
        check(false, later, other, Verdict::Reused);
        check(true, later, same, Verdict::Repeat(answer.clone()));
        check(true, later, other, Verdict::Reused);
        for is_answered in [false, true] {
            check(is_answered, now, same, Verdict::TakeOver);
            check(is_answered, now, other, Verdict::TakeOver);
        }
    }

    proptest::proptest! {
        /// Whatever a key is, it comes back out of its quotes, and nothing else does.
        #[test]
        fn quotes_hide_nothing(bytes: Vec<u8>, key in "[ -~]{1,255}") {
            let quoted = format!("\"{}\"", key.replace('\\', "\\\\").replace('"', "\\\""));
            check(quoted.as_bytes(), Some(&key));
            if let Ok(read) = IdempotencyKey::read(&bytes) {
                proptest::prop_assert!((1..=KEY_BYTES_MAX).contains(&read.as_str().len()));
            }
        }
    }
}
