//! Which key may do what.

use crate::{Settings, answer::Answer, answer::refused};
use axum::http::{HeaderMap, StatusCode, header::AUTHORIZATION};
use uuid::Uuid;

/// What the main key may do beyond what it should, as the only key of an old Nango account does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Excess {
    pub reads_credentials: bool,
    pub proxies: bool,
}

/// What the key of a call may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Access {
    /// Sessions, and connections without their credentials.
    Main,
    /// The proxy, and nothing else.
    Proxy,
}

impl Access {
    /// Refuses a key that has not the scope of the route.
    pub(crate) fn needs(self, wanted: Self, scope: &str) -> Result<(), Answer> {
        if self == wanted { Ok(()) } else { Err(forbidden(scope)) }
    }
}

pub(crate) fn forbidden(scope: &str) -> Answer {
    let message = format!("Insufficient scope. Required: {scope}");
    let error = serde_json::json!({"code": "forbidden", "message": message});
    refused(StatusCode::FORBIDDEN, error)
}

pub(crate) fn check(headers: &HeaderMap, settings: &Settings) -> Result<Access, Answer> {
    let Some(header) = headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok()) else {
        return Err(unauthorized(
            "missing_auth_header",
            "The request is missing the Authorization header.",
        ));
    };
    let key = header.split_once("Bearer ").map_or("", |(_, key)| key);
    let is_uuid_v4 = Uuid::try_parse(key).is_ok_and(|uuid| uuid.get_version_num() == 4);
    if key == settings.secret_key {
        Ok(Access::Main)
    } else if key == settings.profile_key {
        Ok(Access::Proxy)
    } else if is_uuid_v4 {
        Err(unauthorized(
            "unknown_account",
            "The provided authorization header does not match any account.",
        ))
    } else {
        Err(unauthorized("invalid_secret_key_format", "The provided secret key is not a UUID v4."))
    }
}

pub(crate) fn unauthorized(code: &str, why: &str) -> Answer {
    let message = format!("Authentication failed. {why}");
    refused(
        StatusCode::UNAUTHORIZED,
        serde_json::json!({"message": message, "code": code, "payload": {}}),
    )
}
