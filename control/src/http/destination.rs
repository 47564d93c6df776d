//! Where a tenant is told: shown, set, removed, tried out.

use super::{
    ApiError, AppState, Code,
    caller::Caller,
    document::{self, OfTenant},
    object::{self, Nothing, Object},
};
use crate::{
    domain::{
        audit::Actor,
        destination::{Destination, DestinationRequest, Secrets, owner},
        destination_health::{DestinationHealth, Standing},
        notification::EventType,
        rehearsal::Report,
    },
    store::{As, DestinationTested, PutDestination, Removal},
};
use axum::{
    Json,
    body::Bytes,
    extract::{
        Path, State,
        rejection::{BytesRejection, JsonRejection},
    },
    http::{StatusCode, header},
    response::IntoResponse,
};
use chrono::{DateTime, Utc};
use contract::action::Action;
use serde::Serialize;
use std::fmt;
use utoipa::ToSchema;

/// How a destination fares.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = DestinationHealth)]
struct HealthView {
    #[schema(value_type = Standing)]
    status: &'static str,
    /// How the last try ended, where it is not `active`; `gone` after a 410.
    #[schema(required)]
    reason: Option<String>,
    /// Null, where it was never tried.
    #[schema(required)]
    since: Option<DateTime<Utc>>,
    /// How many tries failed in a row.
    failures: u32,
    #[schema(required)]
    last_success_at: Option<DateTime<Utc>>,
    #[schema(required)]
    last_failure_at: Option<DateTime<Utc>>,
}

impl From<Option<DestinationHealth>> for HealthView {
    fn from(health: Option<DestinationHealth>) -> Self {
        let Some(health) = health else {
            return Self {
                status: Standing::Active.as_str(),
                reason: None,
                since: None,
                failures: 0,
                last_success_at: None,
                last_failure_at: None,
            };
        };
        Self {
            status: health.standing.as_str(),
            reason: health.reason,
            since: Some(health.since),
            failures: health.failures,
            last_success_at: health.last_success_at,
            last_failure_at: health.last_failure_at,
        }
    }
}

/// A destination as its tenant sees it.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Destination)]
struct View {
    url: String,
    /// Whether it is the operator's, of every tenant that has none of its own.
    is_default: bool,
    /// 0, where it is the operator's.
    version: i64,
    /// Null: all of them.
    #[schema(required, value_type = Option<Vec<EventType>>)]
    event_types: Option<Vec<String>>,
    #[schema(required)]
    return_origins: Option<Vec<String>>,
    #[schema(required)]
    ca: Option<String>,
    #[schema(required)]
    server_name: Option<String>,
    #[schema(required)]
    updated_at: Option<DateTime<Utc>>,
    health: HealthView,
    /// Once, when this service made them.
    #[schema(nullable = false)]
    #[serde(skip_serializing_if = "Option::is_none")]
    secrets: Option<Vec<String>>,
}

/// It may hold secrets.
impl fmt::Debug for View {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("View").field("version", &self.version).finish_non_exhaustive()
    }
}

impl View {
    fn own(destination: Destination, health: HealthView, secrets: Option<Secrets>) -> Self {
        Self {
            url: destination.url.into(),
            is_default: false,
            version: destination.version,
            event_types: destination.event_types,
            return_origins: destination.return_origins,
            ca: destination.ca,
            server_name: destination.server_name,
            updated_at: Some(destination.updated_at),
            health,
            secrets: secrets.map(|secrets| secrets.expose().to_vec()),
        }
    }

    fn operators(state: &AppState, health: HealthView) -> Self {
        Self {
            url: state.rehearsal.default_destination().to_string(),
            is_default: true,
            version: 0,
            event_types: None,
            return_origins: None,
            ca: None,
            server_name: None,
            updated_at: None,
            health,
            secrets: None,
        }
    }
}

/// `GET /tenants/{tenant}/destination`
#[utoipa::path(
    get,
    path = "/tenants/{tenant}/destination",
    operation_id = "destination_get",
    tag = document::CLIENTS,
    params(OfTenant),
    responses((status = 200, description = "Its own, or else the operator's.", body = View, headers(("cache-control" = String, description = "`no-store`.")))),
    extensions(("x-codes" = json!([Code::Unavailable]))),
)]
pub(super) async fn get(
    State(state): State<AppState>,
    Path(tenant): Path<String>,
    caller: Caller,
) -> Result<impl IntoResponse, ApiError> {
    caller.may(Action::Notify, &tenant)?;
    let own = state.store.destination(As::Tenant(&caller.tenant), &caller.tenant).await?;
    let health = state.store.destination_health(&caller.tenant).await?.into();
    let view = match own {
        Some(own) => View::own(own, health, None),
        None => View::operators(&state, health),
    };
    Ok(([(header::CACHE_CONTROL, "no-store")], Json(view)))
}

/// `PUT /tenants/{tenant}/destination`
///
/// What is left out is reset, but for the secrets: those that are there stay, and where there are none, one
/// is made and shown this once.
#[utoipa::path(
    put,
    path = "/tenants/{tenant}/destination",
    operation_id = "destination_put",
    tag = document::CLIENTS,
    params(OfTenant),
    request_body = DestinationRequest,
    responses((status = 200, description = "From now on it is told there.", body = View, headers(("cache-control" = String, description = "`no-store`.")))),
    extensions(("x-codes" = json!([
        Code::InvalidRequest, Code::DestinationsUnavailable, Code::VersionConflict, Code::Unavailable,
    ]))),
)]
pub(super) async fn put(
    State(state): State<AppState>,
    Path(tenant): Path<String>,
    caller: Caller,
    body: Result<Json<Object<DestinationRequest>>, JsonRejection>,
) -> Result<impl IntoResponse, ApiError> {
    caller.may(Action::Notify, &tenant)?;
    let Json(Object(request)) = body?;
    let new = request.check(&state.egress)?;
    let sealer = state.sealer.as_ref().ok_or(ApiError::NoOwnDestinations)?;
    let known = state.store.destination(As::Tenant(&caller.tenant), &caller.tenant).await?;
    // Who replaces none replaces no secrets either, even if one is removed only while he asks.
    let has_none = known.is_none() || new.version == Some(0);
    let made = (new.secrets.is_none() && has_none).then(|| Secrets::generate(state.mint.bytes()));
    let sealed = new.secrets.as_ref().or(made.as_ref()).map(|secrets| {
        sealer.seal(&secrets.expose().join("\n"), &owner(&caller.tenant), state.mint.bytes())
    });
    let secrets = sealed.transpose()?;
    // What nobody can decrypt must not stay: its tenant would be sent nothing, and not know.
    if let (None, Some(known)) = (&secrets, &known) {
        sealer
            .open(&known.secrets, &owner(&caller.tenant))
            .map_err(|_lost| unreadable_secrets())?;
    }
    // Secrets that stay are those that were there a moment ago, or nothing is written.
    let stays = known.filter(|_| secrets.is_none()).map(|known| known.version);
    let put = PutDestination {
        tenant: &caller.tenant,
        new: &new,
        key: sealer.checks().next().filter(|_key| secrets.is_some()),
        secrets,
        // Of two who make the first secret at once, only one may be told that his signs.
        replaces: new.version.or(stays).or(made.as_ref().map(|_made| 0)),
        actor: Actor::Principal(caller.principal),
        request_id: caller.request_id,
        at: state.clock.now(),
    };
    let own = state.store.put_destination(put).await?.ok_or(ApiError::DestinationChanged)?;
    let health = state.store.destination_health(&caller.tenant).await?.into();
    Ok(([(header::CACHE_CONTROL, "no-store")], Json(View::own(own, health, made))))
}

fn unreadable_secrets() -> ApiError {
    ApiError::BadRequest(
        "`secrets` is missing, and those that are kept cannot be decrypted any more. Send `secrets` with this request, or \
         delete the destination first to have one made."
            .to_owned(),
    )
}

/// `DELETE /tenants/{tenant}/destination`: from now on the tenant is told where the operator says.
#[utoipa::path(
    delete,
    path = "/tenants/{tenant}/destination",
    operation_id = "destination_delete",
    tag = document::CLIENTS,
    params(OfTenant),
    responses((status = 204, description = "It has none of its own.")),
    extensions(("x-codes" = json!([Code::Unavailable]))),
)]
pub(super) async fn delete(
    State(state): State<AppState>,
    Path(tenant): Path<String>,
    caller: Caller,
) -> Result<StatusCode, ApiError> {
    caller.may(Action::Notify, &tenant)?;
    let removal = Removal {
        tenant: &caller.tenant,
        actor: Actor::Principal(caller.principal),
        request_id: caller.request_id,
        at: state.clock.now(),
    };
    let _was_there = state.store.remove_destination(removal).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// `POST /tenants/{tenant}/destination/test`: 200 with what happened, whatever the receiver made of it.
#[utoipa::path(
    post,
    path = "/tenants/{tenant}/destination/test",
    operation_id = "destination_test",
    tag = document::CLIENTS,
    params(OfTenant),
    request_body(content = Option<Nothing>),
    responses((status = 200, description = "What happened, whatever the receiver made of it.", body = Report)),
    extensions(("x-codes" = json!([
        Code::InvalidRequest, Code::TestUnderWay, Code::Unavailable,
    ]))),
)]
pub(super) async fn test(
    State(state): State<AppState>,
    Path(tenant): Path<String>,
    caller: Caller,
    body: Result<Bytes, BytesRejection>,
) -> Result<Json<Report>, ApiError> {
    caller.may(Action::Notify, &tenant)?;
    let Nothing {} = object::optional(&body?)?;
    let own = state.store.destination(As::Tenant(&caller.tenant), &caller.tenant).await?;
    let place = state.rehearsal.enter(&caller.tenant)?;
    let url = own.as_ref().map_or_else(|| state.rehearsal.default_destination(), |own| &own.url);
    let tested = DestinationTested {
        tenant: &caller.tenant,
        url,
        actor: Actor::Principal(caller.principal),
        request_id: caller.request_id,
        at: state.clock.now(),
    };
    // Before it is sent: nothing goes to a receiver that the trail does not know of.
    state.store.note_test(tested).await?;
    Ok(Json(state.rehearsal.try_out(place, own.as_ref()).await?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_destination_prints_no_secret() {
        let view = View {
            url: "https://app.example/".to_owned(),
            is_default: false,
            version: 7,
            event_types: None,
            return_origins: None,
            ca: None,
            server_name: None,
            updated_at: None,
            health: None.into(),
            secrets: Some(vec!["whsec_hush".to_owned()]),
        };
        assert_eq!(format!("{view:?}"), "View { version: 7, .. }");
    }
}
