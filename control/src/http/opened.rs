//! An authorisation that was opened at the vault, as it is kept and as it is answered.

use super::{ApiError, AppState};
use crate::{
    config::CallbackMode,
    domain::{connection::Status, provider::Provider, start::BadStart},
    nango::Authorization,
    store::NewAttempt,
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
    /// Until when a callback is accepted.
    pub(super) expires_at: DateTime<Utc>,
}

/// Until when a callback is accepted.
pub(super) fn expires_at(at: DateTime<Utc>) -> DateTime<Utc> {
    at.checked_add_signed(ATTEMPT_LIFE).unwrap_or(at)
}

/// Checks that the browser may go back there, in a deployment that brings it back.
pub(super) fn check_return(state: &AppState, page: Option<&str>) -> Result<(), BadStart> {
    match (page, state.callbacks.as_ref()) {
        (None, _) => Ok(()),
        (Some(_), CallbackMode::Redirect) => Err(BadStart::NoReturn),
        (Some(page), CallbackMode::Complete { origins, .. }) => {
            origins.page(page).map(|_allowed| ()).ok_or(BadStart::ReturnUrl)
        }
    }
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
