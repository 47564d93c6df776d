//! A forwarded certificate: read like a slower reader would, and never more believed than the proxy that
//! wrote it.

use crate::{config, near};
use filter::forwarded::{UnusableForwarded, read_uri};
use proptest::{collection::vec, option, prelude::*, sample::select};

/// The same rule in two passes: first the text is cut where no quote is open, then every piece is read.
/// The URI or none of them; nothing where the rule refuses.
fn read_slowly(value: &str) -> Option<Vec<String>> {
    let mut pieces = vec![String::new()];
    let (mut is_quoted, mut is_escaped) = (false, false);
    for character in value.chars() {
        let is_plain = !std::mem::take(&mut is_escaped);
        match character {
            ',' if !is_quoted => return None,
            ';' if !is_quoted => {
                pieces.push(String::new());
                continue;
            }
            '"' if is_plain => is_quoted = !is_quoted,
            '\\' if is_plain && is_quoted => is_escaped = true,
            _ => {}
        }
        pieces.last_mut().unwrap().push(character);
    }
    let mut uris = Vec::new();
    for piece in pieces {
        let (key, value) = piece.split_once('=')?;
        let value = unquoted(value)?;
        if key.is_empty() || key.contains(|it: char| !it.is_ascii_alphanumeric()) {
            return None;
        }
        if key.to_lowercase() == "uri" {
            uris.push(value);
        }
    }
    let is_one_at_most = uris.len() <= 1;
    uris.retain(|uri| !uri.is_empty());
    is_one_at_most.then_some(uris)
}

/// The inside of a value, if its quotes are its first and its last character or it has none.
fn unquoted(value: &str) -> Option<String> {
    let Some(inside) = value.strip_prefix('"') else {
        return (!value.contains('"')).then(|| value.to_owned());
    };
    let inside = inside.strip_suffix('"')?;
    let without_escapes: String = {
        let mut characters = inside.chars();
        std::iter::from_fn(|| match characters.next()? {
            '\\' => Some(characters.next().map_or('"', |_escaped| ' ')),
            other => Some(other),
        })
        .collect()
    };
    // A quote that is left was not escaped, or the last one of the value was.
    (!without_escapes.contains('"')).then(|| unescaped(inside))
}

fn unescaped(inside: &str) -> String {
    // A backslash escapes what is after it, so that pairs are read from the left.
    let mut read = String::new();
    let mut characters = inside.chars();
    while let Some(character) = characters.next() {
        match (character, characters.clone().next()) {
            ('\\', Some('"')) => {}
            ('\\', Some(other)) => {
                read.extend(['\\', other]);
                characters.next();
            }
            _ => read.push(character),
        }
    }
    read
}

/// What proxies and their callers are likely to send, and near misses of it.
fn soup() -> impl Strategy<Value = String> {
    let pieces = [
        "URI=",
        "uri=",
        "DNS=",
        "Subject=",
        "Hash=0a",
        "=",
        ";",
        ",",
        "\"",
        "\\",
        "\\\"",
        "\\\\",
        "a",
        " ",
        "spiffe://a/b",
        "é",
    ];
    near(vec(select(pieces.to_vec()), 0..12).prop_map(|pieces| pieces.concat()))
}

/// A subject as Envoy writes it, by RFC 2253: what is special in it has a backslash before it.
fn subject() -> impl Strategy<Value = String> {
    vec(prop_oneof!["[a-z =/]", r#"\\[,;"+<>\\#]"#], 0..8).prop_map(|parts| parts.concat())
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn a_value_is_read_as_a_slower_reader_reads_it(value in soup()) {
        let read: Option<Vec<String>> = read_uri(&value).ok().map(|uri| uri.into_iter().collect());
        prop_assert_eq!(read, read_slowly(&value), "{}", value);
    }

    #[test]
    fn what_a_careful_proxy_wrote_is_read_again(
        before in vec(("(By|Hash|Cert|Subject|DNS)", "[ -!#-\\[\\]-~]{0,9}"), 0..4),
        after in vec(("(By|Hash|Cert|Subject|DNS)", "[ -!#-\\[\\]-~]{0,9}"), 0..4),
        uri in option::of("[!-\\[\\]-~]{0,20}"),
        key in select(vec!["URI", "uri", "Uri"]),
    ) {
        let quoted = |value: &str| format!("\"{}\"", value.replace('"', "\\\""));
        let pairs = |pairs: &[(String, String)]| -> Vec<String> {
            pairs.iter().map(|(key, value)| format!("{key}={}", quoted(value))).collect()
        };
        let of_uri: Vec<String> =
            uri.iter().map(|uri| format!("{key}={}", quoted(uri))).collect();
        let element = [pairs(&before), of_uri.clone(), pairs(&after)].concat();
        let expected = uri.clone().filter(|uri| !uri.is_empty());
        if !element.is_empty() {
            prop_assert_eq!(read_uri(&element.join(";")), Ok(expected));
            let two = format!("{},Hash=0b", element.join(";"));
            prop_assert_eq!(read_uri(&two), Err(UnusableForwarded::Several));
        }
        if uri.is_some() {
            let twice = [element, of_uri].concat().join(";");
            prop_assert_eq!(read_uri(&twice), Err(UnusableForwarded::Several));
        }
    }

    /// As Envoy writes a certificate: the subject escaped and quoted, the names neither. A name may be
    /// what its holder likes. A URI with a semicolon in it is cut there, as the format has it; an
    /// authority that signs one lets its holder be what is before the semicolon.
    #[test]
    fn accepted_implies_the_first_uri_of_the_certificate_up_to_a_semicolon(
        subject in subject(),
        uri in prop_oneof!["spiffe://a/[a-z]{1,3}", soup(), Just(String::new())],
        others in vec(prop_oneof!["[a-z.]{1,6}", soup()], 0..3),
    ) {
        let names: Vec<String> = others.iter().map(|name| format!(";DNS={name}")).collect();
        let names = names.concat();
        let written = format!("Hash=0a;Subject=\"{subject}\";URI={uri}{names}");
        let Ok(read) = read_uri(&written) else { return Ok(()) };
        let (first, _) = uri.split_once(';').unwrap_or((&uri, ""));
        let first = unquoted(first).filter(|first| !first.is_empty());
        if !uri.contains('"') {
            prop_assert_eq!(read, first, "{}", written);
        }
    }

    #[test]
    fn nothing_in_a_subject_is_read_as_a_uri(subject in subject(), has_uri: bool) {
        let uri = if has_uri { ";URI=spiffe://a/b" } else { "" };
        let written = format!("Subject=\"{subject}\"{uri};DNS=a.example");
        let expected = has_uri.then(|| "spiffe://a/b".to_owned());
        prop_assert_eq!(read_uri(&written), Ok(expected), "{}", written);
    }
}
