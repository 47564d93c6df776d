//! Whether Nango signed a body: chunk by chunk, and never more bytes than the policy allows.

use crate::{denial::Denial, head::Head};
use contract::{
    header::NANGO_SIGNATURE,
    keys::KeyRing,
    signature::{VerifiedBody, WebhookVerifier},
};

/// A verification that waits for the rest of its body.
#[derive(Debug)]
pub struct Verification {
    verifier: WebhookVerifier,
    bytes_left: u64,
}

impl Verification {
    /// Reads what the head claims, and refuses a declared length over the limit before a byte of the
    /// body is held.
    pub fn begin(head: &Head<'_>, keys: &KeyRing, body_bytes_max: u64) -> Result<Self, Denial> {
        let claimed = match head.one(NANGO_SIGNATURE) {
            Ok(Some(claimed)) => claimed,
            Ok(None) => return Err(Denial::SignatureMissing),
            Err(Denial::HeaderDuplicated) => return Err(Denial::SignatureDuplicated),
            Err(_) => return Err(Denial::SignatureMalformed),
        };
        let declared = head.one("content-length")?.and_then(|length| length.parse::<u64>().ok());
        if declared.is_some_and(|length| length > body_bytes_max) {
            return Err(Denial::BodyTooLarge);
        }
        let verifier = WebhookVerifier::new(keys, claimed.as_bytes())
            .map_err(|_malformed| Denial::SignatureMalformed)?;
        Ok(Self { verifier, bytes_left: body_bytes_max })
    }

    /// Takes the next bytes, and counts them, because a length need not be declared.
    pub fn update(&mut self, chunk: &[u8]) -> Result<(), Denial> {
        let size = u64::try_from(chunk.len()).unwrap_or(u64::MAX);
        self.bytes_left = self.bytes_left.checked_sub(size).ok_or(Denial::BodyTooLarge)?;
        self.verifier.update(chunk);
        Ok(())
    }

    pub fn finish(self) -> Result<VerifiedBody, Denial> {
        self.verifier.finish().map_err(|_bad| Denial::SignatureMismatch)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::head::RawHeader;
    use contract::signature::sign;

    const LIMIT: u64 = 8;

    fn keys() -> KeyRing {
        KeyRing::parse(b"k:0123456789abcdef").unwrap()
    }

    #[track_caller]
    fn check(headers: &[(&str, &str)], chunks: &[&str], expected: Result<&str, Denial>) {
        let mut raw: Vec<RawHeader<'_>> =
            vec![(b":method", b"POST"), (b":path", b"/webhooks/nango")];
        raw.extend(headers.iter().map(|(name, value)| (name.as_bytes(), value.as_bytes())));
        let verify = || {
            let mut verification = Verification::begin(&Head::read(&raw)?, &keys(), LIMIT)?;
            for chunk in chunks {
                verification.update(chunk.as_bytes())?;
            }
            Ok(verification.finish()?.key().to_string())
        };
        assert_eq!(verify(), expected.map(str::to_owned), "{headers:?} {chunks:?}");
    }

    #[test]
    fn a_signed_body_is_verified_however_it_is_cut() {
        let signature = sign(&keys(), b"12345678");
        let header = [(NANGO_SIGNATURE, signature.as_str())];
        check(&header, &["12345678"], Ok("k"));
        check(&header, &["1234", "", "5678"], Ok("k"));
        check(&[header[0], ("content-length", "8")], &["12345678"], Ok("k"));
        check(&[(NANGO_SIGNATURE, &sign(&keys(), b""))], &[], Ok("k"));
    }

    #[test]
    fn a_body_that_was_not_signed_is_refused() {
        let signature = sign(&keys(), b"1234");
        let header = (NANGO_SIGNATURE, signature.as_str());
        check(&[header], &["1235"], Err(Denial::SignatureMismatch));
        check(&[header], &[], Err(Denial::SignatureMismatch));
        check(&[], &["1234"], Err(Denial::SignatureMissing));
        check(&[header, header], &["1234"], Err(Denial::SignatureDuplicated));
        check(&[(NANGO_SIGNATURE, "")], &["1234"], Err(Denial::SignatureMalformed));
        check(&[("x-nango-signature", &signature)], &["1234"], Err(Denial::SignatureMissing));
    }

    #[test]
    fn a_body_over_the_limit_is_refused_by_its_length_or_by_its_bytes() {
        let signature = sign(&keys(), b"123456789");
        let header = (NANGO_SIGNATURE, signature.as_str());
        check(&[header, ("content-length", "9")], &[], Err(Denial::BodyTooLarge));
        check(&[header], &["123456789"], Err(Denial::BodyTooLarge));
        check(&[header], &["12345678", "9"], Err(Denial::BodyTooLarge));
        // A declared length that understates the body does not help.
        check(&[header, ("content-length", "1")], &["12345678", "9"], Err(Denial::BodyTooLarge));
    }
}
