//! A body is read before anything is answered, wanted or not.
//!
//! The edge keeps its connections to this service, and sends the next request over one as soon as it has an answer. A
//! connection on which a body was left unread is closed after the answer, and with it goes the next request, which
//! may be anybody's: for it the edge has no answer but 503.

use super::{ApiError, WEBHOOK_BYTES_MAX};
use axum::{
    body::{Body, to_bytes},
    extract::Request,
    middleware::Next,
    response::Response,
};

/// Reads what the largest body of any route may have; the routes have their own limits.
pub(super) async fn whole(request: Request, next: Next) -> Result<Response, ApiError> {
    let (parts, body) = request.into_parts();
    let body = to_bytes(body, WEBHOOK_BYTES_MAX).await;
    let body = body.map_err(|_too_large_or_broken| {
        ApiError::TooLarge(format!(
            "the body has more than {WEBHOOK_BYTES_MAX} bytes, or did not come to its end"
        ))
    })?;
    Ok(next.run(Request::from_parts(parts, Body::from(body))).await)
}
