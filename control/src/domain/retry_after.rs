//! When a receiver asks to be tried again: `Retry-After`, as RFC 9110 (10.2.3) has it.

use chrono::{DateTime, Utc};
use std::time::Duration;

/// Reads the header's value: whole seconds, or a date. What is neither asks for nothing.
pub fn read(value: &[u8], now: DateTime<Utc>) -> Option<Duration> {
    let text = str::from_utf8(value).ok()?.trim();
    if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
        // More seconds than a number holds are for ever; whoever honours it has a bound.
        return Some(Duration::from_secs(text.parse().unwrap_or(u64::MAX)));
    }
    let at: DateTime<Utc> = httpdate::parse_http_date(text).ok()?.into();
    // A date that has passed asks for no wait.
    Some(at.signed_duration_since(now).to_std().unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(value: &[u8], seconds: Option<u64>) {
        // The moment of RFC 9110's examples, ten seconds before.
        let now = DateTime::from_timestamp(784_111_767, 0).unwrap();
        assert_eq!(read(value, now), seconds.map(Duration::from_secs), "{value:?}");
    }

    #[test]
    fn seconds_and_each_form_of_a_date_are_read() {
        check(b"120", Some(120));
        check(b" 0 ", Some(0));
        check(b"99999999999999999999999", Some(u64::MAX));
        check(b"Sun, 06 Nov 1994 08:49:37 GMT", Some(10));
        check(b"Sunday, 06-Nov-94 08:49:37 GMT", Some(10));
        check(b"Sun Nov  6 08:49:37 1994", Some(10));
        check(b"Sun, 06 Nov 1994 08:49:00 GMT", Some(0));
    }

    #[test]
    fn what_is_neither_asks_for_nothing() {
        for value in [
            &b""[..],
            b"-1",
            b"+1",
            b"1.5",
            b"1, 2",
            b"soon",
            b"\xff",
            "٣".as_bytes(),
            b"Sun, 06 Nov 1994 08:49:37 PST",
            b"1994-11-06T08:49:37Z",
        ] {
            check(value, None);
        }
    }

    proptest::proptest! {
        #[test]
        fn any_value_is_read_or_passed_over(value: Vec<u8>) {
            let now = DateTime::from_timestamp(784_111_767, 0).unwrap();
            let _read = read(&value, now);
        }
    }
}
