//! `x-forwarded-client-cert`: what a proxy before this one says of its caller's certificate.
//!
//! Elements are joined by `,`, pairs in an element by `;`, and a value with either of them or with `=`
//! in it is quoted, with `\"` for a quote. But Envoy writes the names of a certificate without quotes, so
//! that a certificate with `,` or `;` in a name adds elements and pairs of its holder's choice. Hence:
//!
//! * One element is read, and several are refused. A proxy that replaces the header (`SANITIZE_SET`)
//!   sends one.
//! * Only URIs are read. A proxy that is told to send them writes `URI=` even where there is none, so
//!   that an added one is always a second one, which is refused too. Of DNS names that is not true.
//! * A URI with `;` in it is cut there: nothing tells the rest of it from the next pair. No SPIFFE ID has
//!   one, and an authority that signs one all the same lets its holder be what stands before it.

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UnusableForwarded {
    Several,
    Malformed,
}

/// The URI in the one element; nothing where it is empty or not told.
pub fn read_uri(value: &str) -> Result<Option<String>, UnusableForwarded> {
    let mut uri = None;
    let mut rest = value;
    loop {
        let (key, after) = rest.split_once('=').ok_or(UnusableForwarded::Malformed)?;
        if key.is_empty() || !key.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
            return Err(UnusableForwarded::Malformed);
        }
        let (value, after) = take_value(after)?;
        if key.eq_ignore_ascii_case("uri") && uri.replace(value).is_some() {
            return Err(UnusableForwarded::Several);
        }
        let mut after = after.chars();
        match after.next() {
            None => return Ok(uri.filter(|uri| !uri.is_empty())),
            Some(';') => rest = after.as_str(),
            Some(',') => return Err(UnusableForwarded::Several),
            Some(_) => return Err(UnusableForwarded::Malformed),
        }
    }
}

/// The value at the start of `text`, and what comes after it.
fn take_value(text: &str) -> Result<(String, &str), UnusableForwarded> {
    let Some(quoted) = text.strip_prefix('"') else {
        let end = text.find([';', ',']).unwrap_or(text.len());
        let (value, rest) = text.split_at_checked(end).ok_or(UnusableForwarded::Malformed)?;
        // A quote inside would have been quoted.
        let is_plain = !value.contains('"');
        return is_plain.then(|| (value.to_owned(), rest)).ok_or(UnusableForwarded::Malformed);
    };
    let mut value = String::new();
    let mut characters = quoted.chars();
    loop {
        match characters.next().ok_or(UnusableForwarded::Malformed)? {
            '"' => return Ok((value, characters.as_str())),
            // Envoy escapes the quote; a subject's own escapes (`\,`) stay as they are.
            '\\' => match characters.next().ok_or(UnusableForwarded::Malformed)? {
                '"' => value.push('"'),
                other => value.extend(['\\', other]),
            },
            other => value.push(other),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(value: &str, expected: Result<Option<&str>, UnusableForwarded>) {
        assert_eq!(read_uri(value), expected.map(|uri| uri.map(str::to_owned)), "{value:?}");
    }

    const APP: &str = "spiffe://a.example/app";

    #[test]
    fn the_uri_of_the_one_element_is_read() {
        check("URI=spiffe://a.example/app", Ok(Some(APP)));
        check("uri=spiffe://a.example/app;DNS=a.example;DNS=b.example", Ok(Some(APP)));
        // As Envoy 1.40 writes it, of a subject with escaped commas.
        check(
            r#"Hash=0a1b;Subject="CN=runner\;x,O=Acme\, Inc";URI=spiffe://a.example/app;DNS=a.example"#,
            Ok(Some(APP)),
        );
        check(r#"By=spiffe://a.example/gateway;Hash=0a;Subject="";URI="#, Ok(None));
        check("Hash=0a", Ok(None));
        check(r#"URI="spiffe://a.example/app;c""#, Ok(Some("spiffe://a.example/app;c")));
        check("URI=spiffe://a.example/app?x=y", Ok(Some("spiffe://a.example/app?x=y")));
    }

    #[test]
    fn a_quoted_value_is_not_read_as_more_than_a_value() {
        check(r#"Subject="CN=a;URI=spiffe://a.example/app";DNS=a.example"#, Ok(None));
        check(r#"Subject="CN=\";URI=spiffe://a.example/app";URI="#, Ok(None));
        check(r#"Subject="CN=a,URI=spiffe://a.example/app""#, Ok(None));
    }

    #[test]
    fn a_name_that_adds_an_element_or_a_uri_is_refused() {
        // Certificates with the DNS name `x;URI=…`, the URI `x;URI=…`, the URI `x,URI=…`.
        check("URI=;DNS=x;URI=spiffe://a.example/app", Err(UnusableForwarded::Several));
        check("URI=x;URI=spiffe://a.example/app", Err(UnusableForwarded::Several));
        check("URI=x,URI=spiffe://a.example/app", Err(UnusableForwarded::Several));
        check("URI=spiffe://a.example/app;URI=", Err(UnusableForwarded::Several));
        check(r#"Subject="a","#, Err(UnusableForwarded::Several));
    }

    #[test]
    fn a_uri_with_a_semicolon_cannot_be_told_from_a_uri_and_another_pair() {
        // The URI `spiffe://a.example/app;DNS=b.example`, and the URI `…/app` with that DNS name.
        check("URI=spiffe://a.example/app;DNS=b.example", Ok(Some(APP)));
        check("URI=spiffe://a.example/app;b", Err(UnusableForwarded::Malformed));
    }

    #[test]
    fn what_is_not_pairs_is_refused() {
        for value in [
            "",
            "-",
            "URI",
            "=spiffe://a.example/app",
            "URI=spiffe://a.example/app;",
            "URI=spiffe://a.example/app;;DNS=a",
            " URI=spiffe://a.example/app",
            "Subject=\"CN=a",
            "Subject=\"CN=a\\",
            "Subject=\"CN=a\"b;URI=x",
            "Subject=a\"b;URI=x",
        ] {
            check(value, Err(UnusableForwarded::Malformed));
        }
    }
}
