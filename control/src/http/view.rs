//! A connection as it is shown: the same alone, in a list, and after a wait.

use crate::domain::{
    connection::{Connection, Status},
    provider::Provider,
};
use chrono::{DateTime, Utc};
use contract::id::{ConnectionId, TenantId};
use serde::Serialize;
use utoipa::ToSchema;

/// A connection as its tenant sees it.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Connection)]
pub(super) struct View {
    #[schema(value_type = uuid::Uuid)]
    connection_id: ConnectionId,
    #[schema(value_type = String)]
    tenant_id: TenantId,
    /// The end user, by the client application's name for them.
    sub: String,
    #[schema(value_type = String)]
    provider: Provider,
    status: Status,
    /// Why, by a stable name such as `access_denied`, `refresh_failed` or `gone_at_vault`.
    #[schema(required)]
    reason: Option<String>,
    /// When `status` was entered.
    since: DateTime<Utc>,
    /// When the vault was last seen to agree.
    #[schema(required)]
    checked_at: Option<DateTime<Utc>>,
    /// What can be done next, if anything: `authorize`, `reconnect` or `wait`.
    #[schema(required)]
    next_action: Option<&'static str>,
    /// Counts the changes.
    version: i64,
    requested_scopes: Vec<String>,
    #[schema(required)]
    provider_account_id: Option<String>,
    #[schema(required)]
    display_name: Option<String>,
    metadata: Metadata,
    /// The `metadata` of the start.
    #[schema(value_type = Object)]
    client_metadata: serde_json::Value,
    created_at: DateTime<Utc>,
}

#[derive(Debug, Serialize, ToSchema)]
struct Metadata {
    #[schema(required)]
    username: Option<String>,
    #[schema(required)]
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
