//! A request's head, checked to be text that our routes could have.

use crate::denial::Denial;
use contract::header::REQUEST_ID;
use std::collections::BTreeSet;

/// Longer paths than this belong to no route of ours.
const PATH_BYTES_MAX: usize = 1024;

/// Where providers send browsers back to.
pub const CALLBACK_PATH: &str = "/oauth/callback";

/// No client application needs a longer one.
const QUERY_BYTES_MAX: usize = 8192;

/// The control service answers a callback that is too long for it with a page for its user, and so gets all that
/// Envoy's default for a whole head lets through.
const CALLBACK_QUERY_BYTES_MAX: usize = 60 * 1024;

/// A header as the host has it: name and value, as bytes.
pub type RawHeader<'a> = (&'a [u8], &'a [u8]);

/// A head whose path is clean and whose names are text.
///
/// A value is text once it is asked for: Nango forwards the headers of strangers, and a webhook must not
/// be lost for one that nobody reads.
#[derive(Debug, Clone)]
pub struct Head<'a> {
    headers: Vec<(&'a str, &'a [u8])>,
    pub method: &'a str,
    /// Path and query, byte for byte as they will go upstream.
    pub target: &'a str,
    /// The path without its query.
    pub path: &'a str,
}

impl<'a> Head<'a> {
    pub fn read(raw: &[RawHeader<'a>]) -> Result<Self, Denial> {
        let headers = raw
            .iter()
            .map(|(name, value)| Ok((text(name)?, *value)))
            .collect::<Result<Vec<_>, Denial>>()?;
        let mut head = Self { headers, method: "", target: "", path: "" };
        head.method = head.one(":method")?.ok_or(Denial::PathMalformed)?;
        head.target = head.one(":path")?.ok_or(Denial::PathMalformed)?;
        let (path, query) = head.target.split_once('?').unwrap_or((head.target, ""));
        if !is_clean_path(path) || !is_clean_query(path, query) {
            return Err(Denial::PathMalformed);
        }
        if head.is_upgrade() {
            return Err(Denial::Upgrade);
        }
        head.path = path;
        Ok(head)
    }

    /// The value of a header that may occur once.
    pub fn one(&self, name: &str) -> Result<Option<&'a str>, Denial> {
        let mut values = self.all(name);
        match (values.next(), values.next()) {
            (None, _) => Ok(None),
            (Some(value), None) => text(value).map(Some),
            (Some(_), Some(_)) => Err(Denial::HeaderDuplicated),
        }
    }

    /// Refuses a head with any value that is not text.
    pub fn require_text(&self) -> Result<(), Denial> {
        self.headers.iter().try_for_each(|(_, value)| text(value).map(|_text| ()))
    }

    /// The name of every header, once.
    pub fn names(&self) -> BTreeSet<&'a str> {
        self.headers.iter().map(|header| header.0).collect()
    }

    fn all(&self, name: &str) -> impl Iterator<Item = &'a [u8]> {
        self.headers.iter().filter(move |header| header.0 == name).map(|header| header.1)
    }

    /// An `Upgrade` that its `Connection` does not name is a header like any other.
    fn is_upgrade(&self) -> bool {
        let names_upgrade = |value: &[u8]| {
            let mut names = value.split(|byte| *byte == b',');
            names.any(|name| trim(name).eq_ignore_ascii_case(b"upgrade"))
        };
        let is_upgrade_1 =
            self.all("upgrade").next().is_some() && self.all("connection").any(names_upgrade);
        is_upgrade_1 || self.all(":protocol").next().is_some()
    }
}

/// Envoy's name for the request. It is found apart from [`Head::read`], so that the refusal of an
/// unreadable head can carry it.
pub fn request_id(raw: &[RawHeader<'_>]) -> Option<String> {
    let (_, value) = raw.iter().find(|(name, _)| *name == REQUEST_ID.as_bytes())?;
    text(value).ok().map(str::to_owned)
}

/// The length that the body is declared to have, of a head that need not be readable. Envoy holds the
/// body to it.
pub fn declared_body_bytes(raw: &[RawHeader<'_>]) -> Option<u64> {
    let (_, value) = raw.iter().find(|(name, _)| *name == b"content-length")?;
    text(value).ok()?.parse().ok()
}

fn text(bytes: &[u8]) -> Result<&str, Denial> {
    str::from_utf8(bytes).map_err(|_not_utf8| Denial::HeaderNotText)
}

/// A list of what is good, because lists of what is bad are never complete: no percent-encoding, so
/// no `%2f` and no `%2e`; no `;`, no backslash, no empty segment and no dot segment.
fn is_clean_path(path: &str) -> bool {
    let is_path_byte = |byte: u8| byte.is_ascii_alphanumeric() || b"/-_.~".contains(&byte);
    path.len() <= PATH_BYTES_MAX
        && path.bytes().all(is_path_byte)
        && path.strip_prefix('/').is_some_and(|segments| {
            segments.is_empty()
                || segments.split('/').all(|segment| !matches!(segment, "" | "." | ".."))
        })
}

/// Visible ASCII, but for what the HTTP library behind the edge refuses in a query; the edge passes the
/// rest on as it is.
fn is_clean_query(path: &str, query: &str) -> bool {
    let bytes_max = if path == CALLBACK_PATH { CALLBACK_QUERY_BYTES_MAX } else { QUERY_BYTES_MAX };
    let is_query_byte = |byte: u8| byte.is_ascii_graphic() && !b"\"#<>".contains(&byte);
    query.len() <= bytes_max && query.bytes().all(is_query_byte)
}

/// Without the spaces around it that Envoy's `StringUtil::trim` removes: a vertical tab is one of them.
fn trim(name: &[u8]) -> &[u8] {
    const SPACES: &[u8] = b" \t\n\x0b\x0c\r";
    let is_word = |byte: &u8| !SPACES.contains(byte);
    let first = name.iter().position(is_word).unwrap_or(name.len());
    let end = name.iter().rposition(is_word).map_or(first, |last| last.saturating_add(1));
    name.get(first..end).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check_path(target: &str, is_accepted: bool) {
        let raw: [RawHeader<'_>; 2] = [(b":method", b"GET"), (b":path", target.as_bytes())];
        let expected = if is_accepted { Ok(target) } else { Err(Denial::PathMalformed) };
        assert_eq!(Head::read(&raw).map(|head| head.target), expected, "{target:?}");
    }

    #[test]
    fn a_path_is_clean_when_nobody_could_read_it_in_two_ways() {
        check_path("/", true);
        check_path("/tenants/acme/connections", true);
        check_path("/tenants/a.c-m_e~1/connections?limit=2&cursor=%2F%2e;//..", true);
        check_path(&format!("/{}", "a".repeat(1023)), true);
        check_path(&format!("/{}", "a".repeat(1024)), false);
        check_path(&format!("/?{}", "a".repeat(8192)), true);
        check_path(&format!("/?{}", "a".repeat(8193)), false);
        check_path(&format!("/oauth/callback?{}", "a".repeat(60 * 1024)), true);
        check_path(&format!("/oauth/callback?{}", "a".repeat(60 * 1024 + 1)), false);
        check_path(&format!("/oauth/callbacks?{}", "a".repeat(8193)), false);
        for target in [
            "",
            "*",
            "tenants",
            "//",
            "/tenants//acme",
            "/tenants/",
            "/tenants/./a",
            "/tenants/../a",
            "/tenants/a%2fb",
            "/tenants/%2e%2e/a",
            "/tenants/a;b",
            "/tenants/a\\b",
            "/tenants/a b",
            "/tenants/a\tb",
            "/tenants/\u{e9}",
            "/tenants/a#b",
            "/a?b c",
            "/a?b\u{7f}",
            "/a?\u{e9}",
            "/a?\"b",
            "/a?b#c",
            "/a?<b>",
        ] {
            check_path(target, false);
        }
    }

    #[test]
    fn a_value_that_is_not_utf_8_is_refused_when_it_is_asked_for() {
        let raw: [RawHeader<'_>; 4] = [
            (b":method", b"GET"),
            (b":path", b"/health"),
            (b"x-bin", b"\xff\xfe"),
            (b"x-request-id", b"r-1"),
        ];
        let head = Head::read(&raw).unwrap();
        assert_eq!(head.one("x-bin"), Err(Denial::HeaderNotText));
        assert_eq!(head.require_text(), Err(Denial::HeaderNotText));
        assert_eq!(request_id(&raw).as_deref(), Some("r-1"));
        assert_eq!(Head::read(&raw[..2]).unwrap().require_text(), Ok(()));
    }

    #[test]
    fn a_name_a_method_or_a_path_that_is_not_utf_8_is_refused_at_once() {
        let head = |method: &'static [u8], path: &'static [u8], name: &'static [u8]| {
            let raw: [RawHeader<'_>; 3] = [(b":method", method), (b":path", path), (name, b"1")];
            Head::read(&raw).map(|_head| ())
        };
        assert_eq!(head(b"GET", b"/health", b"x-a"), Ok(()));
        assert_eq!(head(b"\xff", b"/health", b"x-a"), Err(Denial::HeaderNotText));
        assert_eq!(head(b"GET", b"/\xff", b"x-a"), Err(Denial::HeaderNotText));
        assert_eq!(head(b"GET", b"/health", b"x-\xff"), Err(Denial::HeaderNotText));
    }

    #[test]
    fn a_header_that_may_occur_once_is_refused_twice() {
        let raw: [RawHeader<'_>; 4] =
            [(b":method", b"GET"), (b":path", b"/health"), (b"x-a", b"1"), (b"x-a", b"1")];
        let head = Head::read(&raw).unwrap();
        assert_eq!(head.one("x-a"), Err(Denial::HeaderDuplicated));
        assert_eq!(head.one("x-b"), Ok(None));
        assert_eq!(head.one(":method"), Ok(Some("GET")));
    }

    #[test]
    fn an_upgrade_is_refused_in_either_http_version() {
        let head = |extra: &[RawHeader<'static>]| {
            let mut raw: Vec<RawHeader<'_>> = vec![(b":method", b"GET"), (b":path", b"/health")];
            raw.extend(extra);
            Head::read(&raw).map(|_head| ())
        };
        assert_eq!(head(&[(b":protocol", b"websocket")]), Err(Denial::Upgrade));
        let connection = (b"connection".as_slice(), b"keep-alive, Upgrade".as_slice());
        let upgrade = (b"upgrade".as_slice(), b"websocket".as_slice());
        assert_eq!(head(&[connection, upgrade]), Err(Denial::Upgrade));
        for spaced in [b"\x0bupgrade".as_slice(), b"a,upgrade\t \x0b\x0c\r\n"] {
            assert_eq!(head(&[(b"connection", spaced), upgrade]), Err(Denial::Upgrade));
        }
        assert_eq!(head(&[(b"connection", "\u{a0}upgrade".as_bytes()), upgrade]), Ok(()));
        // Nango forwards the one without the other.
        assert_eq!(head(&[upgrade]), Ok(()));
        assert_eq!(head(&[connection]), Ok(()));
    }

    #[test]
    fn a_connect_request_without_a_path_is_refused() {
        let raw: [RawHeader<'_>; 2] = [(b":method", b"CONNECT"), (b":authority", b"a:1")];
        assert_eq!(Head::read(&raw).map(|_| ()), Err(Denial::PathMalformed));
    }
}
