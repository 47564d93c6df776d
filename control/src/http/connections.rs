//! Shows a connection, and deletes one.

use super::{ApiError, AppState, caller::Caller};
use crate::{
    domain::{
        audit::Actor,
        connection::{Connection, Status},
        event::{Event, Rules},
        provider::Provider,
    },
    store::{As, Change, Changed},
};
use axum::{
    Json,
    extract::{Path, State},
    http::{StatusCode, header},
    response::IntoResponse,
};
use chrono::{DateTime, Utc};
use contract::{
    action::Action,
    id::{ConnectionId, TenantId},
};
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

/// `GET /tenants/{tenant}/connections/{id}`
pub(super) async fn get(
    State(state): State<AppState>,
    Path((tenant, id)): Path<(String, String)>,
    caller: Caller,
) -> Result<impl IntoResponse, ApiError> {
    caller.may(Action::Read, &tenant)?;
    // A text that is no id names no connection.
    let id = id.parse().map_err(|_malformed| ApiError::NotFound)?;
    let found = state.store.connection(As::Tenant(&caller.tenant), &caller.tenant, id).await?;
    let connection = found.ok_or(ApiError::NotFound)?;
    Ok(([(header::CACHE_CONTROL, "no-store")], Json(View::from(connection))))
}

/// `POST /tenants/{tenant}/connections/{id}/check`: the vault is looked at as soon as there is a call to
/// spare; `checkedAt` says when it was.
pub(super) async fn check(
    State(state): State<AppState>,
    Path((tenant, id)): Path<(String, String)>,
    caller: Caller,
) -> Result<impl IntoResponse, ApiError> {
    caller.may(Action::Read, &tenant)?;
    let id = id.parse().map_err(|_malformed| ApiError::NotFound)?;
    let found =
        state.store.ask_check(As::Tenant(&caller.tenant), &caller.tenant, id, state.clock.now());
    let connection = found.await?.ok_or(ApiError::NotFound)?;
    let headers = [(header::CACHE_CONTROL, "no-store")];
    Ok((StatusCode::ACCEPTED, headers, Json(View::from(connection))))
}

/// The answer to a deletion.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Deleting {
    connection_id: ConnectionId,
    status: Status,
    /// Nango deletes its copy of the token. It does not tell the provider, where the token lives until
    /// it expires or the user revokes it.
    revocation: &'static str,
}

/// `DELETE /tenants/{tenant}/connections/{id}`: 202 while the vault is being emptied, then 200.
pub(super) async fn delete(
    State(state): State<AppState>,
    Path((tenant, id)): Path<(String, String)>,
    caller: Caller,
) -> Result<impl IntoResponse, ApiError> {
    caller.may(Action::Delete, &tenant)?;
    let id = id.parse().map_err(|_malformed| ApiError::NotFound)?;
    let at = state.clock.now();
    let change = Change {
        tenant: &caller.tenant,
        connection: id,
        actor: Actor::Principal(caller.principal),
        request_id: caller.request_id,
        at,
        opens: None,
        settles: None,
    };
    let role = As::Tenant(&caller.tenant);
    let decide = |connection: &Connection| connection.apply(Event::DeleteAsked, Rules::at(at));
    let changed = state.store.change(role, change, decide).await?;
    let Changed::Applied(connection) = changed else { return Err(ApiError::NotFound) };
    let is_done = connection.status == Status::Deleted;
    let status = if is_done { StatusCode::OK } else { StatusCode::ACCEPTED };
    let answer =
        Deleting { connection_id: id, status: connection.status, revocation: "unsupported" };
    Ok((status, Json(answer)))
}
