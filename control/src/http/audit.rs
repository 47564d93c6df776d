//! Shows a tenant its trail, the oldest line first.

use super::{
    ApiError, AppState, Code,
    caller::Caller,
    document::{self, OfTenant},
};
use crate::domain::{
    audit_chain::{AuditHash, ChainedLine},
    feed::Trail,
    numbered::{Mark, Numbered, Place},
};
use axum::{
    Json,
    extract::{Path, RawQuery, State},
    http::header,
    response::IntoResponse,
};
use contract::action::Action;
use serde::Serialize;
use utoipa::ToSchema;

/// A page of the trail.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Trail)]
struct Page {
    audit_events: Vec<Linked>,
    /// Where the next page begins, always.
    next_cursor: String,
}

/// A line with its link of the chain.
#[derive(Debug, Serialize, ToSchema)]
struct Linked {
    #[serde(flatten)]
    line: ChainedLine,
    /// SHA-256 over the hash before, as 32 bytes (zeros before the first), and this line without it: as JSON, with its
    /// members by name and no white space.
    #[schema(value_type = String, pattern = "^[0-9a-f]{64}$")]
    hash: AuditHash,
}

/// Where to go on.
#[derive(utoipa::IntoParams)]
#[into_params(parameter_in = Query, rename_all = "camelCase")]
#[expect(dead_code, reason = "a description; `Trail::read` reads the query")]
struct Asked {
    /// The `nextCursor` of this call and tenant; without it, the oldest line comes first.
    #[param(min_length = 1)]
    after: Option<String>,
    /// 50, unless it is said.
    #[param(minimum = 1, maximum = 200)]
    limit: Option<u32>,
    /// Lines of this connection only.
    connection_id: Option<uuid::Uuid>,
    /// Lines of this end user's connections only, while those are kept.
    #[param(min_length = 1, max_length = 255)]
    sub: Option<String>,
}

/// `GET /tenants/{tenant}/audit`
#[utoipa::path(
    get,
    path = "/tenants/{tenant}/audit",
    operation_id = "audit",
    tag = document::CLIENTS,
    params(OfTenant, Asked),
    responses((status = 200, description = "A page, the oldest first.", body = Page, headers(("cache-control" = String, description = "`no-store`.")))),
    extensions(("x-codes" = json!([Code::InvalidRequest, Code::InvalidCursor, Code::Unavailable]))),
)]
pub(super) async fn handler(
    State(state): State<AppState>,
    Path(tenant): Path<String>,
    caller: Caller,
    RawQuery(query): RawQuery,
) -> Result<impl IntoResponse, ApiError> {
    caller.may(Action::Audit, &tenant)?;
    let trail = Trail::read(&query.unwrap_or_default(), &caller.tenant)?;
    let lines = state.store.trail(&caller.tenant, &trail).await??;
    let next = lines.last().map_or(trail.after, |(line, hash)| Place {
        position: line.position,
        mark: Some(Mark::of(hash.as_bytes())),
    });
    let page = Page {
        audit_events: lines.into_iter().map(|(line, hash)| Linked { line, hash }).collect(),
        next_cursor: Numbered::Audit.cursor(&caller.tenant, next),
    };
    Ok(([(header::CACHE_CONTROL, "no-store")], Json(page)))
}
