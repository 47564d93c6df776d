//! Nango, the vault: one method for each call we make.
//!
//! Nothing that Nango says of a token has a place in the types of [`wire`], and its error pages and
//! texts stay here: they come from a provider or its user, and may hold anything.

mod answer;
mod calls;
mod gate;
mod probe;
mod profile;
mod pulse;
mod tried;
mod wire;

use crate::{
    budget::Budget,
    clock::Clock,
    config::NangoConfig,
    domain::{
        budget::CallClass, callback::is_plain_installation, connection::Reason, health::Vault,
    },
    metrics::Metrics,
    mint::Mint,
};
use answer::Answer;
use calls::{COMPLETE, CONNECT, DELETE, LOOK, LOOK_UP, PAGE, PAGE_TO_CONFIRM, SESSION};
use contract::{
    id::{AttemptId, ConnectionId, IntegrationId, NangoConnectionId, TenantId},
    nango::tag,
};
use gate::{Call, Deadline, Gate, Prepaid};
use pulse::Pulse;
use reqwest::{
    RequestBuilder,
    header::{COOKIE, SET_COOKIE},
};
use secrecy::{ExposeSecret, SecretString};
use std::{collections::BTreeMap, fmt, sync::Arc, time::Duration};
use url::Url;

pub use answer::{NangoError, WhyBusy};
pub use probe::{Greeting, KeyName, Question, Rehearsal, Said};

/// How long an operation may take, all its calls and tries together. A user waits for a start.
const OPERATION_TIMEOUT: Duration = Duration::from_secs(10);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
/// Nango closes idle connections after 61 s; reusing one at that moment would fail a call for nothing.
const IDLE_TIMEOUT: Duration = Duration::from_secs(50);
/// A user waits for the notification that waits for this.
const PROFILE_TIMEOUT: Duration = Duration::from_millis(1500);
/// Nango sends ten thousand rows to whoever does not say. One connection has one, or a few by mistake.
const LIST_LIMIT: &str = "100";
/// What Nango lists in tens of milliseconds.
const PAGE_ROWS: usize = 2000;

/// An authorisation that is to be opened.
#[derive(Debug, Clone, Copy)]
pub struct Authorize<'a> {
    pub tenant: &'a TenantId,
    pub connection: ConnectionId,
    pub attempt: AttemptId,
    pub sub: &'a str,
    pub integration: &'a IntegrationId,
    pub scopes: &'a [String],
    /// What is added to the request at the provider.
    pub parameters: Option<&'a BTreeMap<String, String>>,
    /// The connection at the vault that is to be renewed, and keeps its name there.
    pub renews: Option<&'a NangoConnectionId>,
}

/// Where to send the user, and how the callback will be recognised. All of it is secret.
pub struct Authorization {
    /// The provider's own URL, byte for byte.
    pub url: String,
    pub state: String,
    /// What the callback needs at a Nango that enforces it: `name=value`.
    pub cookie: Option<String>,
}

impl fmt::Debug for Authorization {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Authorization(..)")
    }
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

/// One page of the vault's list, as far as it is ours.
#[derive(Debug)]
pub struct Page {
    pub ours: Vec<Listed>,
    pub is_last: bool,
}

/// How a deletion at the vault ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Deletion {
    Deleted,
    /// It was deleted before, or it is somewhere else.
    NotThere,
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
    pulse: Arc<Pulse>,
    gate: Arc<Gate>,
    prepaid: Option<Prepaid>,
}

impl NangoClient {
    pub fn new(
        config: NangoConfig,
        budget: Option<Arc<Budget>>,
        (clock, mint): (Clock, Mint),
        metrics: Metrics,
    ) -> Result<Self, reqwest::Error> {
        let mut http = reqwest::Client::builder()
            // Not that of the environment, whose failures would look like Nango's.
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            .connect_timeout(CONNECT_TIMEOUT)
            .pool_idle_timeout(IDLE_TIMEOUT);
        if let Some(proxy) = &config.proxy {
            http = http.proxy(reqwest::Proxy::all(proxy.expose_secret())?);
        }
        let http = http.build()?;
        let gate = Gate::new(budget, config.call_timeout, (clock, mint), metrics);
        let (config, gate) = (Arc::new(config), Arc::new(gate));
        Ok(Self { http, config, pulse: Arc::default(), gate, prepaid: None })
    }

    /// What the last call with our own key showed.
    pub fn last_call(&self) -> Vault {
        self.pulse.last()
    }

    /// This client with calls of `class` in hand, to whose share all that it does is charged. Whoever
    /// needs several calls for one thing would else begin it again and again, and end it never.
    pub async fn prepay(&self, class: CallClass) -> Result<Self, NangoError> {
        let prepaid = Some(self.gate.prepay(class, class.together()).await?);
        let (config, gate) = (Arc::clone(&self.config), Arc::clone(&self.gate));
        Ok(Self { http: self.http.clone(), config, pulse: Arc::clone(&self.pulse), gate, prepaid })
    }

    /// Where browsers finish a callback that was received here: Nango's own callback.
    pub fn callback(&self, raw_query: &str) -> String {
        format!("{}?{raw_query}", join(&self.config.public_url, finish_path(raw_query)))
    }

    /// Whether browsers come back over https.
    pub fn callback_is_https(&self) -> bool {
        self.config.callback_url.scheme() == "https"
    }

    /// Opens an authorisation, and reads from Nango's redirect where the user must go.
    pub async fn authorize(&self, asked: &Authorize<'_>) -> Result<Authorization, NangoError> {
        let request = wire::CreateSession::new(asked, self.tags(asked));
        let deadline = self.gate.deadline(OPERATION_TIMEOUT);
        let mut path = vec!["connect", "sessions"];
        path.extend(asked.renews.map(|_bound| "reconnect"));
        let request = self.http.post(self.url(&path)).json(&request);
        let session: wire::CreatedSession = self.ask_as_us(SESSION, deadline, request).await?;
        let url = self.url(&["oauth", "connect", asked.integration.as_str()]);
        let token = session.data.token.expose_secret();
        let request = self.http.get(url).query(&[("connect_session_token", token)]);
        let answer = self.ask(CONNECT, deadline, request).await?;
        let cookie = answer.text(&SET_COOKIE).and_then(|cookie| cookie.split(';').next());
        let cookie = cookie.map(str::to_owned);
        wire::read_location(answer.redirect()?, &self.config.callback_url, cookie)
    }

    /// Finishes a callback in the browser's place: nothing when Nango says that it succeeded, and else
    /// what it says. Neither is proof, and the call is never made twice.
    pub async fn complete(
        &self,
        raw_query: &str,
        cookie: Option<&str>,
    ) -> Result<Option<Reason>, NangoError> {
        let mut url = self.url(finish_path(raw_query));
        url.set_query(Some(raw_query));
        let mut request = self.http.get(url);
        if let Some(cookie) = cookie {
            request = request.header(COOKIE, cookie);
        }
        self.ask(COMPLETE, self.gate.deadline(OPERATION_TIMEOUT), request).await?.completed()
    }

    /// The connections of ours that the vault lists under a name, the oldest first. The list never
    /// carries credentials.
    pub async fn look_up(&self, name: LookUp<'_>) -> Result<Vec<Listed>, NangoError> {
        let (parameter, value) = match name {
            LookUp::Ours(id) => (format!("tags[{}]", tag::CONNECTION_REF), id.to_string()),
            LookUp::Nangos(id) => ("connectionId".to_owned(), id.to_string()),
        };
        let query = [(parameter.as_str(), value.as_str()), ("limit", LIST_LIMIT)];
        let list = self.list(LOOK_UP, &query).await?;
        let newest_first = list.connections.iter();
        Ok(newest_first.rev().filter_map(|row| row.ours(&self.config.instance)).collect())
    }

    /// The newest page of everything that the vault has, to confirm many at once.
    pub async fn newest(&self) -> Result<Page, NangoError> {
        self.read_page(PAGE_TO_CONFIRM, 0).await
    }

    /// One page of everything that the vault has, the newest first.
    pub async fn page(&self, page: u32) -> Result<Page, NangoError> {
        self.read_page(PAGE, page).await
    }

    async fn read_page(&self, call: Call, page: u32) -> Result<Page, NangoError> {
        let (limit, page) = (PAGE_ROWS.to_string(), page.to_string());
        let list = self.list(call, &[("limit", &limit), ("page", &page)]).await?;
        let is_last = list.connections.len() < PAGE_ROWS;
        let ours = list.connections.iter();
        let ours = ours.filter_map(|row| row.ours(&self.config.instance)).collect();
        Ok(Page { ours, is_last })
    }

    async fn list(&self, call: Call, query: &[(&str, &str)]) -> Result<wire::List, NangoError> {
        let request = self.http.get(self.url(&["connections"])).query(query);
        self.ask_as_us(call, self.gate.deadline(OPERATION_TIMEOUT), request).await
    }

    /// Whether the vault has a connection of this name. Only its own "not found" is a no: a wrong
    /// integration or a key without the right is an error.
    pub async fn has(
        &self,
        integration: &IntegrationId,
        id: &NangoConnectionId,
    ) -> Result<bool, NangoError> {
        let url = self.url(&["connections", id.as_str()]);
        let query = [("provider_config_key", integration.as_str())];
        let request = self.http.get(url).query(&query);
        let deadline = self.gate.deadline(OPERATION_TIMEOUT);
        match self.ask_as_us::<wire::Found>(LOOK, deadline, request).await {
            Ok(_found) => Ok(true),
            Err(NangoError::Refused { status: 404, code }) if code == "not_found" => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Whether a connection waits for a GitHub App to be installed.
    pub async fn awaits_installation(
        &self,
        integration: &IntegrationId,
        id: &NangoConnectionId,
    ) -> Result<bool, NangoError> {
        let url = self.url(&["connections", id.as_str()]);
        let query = [("provider_config_key", integration.as_str())];
        let request = self.http.get(url).query(&query);
        let deadline = self.gate.deadline(OPERATION_TIMEOUT);
        let found: wire::Found = self.ask_as_us(LOOK, deadline, request).await?;
        Ok(found.awaits_installation())
    }

    /// Deletes a connection at the vault, or is told that it is not there.
    pub async fn delete(
        &self,
        integration: &IntegrationId,
        id: &NangoConnectionId,
    ) -> Result<Deletion, NangoError> {
        let url = self.url(&["connections", id.as_str()]);
        let query = [("provider_config_key", integration.as_str())];
        let request = self.http.delete(url).query(&query);
        let deadline = self.gate.deadline(OPERATION_TIMEOUT);
        match self.ask_as_us::<wire::Deleted>(DELETE, deadline, request).await {
            Ok(_deleted) => Ok(Deletion::Deleted),
            Err(NangoError::Refused { status: 400 | 404, code })
                if matches!(code.as_str(), "unknown_connection" | "not_found") =>
            {
                Ok(Deletion::NotThere)
            }
            Err(error) => Err(error),
        }
    }

    /// All of them, always: Nango replaces the whole set with what a session carries.
    fn tags(&self, asked: &Authorize<'_>) -> BTreeMap<&'static str, String> {
        [
            (tag::CONNECTION_REF, asked.connection.to_string()),
            (tag::ATTEMPT, asked.attempt.to_string()),
            (tag::TENANT_ID, asked.tenant.to_string()),
            (tag::END_USER_ID, asked.sub.to_owned()),
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

    /// Asks with our own key, and remembers what that showed.
    async fn ask_as_us<T: serde::de::DeserializeOwned>(
        &self,
        call: Call,
        deadline: Deadline,
        request: RequestBuilder,
    ) -> Result<T, NangoError> {
        let asked = async { self.ask(call, deadline, self.as_us(request)).await?.json() };
        self.pulse.of(asked).await
    }

    fn as_us(&self, request: RequestBuilder) -> RequestBuilder {
        authorized(request, &self.config.secret_key)
    }

    fn url(&self, path: &[&str]) -> Url {
        join(&self.config.api_url, path)
    }
}

/// Nango finishes an installation that brings no code, of an integration `github-app`, elsewhere.
fn finish_path(raw_query: &str) -> &'static [&'static str] {
    if is_plain_installation(raw_query) { &["app-auth", "connect"] } else { &["oauth", "callback"] }
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
