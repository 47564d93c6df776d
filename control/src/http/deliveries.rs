//! Shows what was sent of a connection, and how each try ended.

use super::{
    ApiError, AppState, Code,
    caller::Caller,
    document::{self, OfConnection},
};
use crate::{
    domain::{
        history::History,
        notification::EventType,
        outcome::{Fault, Outcome},
    },
    store::{AttemptShown, DeliveryShown},
};
use axum::{
    Json,
    extract::{Path, RawQuery, State},
    http::header,
    response::IntoResponse,
};
use chrono::{DateTime, Utc};
use contract::{
    action::Action,
    id::{DeliveryId, EventId},
};
use serde::Serialize;
use utoipa::ToSchema;

/// A page of deliveries, newest first.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Deliveries)]
struct Page {
    deliveries: Vec<Shown>,
    /// What to ask the next page with; null on the last one.
    #[schema(required)]
    next_cursor: Option<String>,
}

/// Where a delivery stands. `blocked`: it waits for the one before it.
#[derive(ToSchema)]
#[schema(rename_all = "snake_case")]
#[expect(dead_code, reason = "a description; the database holds the rule")]
enum DeliveryStatus {
    Blocked,
    Ready,
    Delivered,
    Exhausted,
}

/// An event on its way to a receiver.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Delivery)]
struct Shown {
    #[schema(value_type = uuid::Uuid)]
    delivery_id: DeliveryId,
    #[schema(value_type = uuid::Uuid)]
    event_id: EventId,
    #[schema(value_type = EventType)]
    r#type: String,
    /// That of the event: dense per connection, from 1.
    sequence: i64,
    #[schema(value_type = DeliveryStatus)]
    status: String,
    /// Sent again because somebody asked.
    redelivery: bool,
    created_at: DateTime<Utc>,
    /// When it is tried next, if its destination is not paused. While it is tried: when another worker may.
    #[schema(required)]
    next_try_at: Option<DateTime<Utc>>,
    #[schema(required)]
    ended_at: Option<DateTime<Utc>>,
    /// How many tries the receiver had; those that are not held against it are not among them.
    tries: i32,
    /// How many more failed: by a fault of ours, before their time, or at an address that was put away.
    our_faults: i32,
    /// The last five, in order.
    attempts: Vec<Attempt>,
}

/// One try to notify.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct Attempt {
    r#try: i32,
    started_at: DateTime<Utc>,
    duration_ms: i64,
    #[schema(value_type = Outcome)]
    outcome: String,
    /// Null, where it was delivered.
    #[schema(required, value_type = Option<Fault>)]
    fault: Option<String>,
    #[schema(required)]
    http_status: Option<i32>,
    /// Why no answer came, in words for people.
    #[schema(required)]
    detail: Option<String>,
    /// How the answer's body begins; null, where it has none, or none came.
    #[schema(required)]
    answer: Option<String>,
}

impl From<DeliveryShown> for Shown {
    fn from(delivery: DeliveryShown) -> Self {
        let is_ready = delivery.status == "ready";
        Self {
            delivery_id: delivery.id,
            event_id: delivery.event,
            r#type: delivery.event_type,
            sequence: delivery.sequence,
            status: delivery.status,
            redelivery: delivery.is_redelivery,
            created_at: delivery.created_at,
            next_try_at: is_ready.then_some(delivery.due_at),
            ended_at: delivery.ended_at,
            tries: delivery.tries,
            our_faults: delivery.our_faults,
            attempts: delivery.attempts.into_iter().map(Attempt::from).collect(),
        }
    }
}

impl From<AttemptShown> for Attempt {
    fn from(attempt: AttemptShown) -> Self {
        Self {
            r#try: attempt.number,
            started_at: attempt.started_at,
            duration_ms: attempt.duration_ms,
            outcome: attempt.outcome,
            fault: attempt.fault,
            http_status: attempt.http_status,
            detail: attempt.detail,
            answer: attempt.answer,
        }
    }
}

/// How many, and where to go on.
#[derive(utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "a description; `History::read` reads the query")]
struct Asked {
    /// 50, unless it is said.
    #[param(minimum = 1, maximum = 200)]
    limit: Option<u32>,
    /// The `nextCursor` of a page of this connection.
    #[param(min_length = 1)]
    cursor: Option<String>,
}

/// `GET /tenants/{tenant}/connections/{id}/deliveries`
#[utoipa::path(
    get,
    path = "/tenants/{tenant}/connections/{id}/deliveries",
    operation_id = "deliveries",
    tag = document::CLIENTS,
    params(OfConnection, Asked),
    responses((status = 200, description = "A page, newest first.", body = Page, headers(("cache-control" = String, description = "`no-store`.")))),
    extensions(("x-codes" = json!([
        Code::InvalidRequest, Code::InvalidCursor, Code::NotFound, Code::Unavailable,
    ]))),
)]
pub(super) async fn handler(
    State(state): State<AppState>,
    Path((tenant, id)): Path<(String, String)>,
    caller: Caller,
    RawQuery(query): RawQuery,
) -> Result<impl IntoResponse, ApiError> {
    caller.may(Action::Notify, &tenant)?;
    let id = id.parse().map_err(|_malformed| ApiError::NotFound)?;
    let history = History::read(&query.unwrap_or_default(), &caller.tenant, id)?;
    let found = state.store.deliveries(&caller.tenant, &history).await?;
    let (deliveries, has_more) = found.ok_or(ApiError::NotFound)?;
    let last = deliveries.last().filter(|_| has_more);
    let next_cursor = last.map(|last| history.cursor(&caller.tenant, (last.created_at, last.id)));
    let page = Page { deliveries: deliveries.into_iter().map(Shown::from).collect(), next_cursor };
    Ok(([(header::CACHE_CONTROL, "no-store")], Json(page)))
}
