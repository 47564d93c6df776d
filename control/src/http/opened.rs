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
use std::fmt;
use url::Url;
use utoipa::ToSchema;

/// Nango's cookie for the callback lives for an hour.
const ATTEMPT_LIFE: TimeDelta = TimeDelta::minutes(60);

/// What the client application needs to send its user off.
#[derive(Serialize, ToSchema)]
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

/// It holds a state.
impl fmt::Debug for Started {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = formatter.debug_struct("Started");
        shown.field("connection_id", &self.connection_id).finish_non_exhaustive()
    }
}

/// Until when a callback is accepted.
pub(super) fn expires_at(at: DateTime<Utc>) -> DateTime<Utc> {
    at.checked_add_signed(ATTEMPT_LIFE).unwrap_or(at)
}

/// Checks that the browser may go back there, in a deployment that brings it back: to an origin of the
/// tenant's own destination, or else to one that the operator allows to all. The page is as browsers read its address, and
/// not as it was written: a parser passes over characters that PostgreSQL does not keep.
pub(super) async fn check_return(
    state: &AppState,
    tenant: &TenantId,
    page: Option<&str>,
) -> Result<Option<String>, ApiError> {
    let Some(page) = page else { return Ok(None) };
    let CallbackMode::Complete { origins, .. } = state.callbacks.as_ref() else {
        return Err(BadStart::NoReturn.into());
    };
    if let Some(page) = origins.page(page) {
        return Ok(Some(page.into()));
    }
    let own = state.store.destination(As::Tenant(tenant), tenant).await?;
    let own = own.and_then(|own| own.return_origins).unwrap_or_default();
    let page = AllowedOrigins::of(&own).page(page).map(Url::into);
    page.map(Some).ok_or(ApiError::from(BadStart::ReturnUrl))
}

/// The attempt, with Nango's cookie sealed where it will be of use.
pub(super) fn attempt<'a>(
    state: &AppState,
    id: AttemptId,
    authorization: &'a Authorization,
    return_url: Option<String>,
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::idempotency::Answer;
    use contract::id::AttemptId;

    /// Whoever logs one of these by accident logs no state, no cookie and no answer that holds them.
    #[test]
    fn what_was_opened_prints_nothing_secret() {
        let hush = || "hush".to_owned();
        let authorization = Authorization { url: hush(), state: hush(), cookie: Some(hush()) };
        assert_eq!(format!("{authorization:?}"), "Authorization(..)");
        let id = AttemptId::from_parts(1, &[0; 10]);
        let deadline_at = DateTime::UNIX_EPOCH;
        let (cookie, return_url) = (Some(hush()), Some(hush()));
        let attempt = NewAttempt { id, state: "hush", deadline_at, cookie, return_url };
        assert_eq!(format!("{attempt:?}"), format!("NewAttempt {{ id: {id:?}, .. }}"));
        let connection_id = ConnectionId::from_parts(1, &[1; 10]);
        let started = Started {
            connection_id,
            authorization_url: hush(),
            state: hush(),
            provider: "github".parse().unwrap(),
            tenant_id: "acme".parse().unwrap(),
            status: Status::Pending,
            version: 1,
            expires_at: deadline_at,
        };
        assert!(!format!("{started:?}").contains("hush"));
        let headers = vec![("location".to_owned(), hush())];
        let answer = Answer { status: 201, headers, body: hush().into_bytes() };
        assert_eq!(format!("{answer:?}"), "Answer { status: 201, .. }");
    }
}
