//! Finishes a callback at Nango in the browser's place.

use super::{
    ApiError, AppState, Code,
    caller::Caller,
    document::{self, OfConnection},
    object::Object,
    opened,
    view::View,
};
use crate::{
    cause::chain,
    config::CallbackMode,
    domain::{connection::Reason, returning::Ticket},
    store::{As, BoundCallback, StoreError, Taken},
    trace,
};
use axum::{
    Json,
    extract::{Path, State, rejection::JsonRejection},
    http::{StatusCode, header},
    response::IntoResponse,
};
use contract::{
    action::Action,
    id::{AttemptId, TenantId},
};
use serde::Deserialize;
use std::fmt;
use utoipa::ToSchema;

/// What Nango answered; the vault is looked at in any case.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Said {
    Success,
    Failure(Reason),
    /// It did not answer, and may have finished all the same.
    Nothing,
}

/// What the browser brought back to the application.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Completion {
    /// The `ticket` of the `returnUrl`, valid for five minutes. A repeat of the call is answered like the first.
    ticket: String,
}

impl fmt::Debug for Completion {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Completion(..)")
    }
}

/// `POST /tenants/{tenant}/connections/{id}/complete`
///
/// The application has seen that whoever came back is the user who started. Only now is the provider's code
/// used: a stranger who was sent through the flow has left no credential behind.
#[utoipa::path(
    post,
    path = "/tenants/{tenant}/connections/{id}/complete",
    operation_id = "complete",
    tag = document::CLIENTS,
    params(OfConnection),
    request_body = Completion,
    responses((status = 202, description = "What Nango said will be confirmed.", body = View, headers(("cache-control" = String, description = "`no-store`.")))),
    extensions(("x-codes" = json!([
        Code::InvalidRequest, Code::NotFound, Code::TicketInvalid, Code::Unavailable,
    ]))),
)]
pub(super) async fn handler(
    State(state): State<AppState>,
    Path((tenant, id)): Path<(String, String)>,
    caller: Caller,
    body: Result<Json<Object<Completion>>, JsonRejection>,
) -> Result<impl IntoResponse, ApiError> {
    caller.may(Action::Connect, &tenant)?;
    let Json(Object(Completion { ticket })) = body?;
    let id = id.parse().map_err(|_malformed| ApiError::NotFound)?;
    let tenant = &caller.tenant;
    let known = state.store.connection(As::Tenant(tenant), tenant, id).await?;
    if known.is_none() {
        return Err(ApiError::NotFound);
    }
    let ticket = Ticket::unverified(ticket);
    match state.store.take_bound(tenant, id, &ticket, state.clock.now()).await? {
        Taken::Now(bound) => finish_bound(&state, tenant, bound).await?,
        // The answer to the first call may have been lost.
        Taken::Before => {}
        Taken::No => return Err(ApiError::NoTicket),
    }
    let now = state.store.connection(As::Tenant(tenant), tenant, id).await?;
    let now = now.ok_or(ApiError::NotFound)?;
    let headers = [(header::CACHE_CONTROL, "no-store")];
    Ok((StatusCode::ACCEPTED, headers, Json(View::from(now))))
}

async fn finish_bound(
    state: &AppState,
    tenant: &TenantId,
    bound: BoundCallback,
) -> Result<(), ApiError> {
    let CallbackMode::Complete { sealer, .. } = state.callbacks.as_ref() else {
        return Err(ApiError::NoTicket);
    };
    let query = sealer.open(&bound.query, &opened::owner(bound.attempt))?;
    finish(state, tenant, bound.attempt, &query, bound.cookie.as_deref()).await?;
    Ok(())
}

/// Finishes on a task of its own: the code is good once, and a caller who hangs up must not cut it off. A
/// task that ends without a word leaves the attempt to its look-ups.
pub(super) async fn finish(
    state: &AppState,
    tenant: &TenantId,
    attempt: AttemptId,
    query: &str,
    cookie: Option<&str>,
) -> Result<Said, StoreError> {
    let (state, tenant) = (state.clone(), tenant.clone());
    let (query, cookie) = (query.to_owned(), cookie.map(str::to_owned));
    let task = tokio::spawn(trace::carried(async move {
        ask_once(&state, &tenant, attempt, &query, cookie.as_deref()).await
    }));
    task.await.unwrap_or(Ok(Said::Nothing))
}

/// Calls Nango once, keeps what it said, and has the vault looked at: a 400 or a silence is no proof of a
/// failure, and a 200 is not yet a row.
async fn ask_once(
    state: &AppState,
    tenant: &TenantId,
    attempt: AttemptId,
    query: &str,
    cookie: Option<&str>,
) -> Result<Said, StoreError> {
    let cookie = match (state.callbacks.as_ref(), cookie) {
        (CallbackMode::Complete { sealer, .. }, Some(sealed)) => {
            sealer.open(sealed, &opened::owner(attempt)).ok()
        }
        (CallbackMode::Complete { .. } | CallbackMode::Redirect, _) => None,
    };
    let said = match state.nango.complete(query, cookie.as_deref()).await {
        Ok(None) => Said::Success,
        Ok(Some(reason)) => Said::Failure(reason),
        Err(error) => {
            let error = chain(&error);
            tracing::warn!(attempt.id = %attempt, error, "attempt `{attempt}` could not be finished at Nango");
            Said::Nothing
        }
    };
    let reason = match said {
        Said::Failure(reason) => Some(reason),
        Said::Success | Said::Nothing => None,
    };
    state.store.note_finished(tenant, attempt, reason, state.clock.now()).await?;
    Ok(said)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_completion_prints_no_ticket() {
        let shown = format!("{:?}", Object(Completion { ticket: "hush".to_owned() }));
        assert_eq!(shown, "Object(Completion(..))");
    }
}
