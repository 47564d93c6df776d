//! What the texts of a provider's description may be.

use url::Url;

const PATH_BYTES_MAX: usize = 200;

/// RFC 8414, section 2. It is compared as it is written.
pub(super) fn is_issuer(text: &str) -> bool {
    let url = Url::parse(text).ok();
    url.is_some_and(|url| url.scheme() == "https" && url.query().or(url.fragment()).is_none())
}

/// A path is put behind the provider's address, where the vault adds the token. Nothing in it may lead to
/// another address, climb, or add a query.
pub(super) fn is_path(path: &str) -> bool {
    let is_byte = |byte: u8| byte.is_ascii_alphanumeric() || b"._~@-".contains(&byte);
    let is_segment =
        |segment: &str| !matches!(segment, "" | "." | "..") && segment.bytes().all(is_byte);
    // Behind a host without a slash, what stands before an `@` would be its user.
    path.len() <= PATH_BYTES_MAX && !path.starts_with('@') && path.split('/').all(is_segment)
}

/// RFC 6901, without the empty pointer: a whole answer is no text.
pub(super) fn is_pointer(pointer: &str) -> bool {
    let escapes = pointer.split('~').skip(1);
    pointer.starts_with('/') && escapes.into_iter().all(|rest| rest.starts_with(['0', '1']))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_issuer_is_an_https_url_without_query_and_fragment() {
        for issuer in ["https://accounts.google.com", "https://login.example/tenant/v2.0"] {
            assert!(is_issuer(issuer), "{issuer}");
        }
        for issuer in [
            "",
            "accounts.google.com",
            "http://a.example",
            "https://a.example?x",
            "https://a.example#x",
        ] {
            assert!(!is_issuer(issuer), "{issuer}");
        }
    }
}
