//! Webhooks as Nango sends them: signed, without id or time, and tried again only after 5xx.

use crate::{
    Shared, WEBHOOK_TIMEOUT,
    access::Access,
    answer::{self, Answer},
    lock,
    vault::{Kept, Pending},
};
use axum::{extract::State, http::HeaderMap};
use contract::{keys::KeyRing, signature};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use std::{sync::Arc, time::Duration};
use uuid::Builder;

/// How badly webhooks are sent.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Manners {
    /// Which share is sent twice.
    pub repeats: f64,
    /// Which share is never sent.
    pub loses: f64,
    /// Up to how long each waits, by which later ones overtake earlier ones.
    pub delays: Duration,
    /// The waits before the second and third try.
    pub retries: [Duration; 2],
}

impl Manners {
    /// Like the real one on a good day: it repeats itself now and then.
    pub const REAL: Self = Self {
        repeats: 0.2,
        loses: 0.0,
        delays: Duration::from_millis(100),
        retries: [Duration::from_secs(3), Duration::from_secs(6)],
    };

    /// Each webhook once, at once.
    pub const KIND: Self = Self { repeats: 0.0, delays: Duration::ZERO, ..Self::REAL };
}

/// Makes a new signing key and tells it, to a key with a scope that ours need not have: it is an operator who
/// asks. The real one signs with either for up to five minutes; here the new one signs at once.
pub(crate) async fn rotate(State(shared): State<Arc<Shared>>, headers: HeaderMap) -> Answer {
    let access = shared.access(&headers).await;
    let may = access
        .and_then(|access| access.needs(Access::Main, "environment:webhook_signing_key:rotate"));
    if let Err(refusal) = may {
        return refusal;
    }
    let key = Builder::from_random_bytes(rand::random()).into_uuid().to_string();
    match KeyRing::parse(key.as_bytes()) {
        Ok(keys) => *lock(&shared.signing_keys) = keys,
        Err(error) => {
            tracing::error!(%error, "the stand-in Nango made a key that it cannot read");
            return answer::unavailable();
        }
    }
    answer::ok(&json!({"data": {"webhook_signing_key": key}}))
}

pub(crate) fn client(trusted_ca: Option<&[u8]>) -> Result<reqwest::Client, reqwest::Error> {
    let mut client = reqwest::Client::builder().timeout(WEBHOOK_TIMEOUT).no_proxy();
    if let Some(ca) = trusted_ca {
        client = client.tls_certs_only([reqwest::Certificate::from_pem(ca)?]);
    }
    client.build()
}

/// A connection came to be, or was renewed.
pub(crate) fn succeeded(kept: &Kept, is_reconnect: bool) -> Value {
    let operation = if is_reconnect { "override" } else { "creation" };
    let mut body = about(kept, operation, true);
    if let (Some(id), Some(fields)) = (&kept.end_user_id, body.as_object_mut()) {
        let end_user = json!({"endUserEmail": null, "endUserId": id, "tags": {}});
        fields.insert("endUser".to_owned(), end_user);
    }
    body
}

/// A token could not be refreshed, or can be refreshed again.
pub(crate) fn refreshed(kept: &Kept) -> Value {
    let mut body = about(kept, "refresh", !kept.fails_to_refresh);
    if let (true, Some(fields)) = (kept.fails_to_refresh, body.as_object_mut()) {
        let description = "The external API returned an error when trying to refresh the access token. Please try again later.";
        let error = json!({"description": description, "type": "refresh_token_external_error"});
        fields.insert("error".to_owned(), error);
    }
    body
}

/// A connection was deleted, by the API or in the dashboard.
pub(crate) fn deleted(kept: &Kept) -> Value {
    about(kept, "deletion", true)
}

fn about(kept: &Kept, operation: &str, success: bool) -> Value {
    json!({"authMode": "OAUTH2", "connectionId": kept.connection_id, "environment": "dev", "from": "nango",
        "operation": operation, "provider": "github", "providerConfigKey": kept.integration, "success": success,
        "tags": kept.tags, "type": "auth"})
}

/// An authorisation failed. Nango tells neither tags nor end user then.
pub(crate) fn failed(pending: &Pending, kind: &str, description: &str) -> Value {
    json!({"authMode": "OAUTH2", "connectionId": pending.connection_id, "environment": "dev",
        "error": {"description": description, "type": kind}, "from": "nango", "operation": "creation",
        "provider": "github", "providerConfigKey": pending.integration, "success": false, "type": "auth"})
}

/// Sends a webhook behind the caller's back, as Nango does: nobody waits for it.
pub(crate) fn send(shared: &Arc<Shared>, body: Value) {
    let manners = shared.settings.manners;
    if rand::random::<f64>() < manners.loses {
        tracing::info!("the stand-in Nango loses a webhook on purpose");
        return;
    }
    let copies = if rand::random::<f64>() < manners.repeats { 2 } else { 1 };
    for _ in 0..copies {
        let shared = Arc::clone(shared);
        let body = body.to_string();
        tokio::spawn(async move {
            tokio::time::sleep(manners.delays.mul_f64(rand::random())).await;
            deliver(&shared, body).await;
        });
    }
}

async fn deliver(shared: &Shared, body: String) {
    let Some(url) = lock(&shared.webhook_url).clone() else { return };
    let [first, second] = shared.settings.manners.retries;
    for wait in [Some(first), Some(second), None] {
        match try_once(shared, &url, &body).await {
            // Everything below 500 is final, refusals too.
            Ok(status) if status < 500 => {
                tracing::info!(status, "the stand-in Nango's webhook was answered {status}");
                return;
            }
            Ok(status) => tracing::info!(status, "the stand-in Nango's webhook failed: {status}"),
            Err(error) => tracing::info!(%error, "the stand-in Nango's webhook was not taken"),
        }
        match wait {
            Some(wait) => tokio::time::sleep(wait).await,
            None => tracing::info!("the stand-in Nango drops a webhook"),
        }
    }
}

async fn try_once(shared: &Shared, url: &str, body: &str) -> Result<u16, reqwest::Error> {
    let keys = lock(&shared.signing_keys).clone();
    let legacy = Sha256::new().chain_update(keys.signing().secret.expose()).chain_update(body);
    let answer = shared
        .http
        .post(url)
        .header("content-type", "application/json")
        .header("x-nango-signature", hex::encode(legacy.finalize()))
        .header("x-nango-hmac-sha256", signature::sign(&keys, body.as_bytes()))
        .header("user-agent", "nango/0.71.4 (stand-in)")
        .body(body.to_owned())
        .send()
        .await?;
    Ok(answer.status().as_u16())
}
