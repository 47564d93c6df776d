//! Nango, the vault: one method for each call we make.
//!
//! Nothing that Nango says of a token has a place in the types of [`wire`], and its error pages and
//! texts stay here: they come from a provider or its user, and may hold anything.

mod answer;
mod gate;
mod wire;

use crate::{
    budget::Budget,
    clock::Clock,
    config::NangoConfig,
    domain::{
        budget::CallClass,
        profile::{Mapping, Profile},
        start::Start,
    },
    mint::Mint,
};
use answer::Answer;
use contract::{
    id::{AttemptId, ConnectionId, IntegrationId, NangoConnectionId, TenantId},
    nango::tag,
};
use gate::{Call, Deadline, Gate, Prepaid, Repeat};
use reqwest::RequestBuilder;
use secrecy::{ExposeSecret, SecretString};
use std::{collections::BTreeMap, sync::Arc, time::Duration};
use url::Url;

pub use answer::{NangoError, WhyBusy};

/// How long an operation may take, all its calls and tries together. A user waits for a start.
const OPERATION_TIMEOUT: Duration = Duration::from_secs(10);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
/// Nango closes idle connections after 61 s; reusing one at that moment would fail a call for nothing.
const IDLE_TIMEOUT: Duration = Duration::from_secs(50);
/// A user waits for the notification that waits for this.
const PROFILE_TIMEOUT: Duration = Duration::from_millis(1500);
/// Nango sends ten thousand rows to whoever does not say. One connection has one, or a few by mistake.
const LIST_LIMIT: &str = "100";

/// A second session would be another one, and nobody would know of the first.
const SESSION: Call =
    Call { class: Some(CallClass::Start), repeat: Repeat::IfUnsent, shows_health: true };
/// Nango makes a state at each of them, and counts it apart from the calls with a key.
const CONNECT: Call = Call { class: None, repeat: Repeat::Never, shows_health: true };
const LOOK_UP: Call =
    Call { class: Some(CallClass::Confirm), repeat: Repeat::Safe, shows_health: true };
const DELETE: Call =
    Call { class: Some(CallClass::Upkeep), repeat: Repeat::Safe, shows_health: true };
/// What fails may be the provider.
const PROFILE: Call =
    Call { class: Some(CallClass::Profile), repeat: Repeat::Safe, shows_health: false };

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
    config: Arc<NangoConfig>,
    gate: Arc<Gate>,
    prepaid: Option<Prepaid>,
}

impl NangoClient {
    pub fn new(
        config: NangoConfig,
        budget: Arc<Budget>,
        clock: Clock,
        mint: Mint,
    ) -> Result<Self, reqwest::Error> {
        let http = reqwest::Client::builder()
            .redirect(reqwest::redirect::Policy::none())
            .connect_timeout(CONNECT_TIMEOUT)
            .pool_idle_timeout(IDLE_TIMEOUT)
            .build()?;
        let gate = Gate::new(budget, config.call_timeout, clock, mint);
        Ok(Self { http, config: Arc::new(config), gate: Arc::new(gate), prepaid: None })
    }

    /// This client with calls of `class` in hand, to whose share all that it does is charged. Whoever
    /// needs several calls for one thing would else begin it again and again, and end it never.
    pub async fn prepay(&self, class: CallClass) -> Result<Self, NangoError> {
        let prepaid = Some(self.gate.prepay(class, class.together()).await?);
        let (config, gate) = (Arc::clone(&self.config), Arc::clone(&self.gate));
        Ok(Self { http: self.http.clone(), config, gate, prepaid })
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
        let deadline = self.gate.deadline(OPERATION_TIMEOUT);
        let url = self.url(&["connect", "sessions"]);
        let request = self.as_us(self.http.post(url)).json(&request);
        let session: wire::CreatedSession = self.ask(SESSION, deadline, request).await?.json()?;
        let url = self.url(&["oauth", "connect", start.integration.as_str()]);
        let token = session.data.token.expose_secret();
        let request = self.http.get(url).query(&[("connect_session_token", token)]);
        let answer = self.ask(CONNECT, deadline, request).await?;
        wire::read_location(answer.redirect()?, &self.config.callback_url)
    }

    /// The connections of ours that the vault lists under a name, the oldest first. The list never
    /// carries credentials.
    pub async fn look_up(&self, name: LookUp<'_>) -> Result<Vec<Listed>, NangoError> {
        let (parameter, value) = match name {
            LookUp::Ours(id) => (format!("tags[{}]", tag::CONNECTION_REF), id.to_string()),
            LookUp::Nangos(id) => ("connectionId".to_owned(), id.to_string()),
        };
        let query = [(parameter.as_str(), value.as_str()), ("limit", LIST_LIMIT)];
        let request = self.as_us(self.http.get(self.url(&["connections"])).query(&query));
        let deadline = self.gate.deadline(OPERATION_TIMEOUT);
        let list: wire::List = self.ask(LOOK_UP, deadline, request).await?.json()?;
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
        let deadline = self.gate.deadline(OPERATION_TIMEOUT);
        match self.ask(DELETE, deadline, request).await?.json::<wire::Deleted>() {
            Ok(_deleted) => Ok(()),
            Err(NangoError::Refused { status: 400 | 404, code })
                if matches!(code.as_str(), "unknown_connection" | "not_found") =>
            {
                Ok(())
            }
            Err(error) => Err(error),
        }
    }

    /// Who the user is at the provider; nothing, where nobody may ask or the provider does not say.
    pub async fn profile(
        &self,
        mapping: &Mapping,
        integration: &IntegrationId,
        id: &NangoConnectionId,
    ) -> Result<Option<Profile>, NangoError> {
        let Some(key) = &self.config.profile_key else { return Ok(None) };
        let path: Vec<&str> = std::iter::once("proxy").chain(mapping.path.split('/')).collect();
        let request = self
            .http
            .get(self.url(&path))
            .header("provider-config-key", integration.as_str())
            .header("connection-id", id.as_str());
        let deadline = self.gate.deadline(PROFILE_TIMEOUT);
        let answer = self.ask(PROFILE, deadline, authorized(request, key)).await?;
        let answer: serde_json::Value = answer.json()?;
        Ok(mapping.read(&answer))
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

    async fn ask(
        &self,
        call: Call,
        deadline: Deadline,
        request: RequestBuilder,
    ) -> Result<Answer, NangoError> {
        self.gate.ask(call, self.prepaid.as_ref(), deadline, request).await
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
