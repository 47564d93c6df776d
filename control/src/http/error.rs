//! What a caller is told when something is refused or fails: the only place that knows which code says it.

use super::{CALL_BYTES_MAX, code::Code, plain};
use crate::{
    cause::chain,
    domain::{
        destination::BadDestination,
        feed::Lost,
        idempotency::BadKey,
        query::BadQuery,
        redelivery::{BadRedelivery, EVENTS_MAX},
        sealing::BadSeal,
        start::BadStart,
        transition::Refused,
    },
    nango::{NangoError, WhyBusy},
    rehearsal::NotTried,
    store::StoreError,
};
use axum::{
    extract::rejection::{BytesRejection, JsonRejection},
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use contract::{
    id::{DeliveryId, JobId},
    problem::{MEDIA_TYPE, Problem},
};
use std::{any::Any, error::Error as _};

/// Why a call has no result.
#[derive(Debug, thiserror::Error)]
pub enum ApiError {
    /// The request did not come through the edge. It is told no more.
    #[error("not vouched for")]
    NotVouched,
    /// The edge vouched with a clock or a key that is not ours.
    #[error("edge and control are out of step")]
    EdgeOutOfStep,
    /// The edge vouched for something else than this route needs.
    #[error("no grant")]
    NoGrant,
    #[error("no such route")]
    NoRoute,
    #[error("method not allowed")]
    MethodNotAllowed,
    /// It does not exist, or belongs to another tenant; nobody can tell which.
    #[error("no such connection")]
    NotFound,
    /// As with a connection.
    #[error("no such delivery")]
    NoDelivery,
    /// As with a connection, or it ended long ago.
    #[error("no such redelivery")]
    NoRedelivery,
    #[error("the delivery has not ended")]
    DeliveryNotEnded,
    /// It waits for this delivery of the same connection.
    #[error("the delivery waits for another")]
    DeliveryBlocked(Option<DeliveryId>),
    #[error("the destination of the delivery is stopped")]
    DestinationStopped,
    #[error("more events than are redelivered together")]
    RedeliveryTooLarge,
    #[error("redelivery {0} is under way")]
    RedeliveryUnderWay(JobId),
    #[error(transparent)]
    BadRedelivery(#[from] BadRedelivery),
    #[error("{0}")]
    BadRequest(String),
    #[error("{0}")]
    TooLarge(String),
    #[error("{0}")]
    NotJson(String),
    #[error("the connection is being deleted")]
    BeingDeleted,
    /// Nobody has it, another took its place, or it is too old; nobody can tell which.
    #[error("no such ticket")]
    NoTicket,
    #[error("DATA_ENCRYPTION_KEY cannot seal, or does not open what is kept")]
    Sealing(#[from] BadSeal),
    #[error(transparent)]
    BadStart(#[from] BadStart),
    #[error(transparent)]
    BadQuery(#[from] BadQuery),
    #[error(transparent)]
    BadKey(#[from] BadKey),
    #[error(transparent)]
    BadDestination(#[from] BadDestination),
    /// Nothing seals its secrets.
    #[error("no tenant can have a destination of its own: DATA_ENCRYPTION_KEY is not set")]
    NoOwnDestinations,
    #[error("the destination changed")]
    DestinationChanged,
    #[error(transparent)]
    NotTried(#[from] NotTried),
    #[error("the idempotency key was another call's")]
    KeyReused,
    #[error("the call is still carried out")]
    KeyInUse,
    #[error("too many wait")]
    TooManyWait,
    #[error("the list does not go on behind this cursor: {0}")]
    LostCursor(#[from] Lost),
    #[error(transparent)]
    Nango(#[from] NangoError),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("an answer cannot be written")]
    Unwritable(#[source] serde_json::Error),
    #[error("a handler panicked")]
    Panicked,
}

impl ApiError {
    /// The match has no last arm: a new failure does not compile until somebody decides what the caller sees.
    fn code(&self) -> Code {
        match self {
            Self::NotVouched => Code::NotVouched,
            Self::NoGrant => Code::NoGrant,
            Self::NoRoute => Code::NoRoute,
            Self::MethodNotAllowed => Code::MethodNotAllowed,
            Self::NotFound | Self::NoDelivery | Self::NoRedelivery => Code::NotFound,
            Self::DeliveryNotEnded | Self::DeliveryBlocked(_) | Self::DestinationStopped => {
                Code::DeliveryNotEnded
            }
            Self::RedeliveryTooLarge => Code::RedeliveryTooLarge,
            Self::RedeliveryUnderWay(_) => Code::RedeliveryUnderWay,
            Self::NoTicket => Code::TicketInvalid,
            Self::BeingDeleted => Code::BeingDeleted,
            Self::BadStart(BadStart::ScopeNotAllowed { .. }) => Code::ScopeNotAllowed,
            Self::LostCursor(Lost::Expired) => Code::CursorExpired,
            Self::BadQuery(BadQuery::Cursor | BadQuery::After)
            | Self::LostCursor(Lost::Unknown) => Code::InvalidCursor,
            Self::NoOwnDestinations => Code::DestinationsUnavailable,
            Self::DestinationChanged => Code::VersionConflict,
            Self::NotTried(NotTried::UnderWay) => Code::TestUnderWay,
            Self::BadRequest(_)
            | Self::BadStart(_)
            | Self::BadRedelivery(_)
            | Self::BadKey(_)
            | Self::BadDestination(_)
            | Self::BadQuery(
                BadQuery::Unknown { .. } | BadQuery::Repeated(_) | BadQuery::Value { .. },
            ) => Code::InvalidRequest,
            Self::KeyReused => Code::IdempotencyKeyReused,
            Self::KeyInUse => Code::IdempotencyKeyInUse,
            Self::TooManyWait => Code::TooManyWait,
            Self::TooLarge(_) => Code::BodyTooLarge,
            Self::NotJson(_) => Code::UnsupportedMediaType,
            Self::Nango(NangoError::Busy { why: WhyBusy::Budget, .. }) => Code::VaultBusy,
            Self::Nango(
                NangoError::Unreachable(_) | NangoError::Busy { why: WhyBusy::LeftAlone, .. },
            ) => Code::VaultUnavailable,
            Self::EdgeOutOfStep => Code::EdgeOutOfStep,
            Self::Nango(NangoError::Refused { status: 400, code }) if code != "resource_capped" => {
                Code::ProviderUnavailable
            }
            // Our key, its scopes, our plan, our address of it: nothing that the caller could mend.
            Self::Nango(NangoError::Refused { .. } | NangoError::Malformed(_)) => {
                Code::VaultMisconfigured
            }
            Self::Nango(NangoError::Busy { why: WhyBusy::BudgetUnknown, .. })
            | Self::Store(StoreError::Unavailable(_) | StoreError::Unprepared(_)) => {
                Code::Unavailable
            }
            Self::Store(StoreError::Corrupt(_) | StoreError::Refused(_))
            | Self::Sealing(_)
            | Self::Unwritable(_)
            | Self::NotTried(NotTried::Unwritable(_))
            | Self::Panicked => Code::Internal,
        }
    }

    /// What is wrong with this request, and how to mend it; nothing internal.
    #[expect(clippy::too_many_lines, reason = "a table reads best in one piece")]
    fn detail(&self) -> String {
        let fixed = match self {
            Self::BadRequest(_)
            | Self::BadStart(_)
            | Self::BadRedelivery(_)
            | Self::BadQuery(_)
            | Self::BadKey(_)
            | Self::BadDestination(_)
            | Self::TooLarge(_)
            | Self::NotJson(_) => {
                return self.to_string();
            }
            Self::RedeliveryUnderWay(job) => {
                return format!(
                    "The redelivery {job} of this tenant is under way. Ask again when it has ended: \
                     GET …/deliveries/redeliveries/{job} says how far it is."
                );
            }
            Self::DeliveryNotEnded => "The delivery changed meanwhile. Read it, and ask again.",
            Self::DeliveryBlocked(by) => {
                let by = by.map_or_else(|| "another".to_owned(), |by| by.to_string());
                return format!(
                    "The delivery waits for the delivery {by} of the same connection. Have that one sent again: this one \
                     follows when it ends."
                );
            }
            Self::DestinationStopped => {
                "The delivery's destination is stopped, because it answered 410. PUT or DELETE …/destination starts it again."
            }
            Self::RedeliveryTooLarge => {
                return format!(
                    "The time has more than {EVENTS_MAX} events. Ask for it part by part, with until."
                );
            }
            Self::NoDelivery => "This tenant has no such delivery.",
            Self::NoRedelivery => "This tenant has no such redelivery, or it ended long ago.",
            Self::NoOwnDestinations => {
                "This deployment keeps no tenant's secrets. Ask its operator to set DATA_ENCRYPTION_KEY."
            }
            Self::DestinationChanged => {
                "The destination has another version by now. Read it, and say its version."
            }
            Self::NotTried(NotTried::UnderWay) => {
                "This destination is being tried out, or many are. Try again when that is over."
            }
            Self::KeyReused => {
                "This Idempotency-Key was sent with another method, path or body. Use a new key for a new call."
            }
            Self::KeyInUse => {
                "The first call with this Idempotency-Key is still carried out. Repeat it later to have its answer."
            }
            Self::LostCursor(Lost::Expired) => {
                "Events after this cursor are no longer kept. Leave after out to begin with the oldest that is, and list the connections to see how they stand."
            }
            Self::LostCursor(Lost::Unknown) => {
                "This list does not have what the cursor has seen: it was restored from a backup. Leave after out to begin with the oldest, and list the connections to see how they stand."
            }
            Self::TooManyWait => "Too many calls wait already. Ask without wait, or try again.",
            Self::NotVouched => "Call through the edge.",
            Self::EdgeOutOfStep => {
                "The edge and this service do not agree on a key or on the time. Try again; if it persists, tell their operator."
            }
            Self::NoGrant => {
                "Ask the operator of the edge to grant your principal this action for this tenant."
            }
            Self::NoRoute | Self::MethodNotAllowed => "Check the path and method against the API.",
            Self::NoTicket => {
                "The ticket is older than five minutes, is another connection's, or its authorization was replaced. Reconnect."
            }
            Self::BeingDeleted => "Start a new connection; this one is being deleted.",
            Self::NotFound => "This tenant has no such connection.",
            Self::Nango(NangoError::Busy { why: WhyBusy::Budget, .. }) => {
                "More connections are being started than the token vault takes. Try again after as many seconds as Retry-After says."
            }
            Self::Nango(
                NangoError::Unreachable(_) | NangoError::Busy { why: WhyBusy::LeftAlone, .. },
            ) => {
                "The token vault does not answer. Try again after as many seconds as Retry-After says."
            }
            Self::Nango(NangoError::Refused { status: 400, code }) if code != "resource_capped" => {
                "The token vault refuses this provider. Ask this service's operator to configure its integration."
            }
            Self::Nango(NangoError::Refused { .. } | NangoError::Malformed(_)) => {
                "The token vault is not set up for this service. Tell this service's operator."
            }
            Self::Nango(NangoError::Busy { why: WhyBusy::BudgetUnknown, .. })
            | Self::Store(StoreError::Unavailable(_) | StoreError::Unprepared(_)) => {
                "Try again after as many seconds as Retry-After says."
            }
            Self::Store(StoreError::Corrupt(_) | StoreError::Refused(_))
            | Self::Sealing(_)
            | Self::Unwritable(_)
            | Self::NotTried(NotTried::Unwritable(_))
            | Self::Panicked => "Tell this service's operator, with the request id.",
        };
        fixed.to_owned()
    }

    /// Of a body that cannot be read. What a webhook may have is more, and was counted before.
    fn unread(status: StatusCode) -> Self {
        match status {
            StatusCode::PAYLOAD_TOO_LARGE => Self::TooLarge(plain::too_large(CALL_BYTES_MAX)),
            _ => Self::BadRequest("the body did not come to its end".to_owned()),
        }
    }

    /// When to come back after a 503, in whole seconds.
    fn retry_after(&self) -> u64 {
        let Self::Nango(NangoError::Busy { retry_after, .. }) = self else { return 3 };
        let is_more = retry_after.subsec_nanos() > 0;
        retry_after.as_secs().saturating_add(u64::from(is_more)).max(1)
    }
}

/// An error on its way out; the request log adds the request id and writes the error down.
#[derive(Clone)]
pub(super) struct Failure {
    pub(super) problem: Problem,
    /// The whole chain, for our log only.
    pub(super) chain: String,
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let code = self.code();
        let status = code.status();
        let problem = Problem::new(status.as_u16(), code.as_str(), code.title(), self.detail());
        let failure = Failure { problem, chain: chain(&self) };
        let mut response = status.into_response();
        let is_passing = matches!(self, Self::KeyInUse | Self::NotTried(NotTried::UnderWay));
        if status == StatusCode::SERVICE_UNAVAILABLE || is_passing {
            response.headers_mut().insert(header::RETRY_AFTER, self.retry_after().into());
        }
        response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(MEDIA_TYPE));
        response.extensions_mut().insert(failure);
        // For whoever counts it.
        response.extensions_mut().insert(code);
        response
    }
}

impl From<JsonRejection> for ApiError {
    fn from(rejection: JsonRejection) -> Self {
        // The reader's own words come second, behind those of a library.
        let inner = || {
            let source = rejection.source();
            source.map_or_else(|| rejection.body_text(), ToString::to_string)
        };
        match &rejection {
            JsonRejection::BytesRejection(_) => Self::unread(rejection.status()),
            JsonRejection::MissingJsonContentType(_) => Self::NotJson(
                "Send the body as JSON, with Content-Type: application/json.".to_owned(),
            ),
            JsonRejection::JsonDataError(_) | JsonRejection::JsonSyntaxError(_) | _ => {
                Self::BadRequest(plain::said(&inner()))
            }
        }
    }
}

impl From<Refused> for ApiError {
    fn from(refused: Refused) -> Self {
        match refused {
            Refused::BeingDeleted => Self::BeingDeleted,
            // Of a deleted connection nothing can be asked but what it was.
            Refused::Deleted => Self::NotFound,
        }
    }
}

impl From<BytesRejection> for ApiError {
    fn from(rejection: BytesRejection) -> Self {
        Self::unread(rejection.status())
    }
}

pub(super) async fn no_route() -> ApiError {
    ApiError::NoRoute
}

pub(super) async fn method_not_allowed() -> ApiError {
    ApiError::MethodNotAllowed
}

pub(super) fn panicked(_payload: Box<dyn Any + Send + 'static>) -> Response {
    ApiError::Panicked.into_response()
}
