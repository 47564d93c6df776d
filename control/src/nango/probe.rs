//! Questions that change nothing and show how Nango is set up, and what a key may do there.

use super::{NangoClient, NangoError, authorized, read_json, refusal, send, wire};
use chrono::{DateTime, Utc};
use contract::{id::IntegrationId, nango::tag};
use reqwest::{
    Response, StatusCode,
    header::{DATE, LOCATION},
};
use secrecy::ExposeSecret;
use std::collections::BTreeSet;

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
    /// Where the provider is told to send the browser back to.
    SentOff {
        redirect_uri: Option<String>,
    },
}

impl NangoClient {
    /// Asks whether Nango stands, without a key.
    pub async fn greet(&self) -> Result<Greeting, NangoError> {
        let answer = send(self.http.get(self.url(&["health"]))).await?;
        let date = answer.headers().get(DATE).and_then(|value| value.to_str().ok());
        let date = date.and_then(|date| DateTime::parse_from_rfc2822(date).ok());
        Ok(Greeting { status: answer.status().as_u16(), date: date.map(|date| date.to_utc()) })
    }

    /// The integrations that Nango has.
    pub async fn integrations(&self) -> Result<BTreeSet<String>, NangoError> {
        let request = self.http.get(self.url(&["integrations"]));
        let list: wire::Integrations = read_json(self.as_us(request)).await?;
        Ok(list.data.into_iter().map(|integration| integration.unique_key).collect())
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
        Some(match send(authorized(request, secret)).await {
            Ok(answer) => said(answer).await,
            Err(_silent) => Said::default(),
        })
    }

    /// Opens a session, reads where a browser would be sent off to, and leaves it at that. The session
    /// expires by itself.
    pub async fn rehearse(&self, integration: &IntegrationId) -> Rehearsal {
        let tags = [
            (tag::END_USER_ID, "doctor".to_owned()),
            (tag::INSTANCE, self.config.instance.clone()),
        ];
        let request = wire::CreateSession::plain(integration, tags.into());
        let url = self.url(&["connect", "sessions"]);
        let session: wire::CreatedSession =
            match read_json(self.as_us(self.http.post(url)).json(&request)).await {
                Ok(session) => session,
                Err(error) => return Rehearsal::NoSession(error),
            };
        let url = self.url(&["oauth", "connect", integration.as_str()]);
        let token = session.data.token.expose_secret();
        let request = self.http.get(url).query(&[("connect_session_token", token)]);
        match send(request).await {
            Ok(answer) if answer.status() == StatusCode::FOUND => {
                let location = answer.headers().get(LOCATION).and_then(|it| it.to_str().ok());
                let redirect_uri = wire::redirect_uri(location.unwrap_or_default());
                Rehearsal::SentOff { redirect_uri }
            }
            Ok(answer) => Rehearsal::NotSentOff(refusal(answer).await),
            Err(error) => Rehearsal::NotSentOff(error),
        }
    }
}

async fn said(answer: Response) -> Said {
    let status = answer.status().as_u16();
    let code = match refusal(answer).await {
        NangoError::Refused { code, .. } => code,
        NangoError::Unreachable(_) | NangoError::Malformed(_) => String::new(),
    };
    Said { status, code }
}
