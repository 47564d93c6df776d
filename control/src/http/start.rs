//! Starts a connection.

use super::{ApiError, AppState, caller::Caller, idempotency};
use crate::{
    domain::{audit::Actor, connection::Status, provider::Provider, start::StartRequest},
    store::{Claim, NewAttempt, NewConnection, Settled},
};
use axum::{
    Extension, Json,
    extract::{Path, State, rejection::JsonRejection},
    http::{StatusCode, header},
    response::{IntoResponse, Response},
};
use chrono::{DateTime, TimeDelta, Utc};
use contract::{
    action::Action,
    id::{AttemptId, ConnectionId, TenantId},
};
use serde::Serialize;

/// Nango's cookie for the callback lives for an hour.
const ATTEMPT_LIFE: TimeDelta = TimeDelta::minutes(60);

/// What the client application needs to send its user off.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Started {
    connection_id: ConnectionId,
    authorization_url: String,
    state: String,
    provider: Provider,
    tenant_id: TenantId,
    status: Status,
    expires_at: DateTime<Utc>,
}

/// `POST /tenants/{tenant}/connections`
///
/// The vault is asked first: if what follows fails, it holds a session that nobody can use, and the
/// caller starts again.
pub(super) async fn handler(
    State(state): State<AppState>,
    Path(tenant): Path<String>,
    caller: Caller,
    claim: Option<Extension<Claim>>,
    body: Result<Json<StartRequest>, JsonRejection>,
) -> Result<Response, ApiError> {
    caller.may(Action::Connect, &tenant)?;
    let Json(request) = body?;
    let start = request.check(&state.catalogue)?;
    let id = state.mint.id(ConnectionId::from_parts);
    let attempt = state.mint.id(AttemptId::from_parts);
    let authorization = state.nango.authorize(&start, &caller.tenant, id, attempt).await?;
    let at = state.clock.now();
    let expires_at = at.checked_add_signed(ATTEMPT_LIFE).unwrap_or(at);
    let location = format!("/tenants/{tenant}/connections/{id}");
    let headers = [(header::LOCATION, location), (header::CACHE_CONTROL, "no-store".to_owned())];
    let started = Started {
        connection_id: id,
        authorization_url: authorization.url,
        state: authorization.state.clone(),
        provider: start.provider.clone(),
        tenant_id: caller.tenant.clone(),
        status: Status::Pending,
        expires_at,
    };
    let answer = idempotency::answer(StatusCode::CREATED, headers, &started)?;
    let new = NewConnection {
        tenant: &caller.tenant,
        id,
        attempt: NewAttempt { id: attempt, state: &authorization.state, deadline_at: expires_at },
        start: &start,
        at,
        actor: Actor::Principal(caller.principal),
        request_id: caller.request_id,
        settles: claim.as_deref().map(|claim| Settled::Call { claim, answer: &answer }),
    };
    if !state.store.start(new).await? {
        return Err(ApiError::KeyInUse);
    }
    Ok(answer.into_response())
}
