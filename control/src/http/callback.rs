//! A browser comes back from a provider.

use super::{AppState, page};
use crate::{
    domain::{
        audit::Actor,
        callback::{self, Callback},
        connection::Reason,
        transition::Event,
    },
    store::{As, CallbackAttempt, Change, StoreError},
};
use axum::{
    extract::{RawQuery, State},
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};

/// `GET /oauth/callback`
///
/// A known state is sent on to Nango, which finishes the authorisation, with the raw query byte for
/// byte: providers do not all encode it the same way. An error of the provider ends the attempt here.
pub(super) async fn handler(State(state): State<AppState>, RawQuery(query): RawQuery) -> Response {
    let query = query.unwrap_or_default();
    let (unverified, failure) = match callback::read(&query) {
        Callback::Answered(unverified) => (unverified, None),
        Callback::Failed(unverified, reason) => (unverified, Some(reason)),
        Callback::Unreadable => return page::unknown().into_response(),
    };
    let attempt = match state.store.begin_callback(&unverified, state.clock.now()).await {
        Ok(Some(attempt)) => attempt,
        Ok(None) => return page::unknown().into_response(),
        Err(error) => return unavailable(&error),
    };
    match failure {
        None => send_on(&state.nango.callback(&query)),
        Some(reason) => match fail(&state, attempt, reason).await {
            Ok(()) => page::failed(reason).into_response(),
            Err(error) => unavailable(&error),
        },
    }
}

async fn fail(
    state: &AppState,
    attempt: CallbackAttempt,
    reason: Reason,
) -> Result<(), StoreError> {
    let CallbackAttempt { tenant, connection, attempt } = attempt;
    let change = Change {
        tenant: &tenant,
        connection,
        actor: Actor::Browser,
        request_id: None,
        at: state.clock.now(),
        settles: None,
    };
    let event = Event::CallbackFailed { attempt, reason };
    state.store.change(As::Worker, change, |connection| connection.apply(event)).await?;
    Ok(())
}

/// 308 is what Nango documents. It may be cached, unless that is forbidden; and the code in the query
/// must not travel on in a `Referer`.
fn send_on(location: &str) -> Response {
    let Ok(location) = HeaderValue::from_str(location) else {
        return page::unknown().into_response();
    };
    let headers = [
        (header::LOCATION, location),
        (header::CACHE_CONTROL, HeaderValue::from_static("no-store")),
        (header::REFERRER_POLICY, HeaderValue::from_static("no-referrer")),
    ];
    (StatusCode::PERMANENT_REDIRECT, headers).into_response()
}

fn unavailable(error: &StoreError) -> Response {
    let error = error as &dyn std::error::Error;
    tracing::error!(error, "a callback could not be taken");
    page::unavailable().into_response()
}
