//! Starts a connection.

use super::{
    ApiError, AppState,
    caller::Caller,
    opened::{self, Started},
};
use crate::{
    domain::{audit::Actor, connection::Status, start::StartRequest},
    nango::Authorize,
    store::NewConnection,
};
use axum::{
    Json,
    extract::{Path, State, rejection::JsonRejection},
    http::{StatusCode, header},
    response::IntoResponse,
};
use contract::{
    action::Action,
    id::{AttemptId, ConnectionId},
};

/// `POST /tenants/{tenant}/connections`
///
/// The vault is asked first: if what follows fails, it holds a session that nobody can use, and the
/// caller starts again.
pub(super) async fn handler(
    State(state): State<AppState>,
    Path(tenant): Path<String>,
    caller: Caller,
    body: Result<Json<StartRequest>, JsonRejection>,
) -> Result<impl IntoResponse, ApiError> {
    caller.may(Action::Connect, &tenant)?;
    let Json(request) = body?;
    let start = request.check(&state.catalogue)?;
    opened::check_return(&state, start.return_url.as_deref())?;
    let id = state.mint.id(ConnectionId::from_parts);
    let attempt = state.mint.id(AttemptId::from_parts);
    let authorization = state
        .nango
        .authorize(&Authorize {
            tenant: &caller.tenant,
            connection: id,
            attempt,
            sub: &start.sub,
            integration: &start.integration,
            scopes: &start.scopes,
            renews: None,
        })
        .await?;
    let at = state.clock.now();
    let expires_at = opened::expires_at(at);
    let return_url = start.return_url.as_deref();
    let attempt = opened::attempt(&state, attempt, &authorization, return_url, expires_at)?;
    state
        .store
        .start(NewConnection {
            tenant: &caller.tenant,
            id,
            attempt,
            start: &start,
            at,
            actor: Actor::Principal(caller.principal),
            request_id: caller.request_id,
        })
        .await?;
    let location = format!("/tenants/{tenant}/connections/{id}");
    let started = Started {
        connection_id: id,
        authorization_url: authorization.url,
        state: authorization.state,
        provider: start.provider,
        tenant_id: caller.tenant,
        status: Status::Pending,
        expires_at,
    };
    let headers = [(header::LOCATION, location), (header::CACHE_CONTROL, "no-store".to_owned())];
    Ok((StatusCode::CREATED, headers, Json(started)))
}
