//! Lists a tenant's connections.

use super::{ApiError, AppState, caller::Caller, view::View};
use crate::domain::listing::{Listing, Position};
use axum::{
    Json,
    extract::{Path, RawQuery, State},
    http::header,
    response::IntoResponse,
};
use contract::action::Action;
use serde::Serialize;

/// A page of connections, newest first.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Page {
    connections: Vec<View>,
    /// What to ask the next page with; null on the last one.
    next_cursor: Option<String>,
}

/// `GET /tenants/{tenant}/connections`
pub(super) async fn handler(
    State(state): State<AppState>,
    Path(tenant): Path<String>,
    caller: Caller,
    RawQuery(query): RawQuery,
) -> Result<impl IntoResponse, ApiError> {
    caller.may(Action::Read, &tenant)?;
    let listing = Listing::read(&query.unwrap_or_default(), &caller.tenant)?;
    let (connections, next) = state.store.list(&caller.tenant, &listing).await?;
    let page = Page {
        connections: connections.into_iter().map(View::from).collect(),
        next_cursor: next.map(|position| Position::cursor(position, &caller.tenant)),
    };
    Ok(([(header::CACHE_CONTROL, "no-store")], Json(page)))
}
