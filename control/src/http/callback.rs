//! A browser comes back from a provider.

use super::{AppState, caller::RequestId, page};
use crate::{
    cause::chain,
    domain::callback::{self, Callback},
    store::StoreError,
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
pub(super) async fn handler(
    State(state): State<AppState>,
    RequestId(request_id): RequestId,
    RawQuery(query): RawQuery,
) -> Response {
    let query = query.unwrap_or_default();
    let now = state.clock.now();
    match callback::read(&query) {
        Callback::Answered(unverified) => {
            match state.store.begin_callback(&unverified, now).await {
                Ok(true) => send_on(&state.nango.callback(&query)),
                Ok(false) => page::unknown().into_response(),
                Err(error) => unavailable(&error),
            }
        }
        Callback::Failed(unverified, reason) => {
            match state.store.fail_callback(&unverified, reason, request_id, now).await {
                Ok(true) => page::failed(reason).into_response(),
                Ok(false) => page::unknown().into_response(),
                Err(error) => unavailable(&error),
            }
        }
        Callback::Unreadable => page::unknown().into_response(),
    }
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
    tracing::error!(error = chain(error), "a callback could not be taken");
    page::unavailable().into_response()
}
