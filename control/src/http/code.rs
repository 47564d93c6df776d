//! The codes that a refusal of this service can have: each has one status, one title, and a section in
//! `docs/errors.md`.

use axum::http::StatusCode;
use serde::{Serialize, Serializer};

/// Declares the codes as one table, so that a list of them cannot miss one.
macro_rules! codes {
    ($($variant:ident: $status:ident, $name:literal, $title:literal;)*) => {
        /// The stable name that a program may compare.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
        pub enum Code {
            $($variant,)*
        }

        impl Code {
            pub const ALL: &[Self] = &[$(Self::$variant,)*];

            pub const fn status(self) -> StatusCode {
                match self {
                    $(Self::$variant => StatusCode::$status,)*
                }
            }

            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$variant => $name,)*
                }
            }

            /// The same words for every problem of this code.
            pub const fn title(self) -> &'static str {
                match self {
                    $(Self::$variant => $title,)*
                }
            }
        }
    };
}

codes! {
    InvalidRequest: BAD_REQUEST, "invalid_request", "Invalid request";
    InvalidCursor: BAD_REQUEST, "invalid_cursor", "Invalid cursor";
    NotVouched: UNAUTHORIZED, "not_vouched", "Not vouched for";
    NoGrant: FORBIDDEN, "no_grant", "No grant";
    NoRoute: NOT_FOUND, "no_route", "No such route";
    NotFound: NOT_FOUND, "not_found", "Not found";
    MethodNotAllowed: METHOD_NOT_ALLOWED, "method_not_allowed", "Method not allowed";
    BeingDeleted: CONFLICT, "being_deleted", "Being deleted";
    DeliveryNotEnded: CONFLICT, "delivery_not_ended", "Delivery not ended";
    RedeliveryUnderWay: CONFLICT, "redelivery_under_way", "Redelivery under way";
    VersionConflict: CONFLICT, "version_conflict", "Version conflict";
    TicketInvalid: CONFLICT, "ticket_invalid", "Ticket invalid";
    IdempotencyKeyInUse: CONFLICT, "idempotency_key_in_use", "Idempotency key in use";
    // Gone for good; whoever goes on must know that something is missing.
    CursorExpired: GONE, "cursor_expired", "Cursor expired";
    BodyTooLarge: PAYLOAD_TOO_LARGE, "body_too_large", "Body too large";
    UnsupportedMediaType: UNSUPPORTED_MEDIA_TYPE, "unsupported_media_type", "Unsupported media type";
    IdempotencyKeyReused: UNPROCESSABLE_ENTITY, "idempotency_key_reused", "Idempotency key reused";
    // What is asked is well said, and this deployment does not do it.
    ScopeNotAllowed: UNPROCESSABLE_ENTITY, "scope_not_allowed", "Scope not allowed";
    RedeliveryTooLarge: UNPROCESSABLE_ENTITY, "redelivery_too_large", "Redelivery too large";
    DestinationsUnavailable: UNPROCESSABLE_ENTITY, "destinations_unavailable", "Destinations unavailable";
    ProviderUnavailable: UNPROCESSABLE_ENTITY, "provider_unavailable", "Provider unavailable";
    TestUnderWay: TOO_MANY_REQUESTS, "test_under_way", "Test under way";
    Internal: INTERNAL_SERVER_ERROR, "internal", "Internal error";
    VaultMisconfigured: BAD_GATEWAY, "vault_misconfigured", "Vault misconfigured";
    EdgeOutOfStep: SERVICE_UNAVAILABLE, "edge_out_of_step", "Edge out of step";
    TooManyWait: SERVICE_UNAVAILABLE, "too_many_wait", "Too many wait";
    Unavailable: SERVICE_UNAVAILABLE, "unavailable", "Unavailable";
    VaultBusy: SERVICE_UNAVAILABLE, "vault_busy", "Vault busy";
    VaultUnavailable: SERVICE_UNAVAILABLE, "vault_unavailable", "Vault unavailable";
}

impl Serialize for Code {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}
