//! A request's head: a path that everybody reads alike, and values that are found or refused, never
//! chosen.

use crate::{config, near};
use filter::{
    denial::Denial,
    head::{self, Head, RawHeader},
};
use proptest::{collection::vec, option, prelude::*, sample::select};
use std::collections::BTreeSet;

/// What some server or proxy might make of a path: escapes decoded, backslashes turned, parameters
/// dropped, slashes merged, dot segments resolved. A path that this leaves alone has one reading.
fn normalised(path: &str) -> String {
    let hex = |text: &str| u8::from_str_radix(text, 16).ok();
    let mut decoded = String::new();
    let mut rest = path;
    while let Some(character) = rest.chars().next() {
        let escape = rest.strip_prefix('%').and_then(|rest| hex(rest.get(..2)?));
        match escape {
            Some(byte) => {
                decoded.push(char::from(byte));
                rest = &rest[3..];
            }
            None => {
                decoded.push(if character == '\\' { '/' } else { character });
                rest = &rest[character.len_utf8()..];
            }
        }
    }
    let mut segments: Vec<&str> = Vec::new();
    for segment in decoded.split('/') {
        match segment.split([';', '#']).next().unwrap() {
            "" | "." => {}
            ".." => drop(segments.pop()),
            segment => segments.push(segment),
        }
    }
    format!("/{}", segments.join("/"))
}

fn paths() -> impl Strategy<Value = String> {
    let pieces = [
        "/", "/", "/", "a", "tenants", ".", "..", "%2e", "%2F", "%", ";", "\\", "~", "-_", "é",
        " ", "*", "A0", "#", "+", "\0",
    ];
    prop_oneof![
        4 => near(vec(select(pieces.to_vec()), 0..9).prop_map(|pieces| pieces.concat())),
        4 => near("(/[a-zA-Z0-9._~-]{1,6}){0,5}"),
        1 => "/[a-z]{1020,1026}",
    ]
}

fn queries() -> impl Strategy<Value = Option<String>> {
    option::of(prop_oneof![
        8 => near("[!-~]{0,12}"),
        1 => "[a-z]{8190,8194}",
    ])
}

fn read(headers: &[(String, Vec<u8>)]) -> Vec<RawHeader<'_>> {
    headers.iter().map(|(name, value)| (name.as_bytes(), value.as_slice())).collect()
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn accepted_implies_a_path_that_has_one_reading_and_a_query_of_visible_ascii(
        path in paths(),
        query in queries(),
    ) {
        let target = query.as_ref().map_or(path.clone(), |query| format!("{path}?{query}"));
        let raw: [RawHeader<'_>; 2] = [(b":method", b"GET"), (b":path", target.as_bytes())];
        // What is before the first question mark is the path, whoever wrote the mark.
        let (path, query) = target.split_once('?').unwrap_or((&target, ""));
        match Head::read(&raw) {
            Ok(head) => {
                prop_assert_eq!((head.method, head.target), ("GET", target.as_str()));
                prop_assert_eq!(head.path, path);
                prop_assert_eq!(normalised(path), path);
                prop_assert!(path.len() <= 1024 && query.len() <= 8192);
                let is_visible = |it: char| it.is_ascii_graphic() && !"\"#<>".contains(it);
                prop_assert!(query.chars().all(is_visible));
            }
            Err(denial) => prop_assert_eq!(denial, Denial::PathMalformed),
        }
    }

    #[test]
    fn a_plain_path_with_a_plain_query_is_never_refused(
        path in "(/[a-zA-Z0-9_~-][a-zA-Z0-9._~-]{0,6}){1,5}|/",
        query in option::of("[!$-;=?-~]{0,30}"),
    ) {
        let target = query.map_or(path.clone(), |query| format!("{path}?{query}"));
        let raw: [RawHeader<'_>; 2] = [(b":method", b"GET"), (b":path", target.as_bytes())];
        prop_assert_eq!(Head::read(&raw).map(|head| head.path), Ok(path.as_str()));
    }

    /// Two values of one name are two readings; the first or the last is nobody's choice.
    #[test]
    fn a_value_is_the_only_one_of_its_name_or_there_is_none(
        headers in vec((
            select(vec!["x-a", "x-b", "X-A", ":path", "x-request-id", "content-length"])
                .prop_map(str::to_owned),
            prop_oneof![
                near("[a-z]{0,3}").prop_map(String::into_bytes),
                vec(any::<u8>(), 0..3),
                near("[0-9]{1,21}").prop_map(String::into_bytes),
            ],
        ), 0..5),
        name in select(vec!["x-a", "x-b", "x-c"]),
    ) {
        let mut raw: Vec<RawHeader<'_>> = vec![(b":method", b"GET"), (b":path", b"/health")];
        raw.extend(read(&headers));
        let of = |name: &str| -> Vec<&[u8]> {
            raw.iter().filter(|header| header.0 == name.as_bytes()).map(|header| header.1).collect()
        };
        let first_text = |name| of(name).first().and_then(|value| str::from_utf8(value).ok());
        let request_id = first_text("x-request-id").map(str::to_owned);
        prop_assert_eq!(head::request_id(&raw), request_id);
        let length = first_text("content-length").and_then(|text| text.parse::<u64>().ok());
        prop_assert_eq!(head::declared_body_bytes(&raw), length);
        let head = match Head::read(&raw) {
            Ok(head) => head,
            Err(denial) => {
                prop_assert!(of(":path").len() > 1, "{denial:?}");
                return Ok(());
            }
        };
        let expected = match of(name).as_slice() {
            [] => Ok(None),
            [value] => str::from_utf8(value).map(Some).map_err(|_not_utf8| Denial::HeaderNotText),
            _ => Err(Denial::HeaderDuplicated),
        };
        prop_assert_eq!(head.one(name), expected);
        let names: BTreeSet<&str> =
            raw.iter().map(|(name, _)| str::from_utf8(name).unwrap()).collect();
        prop_assert_eq!(head.names(), names);
        let is_text = raw.iter().all(|(_, value)| str::from_utf8(value).is_ok());
        prop_assert_eq!(head.require_text().is_ok(), is_text);
    }

    #[test]
    fn an_upgrade_is_refused_where_envoy_would_make_one(
        upgrade in option::of("[a-z0-9]{0,9}"),
        connection in vec(
            prop_oneof![near("[Uu]pgrade"), "[a-z, -]{0,12}", "(close, )?UPGRADE"],
            0..3,
        ),
        protocol in option::weighted(0.2, "[a-z]{0,9}"),
    ) {
        let mut headers: Vec<(String, Vec<u8>)> = vec![
            (":method".to_owned(), b"GET".to_vec()),
            (":path".to_owned(), b"/health".to_vec()),
        ];
        let named = |name: &str, value: &String| (name.to_owned(), value.clone().into_bytes());
        headers.extend(upgrade.iter().map(|value| named("upgrade", value)));
        headers.extend(connection.iter().map(|value| named("connection", value)));
        headers.extend(protocol.iter().map(|value| named(":protocol", value)));
        let mut names = connection.iter().flat_map(|value| value.split(','));
        let spaces = [' ', '\t', '\n', '\u{b}', '\u{c}', '\r'];
        let is_named = |name: &str| name.trim_matches(spaces).eq_ignore_ascii_case("upgrade");
        let names_it = names.any(is_named);
        let is_upgrade = protocol.is_some() || (upgrade.is_some() && names_it);
        let expected = if is_upgrade { Err(Denial::Upgrade) } else { Ok(()) };
        prop_assert_eq!(Head::read(&read(&headers)).map(|_| ()), expected);
    }
}
