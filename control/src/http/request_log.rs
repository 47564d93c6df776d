//! One log line a request, and the request id in each problem. No query is ever written: it holds codes.

use super::error::Failure;
use crate::mint::Mint;
use axum::{
    body::Body,
    extract::{MatchedPath, Request, State},
    middleware::Next,
    response::Response,
};
use contract::header::REQUEST_ID;

/// Runs the request, completes a failure's body, and writes the line.
pub(super) async fn line(State(mint): State<Mint>, request: Request, next: Next) -> Response {
    let clock = mint.clock();
    let started = clock.now();
    let method = request.method().clone();
    let route = request
        .extensions()
        .get::<MatchedPath>()
        .map_or_else(|| "-".to_owned(), |path| path.as_str().to_owned());
    let request_id =
        request.headers().get(REQUEST_ID).and_then(|value| value.to_str().ok()).map(str::to_owned);
    let mut response = next.run(request).await;
    let status = response.status().as_u16();
    let failure = response.extensions_mut().remove::<Failure>();
    // What came past the edge has no name that Envoy gave it, and its sender needs one all the same.
    let request_id =
        request_id.or_else(|| failure.as_ref().map(|_failure| mint.lease().to_string()));
    let duration_ms = clock.now().signed_duration_since(started).num_milliseconds();
    let line = format!("{method} {route} {status}");
    if status >= 500 {
        let error = failure.as_ref().map(|failure| failure.chain.as_str());
        tracing::error!(request.id = request_id, status, duration_ms, error, "{line}");
    } else {
        // The code only: the words of a bad request may quote what its sender wrote.
        let code = failure.as_ref().map(|failure| failure.problem.code.as_str());
        tracing::info!(request.id = request_id, status, duration_ms, code, "{line}");
    }
    if let Some(Failure { problem, .. }) = failure {
        *response.body_mut() = Body::from(problem.with_request_id(request_id).to_json());
    }
    response
}
