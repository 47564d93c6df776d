//! Tells a client application: one signed POST, and how it ended. It decides nothing.

use crate::{
    cause::chain,
    config::{MtlsFiles, NotificationConfig},
    domain::{
        outcome::{NoAnswer, Outcome},
        signing::{self, SigningSecret, header},
    },
    tls,
};
use chrono::{DateTime, Utc};
use contract::id::EventId;
use reqwest::header::CONTENT_TYPE;
use std::time::Duration;
use url::Url;

/// The Standard Webhooks specification advises 15 to 30 s.
pub const SEND_TIMEOUT: Duration = Duration::from_secs(15);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// What came of one try.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sent {
    pub outcome: Outcome,
    /// Why no answer came, in words for people.
    pub detail: Option<String>,
}

/// Sends notifications under our certificate, where there is one.
#[derive(Debug)]
pub struct Notifier {
    http: reqwest::Client,
    destination: Url,
    secrets: Vec<SigningSecret>,
}

impl Notifier {
    pub fn new(
        config: NotificationConfig,
        mtls: Option<&MtlsFiles>,
    ) -> Result<Self, tls::Unusable> {
        let NotificationConfig { destination, secrets } = config;
        let mut http = reqwest::Client::builder()
            // A redirect would take the notification to an address that nobody configured.
            .redirect(reqwest::redirect::Policy::none())
            .connect_timeout(CONNECT_TIMEOUT)
            .timeout(SEND_TIMEOUT);
        if let Some(files) = mtls {
            let (identity, ca) = tls::client(files)?;
            http = http.identity(identity).tls_certs_merge(ca);
        }
        let http = http.build().map_err(|error| tls::Unusable::client(&error))?;
        Ok(Self { http, destination, secrets })
    }

    /// Sends an event's exact bytes, signed for this moment.
    pub async fn send(&self, event: EventId, body: &str, now: DateTime<Utc>) -> Sent {
        let id = event.to_string();
        let timestamp = now.timestamp();
        let signature = signing::sign(&self.secrets, &id, timestamp, body);
        let sent = self
            .http
            .post(self.destination.clone())
            .header(CONTENT_TYPE, "application/json")
            .header(header::ID, id)
            .header(header::TIMESTAMP, timestamp)
            .header(header::SIGNATURE, signature)
            .body(body.to_owned())
            .send()
            .await;
        match sent {
            Ok(answer) if answer.status().is_success() => Sent {
                outcome: Outcome::Delivered { status: answer.status().as_u16() },
                detail: None,
            },
            Ok(answer) => Sent {
                outcome: Outcome::Refused { status: answer.status().as_u16(), retry_after: None },
                detail: None,
            },
            Err(error) => {
                let why = if error.is_timeout() {
                    NoAnswer::Timeout
                } else if error.is_connect() {
                    NoAnswer::Connect
                } else {
                    NoAnswer::Broken
                };
                Sent { outcome: Outcome::NoAnswer(why), detail: Some(chain(&error.without_url())) }
            }
        }
    }
}
