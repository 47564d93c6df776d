//! The connection that a request came on: its other end must be trusted at this moment, not only when it was made.

use super::{ApiError, AppState};
use axum::{
    extract::{Request, State},
    http::{HeaderValue, header},
    middleware::Next,
    response::{IntoResponse as _, Response},
};
use axum_server::tls::TlsInfo;
use std::sync::Arc;

/// Lets a request pass while the certificate that its connection began with is valid and of our CA. Otherwise the
/// connection ends: the edge has a newer certificate by now, and shows it when it makes another.
pub(super) async fn require_certificate(
    State(state): State<AppState>,
    request: Request,
    next: Next,
) -> Response {
    let Some(callers) = &state.callers else { return next.run(request).await };
    let chain = request.extensions().get::<Arc<TlsInfo>>().map(|tls| &tls.peer_certificates[..]);
    match callers.check(chain.unwrap_or_default(), state.clock.now()) {
        Ok(()) => next.run(request).await,
        Err(error) => {
            tracing::warn!(%error, "a connection of the edge is closed");
            let mut response = ApiError::EdgeOutOfStep.into_response();
            response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
            response
        }
    }
}
