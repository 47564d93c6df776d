//! Shows a connection, at once or when it changes.

use super::{ApiError, AppState, caller::Caller, view::View};
use crate::{
    domain::{connection::Connection, wait::Wait},
    store::As,
};
use axum::{
    Json,
    extract::{Path, RawQuery, State},
    http::header,
    response::IntoResponse,
};
use contract::{
    action::Action,
    id::{ConnectionId, TenantId},
};

/// `GET /tenants/{tenant}/connections/{id}`, with `?wait=30&version=7` to be told of the next change.
pub(super) async fn handler(
    State(state): State<AppState>,
    Path((tenant, id)): Path<(String, String)>,
    caller: Caller,
    RawQuery(query): RawQuery,
) -> Result<impl IntoResponse, ApiError> {
    caller.may(Action::Read, &tenant)?;
    let wait = Wait::read(&query.unwrap_or_default())?;
    // A text that is no id names no connection.
    let id = id.parse().map_err(|_malformed| ApiError::NotFound)?;
    let connection = find(&state, &caller.tenant, id).await?;
    let connection = match wait {
        Some(wait) => changed(&state, wait, connection).await?,
        None => connection,
    };
    Ok(([(header::CACHE_CONTROL, "no-store")], Json(View::from(connection))))
}

/// The connection as soon as its version is newer than the caller's, or else when the time is over.
async fn changed(
    state: &AppState,
    wait: Wait,
    connection: Connection,
) -> Result<Connection, ApiError> {
    let now = state.clock.now();
    let until = now.checked_add_signed(wait.at_most).unwrap_or(now);
    let seen = wait.version.unwrap_or(connection.version);
    if connection.version > seen {
        return Ok(connection);
    }
    let Connection { tenant, id, .. } = connection;
    let mut waiter = state.hub.enter(&tenant, id).ok_or(ApiError::TooManyWait)?;
    let connection = find(state, &tenant, id).await?;
    if connection.version > seen {
        return Ok(connection);
    }
    waiter.newer_than(seen, &state.clock, until).await;
    find(state, &tenant, id).await
}

async fn find(
    state: &AppState,
    tenant: &TenantId,
    id: ConnectionId,
) -> Result<Connection, ApiError> {
    let found = state.store.connection(As::Tenant(tenant), tenant, id).await?;
    found.ok_or(ApiError::NotFound)
}
