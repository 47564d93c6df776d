//! W3C's `traceparent`: which trace a request belongs to. It is a stranger's text until it was read here.

use std::{fmt, str::FromStr};

/// Version, trace, caller's span and flags, of which version 00 is all that this service writes.
const LENGTH: usize = 55;

/// A trace, and the span in it that calls.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Traceparent(String);

/// A text that is no `traceparent`, of which there is then none: a trace begins anew.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("no traceparent")]
pub struct NoTraceparent;

impl Traceparent {
    /// The parts that were made here.
    pub fn from_parts(trace: [u8; 16], span: [u8; 8], is_sampled: bool) -> Self {
        let (trace, span) = (hex::encode(trace), hex::encode(span));
        Self(format!("00-{trace}-{span}-{:02x}", u8::from(is_sampled)))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The id by which a trace is found.
    pub fn trace_id(&self) -> &str {
        self.0.get(3..35).unwrap_or_default()
    }

    /// The trace, the caller's span, and whether the caller records it.
    pub fn parts(&self) -> ([u8; 16], [u8; 8], bool) {
        let (mut trace, mut span, mut flags) = ([0; 16], [0; 8], [0]);
        // What was read is hexadecimal, and so long.
        let read = |range, into: &mut [u8]| {
            hex::decode_to_slice(self.0.get(range).unwrap_or_default(), into).is_ok()
        };
        let _are_read =
            read(3..35, &mut trace) && read(36..52, &mut span) && read(53..55, &mut flags);
        let [flags] = flags;
        (trace, span, flags & 1 == 1)
    }
}

impl fmt::Display for Traceparent {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl FromStr for Traceparent {
    type Err = NoTraceparent;

    /// Reads version 00, and of a later one what is as in version 00, as the specification asks.
    fn from_str(text: &str) -> Result<Self, NoTraceparent> {
        let (known, rest) = text.split_at_checked(LENGTH).ok_or(NoTraceparent)?;
        let parts: Vec<&str> = known.split('-').collect();
        let [version, trace, span, flags] = parts.as_slice() else { return Err(NoTraceparent) };
        let is_hex = |text: &str, length| {
            text.len() == length
                && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
        };
        let is_id =
            |text: &str, length| is_hex(text, length) && text.bytes().any(|byte| byte != b'0');
        let has_end = if *version == "00" {
            rest.is_empty()
        } else {
            rest.is_empty() || rest.starts_with('-')
        };
        let is_known = is_hex(version, 2) && *version != "ff" && has_end;
        if is_known && is_id(trace, 32) && is_id(span, 16) && is_hex(flags, 2) {
            Ok(Self(format!("00-{trace}-{span}-{flags}")))
        } else {
            Err(NoTraceparent)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
    const SPAN: &str = "b7ad6b7169203331";

    #[test]
    fn what_the_specification_allows_is_read_and_nothing_else() {
        let good = format!("00-{TRACE}-{SPAN}-01");
        assert_eq!(good.parse::<Traceparent>().unwrap().as_str(), good);
        assert_eq!(good.parse::<Traceparent>().unwrap().trace_id(), TRACE);
        let later = format!("01-{TRACE}-{SPAN}-01-more");
        assert_eq!(later.parse::<Traceparent>().unwrap().as_str(), good);
        let zeros = |count| "0".repeat(count);
        for bad in [
            String::new(),
            "00".to_owned(),
            format!("{good}-more"),
            format!("01-{TRACE}-{SPAN}-01more"),
            format!("ff-{TRACE}-{SPAN}-01"),
            format!("00-{}-{SPAN}-01", zeros(32)),
            format!("00-{TRACE}-{}-01", zeros(16)),
            format!("00-{}-{SPAN}-01", TRACE.to_uppercase()),
            format!("00-{TRACE}-{SPAN}-0g"),
            format!("00_{TRACE}-{SPAN}-01"),
            format!("00-{TRACE}-{SPAN}-0"),
            format!("00-{TRACE}\u{e9}-{SPAN}-1"),
            format!(" {good}"),
        ] {
            assert_eq!(bad.parse::<Traceparent>(), Err(NoTraceparent), "{bad:?}");
        }
    }

    #[test]
    fn parts_make_the_text_that_they_are_read_from() {
        for flags in ["00", "01"] {
            let text = format!("00-{TRACE}-{SPAN}-{flags}");
            let (trace, span, is_sampled) = text.parse::<Traceparent>().unwrap().parts();
            assert_eq!(is_sampled, flags == "01");
            assert_eq!(Traceparent::from_parts(trace, span, is_sampled).as_str(), text);
        }
    }
}
