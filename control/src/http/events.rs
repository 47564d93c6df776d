//! Shows a tenant's events in order, at once or when the next one comes.

use super::{
    ApiError, AppState, Code,
    caller::Caller,
    document::{self, OfTenant},
};
use crate::{
    domain::{
        feed::Pull,
        notification::{EventType, Notification},
        numbered::Numbered,
    },
    store::FeedPage,
};
use axum::{
    Json,
    extract::{Path, RawQuery, State},
    http::header,
    response::IntoResponse,
};
use chrono::TimeDelta;
use contract::{action::Action, id::TenantId};
use serde::Serialize;
use serde_json::value::RawValue;
use utoipa::ToSchema;

/// A page of events, each to the byte as it is sent.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Events)]
struct Page {
    #[schema(value_type = Vec<Notification<'static>>)]
    events: Vec<Box<RawValue>>,
    /// Where the next page begins, always: at the end of the feed it is what comes next.
    next_cursor: String,
    /// Whether there is more behind it already.
    has_more: bool,
}

/// Which events, and for how long.
#[derive(utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "a description; `Pull::read` reads the query")]
struct Asked {
    /// The `nextCursor` of this call and tenant; without it, the oldest event that is kept comes first.
    #[param(min_length = 1)]
    after: Option<String>,
    /// 50, unless it is said.
    #[param(minimum = 1, maximum = 200)]
    limit: Option<u32>,
    /// These types only, separated by commas.
    #[param(style = Form, explode = false, min_items = 1)]
    types: Option<Vec<EventType>>,
    /// How many seconds to wait for the next event, where there is none.
    #[param(minimum = 1, maximum = 60)]
    wait: Option<u32>,
}

/// `GET /tenants/{tenant}/events`, with `?after=…&wait=30` to be told of the next one.
#[utoipa::path(
    get,
    path = "/tenants/{tenant}/events",
    operation_id = "events",
    tag = document::CLIENTS,
    params(OfTenant, Asked),
    responses((status = 200, description = "What comes next, in order.", body = Page, headers(("cache-control" = String, description = "`no-store`.")))),
    extensions(("x-codes" = json!([
        Code::InvalidRequest, Code::InvalidCursor, Code::CursorExpired, Code::TooManyWait, Code::Unavailable,
    ]))),
)]
pub(super) async fn handler(
    State(state): State<AppState>,
    Path(tenant): Path<String>,
    caller: Caller,
    RawQuery(query): RawQuery,
) -> Result<impl IntoResponse, ApiError> {
    caller.may(Action::Read, &tenant)?;
    let tenant = caller.tenant;
    let pull = Pull::read(&query.unwrap_or_default(), &tenant)?;
    let page = state.store.pull(&tenant, &pull).await??;
    let page = match pull.wait {
        Some(wait) if is_at_end(&page) => next(&state, &tenant, (pull, wait), page).await?,
        Some(_) | None => page,
    };
    let FeedPage { events, next, has_more } = page;
    let page = Page { events, next_cursor: Numbered::Events.cursor(&tenant, next), has_more };
    Ok(([(header::CACHE_CONTROL, "no-store")], Json(page)))
}

fn is_at_end(page: &FeedPage) -> bool {
    page.events.is_empty() && !page.has_more
}

/// The page with the next event of the wanted types, or else what there is when the time is over.
async fn next(
    state: &AppState,
    tenant: &TenantId,
    (pull, wait): (Pull, TimeDelta),
    mut page: FeedPage,
) -> Result<FeedPage, ApiError> {
    let now = state.clock.now();
    let until = now.checked_add_signed(wait).unwrap_or(now);
    let mut waiter = state.hub.enter_feed(tenant).ok_or(ApiError::TooManyWait)?;
    let mut may_come = true;
    loop {
        // Also before the first wait: it may have come a moment ago.
        let pull = Pull { after: Some(page.next), ..pull.clone() };
        page = state.store.pull(tenant, &pull).await??;
        if !may_come || !is_at_end(&page) {
            return Ok(page);
        }
        may_come = waiter.newer_than(page.next.position, &state.clock, until).await;
    }
}
