//! Starts a connection.

use super::{
    ApiError, AppState, Code,
    caller::Caller,
    document::{self, OfTenant, Once},
    idempotency,
    object::Object,
    opened::{self, Started},
};
use crate::{
    domain::{audit::Actor, connection::Status, start::StartRequest},
    nango::Authorize,
    store::{Claim, NewConnection, Settled},
};
use axum::{
    Extension, Json,
    extract::{Path, State, rejection::JsonRejection},
    http::{StatusCode, header},
    response::{IntoResponse, Response},
};
use contract::{
    action::Action,
    id::{AttemptId, ConnectionId},
};

/// `POST /tenants/{tenant}/connections`
///
/// The vault is asked first: if what follows fails, it holds a session that nobody can use, and the
/// caller starts again.
#[utoipa::path(
    post,
    path = "/tenants/{tenant}/connections",
    operation_id = "start",
    tag = document::CLIENTS,
    params(OfTenant, Once),
    request_body = StartRequest,
    responses((
        status = 201,
        description = "Started; the user is to be sent to `authorizationUrl`.",
        body = Started,
        headers(
            ("cache-control" = String, description = "`no-store`."),
            ("location" = String, description = "The path of the connection."),
            ("idempotency-replayed" = String, description = "`true`, if this is an earlier answer repeated."),
        ),
    )),
    extensions(("x-codes" = json!([
        Code::InvalidRequest, Code::ScopeNotAllowed, Code::IdempotencyKeyInUse, Code::IdempotencyKeyReused,
        Code::ProviderUnavailable, Code::VaultMisconfigured, Code::VaultBusy, Code::VaultUnavailable, Code::Unavailable,
    ]))),
)]
pub(super) async fn handler(
    State(state): State<AppState>,
    Path(tenant): Path<String>,
    caller: Caller,
    claim: Option<Extension<Claim>>,
    body: Result<Json<Object<StartRequest>>, JsonRejection>,
) -> Result<Response, ApiError> {
    caller.may(Action::Connect, &tenant)?;
    let Json(Object(request)) = body?;
    let start = request.check(&state.catalogue)?;
    let return_url = start.return_url.as_deref();
    let return_url = opened::check_return(&state, &caller.tenant, return_url).await?;
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
            parameters: None,
            renews: None,
        })
        .await?;
    let at = state.clock.now();
    let expires_at = opened::expires_at(at);
    let attempt = opened::attempt(&state, attempt, &authorization, return_url, expires_at)?;
    let location = format!("/tenants/{tenant}/connections/{id}");
    let headers = [(header::LOCATION, location), (header::CACHE_CONTROL, "no-store".to_owned())];
    let started = Started {
        connection_id: id,
        authorization_url: authorization.url.clone(),
        state: authorization.state.clone(),
        provider: start.provider.clone(),
        tenant_id: caller.tenant.clone(),
        status: Status::Pending,
        version: 1,
        expires_at,
    };
    let answer = idempotency::answer(StatusCode::CREATED, headers, &started)?;
    let new = NewConnection {
        tenant: &caller.tenant,
        id,
        attempt,
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
