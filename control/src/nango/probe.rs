//! Questions that change nothing and show how Nango is set up, and what a key may do there.

use super::{
    NangoClient, NangoError,
    answer::{Answer, fetch},
    authorized, wire,
};
use crate::domain::offline;
use chrono::{DateTime, Utc};
use contract::{id::IntegrationId, nango::tag};
use reqwest::{
    RequestBuilder,
    header::{DATE, HeaderName},
};
use secrecy::ExposeSecret;
use std::collections::BTreeMap;
use url::Url;

const RATE_LIMIT: HeaderName = HeaderName::from_static("x-ratelimit-limit");

/// A connection that exists nowhere: Nango's own ids are random UUIDs.
const NO_CONNECTION: &str = "00000000-0000-4000-8000-000000000000";

/// Which of our keys asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyName {
    Main,
    Profile,
}

/// What is asked, of a connection that does not exist.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Question {
    List,
    Read,
    /// The token of a connection.
    ReadCredentials,
    Delete,
    /// The provider's API with a connection's token.
    Proxy,
}

/// What was answered; 0 and no code, if nothing was.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Said {
    pub status: u16,
    pub code: String,
}

/// What Nango says to anybody.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Greeting {
    pub status: u16,
    /// Nango's clock.
    pub date: Option<DateTime<Utc>>,
}

/// What became of an authorisation that nobody will use.
#[derive(Debug)]
pub enum Rehearsal {
    NoSession(NangoError),
    NotSentOff(NangoError),
    SentOff {
        /// Where the provider is told to send the browser back to.
        redirect_uri: Option<String>,
        /// What the provider is not asked for, so that it gives no refresh token.
        lacks_offline_access: Option<String>,
        state: Option<String>,
    },
}

/// What Nango has, as a key sees it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Inventory {
    /// Each integration with its provider's name at Nango.
    pub integrations: BTreeMap<String, String>,
    /// How many calls a minute Nango takes of this account, where it says so.
    pub calls_per_minute: Option<u32>,
}

impl NangoClient {
    /// Asks whether Nango stands, without a key.
    pub async fn greet(&self) -> Result<Greeting, NangoError> {
        let answer = self.ask_at_once(self.http.get(self.url(&["health"]))).await?;
        let date = answer.text(&DATE);
        let date = date.and_then(|date| DateTime::parse_from_rfc2822(date).ok());
        Ok(Greeting { status: answer.status().as_u16(), date: date.map(|date| date.to_utc()) })
    }

    /// The integrations that Nango has, and the limit that it says with them.
    pub async fn inventory(&self) -> Result<Inventory, NangoError> {
        let request = self.http.get(self.url(&["integrations"]));
        let answer = self.ask_at_once(self.as_us(request)).await?;
        let list: wire::Integrations = answer.json()?;
        let integrations = list.data.into_iter();
        let integrations = integrations.map(|it| (it.unique_key, it.provider)).collect();
        let calls_per_minute = answer.text(&RATE_LIMIT).and_then(|limit| limit.trim().parse().ok());
        Ok(Inventory { integrations, calls_per_minute })
    }

    /// Asks with one of our keys; nothing, if there is no such key.
    pub async fn probe(
        &self,
        key: KeyName,
        question: Question,
        integration: &IntegrationId,
    ) -> Option<Said> {
        let secret = match key {
            KeyName::Main => &self.config.secret_key,
            KeyName::Profile => self.config.profile_key.as_ref()?,
        };
        let connection = self.url(&["connections", NO_CONNECTION]);
        let integration = [("provider_config_key", integration.as_str())];
        let request = match question {
            Question::List => {
                let none = [("connectionId", NO_CONNECTION), ("limit", "1")];
                self.http.get(self.url(&["connections"])).query(&none)
            }
            Question::Read => self.http.get(connection).query(&integration),
            Question::ReadCredentials => {
                self.http.get(connection).query(&integration).query(&[("force_refresh", "true")])
            }
            Question::Delete => self.http.delete(connection).query(&integration),
            // Without the headers that name a connection it goes no further.
            Question::Proxy => self.http.get(self.url(&["proxy", "user"])),
        };
        let answer = self.ask_at_once(authorized(request, secret)).await;
        Some(answer.map_or_else(|_silent| Said::default(), |answer| said(&answer)))
    }

    /// Opens a session, reads where a browser would be sent off to, and leaves it at that. The session
    /// expires by itself.
    pub async fn rehearse(&self, integration: &IntegrationId, provider: &str) -> Rehearsal {
        let tags = [
            (tag::END_USER_ID, "doctor".to_owned()),
            (tag::INSTANCE, self.config.instance.clone()),
        ];
        let request = wire::CreateSession::plain(integration, tags.into());
        let url = self.url(&["connect", "sessions"]);
        let answer = self.ask_at_once(self.as_us(self.http.post(url)).json(&request)).await;
        let session: wire::CreatedSession = match answer.and_then(|answer| answer.json()) {
            Ok(session) => session,
            Err(error) => return Rehearsal::NoSession(error),
        };
        let url = self.url(&["oauth", "connect", integration.as_str()]);
        let token = session.data.token.expose_secret();
        let request = self.http.get(url).query(&[("connect_session_token", token)]);
        let answer = self.ask_at_once(request).await;
        match answer.as_ref().map_err(ToString::to_string).map(Answer::redirect) {
            Ok(Ok(location)) => {
                let url = Url::parse(location).ok();
                Rehearsal::SentOff {
                    redirect_uri: url.as_ref().and_then(wire::redirect_uri),
                    state: url.as_ref().and_then(wire::state),
                    lacks_offline_access: url.and_then(|url| offline::missing(provider, &url)),
                }
            }
            Ok(Err(error)) => Rehearsal::NotSentOff(error),
            Err(told) => Rehearsal::NotSentOff(NangoError::Unreachable(told)),
        }
    }

    /// Whether Nango refuses callbacks without the cookie that it set at the start, as a browser is without it that
    /// comes by us. The callback is of a state of our own, and brings a denial, so that no provider is asked: the
    /// authorization of the check ends at Nango, which may report that it failed, and of nobody else's.
    pub async fn enforces_cookie(&self, state: &str) -> Option<bool> {
        let denied = [
            ("error", "access_denied"),
            ("error_description", "a check of the connections service; no user was asked"),
            ("state", state),
        ];
        let request = self.http.get(self.url(&["oauth", "callback"])).query(&denied);
        self.ask_at_once(request).await.ok()?.misses_cookie()
    }

    /// A question is asked once, whatever is left of the budget: an operator waits for it.
    async fn ask_at_once(&self, request: RequestBuilder) -> Result<Answer, NangoError> {
        Ok(fetch(request.timeout(self.config.call_timeout)).await?)
    }
}

fn said(answer: &Answer) -> Said {
    let code = match answer.refusal() {
        NangoError::Refused { code, .. } => code,
        NangoError::Unreachable(_) | NangoError::Malformed(_) | NangoError::Busy { .. } => {
            String::new()
        }
    };
    Said { status: answer.status().as_u16(), code }
}
