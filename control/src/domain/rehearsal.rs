//! A destination that was tried out: the event that is sent, and what is told of how it went.

use super::{
    notification::TEST_TYPE,
    outcome::{Fault, Outcome},
};
use chrono::{DateTime, Utc};
use contract::id::{EventId, TenantId};
use serde::Serialize;
use std::net::SocketAddr;
use utoipa::ToSchema;

/// The body of an event that is sent to try a destination out, and kept nowhere.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct TestEvent {
    #[schema(value_type = uuid::Uuid)]
    id: EventId,
    #[schema(pattern = "^destination[.]test$")]
    r#type: &'static str,
    occurred_at: DateTime<Utc>,
    #[schema(value_type = String)]
    tenant_id: TenantId,
}

impl TestEvent {
    pub const fn new(id: EventId, tenant_id: TenantId, occurred_at: DateTime<Utc>) -> Self {
        Self { id, r#type: TEST_TYPE, occurred_at, tenant_id }
    }
}

/// What a receiver showed of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Handshake {
    /// The name that its certificate must be for.
    pub server_name: String,
    /// Nothing, where the handshake did not come to its end.
    pub tls_version: Option<String>,
    /// Its own certificate first.
    pub chain: Vec<Certificate>,
    pub asked_for_our_certificate: bool,
    pub showed_our_certificate: bool,
}

/// One certificate of a chain.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Certificate {
    pub subject: String,
    pub issuer: String,
    pub not_after: DateTime<Utc>,
    pub names: Vec<String>,
}

/// What the application is told.
#[derive(Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    #[schema(value_type = uuid::Uuid)]
    pub event_id: EventId,
    pub url: String,
    /// In the words of the deliveries: `delivered`, `refused`, `timeout`, …
    #[schema(value_type = Outcome)]
    pub outcome: &'static str,
    /// `ours`, `network` or `theirs`; nothing, where it went well.
    #[schema(required, value_type = Option<Fault>)]
    pub fault: Option<&'static str>,
    /// Why no answer came, in words for people.
    #[schema(required)]
    pub detail: Option<String>,
    /// Where the connection went, with its port; null, where the destination is the operator's.
    #[schema(required, value_type = Option<String>)]
    pub address: Option<SocketAddr>,
    #[schema(required)]
    pub tls: Option<Tls>,
    #[schema(required)]
    pub answer: Option<Answer>,
    pub duration_ms: i64,
}

/// What the receiver showed of itself.
#[derive(Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Tls {
    /// Such as `1.3`; null, where the handshake did not come to its end.
    #[schema(required)]
    version: Option<String>,
    server_name: String,
    /// Its own certificate first.
    chain: Vec<Certificate>,
    /// Whole days until the first of the chain expires.
    #[schema(required)]
    days_left: Option<i64>,
    client_certificate_requested: bool,
    client_certificate_sent: bool,
}

/// How the receiver answered.
#[derive(Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct Answer {
    pub status: u16,
    /// Its first bytes, as text.
    pub body: String,
}

impl Tls {
    pub fn of(handshake: Handshake, at: DateTime<Utc>) -> Self {
        let soonest = handshake.chain.iter().map(|certificate| certificate.not_after).min();
        Self {
            version: handshake.tls_version,
            server_name: handshake.server_name,
            chain: handshake.chain,
            days_left: soonest.map(|until| until.signed_duration_since(at).num_days()),
            client_certificate_requested: handshake.asked_for_our_certificate,
            client_certificate_sent: handshake.showed_our_certificate,
        }
    }
}

impl Answer {
    pub fn of(outcome: Outcome, body: Option<String>) -> Option<Self> {
        outcome.status().map(|status| Self { status, body: body.unwrap_or_default() })
    }
}
