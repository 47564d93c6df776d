//! Shows how far a redelivery of all events of a time is.

use super::{
    ApiError, AppState, Code,
    caller::Caller,
    document::{self, OfRedelivery},
};
use crate::{domain::redelivery::Stage, store::RedeliveryShown};
use axum::{
    Json,
    extract::{Path, State},
    http::header,
    response::IntoResponse,
};
use chrono::{DateTime, Utc};
use contract::{action::Action, id::JobId};
use serde::Serialize;
use utoipa::ToSchema;

/// How far it is.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = RedeliveryUnderWay)]
struct Shown {
    #[schema(value_type = uuid::Uuid)]
    job_id: JobId,
    status: Stage,
    /// How many events there were when it was asked for.
    count: i64,
    /// How many deliveries were made of them so far; `GET …/connections/{id}/deliveries` has each.
    made: i64,
    since: DateTime<Utc>,
    until: DateTime<Utc>,
    created_at: DateTime<Utc>,
    #[schema(required)]
    done_at: Option<DateTime<Utc>>,
    /// The one that took its place, while the destination took nothing.
    #[schema(required, value_type = Option<uuid::Uuid>)]
    replaced_by: Option<JobId>,
}

impl From<RedeliveryShown> for Shown {
    fn from(job: RedeliveryShown) -> Self {
        Self {
            job_id: job.id,
            status: Stage::of(job.done_at.is_some(), job.replaced_by.is_some()),
            count: job.total,
            made: job.made,
            since: job.since,
            until: job.until,
            created_at: job.created_at,
            done_at: job.done_at,
            replaced_by: job.replaced_by,
        }
    }
}

/// `GET /tenants/{tenant}/deliveries/redeliveries/{id}`
#[utoipa::path(
    get,
    path = "/tenants/{tenant}/deliveries/redeliveries/{id}",
    operation_id = "redelivery",
    tag = document::CLIENTS,
    params(OfRedelivery),
    responses((
        status = 200,
        description = "How far it is.",
        body = Shown,
        headers(("cache-control" = String, description = "`no-store`.")),
    )),
    extensions(("x-codes" = json!([Code::NotFound, Code::Unavailable]))),
)]
pub(super) async fn handler(
    State(state): State<AppState>,
    Path((tenant, id)): Path<(String, String)>,
    caller: Caller,
) -> Result<impl IntoResponse, ApiError> {
    caller.may(Action::Notify, &tenant)?;
    let id = id.parse().map_err(|_malformed| ApiError::NoRedelivery)?;
    let found = state.store.redelivery(&caller.tenant, id).await?;
    let shown = Shown::from(found.ok_or(ApiError::NoRedelivery)?);
    Ok(([(header::CACHE_CONTROL, "no-store")], Json(shown)))
}
