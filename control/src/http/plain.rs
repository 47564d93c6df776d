//! What is wrong with a body, in the words of JSON.
//!
//! The reader of JSON names types as its own language does, and those who read the answer write other ones.

use super::CALL_BYTES_MAX;

/// Words of the reader, and what a JSON document calls the same.
const WORDS: [(&str, &str); 14] = [
    ("a sequence", "an array"),
    ("sequence", "an array"),
    ("a map", "an object"),
    ("map", "an object"),
    ("unit value", "null"),
    ("unit", "null"),
    ("floating point", "number"),
    ("u8", "an integer of 0 or more"),
    ("u16", "an integer of 0 or more"),
    ("u32", "an integer of 0 or more"),
    ("u64", "an integer of 0 or more"),
    ("i32", "an integer"),
    ("i64", "an integer"),
    ("ident", "null, true or false"),
];

/// What the reader said, for whoever sent the body. What is quoted of the body itself stays as it is.
pub(super) fn said(text: &str) -> String {
    let (found, expected) = match text.rsplit_once(", expected ") {
        Some((found, expected)) => (found, Some(expected)),
        None => (text, None),
    };
    let found = match found.split_once("invalid type: ") {
        Some((before, kind)) => format!("{before}invalid type: {}", json_word(kind)),
        None => match found.strip_prefix("expected ") {
            Some(expected) => format!("expected {}", json_word(expected)),
            None => found.to_owned(),
        },
    };
    match expected {
        Some(expected) => format!("{found}, expected {}", json_word(expected)),
        None => found,
    }
}

/// A text that begins with a word of the reader's, with JSON's instead.
fn json_word(text: &str) -> String {
    let begins = |word: &str| {
        text.strip_prefix(word).filter(|rest| !rest.starts_with(|it: char| it.is_alphanumeric()))
    };
    let known = WORDS.iter().find_map(|(word, json)| Some((json, begins(word)?)));
    known.map_or_else(|| text.to_owned(), |(json, rest)| format!("{json}{rest}"))
}

/// A body that is larger than its route takes.
pub(super) fn too_large(bytes_max: usize) -> String {
    let what = if bytes_max == CALL_BYTES_MAX { "call" } else { "webhook" };
    format!("the body of a {what} must have at most {} KiB, and come to its end", bytes_max >> 10)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_word_of_a_programming_language_is_said_and_what_was_sent_stays() {
        for (text, plain) in [
            (
                "scopes: invalid type: string \"a map\", expected a sequence at line 1 column 4",
                "scopes: invalid type: string \"a map\", expected an array at line 1 column 4",
            ),
            (
                "metadata: invalid type: sequence, expected a map at line 1 column 1",
                "metadata: invalid type: an array, expected an object at line 1 column 1",
            ),
            (
                "version: invalid type: floating point `1.5`, expected i64",
                "version: invalid type: number `1.5`, expected an integer",
            ),
            (
                "version: invalid type: map, expected u32",
                "version: invalid type: an object, expected an integer of 0 or more",
            ),
            (
                "invalid type: unit value, expected a JSON object",
                "invalid type: null, expected a JSON object",
            ),
            (
                "expected ident at line 1 column 2",
                "expected null, true or false at line 1 column 2",
            ),
            ("missing field `sub` at line 1 column 2", "missing field `sub` at line 1 column 2"),
            ("unknown field `map`, expected `scopes`", "unknown field `map`, expected `scopes`"),
            ("expected value at line 1 column 1", "expected value at line 1 column 1"),
            (
                "a: invalid type: string \"x\", expected a mapping",
                "a: invalid type: string \"x\", expected a mapping",
            ),
        ] {
            assert_eq!(said(text), plain);
        }
        assert_eq!(
            too_large(CALL_BYTES_MAX),
            "the body of a call must have at most 64 KiB, and come to its end"
        );
    }
}
