//! A client application asks for another authorisation of a connection that it has.

use super::{
    ApiError, AppState,
    caller::Caller,
    opened::{self, Started},
};
use crate::{
    domain::{
        audit::Actor,
        connection::Connection,
        event::{Event, Rules},
    },
    nango::Authorize,
    store::{As, Change, Changed},
};
use axum::{
    Json,
    body::Bytes,
    extract::{Path, State},
    http::header,
    response::IntoResponse,
};
use contract::{action::Action, id::AttemptId};
use serde::Deserialize;

/// What may be said beside it.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Asked {
    #[serde(default)]
    return_url: Option<String>,
}

impl Asked {
    /// A body need not be there.
    fn read(body: &[u8]) -> Result<Self, ApiError> {
        if body.trim_ascii().is_empty() {
            return Ok(Self::default());
        }
        serde_json::from_slice(body).map_err(|error| ApiError::BadRequest(error.to_string()))
    }
}

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
    let asked = Asked::read(&body)?;
    opened::check_return(&state, asked.return_url.as_deref())?;
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
    let expires_at = opened::expires_at(at);
    let return_url = asked.return_url.as_deref();
    let change = Change {
        tenant: &caller.tenant,
        connection: id,
        actor: Actor::Principal(caller.principal),
        request_id: caller.request_id,
        at,
        opens: Some(opened::attempt(&state, attempt, &authorization, return_url, expires_at)?),
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
