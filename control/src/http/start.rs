//! Starts a connection.

use super::{ApiError, AppState, caller::Caller};
use crate::{
    domain::{audit::Actor, connection::Status, provider::Provider, start::StartRequest},
    nango::Authorize,
    store::{NewAttempt, NewConnection},
};
use axum::{
    Json,
    extract::{Path, State, rejection::JsonRejection},
    http::{StatusCode, header},
    response::IntoResponse,
};
use chrono::{DateTime, TimeDelta, Utc};
use contract::{
    action::Action,
    id::{AttemptId, ConnectionId, TenantId},
};
use serde::Serialize;

/// Nango's cookie for the callback lives for an hour.
pub(super) const ATTEMPT_LIFE: TimeDelta = TimeDelta::minutes(60);

/// What the client application needs to send its user off.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Started {
    pub(super) connection_id: ConnectionId,
    pub(super) authorization_url: String,
    pub(super) state: String,
    pub(super) provider: Provider,
    pub(super) tenant_id: TenantId,
    pub(super) status: Status,
    pub(super) expires_at: DateTime<Utc>,
}

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
    let expires_at = at.checked_add_signed(ATTEMPT_LIFE).unwrap_or(at);
    state
        .store
        .start(NewConnection {
            tenant: &caller.tenant,
            id,
            attempt: NewAttempt {
                id: attempt,
                state: &authorization.state,
                deadline_at: expires_at,
            },
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
