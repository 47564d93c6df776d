//! What an OAuth callback's query says.

use super::{connection::Reason, granted::read_list};
use sha2::{Digest, Sha256};

/// A state as it came back from a browser: unverified until a row is found under its hash.
#[derive(Clone, PartialEq, Eq)]
pub struct UnverifiedState(String);

impl std::fmt::Debug for UnverifiedState {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("UnverifiedState(..)")
    }
}

/// Under what a state is kept.
pub fn state_hash(state: &str) -> [u8; 32] {
    Sha256::digest(state).into()
}

impl UnverifiedState {
    pub fn hash(&self) -> [u8; 32] {
        state_hash(&self.0)
    }
}

/// A callback, read from its query.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Callback {
    /// The provider sent an authorisation code, or at least no error.
    Answered(UnverifiedState),
    /// The provider sent an error instead.
    Failed(UnverifiedState, Reason),
    /// There is no state, or more than one, so that nobody can say whose callback it is.
    Unreadable,
}

/// The scopes that a callback says were granted, as some providers do (RFC 6749 lets them); a browser brings it.
/// Nothing, where it says none, or no list of scopes.
pub fn scopes(query: &str) -> Option<Vec<String>> {
    let mut values = url::form_urlencoded::parse(query.as_bytes())
        .filter(|(name, _)| name == "scope")
        .map(|(_, value)| value);
    let scopes = values.next()?;
    values.next().is_none().then(|| read_list(&scopes)).flatten()
}

/// Longer than any state of Nango's, which are UUIDs.
const STATE_BYTES_MAX: usize = 255;

/// Reads a raw query. The error's text is the provider's, or a stranger's; only its kind is kept.
pub fn read(query: &str) -> Callback {
    let parameters: Vec<(String, String)> =
        url::form_urlencoded::parse(query.as_bytes()).into_owned().collect();
    let values = |wanted: &'static str| {
        parameters.iter().filter(move |(name, _)| name == wanted).map(|(_, value)| value)
    };
    let mut states = values("state");
    let state = match (states.next(), states.next()) {
        (Some(state), None) if (1..=STATE_BYTES_MAX).contains(&state.len()) => {
            UnverifiedState(state.clone())
        }
        _ => return Callback::Unreadable,
    };
    match values("error").next().map(String::as_str) {
        None => Callback::Answered(state),
        Some("access_denied") => Callback::Failed(state, Reason::AccessDenied),
        Some(_other) => Callback::Failed(state, Reason::ProviderError),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state(text: &str) -> UnverifiedState {
        UnverifiedState(text.to_owned())
    }

    #[test]
    fn a_callback_answers_or_fails() {
        assert_eq!(read("code=c&state=s"), Callback::Answered(state("s")));
        assert_eq!(read("state=s"), Callback::Answered(state("s")));
        assert_eq!(
            read("error=access_denied&error_description=no&state=s"),
            Callback::Failed(state("s"), Reason::AccessDenied)
        );
        assert_eq!(
            read("state=s&error=server_error"),
            Callback::Failed(state("s"), Reason::ProviderError)
        );
        // A code does not make an error undone.
        assert_eq!(
            read("code=c&error=&state=s"),
            Callback::Failed(state("s"), Reason::ProviderError)
        );
    }

    #[test]
    fn a_callback_that_could_be_anybodys_is_unreadable() {
        for query in ["", "code=c", "state=", "state=a&state=b", "state=a&state=a", "State=a"] {
            assert_eq!(read(query), Callback::Unreadable, "{query:?}");
        }
        assert_eq!(read(&format!("state={}", "a".repeat(256))), Callback::Unreadable);
    }

    #[test]
    fn a_callback_names_scopes_once_or_not_at_all() {
        let named = |query: &str| scopes(query).map(|scopes| scopes.join("|"));
        assert_eq!(named("code=c&state=s&scope=openid+email").as_deref(), Some("openid|email"));
        assert_eq!(named("scope=").as_deref(), Some(""));
        for query in ["state=s", "scope=a&scope=b", "Scope=a", "scope=a%00b", "scopes=a"] {
            assert_eq!(named(query), None, "{query}");
        }
    }

    #[test]
    fn a_state_does_not_print() {
        assert!(!format!("{:?}", read("code=c&state=secret")).contains("secret"));
    }
}
