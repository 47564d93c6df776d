//! Deletes a connection.

use super::{ApiError, AppState, caller::Caller};
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
    http::StatusCode,
    response::IntoResponse,
};
use contract::{action::Action, id::ConnectionId};
use serde::Serialize;

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
