//! Nango's spelling of things, and nowhere else. No type here has a place for a token, but for the
//! connect session's, which is never shown.

use super::{Authorization, Authorize, Listed, NangoError};
use contract::{id::IntegrationId, nango::tag};
use secrecy::SecretString;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use url::Url;

/// `POST /connect/sessions`, and `POST /connect/sessions/reconnect`.
#[derive(Debug, Serialize)]
pub(super) struct CreateSession<'a> {
    tags: BTreeMap<&'static str, String>,
    #[serde(flatten)]
    of: SessionOf<'a>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    integrations_config_defaults: BTreeMap<&'a str, Defaults<'a>>,
}

#[derive(Debug, Serialize)]
#[serde(untagged)]
enum SessionOf<'a> {
    New { allowed_integrations: [&'a str; 1] },
    Renewed { connection_id: &'a str, integration_id: &'a str },
}

#[derive(Debug, Serialize)]
struct Defaults<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    connection_config: Option<ConnectionConfig>,
    #[serde(skip_serializing_if = "Option::is_none")]
    authorization_params: Option<&'a BTreeMap<String, String>>,
}

#[derive(Debug, Serialize)]
struct ConnectionConfig {
    /// Joined by commas, whatever the provider's own separator is.
    oauth_scopes_override: String,
}

impl<'a> CreateSession<'a> {
    pub(super) fn new(asked: &Authorize<'a>, tags: BTreeMap<&'static str, String>) -> Self {
        let integration = asked.integration.as_str();
        let mut integrations_config_defaults = BTreeMap::new();
        let connection_config = (!asked.scopes.is_empty())
            .then(|| ConnectionConfig { oauth_scopes_override: asked.scopes.join(",") });
        let authorization_params = asked.parameters;
        if connection_config.is_some() || authorization_params.is_some() {
            let defaults = Defaults { connection_config, authorization_params };
            integrations_config_defaults.insert(integration, defaults);
        }
        let of = match asked.renews {
            None => SessionOf::New { allowed_integrations: [integration] },
            Some(bound) => {
                SessionOf::Renewed { connection_id: bound.as_str(), integration_id: integration }
            }
        };
        Self { tags, of, integrations_config_defaults }
    }

    /// One that asks for the integration's own scopes.
    pub(super) fn plain(
        integration: &'a IntegrationId,
        tags: BTreeMap<&'static str, String>,
    ) -> Self {
        let of = SessionOf::New { allowed_integrations: [integration.as_str()] };
        Self { tags, of, integrations_config_defaults: BTreeMap::new() }
    }
}

/// The answer to it.
#[derive(Debug, Deserialize)]
pub(super) struct CreatedSession {
    pub(super) data: SessionData,
}

#[derive(Debug, Deserialize)]
pub(super) struct SessionData {
    pub(super) token: SecretString,
}

/// `GET /connections`.
#[derive(Debug, Deserialize)]
pub(super) struct List {
    pub(super) connections: Vec<ListRow>,
}

#[derive(Debug, Deserialize)]
pub(super) struct ListRow {
    connection_id: String,
    provider_config_key: String,
    #[serde(default)]
    tags: BTreeMap<String, String>,
    #[serde(default)]
    errors: Vec<ListedError>,
}

#[derive(Debug, Deserialize)]
struct ListedError {
    r#type: String,
}

impl ListRow {
    /// This row, if it has all our tags and belongs to this deployment.
    pub(super) fn ours(&self, instance: &str) -> Option<Listed> {
        let tag = |name: &str| self.tags.get(name).map(String::as_str);
        if tag(tag::INSTANCE) != Some(instance) {
            return None;
        }
        Some(Listed {
            tenant: tag(tag::TENANT_ID)?.parse().ok()?,
            connection: tag(tag::CONNECTION_REF)?.parse().ok()?,
            attempt: tag(tag::ATTEMPT)?.parse().ok()?,
            id: self.connection_id.parse().ok()?,
            integration: self.provider_config_key.parse().ok()?,
            // Of type `sync` are those of a part of Nango that we do not use.
            has_errors: self.errors.iter().any(|error| error.r#type == "auth"),
        })
    }
}

/// `GET /connections/{id}`, of which only that it is there is read.
#[derive(Debug, Deserialize)]
pub(super) struct Found {
    #[expect(dead_code, reason = "its presence is what is read")]
    connection_id: String,
    #[serde(default)]
    connection_config: FoundConfig,
}

/// What Nango keeps of a GitHub App's installation: `pending` stays when the installation is there.
#[derive(Debug, Default, Deserialize)]
struct FoundConfig {
    #[serde(default)]
    pending: bool,
    installation_id: Option<serde::de::IgnoredAny>,
}

impl Found {
    pub(super) const fn awaits_installation(&self) -> bool {
        self.connection_config.pending && self.connection_config.installation_id.is_none()
    }
}

/// `GET /integrations`.
#[derive(Debug, Deserialize)]
pub(super) struct Integrations {
    pub(super) data: Vec<Integration>,
}

#[derive(Debug, Deserialize)]
pub(super) struct Integration {
    pub(super) unique_key: String,
    /// Which provider of Nango's it is an integration of.
    #[serde(default)]
    pub(super) provider: String,
}

/// `DELETE /connections/{id}`.
#[derive(Debug, Deserialize)]
pub(super) struct Deleted {
    #[expect(dead_code, reason = "its presence is what is read")]
    success: bool,
}

/// The code in Nango's error envelope.
pub(super) fn error_code(body: &[u8]) -> Option<String> {
    #[derive(Deserialize)]
    struct Envelope {
        error: Coded,
    }
    #[derive(Deserialize)]
    struct Coded {
        code: String,
    }
    let code = serde_json::from_slice::<Envelope>(body).ok()?.error.code;
    let is_code = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_';
    (code.len() <= 64 && code.bytes().all(is_code)).then_some(code)
}

/// Reads where Nango sends the user.
///
/// The redirect that the provider is told must be ours to the byte: any other would let the code pass
/// by us, or show that Nango is configured for somebody else.
pub(super) fn read_location(
    location: &str,
    callback_url: &Url,
    cookie: Option<String>,
) -> Result<Authorization, NangoError> {
    let url =
        Url::parse(location).map_err(|_not_a_url| NangoError::Malformed("a redirect to no URL"))?;
    let state = one(&url, "state").filter(|state| !state.is_empty());
    let state = state.ok_or(NangoError::Malformed("a redirect without one state"))?;
    // A GitHub App has its callback URL at GitHub; its installation begins without one.
    let is_installation = url.path().ends_with("/installations/new")
        && url.query_pairs().all(|(name, _)| name != "redirect_uri");
    if !is_installation && one(&url, "redirect_uri").as_deref() != Some(callback_url.as_str()) {
        return Err(NangoError::Malformed(
            "a redirect whose callback is not ours; set Nango's callback URL to PUBLIC_URL/oauth/callback",
        ));
    }
    Ok(Authorization { url: location.to_owned(), state, cookie })
}

/// Where a request for authorisation tells the provider to send the browser back to.
pub(super) fn redirect_uri(authorization: &Url) -> Option<String> {
    one(authorization, "redirect_uri")
}

/// The state in a redirect of Nango's.
pub(super) fn state(location: &Url) -> Option<String> {
    one(location, "state")
}

/// A parameter that occurs once.
fn one(url: &Url, name: &str) -> Option<String> {
    let mut values = url.query_pairs().filter(|(key, _)| key == name).map(|(_, value)| value);
    values.next().filter(|_first| values.next().is_none()).map(std::borrow::Cow::into_owned)
}

#[cfg(test)]
mod tests {
    use super::*;
    use contract::id::{AttemptId, ConnectionId, NangoConnectionId};
    use serde_json::json;

    const CALLBACK: &str = "https://connections.example/oauth/callback";

    #[track_caller]
    fn check_location(location: &str, expected_state: Option<&str>) {
        let read = read_location(location, &CALLBACK.parse().unwrap(), None);
        assert_eq!(read.ok().map(|read| read.state).as_deref(), expected_state, "{location}");
    }

    #[test]
    fn a_redirect_must_bring_the_code_back_to_us() {
        let ours = "redirect_uri=https%3A%2F%2Fconnections.example%2Foauth%2Fcallback";
        let location = |query: &str| format!("https://github.com/login/oauth/authorize?{query}");
        check_location(&location(&format!("client_id=c&{ours}&state=s")), Some("s"));
        check_location(&location(&format!("{ours}&state=s&state=t")), None);
        check_location(&location(&format!("{ours}&{ours}&state=s")), None);
        check_location(&location(&format!("{ours}&state=")), None);
        check_location(&location(ours), None);
        check_location(&location("state=s"), None);
        check_location(&location("redirect_uri=https://evil.example/&state=s"), None);
        check_location(&location(&format!("{ours}%2F&state=s")), None);
        check_location("/relative?state=s", None);
        check_location("", None);
    }

    #[test]
    fn only_a_row_with_all_our_tags_is_ours() {
        let tags = json!({"connection_ref": "0195f2a1-0000-7000-8000-000000000001", "tenant_id": "acme",
            "attempt": "0195f2a1-0000-7000-8000-000000000002", "instance": "default"});
        let ours = |name: &str, value: &str| {
            let mut tags = tags.clone();
            tags[name] = json!(value);
            let row = json!({"connection_id": "n-1", "provider_config_key": "github", "tags": tags,
                "credentials": {"access_token": "gho_secret"}});
            let row: ListRow = serde_json::from_value(row).unwrap();
            assert!(!format!("{row:?}").contains("gho_secret"), "no place for a token");
            row.ours("default").is_some()
        };
        assert!(ours("end_user_id", "user-1"));
        assert!(!ours("instance", "staging"));
        assert!(!ours("tenant_id", ""));
        assert!(!ours("connection_ref", "other"));
        assert!(!ours("attempt", ""));
    }

    #[test]
    fn an_error_code_is_kept_only_if_it_looks_like_one() {
        let code = |code: &str| error_code(json!({"error": {"code": code}}).to_string().as_bytes());
        assert_eq!(code("unknown_connection").as_deref(), Some("unknown_connection"));
        assert_eq!(code("Bearer gho_secret"), None);
        assert_eq!(error_code(b"<html>"), None);
    }

    #[test]
    fn scopes_are_overridden_only_when_some_are_asked_for() {
        let (tenant, integration) = ("acme".parse().unwrap(), "gh".parse().unwrap());
        let bound: NangoConnectionId = "n-1".parse().unwrap();
        let body_with = |scopes: &[&str], renews, forced: Option<BTreeMap<String, String>>| {
            let scopes: Vec<String> = scopes.iter().map(|&scope| scope.to_owned()).collect();
            let asked = Authorize {
                tenant: &tenant,
                connection: ConnectionId::from_parts(1, &[1; 10]),
                attempt: AttemptId::from_parts(1, &[1; 10]),
                sub: "u",
                integration: &integration,
                scopes: &scopes,
                parameters: forced.as_ref(),
                renews,
            };
            serde_json::to_value(CreateSession::new(&asked, BTreeMap::new())).unwrap()
        };
        let body = |scopes: &[&str], renews| body_with(scopes, renews, None);
        let prompt: BTreeMap<String, String> = [("prompt".to_owned(), "consent".to_owned())].into();
        assert_eq!(
            body_with(&[], Some(&bound), Some(prompt)),
            json!({"tags": {}, "connection_id": "n-1", "integration_id": "gh", "integrations_config_defaults":
                {"gh": {"authorization_params": {"prompt": "consent"}}}})
        );
        assert_eq!(
            body(&["repo", "read:user"], None),
            json!({"tags": {}, "allowed_integrations": ["gh"], "integrations_config_defaults":
                {"gh": {"connection_config": {"oauth_scopes_override": "repo,read:user"}}}})
        );
        assert_eq!(body(&[], None), json!({"tags": {}, "allowed_integrations": ["gh"]}));
        assert_eq!(
            body(&[], Some(&bound)),
            json!({"tags": {}, "connection_id": "n-1", "integration_id": "gh"})
        );
    }
}
