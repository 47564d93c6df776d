//! Who the user is at the provider, read from the provider's own "me" by a declared mapping.

use serde_json::Value;

/// What is known of the user's account; nothing, as long as nobody could ask.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Profile {
    pub account_id: Option<String>,
    pub display_name: Option<String>,
    pub username: Option<String>,
    pub avatar: Option<String>,
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

/// Where a provider says who the user is. Only [`super::description::Descriptions::read`] makes one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mapping {
    pub(super) method: Method,
    /// Below the provider's API, through the vault's proxy; never from a caller.
    pub(super) paths: Vec<String>,
    pub(super) success: Option<Success>,
    /// JSON pointers; of each list, the first that points at something is taken.
    pub(super) account_id: Vec<String>,
    pub(super) display_name: Vec<String>,
    pub(super) username: Vec<String>,
    pub(super) avatar: Vec<String>,
}

impl Mapping {
    pub const fn method(&self) -> Method {
        self.method
    }

    /// In the order in which they are tried: "me" may be somebody else, or nobody, for some tokens.
    pub fn paths(&self) -> impl Iterator<Item = &str> {
        self.paths.iter().map(String::as_str)
    }

    /// Reads the provider's answer; nothing, if it is not the answer of a success.
    pub fn read(&self, answer: &Value) -> Option<Profile> {
        if let Some(Success { pointer, equals }) = &self.success
            && answer.pointer(pointer) != Some(equals)
        {
            return None;
        }
        let first = |pointers: &[String]| pointers.iter().find_map(|pointer| text(answer, pointer));
        Some(Profile {
            account_id: Some(first(&self.account_id)?),
            display_name: first(&self.display_name),
            username: first(&self.username),
            avatar: self.avatar.iter().find_map(|pointer| avatar(answer, pointer)),
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
            Profile { account_id, display_name, username, avatar }
        });
        assert_eq!(mapping.read(&answer), expected, "{provider}: {answer}");
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
        check("slack", json!({"ok": false, "error": "invalid_auth"}), None);
        check("slack", json!({"ok": "true", "user_id": "U1"}), None);
        check("slack", json!({"user_id": "U1"}), None);
        check("github", json!({"message": "Bad credentials"}), None);
        check("github", json!([]), None);
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
