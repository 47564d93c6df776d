//! Who the user is at the provider, read from the provider's own "me" by a declared mapping.

use super::granted::{GrantedScopes, ScopeRules};
use serde_json::Value;

/// What is known of the user's account; nothing, as long as nobody could ask.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Profile {
    pub account_id: Option<String>,
    pub display_name: Option<String>,
    pub username: Option<String>,
    pub avatar: Option<String>,
    /// What the user granted, where the provider says so.
    pub scopes: Option<GrantedScopes>,
}

impl Profile {
    /// This profile, with the scopes that were known before where it says none.
    #[must_use]
    pub fn or_scopes_of(self, known: &Self) -> Self {
        let scopes = self.scopes.or_else(|| known.scopes.clone());
        Self { scopes, ..self }
    }
}

/// Longer texts are cut off: they are shown to people, and a provider decides them.
const TEXT_CHARS_MAX: usize = 255;
/// Avatars are addresses; longer ones are dropped, for half an address is none.
const AVATAR_BYTES_MAX: usize = 2048;

/// How a provider is asked.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Method {
    #[default]
    Get,
    Post,
}

/// What an answer must hold to be one of a success, for providers that answer 200 to failures.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Success {
    pub(super) pointer: String,
    pub(super) equals: Value,
}

/// What an answer holds that says 200 and means 401: the token is taken no more.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct TokenRejected {
    pub(super) pointer: String,
    pub(super) one_of: Vec<String>,
}

/// What a provider says of a token's user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Me {
    Is(Profile),
    /// The provider takes the token no more.
    TokenRejected,
    /// Nobody asked, or the answer says nothing of user or token.
    Unsaid,
}

/// Where a provider says who the user is. Only [`super::description::Descriptions::read`] makes one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mapping {
    pub(super) method: Method,
    /// Below the provider's API, through the vault's proxy; never from a caller.
    pub(super) paths: Vec<String>,
    pub(super) success: Option<Success>,
    pub(super) token_rejected: Option<TokenRejected>,
    /// JSON pointers; of each list, the first that points at something is taken.
    pub(super) account_id: Vec<String>,
    pub(super) display_name: Vec<String>,
    pub(super) username: Vec<String>,
    pub(super) avatar: Vec<String>,
    pub(super) granted: ScopeRules,
}

impl Mapping {
    pub const fn method(&self) -> Method {
        self.method
    }

    /// In the order in which they are tried: "me" may be somebody else, or nobody, for some tokens.
    pub fn paths(&self) -> impl Iterator<Item = &str> {
        self.paths.iter().map(String::as_str)
    }

    /// The header of the answer that lists the granted scopes.
    pub fn scopes_header(&self) -> Option<&str> {
        self.granted.header()
    }

    /// Adds to who the user is what the same answer says of granted scopes.
    #[must_use]
    pub fn with_scopes(&self, me: Me, header: Option<&str>, answer: &Value) -> Me {
        match me {
            Me::Is(profile) => {
                Me::Is(Profile { scopes: self.granted.read(header, answer), ..profile })
            }
            Me::TokenRejected | Me::Unsaid => me,
        }
    }

    /// Reads the provider's answer. What is not said in so many words is not read into it: a limit of rates or
    /// an outage has the same dress as a token that is taken no more.
    pub fn read(&self, answer: &Value) -> Me {
        let is_success = |Success { pointer, equals }: &Success| {
            answer.pointer(pointer).is_some_and(|found| found == equals)
        };
        if self.success.as_ref().is_none_or(is_success) {
            return self.profile(answer).map_or(Me::Unsaid, Me::Is);
        }
        let is_rejected = |TokenRejected { pointer, one_of }: &TokenRejected| {
            let found = answer.pointer(pointer).and_then(Value::as_str);
            found.is_some_and(|found| one_of.iter().any(|word| word == found))
        };
        if self.token_rejected.as_ref().is_some_and(is_rejected) {
            Me::TokenRejected
        } else {
            Me::Unsaid
        }
    }

    fn profile(&self, answer: &Value) -> Option<Profile> {
        let first = |pointers: &[String]| pointers.iter().find_map(|pointer| text(answer, pointer));
        Some(Profile {
            account_id: Some(first(&self.account_id)?),
            display_name: first(&self.display_name),
            username: first(&self.username),
            avatar: self.avatar.iter().find_map(|pointer| avatar(answer, pointer)),
            scopes: None,
        })
    }
}

fn text(answer: &Value, pointer: &str) -> Option<String> {
    let text = match answer.pointer(pointer)? {
        Value::String(text) => text.clone(),
        Value::Number(number) => number.to_string(),
        Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => return None,
    };
    let text: String =
        text.chars().filter(|char| !char.is_control()).take(TEXT_CHARS_MAX).collect();
    (!text.is_empty()).then_some(text)
}

fn avatar(answer: &Value, pointer: &str) -> Option<String> {
    let url = url::Url::parse(answer.pointer(pointer)?.as_str()?).ok()?;
    // As the parser writes it: whatever cannot stand in a URL is encoded or gone.
    let is_kept =
        matches!(url.scheme(), "https" | "http") && url.as_str().len() <= AVATAR_BYTES_MAX;
    is_kept.then(|| url.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::description::Descriptions;
    use serde_json::json;

    #[track_caller]
    fn check(provider: &str, answer: Value, expected: Option<[Option<&str>; 4]>) {
        let described = Descriptions::built_in();
        let mapping = described.mapping(&provider.parse().unwrap()).unwrap();
        let expected = expected.map(|texts| {
            let [account_id, display_name, username, avatar] =
                texts.map(|text| text.map(str::to_owned));
            Profile { account_id, display_name, username, avatar, scopes: None }
        });
        let expected = expected.map_or(Me::Unsaid, Me::Is);
        assert_eq!(mapping.read(&answer), expected, "{provider}: {answer}");
    }

    #[track_caller]
    fn check_slack(answer: Value, expected: Me) {
        let described = Descriptions::built_in();
        let mapping = described.mapping(&"slack".parse().unwrap()).unwrap();
        assert_eq!(mapping.read(&answer), expected, "{answer}");
    }

    #[test]
    fn each_built_in_provider_says_who_the_user_is() {
        check(
            "github",
            json!({"id": 583_231, "login": "ada", "name": "Ada", "avatar_url": "https://a.example/1"}),
            Some([Some("583231"), Some("Ada"), Some("ada"), Some("https://a.example/1")]),
        );
        check(
            "google",
            json!({"sub": "1", "name": "Ada", "email": "ada@example.com", "picture": "https://a.example/1"}),
            Some([Some("1"), Some("Ada"), Some("ada@example.com"), Some("https://a.example/1")]),
        );
        check(
            "slack",
            json!({"ok": true, "user": {"id": "U1", "name": "Ada", "image_192": "https://a.example/1"}}),
            Some([Some("U1"), Some("Ada"), Some("Ada"), Some("https://a.example/1")]),
        );
        check(
            "slack",
            json!({"ok": true, "user_id": "U1", "user": "ada"}),
            Some([Some("U1"), Some("ada"), Some("ada"), None]),
        );
        check(
            "notion",
            json!({"object": "user", "bot": {"owner": {"user": {"id": "n1", "name": "Ada", "person": {"email": "ada@example.com"}}}}}),
            Some([Some("n1"), Some("Ada"), Some("ada@example.com"), None]),
        );
    }

    #[test]
    fn a_failure_in_the_dress_of_a_success_says_nothing() {
        check("slack", json!({"ok": false, "error": "not_allowed_token_type"}), None);
        check("slack", json!({"ok": "true", "user_id": "U1"}), None);
        check("slack", json!({"user_id": "U1"}), None);
        check("github", json!({"message": "Bad credentials"}), None);
        check("github", json!([]), None);
    }

    #[test]
    fn slack_says_in_a_200_that_it_takes_a_token_no_more() {
        for word in ["token_revoked", "invalid_auth", "token_expired", "account_inactive"] {
            check_slack(json!({"ok": false, "error": word}), Me::TokenRejected);
        }
    }

    /// <https://docs.slack.dev/reference/methods/auth.test/#errors>
    #[test]
    fn what_slack_says_of_itself_or_of_scopes_rejects_no_token() {
        for word in [
            "ratelimited",
            "internal_error",
            "fatal_error",
            "service_unavailable",
            "request_timeout",
            "accesslimited",
            "access_denied",
            "missing_scope",
            "no_permission",
            "not_allowed_token_type",
            "not_authed",
            "org_login_required",
            "ekm_access_denied",
            "team_added_to_org",
            "TOKEN_REVOKED",
            "token_revoked ",
            "",
        ] {
            check_slack(json!({"ok": false, "error": word}), Me::Unsaid);
        }
        check_slack(json!({"ok": false}), Me::Unsaid);
        check_slack(json!({"ok": false, "error": ["token_revoked"]}), Me::Unsaid);
        check_slack(json!({"ok": true, "error": "token_revoked"}), Me::Unsaid);
        check_slack(json!("token_revoked"), Me::Unsaid);
    }

    #[test]
    fn a_providers_texts_are_bounded_and_printable() {
        check(
            "github",
            json!({"id": 1, "login": "a\u{0}b\n", "name": "x".repeat(300), "avatar_url": "javascript:alert(1)"}),
            Some([Some("1"), Some(&"x".repeat(255)), Some("ab"), None]),
        );
        check(
            "github",
            json!({"id": 1, "avatar_url": "https://a.example/\u{0}x"}),
            Some([Some("1"), None, None, Some("https://a.example/%00x")]),
        );
    }
}
