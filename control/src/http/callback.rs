//! A browser comes back from a provider.

use super::{AppState, caller::RequestId, complete, document, opened, page};
use crate::{
    cause::chain,
    config::CallbackMode,
    domain::{
        callback::{self, Callback},
        returning::{Ticket, failed_address},
    },
    store::{Begun, BegunCallback, FailedCallback, StoreError},
};
use axum::{
    extract::{RawQuery, State},
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use chrono::TimeDelta;
use url::Url;

/// How long an application has to finish a callback; the provider's code lives hardly longer.
const TICKET_LIFE: TimeDelta = TimeDelta::minutes(5);

/// `GET /oauth/callback`
///
/// A known state is finished once. An error of the provider ends the attempt here.
#[utoipa::path(
    get,
    path = "/oauth/callback",
    operation_id = "callback",
    tag = document::PUBLIC,
    params(
        ("state" = Option<String>, Query, description = "The attempt's, once."),
        ("code" = Option<String>, Query, description = "The provider's; it is passed on, and never kept in the clear."),
        ("error" = Option<String>, Query, description = "Why the provider gave no code."),
    ),
    responses(
        (status = 200, description = "A page for the user.", content_type = "text/html", body = String),
        (status = 303, description = "Back to the application's `returnUrl`.", headers(("location" = String))),
        (status = 308, description = "On to Nango, with the query as it was.", headers(("location" = String))),
        (status = 400, description = "A page: the state is not known, was used, or is too old.", content_type = "text/html", body = String),
        (status = 503, description = "A page: to be loaded again.", content_type = "text/html", body = String),
    ),
)]
pub(super) async fn handler(
    State(state): State<AppState>,
    RequestId(request_id): RequestId,
    RawQuery(query): RawQuery,
) -> Response {
    let query = query.unwrap_or_default();
    let now = state.clock.now();
    let answered = match callback::read(&query) {
        Callback::Answered(unverified) => {
            match state.store.begin_callback(&unverified, now).await {
                Ok(Begun::First(callback)) => match note_scopes(&state, &callback, &query).await {
                    Ok(()) => go_on(&state, callback, &query).await,
                    Err(error) => Err(error),
                },
                Ok(Begun::Again { status, reason }) => Ok(page::stored(&status, reason.as_deref())),
                Ok(Begun::Unknown) => Ok(page::unknown().into_response()),
                Err(error) => Err(error),
            }
        }
        Callback::Failed(unverified, reason) => {
            match state.store.fail_callback(&unverified, reason, request_id, now).await {
                Ok(Some(FailedCallback { connection, return_url })) => {
                    let page = return_url.and_then(|page| Url::parse(&page).ok());
                    Ok(match page {
                        Some(page) => back_to(&failed_address(&page, connection, reason.as_str())),
                        None => page::failed(reason).into_response(),
                    })
                }
                Ok(None) => Ok(page::unknown().into_response()),
                Err(error) => Err(error),
            }
        }
        Callback::Unreadable => Ok(page::unknown().into_response()),
    };
    answered.unwrap_or_else(|error| {
        tracing::error!(error = chain(&error), "a callback could not be taken");
        page::unavailable().into_response()
    })
}

/// Keeps which scopes the callback says were granted. Who reads them asks whether this provider says so.
async fn note_scopes(
    state: &AppState,
    callback: &BegunCallback,
    query: &str,
) -> Result<(), StoreError> {
    match callback::scopes(query) {
        Some(scopes) => {
            state.store.note_callback_scopes(&callback.tenant, callback.attempt, &scopes).await
        }
        None => Ok(()),
    }
}

/// Sends the browser on to Nango with the raw query byte for byte, for providers do not all encode it the
/// same way; or finishes at once; or waits for the application, which knows who is logged in.
async fn go_on(
    state: &AppState,
    callback: BegunCallback,
    query: &str,
) -> Result<Response, StoreError> {
    let CallbackMode::Complete { sealer, .. } = state.callbacks.as_ref() else {
        return Ok(send_on(&state.nango.callback(query)));
    };
    let return_url = callback.return_url.as_deref().and_then(|page| Url::parse(page).ok());
    let Some(page) = return_url else {
        let cookie = callback.cookie.as_deref();
        let said =
            complete::finish(state, &callback.tenant, callback.attempt, query, cookie).await?;
        return Ok(page::finished(said));
    };
    let owner = opened::owner(callback.attempt);
    let Ok(sealed) = sealer.seal(query, &owner, state.mint.bytes()) else {
        return Ok(page::unavailable().into_response());
    };
    let ticket = Ticket::new(state.mint.bytes());
    let now = state.clock.now();
    let expires_at = now.checked_add_signed(TICKET_LIFE).unwrap_or(now);
    state.store.bind_callback(&callback, &sealed, &ticket, expires_at).await?;
    Ok(back_to(&ticket.address(&page, callback.connection)))
}

/// 308 is what Nango documents. It may be cached, unless that is forbidden; and the code in the query
/// must not travel on in a `Referer`.
fn send_on(location: &str) -> Response {
    redirect(StatusCode::PERMANENT_REDIRECT, location)
}

fn back_to(location: &str) -> Response {
    redirect(StatusCode::SEE_OTHER, location)
}

fn redirect(status: StatusCode, location: &str) -> Response {
    let Ok(location) = HeaderValue::from_str(location) else {
        return page::unknown().into_response();
    };
    let headers = [
        (header::LOCATION, location),
        (header::CACHE_CONTROL, HeaderValue::from_static("no-store")),
        (header::REFERRER_POLICY, HeaderValue::from_static("no-referrer")),
    ];
    (status, headers).into_response()
}
