//! Shows a connection, at once or when it changes.

use super::{
    ApiError, AppState, Code,
    caller::Caller,
    document::{self, OfConnection},
    view::View,
};
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

/// For how long, and for what.
#[derive(utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "a description; `Wait::read` reads the query")]
struct Waiting {
    /// How many seconds to wait for a newer version.
    #[param(minimum = 1, maximum = 60)]
    wait: Option<u32>,
    /// The version that the caller knows; only together with `wait`.
    #[param(minimum = 0)]
    version: Option<i64>,
}

/// `GET /tenants/{tenant}/connections/{id}`, with `?wait=30&version=7` to be told of the next change.
#[utoipa::path(
    get,
    path = "/tenants/{tenant}/connections/{id}",
    operation_id = "get",
    tag = document::CLIENTS,
    params(OfConnection, Waiting),
    responses((status = 200, description = "As it is known now.", body = View, headers(("cache-control" = String, description = "`no-store`.")))),
    extensions(("x-codes" = json!([
        Code::InvalidRequest, Code::NotFound, Code::TooManyWait, Code::Unavailable,
    ]))),
)]
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
