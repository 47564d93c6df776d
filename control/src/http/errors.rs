//! What each code of a refusal means: the page to which a problem's `type` leads.

use super::document;
use axum::http::{HeaderName, header};

/// `GET /errors`, to whoever was refused: the same words as in the repository.
#[utoipa::path(
    get,
    path = "/errors",
    operation_id = "errors",
    summary = "What each code of a refusal means",
    tags = [document::CLIENTS, document::PUBLIC],
    responses((status = 200, description = "The page, in Markdown.", content_type = "text/plain", body = String)),
)]
pub(super) async fn page() -> ([(HeaderName, &'static str); 2], &'static str) {
    let headers = [
        // A browser shows it, and would save Markdown to a file.
        (header::CONTENT_TYPE, "text/plain; charset=utf-8"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    ];
    (headers, include_str!("../../../docs/errors.md"))
}
