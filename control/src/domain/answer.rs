//! What is kept of a receiver's answer: how it begins, as a text that is safe to keep and to show.

/// How many bytes of an answer are read and kept.
pub const ANSWER_BYTES_MAX: usize = 4096;

/// The beginning of an answer as text, in no more bytes than are read of it; nothing, if it is empty.
pub fn kept(bytes: &[u8]) -> Option<String> {
    let begin = bytes.get(..ANSWER_BYTES_MAX).unwrap_or(bytes);
    let mut text = String::with_capacity(begin.len());
    for character in String::from_utf8_lossy(begin).chars() {
        // PostgreSQL takes no NUL, and a terminal must not be told what to do.
        let is_safe = !character.is_control() || matches!(character, '\n' | '\t');
        let shown = if is_safe { character } else { char::REPLACEMENT_CHARACTER };
        if text.len().saturating_add(shown.len_utf8()) > ANSWER_BYTES_MAX {
            break;
        }
        text.push(shown);
    }
    (!text.is_empty()).then_some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(bytes: &[u8], expected: Option<&str>) {
        assert_eq!(kept(bytes).as_deref(), expected, "{bytes:?}");
    }

    #[test]
    fn a_text_is_kept_as_it_is() {
        check(b"", None);
        check("{\"error\":\n\t\"né\"}".as_bytes(), Some("{\"error\":\n\t\"né\"}"));
    }

    #[test]
    fn what_is_no_text_is_replaced() {
        check(b"a\0b\x1b[2Jc\r\x7f", Some("a\u{fffd}b\u{fffd}[2Jc\u{fffd}\u{fffd}"));
        check(b"\xff", Some("\u{fffd}"));
        check("\u{9b}2J".as_bytes(), Some("\u{fffd}2J"));
    }

    #[test]
    fn a_long_answer_is_cut_between_two_characters() {
        assert_eq!(kept(&[b'a'; 9000]).unwrap().len(), ANSWER_BYTES_MAX);
        let long = "é".repeat(4000);
        let cut = kept(format!("a{long}").as_bytes()).unwrap();
        assert!(cut.len() <= ANSWER_BYTES_MAX && cut.starts_with("aéé"), "{}", cut.len());
    }

    proptest::proptest! {
        #[test]
        fn whatever_is_kept_is_short_and_safe(bytes: Vec<u8>) {
            let text = kept(&bytes).unwrap_or_default();
            proptest::prop_assert!(text.len() <= ANSWER_BYTES_MAX);
            let is_unsafe = |character: char| character.is_control() && !"\n\t".contains(character);
            proptest::prop_assert!(!text.contains(is_unsafe));
        }
    }
}
