//! Carries out a call with an `Idempotency-Key` once, however often it is sent, and to whichever process.
//!
//! A route has this as a layer; its handler takes the [`crate::store::Claim`] from the request's extensions, and
//! commits its [`answer`] with what it changes (`Settled::Call`).

use super::{ApiError, AppState, caller::Caller};
use crate::{
    cause::chain,
    domain::idempotency::{Answer, BadKey, Fingerprint, IdempotencyKey},
    store::{Call, Claimed},
    trace,
};
use axum::{
    body::{Body, Bytes},
    extract::{FromRequest as _, FromRequestParts as _, Request, State},
    http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header, request::Parts},
    middleware::Next,
    response::{IntoResponse, Response},
};
use contract::action::Action;
use futures::FutureExt as _;
use serde::Serialize;
use std::panic::AssertUnwindSafe;

const IDEMPOTENCY_KEY: &str = "idempotency-key";

/// Tells a repeat from the first answer; nothing else does.
const REPLAYED: (HeaderName, HeaderValue) =
    (HeaderName::from_static("idempotency-replayed"), HeaderValue::from_static("true"));

/// Lets the first of all calls with one key through to a route that asks for `action`.
pub(super) async fn once(
    State((state, action)): State<(AppState, Action)>,
    request: Request,
    next: Next,
) -> Result<Response, ApiError> {
    let Some(key) = key(request.headers())? else { return Ok(next.run(request).await) };
    let (mut parts, body) = request.into_parts();
    let caller = Caller::from_request_parts(&mut parts, &()).await?;
    // Before an answer is repeated. The tenant of the path is in the fingerprint.
    caller.may(action, caller.tenant.as_str())?;
    let body = Bytes::from_request(Request::from_parts(parts.clone(), body), &()).await?;
    // Whoever hangs up is likely to call again: on a task of its own, what was begun comes to its end, and
    // the repeat has its answer instead of waiting for a lease to run out.
    let work = tokio::spawn(trace::carried(claim_and_run(state, caller, key, (parts, body), next)));
    work.await.map_err(|_cancelled| ApiError::Panicked)?
}

async fn claim_and_run(
    state: AppState,
    caller: Caller,
    key: IdempotencyKey,
    (mut parts, body): (Parts, Bytes),
    next: Next,
) -> Result<Response, ApiError> {
    let path = parts.uri.path_and_query().map_or("", |path| path.as_str());
    let call = Call {
        tenant: &caller.tenant,
        principal: &caller.principal,
        key: &key,
        fingerprint: Fingerprint::of(parts.method.as_str(), path, &body),
    };
    let claim = match state.store.claim_call(call, state.clock.now()).await? {
        Claimed::Ours(claim) => claim,
        Claimed::Repeat(answer) => return Ok(([REPLAYED], answer).into_response()),
        Claimed::InUse => return Err(ApiError::KeyInUse),
        Claimed::Reused => return Err(ApiError::KeyReused),
    };
    parts.extensions.insert(claim.clone());
    let running = next.run(Request::from_parts(parts, Body::from(body)));
    let response = AssertUnwindSafe(running).catch_unwind().await;
    let response = response.unwrap_or_else(|_panic| ApiError::Panicked.into_response());
    if !response.status().is_success()
        && let Err(error) = state.store.release_call(&claim, state.clock.now()).await
    {
        tracing::warn!(error = chain(&error), "a claim runs until its lease is over");
    }
    Ok(response)
}

fn key(headers: &HeaderMap) -> Result<Option<IdempotencyKey>, BadKey> {
    let mut values = headers.get_all(IDEMPOTENCY_KEY).iter();
    match (values.next(), values.next()) {
        (None, _) => Ok(None),
        (Some(value), None) => IdempotencyKey::read(value.as_bytes()).map(Some),
        (Some(_), Some(_)) => Err(BadKey),
    }
}

/// An answer in JSON that can be repeated byte for byte.
pub(super) fn answer(
    status: StatusCode,
    headers: impl IntoIterator<Item = (HeaderName, String)>,
    body: &impl Serialize,
) -> Result<Answer, ApiError> {
    let json = (header::CONTENT_TYPE, "application/json".to_owned());
    let headers = headers.into_iter().chain([json]);
    let body = serde_json::to_vec(body).map_err(ApiError::Unwritable)?;
    Ok(Answer {
        status: status.as_u16(),
        headers: headers.map(|(name, value)| (name.as_str().to_owned(), value)).collect(),
        body,
    })
}

impl IntoResponse for Answer {
    fn into_response(self) -> Response {
        let mut response = Response::new(Body::from(self.body));
        // Each was a status and a header when the answer was made.
        *response.status_mut() = StatusCode::from_u16(self.status).unwrap_or_default();
        for (name, value) in self.headers {
            if let (Ok(name), Ok(value)) =
                (HeaderName::try_from(name), HeaderValue::try_from(value))
            {
                response.headers_mut().insert(name, value);
            }
        }
        response
    }
}
