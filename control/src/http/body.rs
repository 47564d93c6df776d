//! A body is read before anything is answered, wanted or not.
//!
//! The edge keeps its connections to this service, and sends the next request over one as soon as it has an answer. A
//! connection on which a body was left unread is closed after the answer, and with it goes the next request, which
//! may be anybody's: for it the edge has no answer but 503.

use super::{ApiError, CALL_BYTES_MAX, WEBHOOK_BYTES_MAX, plain, webhook};
use axum::{
    body::{Body, Bytes},
    extract::Request,
    middleware::Next,
    response::Response,
};
use futures::StreamExt as _;

/// How much is read of a body that is too large: whoever sends it gets 413, and not what the edge says of a connection
/// that ended under it.
const DRAINED_BYTES_MAX: usize = 32 << 20;

/// Reads what the largest body of any route may have; the routes have their own limits.
pub(super) async fn whole(request: Request, next: Next) -> Result<Response, ApiError> {
    let (parts, body) = request.into_parts();
    let is_webhook = parts.uri.path() == webhook::PATH;
    let bytes_max = if is_webhook { WEBHOOK_BYTES_MAX } else { CALL_BYTES_MAX };
    let too_large = || ApiError::TooLarge(plain::too_large(bytes_max));
    let body = read(body).await.ok_or_else(too_large)?;
    Ok(next.run(Request::from_parts(parts, Body::from(body))).await)
}

/// Nothing, where it is too large or breaks off. What is too large is read on, and not kept.
async fn read(body: Body) -> Option<Bytes> {
    let mut kept = Vec::new();
    let mut length: usize = 0;
    let mut pieces = body.into_data_stream();
    while let Some(piece) = pieces.next().await {
        let piece = piece.ok()?;
        length = length.saturating_add(piece.len());
        if length <= WEBHOOK_BYTES_MAX {
            kept.extend_from_slice(&piece);
        } else {
            kept = Vec::new();
        }
        if length > DRAINED_BYTES_MAX {
            break;
        }
    }
    (length <= WEBHOOK_BYTES_MAX).then(|| kept.into())
}
