//! Tells a client application: one signed POST, and how it ended. It decides nothing.

use crate::{
    config::{MtlsFiles, NotificationConfig},
    domain::{
        delivery::{NoAnswer, Outcome},
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
        let http = http.build().map_err(tls::Unusable::client)?;
        Ok(Self { http, destination, secrets })
    }

    /// Sends an event's exact bytes, signed for this moment.
    pub async fn send(&self, event: EventId, body: &str, now: DateTime<Utc>) -> Outcome {
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
                if answer.status().is_success() {
                    Outcome::Delivered { status }
                } else {
                    Outcome::Refused { status }
                }
            }
            Err(error) if error.is_timeout() => Outcome::NoAnswer(NoAnswer::Timeout),
            Err(error) if error.is_connect() => Outcome::NoAnswer(NoAnswer::Connect),
            Err(_broken) => Outcome::NoAnswer(NoAnswer::Broken),
        }
    }
}
