//! A client application asks for another authorisation of a connection that it has.

use super::{
    ApiError, AppState,
    caller::Caller,
    start::{ATTEMPT_LIFE, Started},
};
use crate::{
    domain::{
        audit::Actor,
        connection::Connection,
        event::{Event, Rules},
    },
    nango::Authorize,
    store::{As, Change, Changed, NewAttempt},
};
use axum::{
    Json,
    body::Bytes,
    extract::{Path, State},
    http::header,
    response::IntoResponse,
};
use contract::{action::Action, id::AttemptId};

/// `POST /tenants/{tenant}/connections/{id}/reconnect`
///
/// An attempt that is open is superseded. What is bound at the vault is renewed and keeps its name there;
/// where nothing is bound, the connection begins anew under its own id.
pub(super) async fn handler(
    State(state): State<AppState>,
    Path((tenant, id)): Path<(String, String)>,
    caller: Caller,
    body: Bytes,
) -> Result<impl IntoResponse, ApiError> {
    caller.may(Action::Connect, &tenant)?;
    if !matches!(body.trim_ascii(), b"" | b"{}") {
        return Err(ApiError::BadRequest("send no body, or {}".to_owned()));
    }
    let id = id.parse().map_err(|_malformed| ApiError::NotFound)?;
    let role = As::Tenant(&caller.tenant);
    let known = state.store.connection(role, &caller.tenant, id).await?;
    let known = known.ok_or(ApiError::NotFound)?;
    let renews = known.renewable()?;
    let attempt = state.mint.id(AttemptId::from_parts);
    let authorization = state
        .nango
        .authorize(&Authorize {
            tenant: &caller.tenant,
            connection: id,
            attempt,
            sub: &known.sub,
            integration: &known.integration,
            scopes: &known.requested_scopes,
            renews,
        })
        .await?;
    let at = state.clock.now();
    let expires_at = at.checked_add_signed(ATTEMPT_LIFE).unwrap_or(at);
    let change = Change {
        tenant: &caller.tenant,
        connection: id,
        actor: Actor::Principal(caller.principal),
        request_id: caller.request_id,
        at,
        opens: Some(NewAttempt {
            id: attempt,
            state: &authorization.state,
            deadline_at: expires_at,
        }),
        settles: None,
    };
    let decide =
        |connection: &Connection| connection.apply(Event::Reconnected { attempt }, Rules::at(at));
    let connection = match state.store.change(role, change, decide).await? {
        Changed::Applied(connection) => connection,
        // It was deleted while Nango was asked.
        Changed::Refused(refused) => return Err(refused.into()),
        Changed::NotFound | Changed::LeaseLost => return Err(ApiError::NotFound),
    };
    let started = Started {
        connection_id: id,
        authorization_url: authorization.url,
        state: authorization.state,
        provider: connection.provider,
        tenant_id: caller.tenant,
        status: connection.status,
        expires_at,
    };
    Ok(([(header::CACHE_CONTROL, "no-store")], Json(started)))
}
