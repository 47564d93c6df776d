//! Who is calling: the only reader of edge headers, and nothing it reads is believed unproven.

use super::{ApiError, AppState};
use axum::{
    extract::{FromRequestParts, Request, State},
    http::{HeaderMap, request::Parts},
    middleware::Next,
    response::{IntoResponse, Response},
};
use contract::{
    action::Action,
    assertion::{self, BadAssertion, Target, Vouched},
    header,
    id::TenantId,
    keys::KeyId,
    principal::Principal,
};
use std::str::FromStr;

/// A principal that the edge vouched for, with a tenant and an action that its grants allow.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Caller {
    pub(super) principal: Principal,
    pub(super) tenant: TenantId,
    pub(super) request_id: Option<String>,
    action: Action,
}

impl Caller {
    /// Checks that the edge let the request pass for what the handler does. The edge and this service
    /// each have a table of routes; this holds them together.
    pub(super) fn may(&self, action: Action, tenant: &str) -> Result<(), ApiError> {
        if self.action == action && self.tenant.as_str() == tenant {
            Ok(())
        } else {
            Err(ApiError::NoGrant)
        }
    }
}

impl<S: Sync> FromRequestParts<S> for Caller {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, ApiError> {
        let vouched = parts.extensions.get::<Vouched>().cloned().ok_or(ApiError::NotVouched)?;
        let Vouched { principal, tenant, action, webhook_key: _, request_id } = vouched;
        match (principal, tenant, action) {
            (Some(principal), Some(tenant), Some(action)) => {
                Ok(Self { principal, tenant, request_id, action })
            }
            _ => Err(ApiError::NoGrant),
        }
    }
}

/// A principal with a grant, whatever it allows: the call is for no tenant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct AnyCaller;

impl<S: Sync> FromRequestParts<S> for AnyCaller {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, ApiError> {
        let vouched = parts.extensions.get::<Vouched>().ok_or(ApiError::NotVouched)?;
        match (&vouched.principal, &vouched.tenant, vouched.action) {
            (Some(_), None, None) => Ok(Self),
            _ => Err(ApiError::NoGrant),
        }
    }
}

/// Envoy's name for the request, as the edge vouched for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct RequestId(pub(super) Option<String>);

impl<S: Sync> FromRequestParts<S> for RequestId {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, ApiError> {
        let vouched = parts.extensions.get::<Vouched>().ok_or(ApiError::NotVouched)?;
        Ok(Self(vouched.request_id.clone()))
    }
}

/// Proof that the body of this request is a webhook that the edge verified.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct VerifiedWebhook {
    pub(super) key: KeyId,
    pub(super) request_id: Option<String>,
}

impl<S: Sync> FromRequestParts<S> for VerifiedWebhook {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, ApiError> {
        let vouched = parts.extensions.get::<Vouched>().ok_or(ApiError::NotVouched)?;
        let key = vouched.webhook_key.clone().ok_or(ApiError::NoGrant)?;
        Ok(Self { key, request_id: vouched.request_id.clone() })
    }
}

/// Lets a request pass only with a fresh assertion of the edge over all that it says.
pub(super) async fn require_assertion(
    State(state): State<AppState>,
    mut request: Request,
    next: Next,
) -> Response {
    let is_webhook = request.uri().path() == super::webhook::PATH;
    match verify(&state, &request) {
        Ok(vouched) => {
            request.extensions_mut().insert(vouched);
            next.run(request).await
        }
        Err(bad) => {
            tracing::warn!(error = %bad, "a request is not vouched for");
            match bad {
                // Two clocks that differ, or a key that only one side has yet: our own trouble, and a
                // 4xx would make Nango drop its webhook for good.
                BadAssertion::Stale | BadAssertion::UnknownKey => ApiError::EdgeOutOfStep,
                // The other end has a certificate of our CA, so that it is the edge, with another key under the same id.
                // An id alone does not identify a key. Where a mesh authenticates the edge, control cannot tell; there a
                // webhook would be lost by a 4xx, and anything else can be sent again.
                BadAssertion::Mismatch if state.callers.is_some() || is_webhook => {
                    tracing::error!(
                        "the edge signs with another key than EDGE_ASSERTION_KEY has under its id"
                    );
                    ApiError::EdgeOutOfStep
                }
                BadAssertion::Malformed | BadAssertion::Mismatch => ApiError::NotVouched,
            }
            .into_response()
        }
    }
}

fn verify(state: &AppState, request: &Request) -> Result<Vouched, BadAssertion> {
    let headers = request.headers();
    let assertion = one(headers, header::ASSERTION)?.ok_or(BadAssertion::Malformed)?;
    let vouched = Vouched {
        principal: parse(headers, header::PRINCIPAL)?,
        tenant: parse(headers, header::TENANT)?,
        action: parse(headers, header::ACTION)?,
        webhook_key: parse(headers, header::WEBHOOK_KEY)?,
        request_id: one(headers, header::REQUEST_ID)?.map(str::to_owned),
    };
    let path = request.uri().path_and_query().map_or("", |path| path.as_str());
    let target = Target { method: request.method().as_str(), path };
    // A clock before 1970 makes every assertion stale.
    let now_ms = u64::try_from(state.clock.now().timestamp_millis()).unwrap_or_default();
    assertion::verify(&state.assertion_keys, assertion, target, &vouched, now_ms)?;
    Ok(vouched)
}

fn parse<T: FromStr>(headers: &HeaderMap, name: &str) -> Result<Option<T>, BadAssertion> {
    one(headers, name)?
        .map(|text| text.parse().map_err(|_malformed| BadAssertion::Malformed))
        .transpose()
}

/// The value of a header that may occur once.
fn one<'a>(headers: &'a HeaderMap, name: &str) -> Result<Option<&'a str>, BadAssertion> {
    let mut values = headers.get_all(name).iter();
    let first = values.next();
    if values.next().is_some() {
        return Err(BadAssertion::Malformed);
    }
    first.map(|value| value.to_str().map_err(|_not_text| BadAssertion::Malformed)).transpose()
}
