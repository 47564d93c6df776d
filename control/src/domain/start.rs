//! What a client application asks for when it starts a connection, checked field by field.

use super::provider::{Catalogue, Provider};
use contract::id::IntegrationId;
use serde::Deserialize;
use serde_json::Value;
use utoipa::ToSchema;

/// OIDC Core, section 2: a `sub` has at most 255 ASCII characters; we count bytes and allow more.
const SUB_BYTES_MAX: usize = 255;

const SCOPES_MAX: usize = 100;
const SCOPE_BYTES_MAX: usize = 255;

/// What the client application wants back with each notification.
const METADATA_BYTES_MAX: usize = 4096;

/// A start of a connection, as it is asked for.
#[derive(Debug, Clone, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schema(as = Start)]
pub struct StartRequest {
    /// The end user, by the client application's name for them: 1 to 255 bytes without control characters.
    #[schema(
        pattern = r"^[^\x00-\x1f\x7f-\x9f]+$",
        min_length = 1,
        max_length = 255,
        example = "user-1"
    )]
    pub sub: String,
    /// One of those that `GET /providers` lists.
    #[schema(pattern = "^[a-z0-9_-]+$", min_length = 1, max_length = 63, example = "github")]
    pub provider: String,
    /// What the user is asked to grant; without any, what the integration asks for.
    #[serde(default)]
    #[schema(max_items = 100, value_type = Vec<Scope>)]
    pub scopes: Vec<String>,
    /// Comes back with each notification; at most 4096 bytes as JSON, without `\u0000`.
    #[serde(default)]
    #[schema(value_type = Option<Object>)]
    pub metadata: Option<serde_json::Map<String, Value>>,
    /// Where the browser goes back to, in a deployment that brings it back; of an allowed origin, without fragment.
    #[serde(default)]
    #[schema(max_length = 2048)]
    pub return_url: Option<String>,
}

/// A scope as a provider writes it, without white space and commas.
#[derive(Debug, ToSchema)]
#[schema(pattern = r"^[!-+\--~]+$", min_length = 1, max_length = 255, example = "repo")]
#[expect(dead_code, reason = "a description; `is_scope` is the rule")]
pub struct Scope(String);

/// A start that can be carried out.
#[derive(Debug, Clone, PartialEq)]
pub struct Start {
    pub sub: String,
    pub provider: Provider,
    pub integration: IntegrationId,
    pub scopes: Vec<String>,
    pub metadata: Value,
    /// Where the browser goes back to, not yet held against what is allowed.
    pub return_url: Option<String>,
}

/// What is wrong with a start, and how to mend it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadStart {
    #[error("sub must have 1 to {SUB_BYTES_MAX} bytes and no control characters")]
    Sub,
    #[error("provider must be one of: {configured}")]
    Provider { configured: String },
    #[error(
        "scopes must be at most {SCOPES_MAX} texts of 1 to {SCOPE_BYTES_MAX} visible ASCII characters without commas"
    )]
    Scopes,
    #[error(
        "scope {scope} is not allowed for {provider}; GET /providers lists the scopes that are"
    )]
    ScopeNotAllowed { scope: String, provider: Provider },
    #[error(
        "metadata must be an object of at most {METADATA_BYTES_MAX} bytes as JSON, without \\u0000"
    )]
    Metadata,
    #[error(
        "forceConsent is not supported for {provider}: leave it out; a scope that its user has not granted yet is asked for in any case"
    )]
    NoConsent { provider: Provider },
    #[error("returnUrl is not supported: this deployment leaves callbacks to Nango's page")]
    NoReturn,
    #[error(
        "returnUrl must be a page of an allowed origin, of at most 2048 bytes and without fragment"
    )]
    ReturnUrl,
}

impl StartRequest {
    pub fn check(self, catalogue: &Catalogue) -> Result<Start, BadStart> {
        let Self { sub, provider, scopes, metadata, return_url } = self;
        if !(1..=SUB_BYTES_MAX).contains(&sub.len()) || sub.contains(char::is_control) {
            return Err(BadStart::Sub);
        }
        let found = provider.parse::<Provider>().ok().and_then(|provider| {
            catalogue.integration(&provider).cloned().map(|integration| (provider, integration))
        });
        let Some((provider, integration)) = found else {
            let names: Vec<&str> = catalogue.providers().map(Provider::as_str).collect();
            return Err(BadStart::Provider { configured: names.join(", ") });
        };
        check_scopes(catalogue, &provider, &scopes)?;
        let metadata = Value::Object(metadata.unwrap_or_default());
        // PostgreSQL keeps no NUL, wherever it stands in a document.
        if metadata.to_string().len() > METADATA_BYTES_MAX || has_nul(&metadata) {
            return Err(BadStart::Metadata);
        }
        Ok(Start { sub, provider, integration, scopes, metadata, return_url })
    }
}

fn has_nul(value: &Value) -> bool {
    match value {
        Value::String(text) => text.contains('\0'),
        Value::Array(items) => items.iter().any(has_nul),
        Value::Object(members) => {
            members.iter().any(|(name, member)| name.contains('\0') || has_nul(member))
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => false,
    }
}

/// Scopes that are requested: well written, and allowed.
pub fn check_scopes(
    catalogue: &Catalogue,
    provider: &Provider,
    scopes: &[String],
) -> Result<(), BadStart> {
    if scopes.len() > SCOPES_MAX || !scopes.iter().all(|scope| is_scope(scope)) {
        return Err(BadStart::Scopes);
    }
    check_allowed(catalogue, provider, scopes)
}

/// Holds scopes against the provider's list, for a reconnect as well as for a start: what was taken off the list
/// must not be asked for again.
pub fn check_allowed(
    catalogue: &Catalogue,
    provider: &Provider,
    scopes: &[String],
) -> Result<(), BadStart> {
    let Some(allowed) = catalogue.scopes(provider) else { return Ok(()) };
    match scopes.iter().find(|scope| !allowed.contains(*scope)) {
        Some(scope) => {
            Err(BadStart::ScopeNotAllowed { scope: scope.clone(), provider: provider.clone() })
        }
        None => Ok(()),
    }
}

/// Nango joins scopes by commas and splits them again, and a provider splits them at white space.
pub(super) fn is_scope(scope: &str) -> bool {
    (1..=SCOPE_BYTES_MAX).contains(&scope.len())
        && scope.bytes().all(|byte| byte.is_ascii_graphic() && byte != b',')
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::description::Descriptions;
    use serde_json::json;

    #[track_caller]
    fn check(body: Value, expected: Result<(), BadStart>) {
        let mut catalogue = Catalogue::default();
        catalogue.add("GITHUB", "github").unwrap();
        let request: StartRequest = serde_json::from_value(body.clone()).unwrap();
        assert_eq!(request.check(&catalogue).map(|_start| ()), expected, "{body}");
    }

    #[test]
    fn a_start_needs_a_user_and_a_configured_provider() {
        check(json!({"sub": "u", "provider": "github"}), Ok(()));
        check(json!({"sub": "", "provider": "github"}), Err(BadStart::Sub));
        check(json!({"sub": "u\n", "provider": "github"}), Err(BadStart::Sub));
        check(json!({"sub": "u".repeat(256), "provider": "github"}), Err(BadStart::Sub));
        let unknown = || Err(BadStart::Provider { configured: "github".to_owned() });
        check(json!({"sub": "u", "provider": "GitHub"}), unknown());
        check(json!({"sub": "u", "provider": "gitlab"}), unknown());
    }

    #[test]
    fn a_scope_cannot_smuggle_in_another() {
        let scopes = |scopes: &[&str]| json!({"sub": "u", "provider": "github", "scopes": scopes});
        check(scopes(&["repo", "read:user", "https://a.example/auth#b"]), Ok(()));
        check(scopes(&["repo,admin"]), Err(BadStart::Scopes));
        check(scopes(&["repo admin"]), Err(BadStart::Scopes));
        check(scopes(&["repo\tadmin"]), Err(BadStart::Scopes));
        check(scopes(&[""]), Err(BadStart::Scopes));
        check(scopes(&["a"; 101]), Err(BadStart::Scopes));
    }

    #[test]
    fn a_scope_outside_the_providers_list_is_named() {
        let check = |file: &str, scopes: &[&str]| {
            let mut catalogue = Catalogue::default();
            catalogue.add("GITHUB", "github").unwrap();
            catalogue.describe(Descriptions::read(file.as_bytes()).unwrap());
            let body = json!({"sub": "u", "provider": "github", "scopes": scopes});
            let request: StartRequest = serde_json::from_value(body).unwrap();
            match request.check(&catalogue) {
                Ok(_start) => None,
                Err(BadStart::ScopeNotAllowed { scope, .. }) => Some(scope),
                Err(other) => panic!("{other}"),
            }
        };
        let list = r#"{"github": {"scopes": ["repo", "user"]}}"#;
        assert_eq!(check(list, &["user", "repo"]), None);
        assert_eq!(check(list, &[]), None);
        assert_eq!(check(list, &["repo", "admin:org"]).as_deref(), Some("admin:org"));
        assert_eq!(check(list, &["Repo"]).as_deref(), Some("Repo"));
        assert_eq!(check(r#"{"github": {"scopes": []}}"#, &["repo"]).as_deref(), Some("repo"));
        assert_eq!(check(r#"{"github": {}}"#, &["admin:org"]), None);
        assert_eq!(check(r#"{"slack": {"scopes": []}}"#, &["admin:org"]), None);
    }

    #[test]
    fn metadata_is_bounded() {
        let metadata = |length| json!({"sub": "u", "provider": "github", "metadata": {"a": "x".repeat(length)}});
        check(metadata(4088), Ok(()));
        check(metadata(4089), Err(BadStart::Metadata));
        let nul = |metadata| json!({"sub": "u", "provider": "github", "metadata": metadata});
        check(nul(json!({"a": "\u{0}"})), Err(BadStart::Metadata));
        check(nul(json!({"a": [{"b\u{0}": 1}]})), Err(BadStart::Metadata));
        check(nul(json!({"a": "\u{1}"})), Ok(()));
        check(nul(json!({"a": r"\u0000"})), Ok(()));
    }

    #[test]
    fn unknown_fields_are_refused() {
        let body = json!({"sub": "u", "provider": "github", "scope": "repo"});
        assert!(serde_json::from_value::<StartRequest>(body).is_err());
    }
}
