//! Has a connection looked at, and deletes one.

use super::{
    ApiError, AppState, Code,
    caller::Caller,
    document::{self, OfConnection},
    view::View,
};
use crate::{
    domain::{
        audit::Actor,
        connection::{Connection, Status},
        event::{Event, Rules},
    },
    store::{As, Change, Changed},
};
use axum::{
    Json,
    extract::{Path, State},
    http::{StatusCode, header},
    response::IntoResponse,
};
use contract::{action::Action, id::ConnectionId};
use serde::Serialize;
use utoipa::ToSchema;

/// `POST /tenants/{tenant}/connections/{id}/check`: the vault is looked at as soon as there is a call to
/// spare; `checkedAt` says when it was.
#[utoipa::path(
    post,
    path = "/tenants/{tenant}/connections/{id}/check",
    operation_id = "check",
    tag = document::CLIENTS,
    params(OfConnection),
    responses((status = 202, description = "It will be looked at.", body = View, headers(("cache-control" = String, description = "`no-store`.")))),
    extensions(("x-codes" = json!([Code::NotFound, Code::Unavailable]))),
)]
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
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct Deleting {
    #[schema(value_type = uuid::Uuid)]
    connection_id: ConnectionId,
    status: Status,
    /// Nango deletes its copy of the token. It does not tell the provider, where the token lives until
    /// it expires or the user revokes it.
    revocation: &'static str,
}

/// `DELETE /tenants/{tenant}/connections/{id}`: 202 while the vault is being emptied, then 200.
#[utoipa::path(
    delete,
    path = "/tenants/{tenant}/connections/{id}",
    operation_id = "delete",
    tag = document::CLIENTS,
    params(OfConnection),
    responses(
        (status = 200, description = "It is deleted.", body = Deleting),
        (status = 202, description = "It is being deleted.", body = Deleting),
    ),
    extensions(("x-codes" = json!([Code::NotFound, Code::Unavailable]))),
)]
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
