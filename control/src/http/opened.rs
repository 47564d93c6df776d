//! An authorisation that was opened at the vault, as it is kept and as it is answered.

use super::{ApiError, AppState};
use crate::{
    config::CallbackMode,
    domain::{connection::Status, provider::Provider, returning::AllowedOrigins, start::BadStart},
    nango::Authorization,
    store::{As, NewAttempt},
};
use chrono::{DateTime, TimeDelta, Utc};
use contract::id::{AttemptId, ConnectionId, TenantId};
use serde::Serialize;
use utoipa::ToSchema;

/// Nango's cookie for the callback lives for an hour.
const ATTEMPT_LIFE: TimeDelta = TimeDelta::minutes(60);

/// What the client application needs to send its user off.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct Started {
    #[schema(value_type = uuid::Uuid)]
    pub(super) connection_id: ConnectionId,
    /// The provider's own URL.
    pub(super) authorization_url: String,
    /// The one in the URL.
    pub(super) state: String,
    #[schema(value_type = String)]
    pub(super) provider: Provider,
    #[schema(value_type = String)]
    pub(super) tenant_id: TenantId,
    pub(super) status: Status,
    /// Of the connection, at least: `GET …?wait=30&version=` with it waits for the next change.
    pub(super) version: i64,
    /// Until when a callback is accepted.
    pub(super) expires_at: DateTime<Utc>,
}

/// Until when a callback is accepted.
pub(super) fn expires_at(at: DateTime<Utc>) -> DateTime<Utc> {
    at.checked_add_signed(ATTEMPT_LIFE).unwrap_or(at)
}

/// Checks that the browser may go back there, in a deployment that brings it back: to an origin of the
/// tenant's own destination, or else to one that the operator allows to all.
pub(super) async fn check_return(
    state: &AppState,
    tenant: &TenantId,
    page: Option<&str>,
) -> Result<(), ApiError> {
    let Some(page) = page else { return Ok(()) };
    let CallbackMode::Complete { origins, .. } = state.callbacks.as_ref() else {
        return Err(BadStart::NoReturn.into());
    };
    if origins.page(page).is_some() {
        return Ok(());
    }
    let own = state.store.destination(As::Tenant(tenant), tenant).await?;
    let own = own.and_then(|own| own.return_origins).unwrap_or_default();
    AllowedOrigins::of(&own).page(page).map(drop).ok_or(ApiError::from(BadStart::ReturnUrl))
}

/// The attempt, with Nango's cookie sealed where it will be of use.
pub(super) fn attempt<'a>(
    state: &AppState,
    id: AttemptId,
    authorization: &'a Authorization,
    return_url: Option<&'a str>,
    deadline_at: DateTime<Utc>,
) -> Result<NewAttempt<'a>, ApiError> {
    let cookie = match (state.callbacks.as_ref(), &authorization.cookie) {
        (CallbackMode::Complete { sealer, .. }, Some(cookie)) => {
            let owner = owner(id);
            Some(sealer.seal(cookie, &owner, state.mint.bytes())?)
        }
        (CallbackMode::Complete { .. } | CallbackMode::Redirect, _) => None,
    };
    Ok(NewAttempt { id, state: &authorization.state, deadline_at, cookie, return_url })
}

/// Whose a seal is: what was sealed for one attempt is of no use to another.
pub(super) fn owner(attempt: AttemptId) -> String {
    format!("attempt/{attempt}")
}
