//! Nango, the vault: one method for each call we make.
//!
//! Nothing that Nango says of a token has a place in the types of [`wire`], and its error pages and
//! texts stay here: they come from a provider or its user, and may hold anything.

mod answer;
mod probe;
mod pulse;
mod wire;

use crate::{
    config::NangoConfig,
    domain::{
        health::Vault,
        profile::{Mapping, Method, Profile},
        start::Start,
    },
};
use answer::{read_json, refusal, send};
use contract::{
    id::{AttemptId, ConnectionId, IntegrationId, NangoConnectionId, TenantId},
    nango::tag,
};
use pulse::Pulse;
use reqwest::{RequestBuilder, StatusCode, header::LOCATION};
use secrecy::{ExposeSecret, SecretString};
use std::{collections::BTreeMap, time::Duration};
use url::Url;

pub use answer::NangoError;
pub use probe::{Greeting, KeyName, Question, Rehearsal, Said};

/// How long one call may take. Nango answers in milliseconds when it is well.
const CALL_TIMEOUT: Duration = Duration::from_secs(8);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
/// Nango closes idle connections after 61 s; reusing one at that moment would fail a call for nothing.
const IDLE_TIMEOUT: Duration = Duration::from_secs(50);
/// A user waits for the notification that waits for this.
const PROFILE_TIMEOUT: Duration = Duration::from_millis(1500);
/// Nango sends ten thousand rows to whoever does not say. One connection has one, or a few by mistake.
const LIST_LIMIT: &str = "100";
/// Where to send the user, and how the callback will be recognised.
#[derive(Debug)]
pub struct Authorization {
    /// The provider's own URL, byte for byte.
    pub url: String,
    pub state: String,
}

/// A connection of ours as the vault lists it: all of this is in tags, which only the holder of our API
/// key can write.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    pub tenant: TenantId,
    pub connection: ConnectionId,
    /// The attempt that made it.
    pub attempt: AttemptId,
    pub id: NangoConnectionId,
    pub integration: IntegrationId,
    /// Whether the vault knows of something wrong with it. Its token may still be good for a while.
    pub has_errors: bool,
}

/// By which of its names a connection is looked up.
#[derive(Debug, Clone, Copy)]
pub enum LookUp<'a> {
    Ours(ConnectionId),
    Nangos(&'a NangoConnectionId),
}

/// A client of one Nango environment.
#[derive(Debug)]
pub struct NangoClient {
    http: reqwest::Client,
    config: NangoConfig,
    pulse: Pulse,
}

impl NangoClient {
    pub fn new(config: NangoConfig) -> Result<Self, reqwest::Error> {
        let http = reqwest::Client::builder()
            .redirect(reqwest::redirect::Policy::none())
            .connect_timeout(CONNECT_TIMEOUT)
            .timeout(CALL_TIMEOUT)
            .pool_idle_timeout(IDLE_TIMEOUT)
            .build()?;
        Ok(Self { http, config, pulse: Pulse::default() })
    }

    /// What the last call with our own key showed.
    pub fn last_call(&self) -> Vault {
        self.pulse.last()
    }

    /// Where browsers finish a callback that was received here: Nango's own callback.
    pub fn callback(&self, raw_query: &str) -> String {
        format!("{}?{raw_query}", join(&self.config.public_url, &["oauth", "callback"]))
    }

    /// Opens an authorisation, and reads from Nango's redirect where the user must go.
    pub async fn authorize(
        &self,
        start: &Start,
        tenant: &TenantId,
        connection: ConnectionId,
        attempt: AttemptId,
    ) -> Result<Authorization, NangoError> {
        let request =
            wire::CreateSession::new(start, self.tags(start, tenant, connection, attempt));
        let url = self.url(&["connect", "sessions"]);
        let session: wire::CreatedSession =
            self.pulse.of(read_json(self.as_us(self.http.post(url)).json(&request))).await?;
        let url = self.url(&["oauth", "connect", start.integration.as_str()]);
        let token = session.data.token.expose_secret();
        let answer = send(self.http.get(url).query(&[("connect_session_token", token)])).await?;
        if answer.status() != StatusCode::FOUND {
            return Err(refusal(answer).await);
        }
        let location = answer.headers().get(LOCATION).and_then(|value| value.to_str().ok());
        wire::read_location(location.unwrap_or_default(), &self.config.callback_url)
    }

    /// The connections of ours that the vault lists under a name, the oldest first. The list never
    /// carries credentials.
    pub async fn look_up(&self, name: LookUp<'_>) -> Result<Vec<Listed>, NangoError> {
        let (parameter, value) = match name {
            LookUp::Ours(id) => (format!("tags[{}]", tag::CONNECTION_REF), id.to_string()),
            LookUp::Nangos(id) => ("connectionId".to_owned(), id.to_string()),
        };
        let query = [(parameter.as_str(), value.as_str()), ("limit", LIST_LIMIT)];
        let request = self.http.get(self.url(&["connections"])).query(&query);
        let list: wire::List = self.pulse.of(read_json(self.as_us(request))).await?;
        let newest_first = list.connections.iter();
        Ok(newest_first.rev().filter_map(|row| row.ours(&self.config.instance)).collect())
    }

    /// Deletes a connection at the vault; one that is already gone is deleted.
    pub async fn delete(
        &self,
        integration: &IntegrationId,
        id: &NangoConnectionId,
    ) -> Result<(), NangoError> {
        let url = self.url(&["connections", id.as_str()]);
        let query = [("provider_config_key", integration.as_str())];
        let request = self.as_us(self.http.delete(url)).query(&query);
        match self.pulse.of(read_json::<wire::Deleted>(request)).await {
            Ok(_deleted) => Ok(()),
            Err(NangoError::Refused { status: 400 | 404, code })
                if matches!(code.as_str(), "unknown_connection" | "not_found") =>
            {
                Ok(())
            }
            Err(error) => Err(error),
        }
    }

    /// Whether profiles are read at all: only with a key of their own.
    pub const fn reads_profiles(&self) -> bool {
        self.config.profile_key.is_some()
    }

    /// Who the user is at the provider; nothing, where nobody may ask or the provider does not say.
    ///
    /// The next path is tried where the provider has no answer for this token. A provider that does not
    /// answer at all is not asked further: a later path might name another account than the first.
    pub async fn profile(
        &self,
        mapping: &Mapping,
        integration: &IntegrationId,
        id: &NangoConnectionId,
    ) -> Result<Option<Profile>, NangoError> {
        let Some(key) = &self.config.profile_key else { return Ok(None) };
        let method = match mapping.method() {
            Method::Get => reqwest::Method::GET,
            Method::Post => reqwest::Method::POST,
        };
        let asked = async {
            let mut said = Ok(None);
            for path in mapping.paths() {
                let path: Vec<&str> = std::iter::once("proxy").chain(path.split('/')).collect();
                let request = self
                    .http
                    .request(method.clone(), self.url(&path))
                    .header("provider-config-key", integration.as_str())
                    .header("connection-id", id.as_str());
                let answer = read_json::<serde_json::Value>(authorized(request, key)).await;
                said = answer.map(|answer| mapping.read(&answer));
                if matches!(said, Ok(Some(_)) | Err(NangoError::Unreachable(_))) {
                    break;
                }
            }
            said
        };
        let in_time = tokio::time::timeout(PROFILE_TIMEOUT, asked).await;
        in_time.unwrap_or_else(|_late| Err(NangoError::Unreachable("it took too long".to_owned())))
    }

    /// All of them, always: Nango replaces the whole set with what a session carries.
    fn tags(
        &self,
        start: &Start,
        tenant: &TenantId,
        connection: ConnectionId,
        attempt: AttemptId,
    ) -> BTreeMap<&'static str, String> {
        [
            (tag::CONNECTION_REF, connection.to_string()),
            (tag::ATTEMPT, attempt.to_string()),
            (tag::TENANT_ID, tenant.to_string()),
            (tag::END_USER_ID, start.sub.clone()),
            (tag::INSTANCE, self.config.instance.clone()),
        ]
        .into()
    }

    fn as_us(&self, request: RequestBuilder) -> RequestBuilder {
        authorized(request, &self.config.secret_key)
    }

    fn url(&self, path: &[&str]) -> Url {
        join(&self.config.api_url, path)
    }
}

fn join(base: &Url, path: &[&str]) -> Url {
    let mut url = base.clone();
    if let Ok(mut segments) = url.path_segments_mut() {
        segments.pop_if_empty().extend(path);
    }
    url
}

fn authorized(request: RequestBuilder, key: &SecretString) -> RequestBuilder {
    request.bearer_auth(key.expose_secret())
}
