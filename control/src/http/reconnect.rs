//! A client application asks for another authorisation of a connection that it has.

use super::{
    ApiError, AppState, Code,
    caller::Caller,
    document::{self, OfConnection, Once},
    idempotency, object,
    opened::{self, Started},
};
use crate::{
    domain::{
        audit::Actor,
        connection::{Connection, Status},
        event::{Event, Rules},
        provider::Catalogue,
        start::{BadStart, Scope, check_allowed, check_scopes},
    },
    nango::Authorize,
    store::{As, Change, Changed, Claim, Settled},
};
use axum::{
    Extension,
    body::Bytes,
    extract::{Path, State, rejection::BytesRejection},
    http::{StatusCode, header},
    response::{IntoResponse, Response},
};
use contract::{action::Action, id::AttemptId};
use serde::Deserialize;
use std::collections::BTreeMap;
use utoipa::ToSchema;

/// What may be said beside it.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schema(as = Reconnect, example = json!({}))]
struct Asked {
    /// Where the browser goes back to, in a deployment that brings it back; of an allowed origin.
    #[schema(max_length = 2048)]
    #[serde(default)]
    return_url: Option<String>,
    /// What the user is asked to grant; without it, what was requested before. They are the connection's once the
    /// user allows.
    #[schema(max_items = 100, value_type = Option<Vec<Scope>>)]
    #[serde(default)]
    scopes: Option<Vec<String>>,
    /// Whether the provider is to show its consent screen though nothing new is requested; only of a provider that
    /// can be made to.
    #[serde(default)]
    force_consent: bool,
}

impl Asked {
    /// Checks what is requested; the parameters that force the consent screen, if that is asked for.
    fn check<'a>(
        &self,
        catalogue: &'a Catalogue,
        known: &Connection,
    ) -> Result<Option<&'a BTreeMap<String, String>>, BadStart> {
        match &self.scopes {
            Some(scopes) => check_scopes(catalogue, &known.provider, scopes)?,
            None => check_allowed(catalogue, &known.provider, &known.requested_scopes)?,
        }
        if !self.force_consent {
            return Ok(None);
        }
        let forced = catalogue.consent(&known.provider);
        forced.map(Some).ok_or_else(|| BadStart::NoConsent { provider: known.provider.clone() })
    }
}

/// `POST /tenants/{tenant}/connections/{id}/reconnect`
///
/// An attempt that is open is superseded. What is bound at the vault is renewed and keeps its name there;
/// where nothing is bound, the connection begins anew under its own id.
#[utoipa::path(
    post,
    path = "/tenants/{tenant}/connections/{id}/reconnect",
    operation_id = "reconnect",
    tag = document::CLIENTS,
    params(OfConnection, Once),
    request_body(content = Option<Asked>),
    responses((
        status = 200,
        description = "Opened; the user is to be sent to `authorizationUrl`.",
        body = Started,
        headers(
            ("cache-control" = String, description = "`no-store`."),
            ("idempotency-replayed" = String, description = "`true`, if this is an earlier answer repeated."),
        ),
    )),
    extensions(("x-codes" = json!([
        Code::InvalidRequest, Code::NotFound, Code::BeingDeleted, Code::ScopeNotAllowed, Code::IdempotencyKeyInUse,
        Code::IdempotencyKeyReused, Code::ProviderUnavailable, Code::VaultMisconfigured, Code::VaultBusy, Code::VaultUnavailable, Code::Unavailable,
    ]))),
)]
pub(super) async fn handler(
    State(state): State<AppState>,
    Path((tenant, id)): Path<(String, String)>,
    caller: Caller,
    claim: Option<Extension<Claim>>,
    body: Result<Bytes, BytesRejection>,
) -> Result<Response, ApiError> {
    caller.may(Action::Connect, &tenant)?;
    let asked = object::optional::<Asked>(&body?)?;
    let return_url = asked.return_url.as_deref();
    let return_url = opened::check_return(&state, &caller.tenant, return_url).await?;
    let id = id.parse().map_err(|_malformed| ApiError::NotFound)?;
    let role = As::Tenant(&caller.tenant);
    let known = state.store.connection(role, &caller.tenant, id).await?;
    let known = known.ok_or(ApiError::NotFound)?;
    let renews = known.renewable()?;
    let parameters = asked.check(&state.catalogue, &known)?;
    let scopes = asked.scopes.as_deref().unwrap_or(&known.requested_scopes);
    let attempt = state.mint.id(AttemptId::from_parts);
    let authorization = state
        .nango
        .authorize(&Authorize {
            tenant: &caller.tenant,
            connection: id,
            attempt,
            sub: &known.sub,
            integration: &known.integration,
            scopes,
            parameters,
            renews,
        })
        .await?;
    let at = state.clock.now();
    let expires_at = opened::expires_at(at);
    // What works, or worked, stays as it is until the user decides.
    let stays = matches!(known.status, Status::Active | Status::NeedsReauth);
    let started = Started {
        connection_id: id,
        authorization_url: authorization.url.clone(),
        state: authorization.state.clone(),
        provider: known.provider.clone(),
        tenant_id: caller.tenant.clone(),
        status: if stays { known.status } else { Status::Pending },
        version: known.version.saturating_add(1),
        expires_at,
    };
    let headers = [(header::CACHE_CONTROL, "no-store".to_owned())];
    let answer = idempotency::answer(StatusCode::OK, headers, &started)?;
    let change = Change {
        tenant: &caller.tenant,
        connection: id,
        actor: Actor::Principal(caller.principal),
        request_id: caller.request_id,
        at,
        opens: Some(opened::attempt(&state, attempt, &authorization, return_url, expires_at)?),
        settles: claim.as_deref().map(|claim| Settled::Call { claim, answer: &answer }),
    };
    let event = Event::Reconnected { attempt, scopes: asked.scopes.clone() };
    let decide = |connection: &Connection| connection.apply(event, Rules::at(at));
    match state.store.change(role, change, decide).await? {
        Changed::Applied(_) => Ok(answer.into_response()),
        // It was deleted while Nango was asked.
        Changed::Refused(refused) => Err(refused.into()),
        Changed::NotFound => Err(ApiError::NotFound),
        Changed::LeaseLost => Err(ApiError::KeyInUse),
    }
}
