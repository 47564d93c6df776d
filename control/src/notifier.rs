//! Tells a client application: one signed POST, and how it ended. It decides nothing.

use crate::{
    cause::chain,
    config::{MtlsFiles, NotificationConfig},
    domain::{
        answer::{self, ANSWER_BYTES_MAX},
        outcome::{NoAnswer, Outcome},
        retry_after,
        signing::{self, SigningSecret, header},
    },
    tls,
};
use chrono::{DateTime, Utc};
use contract::id::EventId;
use reqwest::{
    Response,
    header::{CONTENT_TYPE, RETRY_AFTER},
};
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
    /// How the answer begins.
    pub answer: Option<String>,
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
            Ok(answer) => {
                let status = answer.status().as_u16();
                let outcome = if answer.status().is_success() {
                    Outcome::Delivered { status }
                } else {
                    let asked = answer.headers().get(RETRY_AFTER);
                    let retry_after =
                        asked.and_then(|asked| retry_after::read(asked.as_bytes(), now));
                    Outcome::Refused { status, retry_after }
                };
                Sent { outcome, detail: None, answer: begin(answer).await }
            }
            Err(error) => {
                let why = if error.is_timeout() {
                    NoAnswer::Timeout
                } else if error.is_connect() {
                    NoAnswer::Connect
                } else {
                    NoAnswer::Broken
                };
                let detail = Some(chain(&error.without_url()));
                Sent { outcome: Outcome::NoAnswer(why), detail, answer: None }
            }
        }
    }
}

/// How an answer begins. The status has decided: whether all of it comes, or in time, changes nothing.
async fn begin(mut answer: Response) -> Option<String> {
    let mut begin = Vec::new();
    while begin.len() < ANSWER_BYTES_MAX
        && let Ok(Some(chunk)) = answer.chunk().await
    {
        begin.extend_from_slice(&chunk);
    }
    answer::kept(&begin)
}
