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

/// A callback, read from its query or its form.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Callback {
    Of(Received),
    /// A GitHub App was installed, or its installation requested, outside of any authorization of ours:
    /// there is no state.
    Installation(Setup),
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

/// A callback with a state.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Received {
    pub state: UnverifiedState,
    pub result: Result<(), Reason>,
    /// Who says that it answers (RFC 9207); more than one is nobody.
    pub issuer: Option<String>,
    pub setup: Option<Setup>,
    /// Whether there is an authorization code.
    pub has_code: bool,
}

impl Received {
    /// Whether an owner of the organization has to approve.
    pub fn awaits_approval(&self) -> bool {
        self.setup == Some(Setup::Requested)
    }
}

/// What happened to a GitHub App's installation: `setup_action`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Setup {
    Installed,
    /// A member of an organization asked its owner to approve.
    Requested,
}

/// Whether a GitHub App was installed without a user's authorization.
pub fn is_plain_installation(query: &str) -> bool {
    let has = |wanted: (&str, Option<&str>)| {
        url::form_urlencoded::parse(query.as_bytes())
            .any(|(name, value)| name == wanted.0 && wanted.1.is_none_or(|wanted| wanted == value))
    };
    has(("setup_action", Some("install"))) && has(("installation_id", None)) && !has(("code", None))
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
    let setup = match values("setup_action").next().map(String::as_str) {
        Some("install" | "update") => Some(Setup::Installed),
        Some("request") => Some(Setup::Requested),
        Some(_) | None => None,
    };
    let mut states = values("state");
    let state = match (states.next(), states.next()) {
        (Some(state), None) if (1..=STATE_BYTES_MAX).contains(&state.len()) => {
            UnverifiedState(state.clone())
        }
        (None, _) => return setup.map_or(Callback::Unreadable, Callback::Installation),
        _ => return Callback::Unreadable,
    };
    let result = match values("error").next().map(String::as_str) {
        None => Ok(()),
        Some("access_denied") => Err(Reason::AccessDenied),
        Some(_other) => Err(Reason::ProviderError),
    };
    let mut issuers = values("iss");
    let issuer = match (issuers.next(), issuers.next()) {
        (Some(issuer), None) => Some(issuer.clone()),
        (None, _) => None,
        (Some(_), Some(_)) => Some(String::new()),
    };
    let has_code = values("code").any(|code| !code.is_empty());
    Callback::Of(Received { state, result, issuer, setup, has_code })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn received(query: &str) -> Received {
        match read(query) {
            Callback::Of(received) => received,
            other @ (Callback::Installation(_) | Callback::Unreadable) => {
                panic!("{query}: {other:?}")
            }
        }
    }

    #[test]
    fn a_callback_answers_or_fails() {
        for (query, result) in [
            ("code=c&state=s", Ok(())),
            ("state=s", Ok(())),
            ("error=access_denied&error_description=no&state=s", Err(Reason::AccessDenied)),
            ("state=s&error=server_error", Err(Reason::ProviderError)),
            // A code does not make an error undone.
            ("code=c&error=&state=s", Err(Reason::ProviderError)),
        ] {
            let received = received(query);
            assert_eq!((received.state.0.as_str(), received.result), ("s", result), "{query}");
        }
    }

    #[test]
    fn a_callback_that_could_be_anybodys_is_unreadable() {
        for query in ["", "code=c", "state=", "state=a&state=b", "state=a&state=a", "State=a"] {
            assert_eq!(read(query), Callback::Unreadable, "{query:?}");
        }
        assert_eq!(read(&format!("state={}", "a".repeat(256))), Callback::Unreadable);
        let twice = read("setup_action=install&state=a&state=b");
        assert_eq!(twice, Callback::Unreadable, "two states are no installation without one");
    }

    #[test]
    fn an_issuer_is_one_or_nobody() {
        assert_eq!(received("state=s").issuer, None);
        let one = received("state=s&iss=https%3A%2F%2Fa.example").issuer;
        assert_eq!(one.as_deref(), Some("https://a.example"));
        assert_eq!(received("state=s&iss=a&iss=a").issuer.as_deref(), Some(""));
    }

    #[test]
    fn an_installation_is_told_from_a_request_for_one_with_and_without_a_state() {
        let without = |query| read(query);
        let install = "installation_id=7&setup_action=install";
        assert_eq!(without(install), Callback::Installation(Setup::Installed));
        assert_eq!(without("setup_action=update"), Callback::Installation(Setup::Installed));
        assert_eq!(without("setup_action=request"), Callback::Installation(Setup::Requested));
        assert_eq!(without("setup_action=other"), Callback::Unreadable);
        let with = received("setup_action=request&code=c&state=s");
        assert_eq!((with.setup, with.has_code), (Some(Setup::Requested), true));
        let with = received("setup_action=install&installation_id=7&state=s&code=");
        assert_eq!((with.setup, with.has_code), (Some(Setup::Installed), false));
        assert_eq!(received("state=s&setup_action=x").setup, None);
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
    fn an_installation_is_plain_without_a_code() {
        assert!(is_plain_installation("installation_id=7&setup_action=install&state=s"));
        for query in [
            "installation_id=7&setup_action=install&state=s&code=c",
            "installation_id=7&setup_action=update&state=s",
            "setup_action=install&state=s",
            "code=c&state=s",
        ] {
            assert!(!is_plain_installation(query), "{query}");
        }
    }

    #[test]
    fn a_state_does_not_print() {
        assert!(!format!("{:?}", read("code=c&state=secret")).contains("secret"));
    }
}
