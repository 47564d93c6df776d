//! Shows a tenant its trail, the oldest line first.

use super::{ApiError, AppState, caller::Caller};
use crate::domain::{
    audit_chain::{AuditHash, ChainedLine},
    feed::Trail,
    numbered::Numbered,
};
use axum::{
    Json,
    extract::{Path, RawQuery, State},
    http::header,
    response::IntoResponse,
};
use contract::action::Action;
use serde::Serialize;

/// A page of the trail.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Page {
    audit_events: Vec<Linked>,
    /// Where the next page begins, always.
    next_cursor: String,
}

/// A line with its link of the chain.
#[derive(Debug, Serialize)]
struct Linked {
    #[serde(flatten)]
    line: ChainedLine,
    hash: AuditHash,
}

/// `GET /tenants/{tenant}/audit`
pub(super) async fn handler(
    State(state): State<AppState>,
    Path(tenant): Path<String>,
    caller: Caller,
    RawQuery(query): RawQuery,
) -> Result<impl IntoResponse, ApiError> {
    caller.may(Action::Audit, &tenant)?;
    let trail = Trail::read(&query.unwrap_or_default(), &caller.tenant)?;
    let lines = state.store.trail(&caller.tenant, trail).await?;
    let next = lines.last().map_or(trail.after, |(line, _)| line.position);
    let page = Page {
        audit_events: lines.into_iter().map(|(line, hash)| Linked { line, hash }).collect(),
        next_cursor: Numbered::Audit.cursor(&caller.tenant, next),
    };
    Ok(([(header::CACHE_CONTROL, "no-store")], Json(page)))
}
