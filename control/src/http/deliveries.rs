//! Shows what was sent of a connection, and how each try ended.

use super::{ApiError, AppState, caller::Caller};
use crate::{
    domain::history::History,
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

/// A page of deliveries, newest first.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Page {
    deliveries: Vec<Shown>,
    /// What to ask the next page with; null on the last one.
    next_cursor: Option<String>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Shown {
    delivery_id: DeliveryId,
    event_id: EventId,
    r#type: String,
    sequence: i64,
    /// `blocked`: it waits for the one before it.
    status: String,
    /// Sent again because somebody asked.
    redelivery: bool,
    created_at: DateTime<Utc>,
    /// When it is tried next, if its destination is not paused. While it is tried: when another worker may.
    next_try_at: Option<DateTime<Utc>>,
    ended_at: Option<DateTime<Utc>>,
    /// How many tries the receiver had; those that failed by a fault of ours are not among them.
    tries: i32,
    our_faults: i32,
    /// The last five, in order.
    attempts: Vec<Attempt>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Attempt {
    r#try: i32,
    started_at: DateTime<Utc>,
    duration_ms: i64,
    outcome: String,
    fault: Option<String>,
    http_status: Option<i32>,
    detail: Option<String>,
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

/// `GET /tenants/{tenant}/connections/{id}/deliveries`
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
