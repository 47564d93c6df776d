//! What a receiver says: when to come back, and its first bytes in a form that is safe to keep and to show.

use chrono::{DateTime, Utc};
use std::time::Duration;

/// How much of an answer is read and kept.
pub const KEPT_BYTES_MAX: usize = 4096;

/// How much is kept of why no answer came: it may tell what a receiver's certificate says.
pub const DETAIL_BYTES_MAX: usize = 512;

/// `Retry-After`, in seconds or as a date. A date that is over asks for no wait.
pub fn retry_after(value: &str, now: DateTime<Utc>) -> Option<Duration> {
    let value = value.trim();
    if !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_digit()) {
        return value.parse().ok().map(Duration::from_secs);
    }
    let at = DateTime::<Utc>::from(httpdate::parse_http_date(value).ok()?);
    Some(at.signed_duration_since(now).to_std().unwrap_or_default())
}

/// The first bytes as text, of at most `bytes_max` bytes itself. What could move a terminal's cursor, turn a line around or end a text in a
/// database is shown as a replacement.
pub fn text(bytes: &[u8], bytes_max: usize) -> String {
    let kept = bytes.get(..bytes_max).unwrap_or(bytes);
    let mut text = String::new();
    for character in String::from_utf8_lossy(kept).chars().map(safe) {
        // A replacement is longer than what it replaces.
        if text.len().saturating_add(character.len_utf8()) > bytes_max {
            break;
        }
        text.push(character);
    }
    text
}

fn safe(character: char) -> char {
    match character {
        '\n' | '\t' => character,
        // Marks, embeddings, overrides and isolates of the writing direction.
        '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => {
            char::REPLACEMENT_CHARACTER
        }
        other if other.is_control() => char::REPLACEMENT_CHARACTER,
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(value: &str, expected: Option<u64>) {
        let now = DateTime::from_timestamp(784_111_777, 0).unwrap();
        assert_eq!(retry_after(value, now), expected.map(Duration::from_secs), "{value:?}");
    }

    #[test]
    fn a_receiver_says_when_to_come_back_in_seconds_or_by_a_date() {
        check("0", Some(0));
        check(" 120 ", Some(120));
        // The three forms of RFC 9110, section 5.6.7, a minute after `now`.
        check("Sun, 06 Nov 1994 08:50:37 GMT", Some(60));
        check("Sunday, 06-Nov-94 08:50:37 GMT", Some(60));
        check("Sun Nov  6 08:50:37 1994", Some(60));
        check("Sun, 06 Nov 1994 08:49:36 GMT", Some(0));
    }

    #[test]
    fn what_says_no_time_is_no_wish() {
        for value in ["", "-1", "+1", "1.5", "soon", "1e3", "99999999999999999999", "120, 60"] {
            check(value, None);
        }
    }

    #[test]
    fn an_answer_is_kept_as_text_that_harms_nobody() {
        let text = |bytes: &[u8]| text(bytes, KEPT_BYTES_MAX);
        assert_eq!(text(b"{\"ok\":true}\n\ttab"), "{\"ok\":true}\n\ttab");
        assert_eq!(text("gr\u{fc}\u{df}".as_bytes()), "gr\u{fc}\u{df}");
        assert_eq!(text(b"a\0b\x1b[2Jc\r\x7f"), "a\u{fffd}b\u{fffd}[2Jc\u{fffd}\u{fffd}");
        assert_eq!(text("a\u{202e}b\u{85}".as_bytes()), "a\u{fffd}b\u{fffd}");
        assert_eq!(text(&[b'a', 0xff, b'b']), "a\u{fffd}b");
    }

    #[test]
    fn no_more_is_kept_than_its_bound() {
        for bytes_max in [KEPT_BYTES_MAX, DETAIL_BYTES_MAX] {
            assert_eq!(text(&[b'a'; 5000], bytes_max).len(), bytes_max);
            // Each of these bytes becomes three.
            assert_eq!(text(&[0xff; 5000], bytes_max).len(), bytes_max / 3 * 3);
            assert_eq!(text("\u{fc}".repeat(5000).as_bytes(), bytes_max).len(), bytes_max);
        }
    }
}
