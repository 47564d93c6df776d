//! Has notifications sent again: one delivery's, or all of a time.

use super::{
    ApiError, AppState, Code,
    caller::Caller,
    document::{self, OfDelivery, OfTenant, Once},
    idempotency,
    object::{self, Nothing, Object},
};
use crate::{
    domain::{
        audit::Actor,
        idempotency::Answer,
        redelivery::{Redelivery, RedeliveryRequest},
        retry::Again,
    },
    store::{Asked, Asking, Claim},
};
use axum::{
    Extension, Json,
    body::Bytes,
    extract::{
        Path, State,
        rejection::{BytesRejection, JsonRejection},
    },
    http::{StatusCode, header},
    response::{IntoResponse as _, Response},
};
use chrono::{DateTime, Utc};
use contract::{
    action::Action,
    id::{DeliveryId, EventId, JobId},
};
use serde::Serialize;
use utoipa::ToSchema;

/// The delivery that sends the event.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct Redelivering {
    #[schema(value_type = uuid::Uuid)]
    delivery_id: DeliveryId,
    /// The delivery that ended; null, where it is the one that was asked for, which is attempted now.
    #[schema(required, value_type = Option<uuid::Uuid>)]
    redelivery_of: Option<DeliveryId>,
    #[schema(value_type = uuid::Uuid)]
    event_id: EventId,
}

/// The work of sending many events once more.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Redeliveries)]
struct Counted {
    /// Nothing, where only the count was asked for.
    #[schema(required, value_type = Option<uuid::Uuid>)]
    job_id: Option<JobId>,
    count: i64,
    since: DateTime<Utc>,
    until: DateTime<Utc>,
}

/// `POST /tenants/{tenant}/deliveries/{id}/redeliver`: of a delivery that ended, a new one of the same event, under the
/// same event id; of one that waits for its next attempt, that attempt now. One that waits for its predecessor is
/// refused, and so the events of a connection stay in order.
#[utoipa::path(
    post,
    path = "/tenants/{tenant}/deliveries/{id}/redeliver",
    operation_id = "redeliver",
    tag = document::CLIENTS,
    params(OfDelivery, Once),
    request_body(content = Option<Nothing>),
    responses((
        status = 202,
        description = "It is sent once more, or attempted now.",
        body = Redelivering,
        headers(
            ("cache-control" = String, description = "`no-store`."),
            ("idempotency-replayed" = String, description = "`true`, if this is an earlier answer repeated."),
        ),
    )),
    extensions(("x-codes" = json!([
        Code::DeliveryNotEnded,
        Code::InvalidRequest, Code::NotFound, Code::IdempotencyKeyInUse, Code::IdempotencyKeyReused, Code::Unavailable,
    ]))),
)]
pub(super) async fn one(
    State(state): State<AppState>,
    Path((tenant, id)): Path<(String, String)>,
    caller: Caller,
    claim: Option<Extension<Claim>>,
    body: Result<Bytes, BytesRejection>,
) -> Result<Response, ApiError> {
    caller.may(Action::Notify, &tenant)?;
    let Nothing {} = object::optional(&body?)?;
    let id = id.parse().map_err(|_malformed| ApiError::NoDelivery)?;
    let at = state.clock.now();
    let stands = state.store.delivery_stands(&caller.tenant, id, at).await?;
    let stands = stands.ok_or(ApiError::NoDelivery)?;
    let new = match stands.again() {
        Again::Redeliver => Some(state.mint.id(DeliveryId::from_parts)),
        Again::Retry | Again::UnderWay => None,
        Again::Blocked(by) => return Err(ApiError::DeliveryBlocked(by)),
        Again::Stopped => return Err(ApiError::DestinationStopped),
    };
    let told = Redelivering {
        delivery_id: new.unwrap_or(id),
        redelivery_of: new.map(|_new| id),
        event_id: stands.event,
    };
    let answer = answer(StatusCode::ACCEPTED, &told)?;
    let actor = Actor::Principal(caller.principal);
    let asking = Asking {
        tenant: &caller.tenant,
        actor: &actor,
        request_id: caller.request_id,
        at,
        settles: claim.as_deref().map(|claim| (claim, &answer)),
    };
    let asked = match new {
        Some(new) => state.store.redeliver(asking, id, new).await?,
        None => state.store.retry_delivery(asking, id).await?,
    };
    accepted(asked, answer)
}

/// `POST /tenants/{tenant}/deliveries/redeliver`: all events of a time whose first delivery ended; counted first,
/// and with `dryRun` counted only.
#[utoipa::path(
    post,
    path = "/tenants/{tenant}/deliveries/redeliver",
    operation_id = "redeliver_since",
    tag = document::CLIENTS,
    params(OfTenant, Once),
    request_body = RedeliveryRequest,
    responses(
        (
            status = 200,
            description = "Counted only, as `dryRun` asks.",
            body = Counted,
            headers(
                ("cache-control" = String, description = "`no-store`."),
                ("idempotency-replayed" = String, description = "`true`, if this is an earlier answer repeated."),
            ),
        ),
        (
            status = 202,
            description = "They will be sent.",
            body = Counted,
            headers(
                ("cache-control" = String, description = "`no-store`."),
                ("idempotency-replayed" = String, description = "`true`, if this is an earlier answer repeated."),
            ),
        ),
    ),
    extensions(("x-codes" = json!([
        Code::RedeliveryTooLarge,
        Code::InvalidRequest, Code::RedeliveryUnderWay, Code::IdempotencyKeyInUse, Code::IdempotencyKeyReused,
        Code::Unavailable,
    ]))),
)]
pub(super) async fn all(
    State(state): State<AppState>,
    Path(tenant): Path<String>,
    caller: Caller,
    claim: Option<Extension<Claim>>,
    body: Result<Json<Object<RedeliveryRequest>>, JsonRejection>,
) -> Result<Response, ApiError> {
    caller.may(Action::Notify, &tenant)?;
    let Json(Object(request)) = body?;
    let at = state.clock.now();
    let asked = Redelivery::read(&request, at)?;
    let count = state.store.count_redelivery(&caller.tenant, &asked).await?;
    let count = count.ok_or(ApiError::RedeliveryTooLarge)?;
    let (since, until) = (asked.since, asked.until);
    if request.dry_run {
        let answer = answer(StatusCode::OK, &Counted { job_id: None, count, since, until })?;
        if let Some(Extension(claim)) = claim
            && !state.store.keep_answer(&claim, &answer, at).await?
        {
            return Err(ApiError::KeyInUse);
        }
        return Ok(answer.into_response());
    }
    let job = state.mint.id(JobId::from_parts);
    let told = Counted { job_id: Some(job), count, since, until };
    let answer = answer(StatusCode::ACCEPTED, &told)?;
    let actor = Actor::Principal(caller.principal);
    let asking = Asking {
        tenant: &caller.tenant,
        actor: &actor,
        request_id: caller.request_id,
        at,
        settles: claim.as_deref().map(|claim| (claim, &answer)),
    };
    accepted(state.store.redeliver_all(asking, job, (&asked, count)).await?, answer)
}

fn answer(status: StatusCode, told: &impl Serialize) -> Result<Answer, ApiError> {
    idempotency::answer(status, [(header::CACHE_CONTROL, "no-store".to_owned())], told)
}

fn accepted(asked: Asked, answer: Answer) -> Result<Response, ApiError> {
    match asked {
        Asked::Accepted => Ok(answer.into_response()),
        Asked::NotFound => Err(ApiError::NoDelivery),
        Asked::NotEnded => Err(ApiError::DeliveryNotEnded),
        Asked::UnderWay(job) => Err(ApiError::RedeliveryUnderWay(job)),
        Asked::LeaseLost => Err(ApiError::KeyInUse),
    }
}
