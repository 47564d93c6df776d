//! Lists a tenant's connections.

use super::{
    ApiError, AppState, Code,
    caller::Caller,
    document::{self, OfTenant},
    view::View,
};
use crate::domain::{
    connection::Status,
    listing::{Listing, Position},
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

/// A page of connections, newest first.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Page)]
struct Page {
    connections: Vec<View>,
    /// What to ask the next page with; null on the last one.
    #[schema(required)]
    next_cursor: Option<String>,
}

/// Which connections, and how many of them.
#[derive(utoipa::IntoParams)]
#[into_params(parameter_in = Query, rename_all = "camelCase")]
#[expect(dead_code, reason = "a description; `Listing::read` reads the query")]
struct Filters {
    /// The user, by the name that the start gave.
    #[param(
        pattern = r"^[^\x00-\x1f\x7f-\x9f]+$",
        min_length = 1,
        max_length = 255,
        example = "user-1"
    )]
    sub: Option<String>,
    #[param(pattern = "^[a-z0-9_-]+$", min_length = 1, max_length = 63, example = "github")]
    provider: Option<String>,
    #[param(inline)]
    status: Option<Status>,
    /// The account's id at the provider.
    #[param(pattern = r"^[^\x00-\x1f\x7f-\x9f]+$", min_length = 1, max_length = 255)]
    provider_account_id: Option<String>,
    /// 50, unless it is said.
    #[param(minimum = 1, maximum = 200)]
    limit: Option<u32>,
    /// The `nextCursor` of a list of this tenant.
    #[param(min_length = 1)]
    cursor: Option<String>,
}

/// `GET /tenants/{tenant}/connections`
#[utoipa::path(
    get,
    path = "/tenants/{tenant}/connections",
    operation_id = "list",
    tag = document::CLIENTS,
    params(OfTenant, Filters),
    responses((status = 200, description = "A page, newest first.", body = Page, headers(("cache-control" = String, description = "`no-store`.")))),
    extensions(("x-codes" = json!([Code::InvalidRequest, Code::InvalidCursor, Code::Unavailable]))),
)]
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
