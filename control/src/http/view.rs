//! A connection as it is shown: the same alone, in a list, and after a wait.

use crate::domain::{
    connection::{Connection, LastAuthorization, Status},
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
    /// The scopes that the user granted; null while they are not known.
    #[schema(required)]
    authorized_scopes: Option<Vec<String>>,
    /// Whether `authorizedScopes` is known: not every provider says it without the token.
    scopes_verified: bool,
    /// Those of `requestedScopes` that the user did not grant; null while that is not known.
    #[schema(required)]
    missing_scopes: Option<Vec<String>>,
    /// How the last authorization that ended did; null while none has. One that is open has not ended.
    #[schema(required, inline)]
    last_authorization: Option<Authorization>,
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

/// How an authorization ended.
#[derive(Debug, Serialize, ToSchema)]
struct Authorization {
    /// `succeeded`, `failed`, `expired`, or `superseded` by another reconnect or a deletion.
    outcome: String,
    /// Why it failed or expired, by a stable name such as `access_denied`.
    #[schema(required)]
    reason: Option<String>,
    at: DateTime<Utc>,
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
        let next_action = connection.next_action();
        let own = |scopes: &[&str]| scopes.iter().map(|&scope| scope.to_owned()).collect();
        let authorized_scopes = connection.authorized_scopes().map(<[String]>::to_vec);
        let missing_scopes = connection.missing_scopes().map(|scopes| own(&scopes));
        let last_authorization = connection
            .last_authorization
            .map(|LastAuthorization { outcome, reason, at }| Authorization { outcome, reason, at });
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
            next_action,
            version: connection.version,
            requested_scopes: connection.requested_scopes,
            scopes_verified: authorized_scopes.is_some(),
            authorized_scopes,
            missing_scopes,
            last_authorization,
            provider_account_id: profile.account_id,
            display_name: profile.display_name,
            metadata: Metadata { username: profile.username, avatar: profile.avatar },
            client_metadata: connection.client_metadata,
            created_at: connection.created_at,
        }
    }
}
