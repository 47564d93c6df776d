//! A connection as it is shown: the same alone, in a list, and after a wait.

use crate::domain::{
    connection::{Connection, Status},
    provider::Provider,
};
use chrono::{DateTime, Utc};
use contract::id::{ConnectionId, TenantId};
use serde::Serialize;

/// A connection as its tenant sees it.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct View {
    connection_id: ConnectionId,
    tenant_id: TenantId,
    sub: String,
    provider: Provider,
    status: Status,
    reason: Option<String>,
    since: DateTime<Utc>,
    checked_at: Option<DateTime<Utc>>,
    next_action: Option<&'static str>,
    version: i64,
    requested_scopes: Vec<String>,
    provider_account_id: Option<String>,
    display_name: Option<String>,
    metadata: Metadata,
    client_metadata: serde_json::Value,
    created_at: DateTime<Utc>,
}

#[derive(Debug, Serialize)]
struct Metadata {
    username: Option<String>,
    avatar: Option<String>,
}

impl From<Connection> for View {
    fn from(connection: Connection) -> Self {
        let profile = connection.profile;
        Self {
            connection_id: connection.id,
            tenant_id: connection.tenant,
            sub: connection.sub,
            provider: connection.provider,
            status: connection.status,
            reason: connection.reason,
            since: connection.since,
            checked_at: connection.checked_at,
            next_action: connection.status.next_action(),
            version: connection.version,
            requested_scopes: connection.requested_scopes,
            provider_account_id: profile.account_id,
            display_name: profile.display_name,
            metadata: Metadata { username: profile.username, avatar: profile.avatar },
            client_metadata: connection.client_metadata,
            created_at: connection.created_at,
        }
    }
}
