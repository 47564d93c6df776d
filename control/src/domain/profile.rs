//! Who the user is at the provider, read from the provider's own "me" by a declared mapping.

use super::provider::Provider;
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

/// Where a provider says who the user is.
#[derive(Debug, PartialEq, Eq)]
pub struct Mapping {
    /// Below the provider's API, through the vault's proxy. Fixed, never from a caller.
    pub path: &'static str,
    /// A JSON pointer that must hold `true`, for providers that answer 200 to failures.
    success: Option<&'static str>,
    account_id: &'static str,
    display_name: &'static [&'static str],
    username: &'static [&'static str],
    avatar: &'static [&'static str],
}

/// <https://docs.github.com/en/rest/users/users#get-the-authenticated-user>
const GITHUB: Mapping = Mapping {
    path: "user",
    success: None,
    account_id: "/id",
    display_name: &["/name", "/login"],
    username: &["/login"],
    avatar: &["/avatar_url"],
};

/// <https://developers.google.com/identity/openid-connect/openid-connect#obtainuserinfo>
const GOOGLE: Mapping = Mapping {
    path: "oauth2/v3/userinfo",
    success: None,
    account_id: "/sub",
    display_name: &["/name", "/email"],
    username: &["/email"],
    avatar: &["/picture"],
};

/// <https://docs.slack.dev/reference/methods/auth.test>: failures are 200 with `"ok": false`.
const SLACK: Mapping = Mapping {
    path: "auth.test",
    success: Some("/ok"),
    account_id: "/user_id",
    display_name: &["/user"],
    username: &["/user"],
    avatar: &[],
};

/// <https://developers.notion.com/reference/get-self>: the bot, and the person who owns it.
const NOTION: Mapping = Mapping {
    path: "v1/users/me",
    success: None,
    account_id: "/bot/owner/user/id",
    display_name: &["/bot/owner/user/name", "/name"],
    username: &["/bot/owner/user/person/email"],
    avatar: &["/bot/owner/user/avatar_url"],
};

impl Mapping {
    pub fn of(provider: &Provider) -> Option<&'static Self> {
        match provider.as_str() {
            "github" => Some(&GITHUB),
            "google" => Some(&GOOGLE),
            "slack" => Some(&SLACK),
            "notion" => Some(&NOTION),
            _ => None,
        }
    }

    /// Reads the provider's answer; nothing, if it is not the answer of a success.
    pub fn read(&self, answer: &Value) -> Option<Profile> {
        if self.success.is_some_and(|pointer| answer.pointer(pointer) != Some(&Value::Bool(true))) {
            return None;
        }
        let first = |pointers: &[&str]| pointers.iter().find_map(|pointer| text(answer, pointer));
        Some(Profile {
            account_id: Some(text(answer, self.account_id)?),
            display_name: first(self.display_name),
            username: first(self.username),
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
    use serde_json::json;

    #[track_caller]
    fn check(provider: &str, answer: Value, expected: Option<[Option<&str>; 4]>) {
        let mapping = Mapping::of(&provider.parse().unwrap()).unwrap();
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

    #[test]
    fn a_provider_without_a_mapping_is_asked_nothing() {
        assert_eq!(Mapping::of(&"gitlab".parse().unwrap()), None);
    }
}
