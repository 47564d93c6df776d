//! What a browser is shown: fixed words, so that nothing a stranger sent can be in them.

use crate::domain::connection::Reason;
use axum::{
    http::{StatusCode, header},
    response::{Html, IntoResponse},
};

/// The state is not known, was used, or is too old.
pub(super) fn unknown() -> impl IntoResponse {
    page(
        StatusCode::BAD_REQUEST,
        "This link is not valid any more",
        "It was used already, or it is too old. Go back to the application and start again.",
    )
}

/// The provider sent the user back with an error, and that was recorded.
pub(super) fn failed(reason: Reason) -> impl IntoResponse {
    match reason {
        Reason::AccessDenied => page(
            StatusCode::OK,
            "You did not give access",
            "Nothing was connected. You can close this window, or start again in the application.",
        ),
        Reason::NotAuthorized | Reason::NoConnectionAfterCallback => page(
            StatusCode::OK,
            "The connection was not made",
            "It was not finished in time. Go back to the application and start again.",
        ),
        Reason::AccountChanged => page(
            StatusCode::OK,
            "This is another account",
            "Sign in with the account that was connected before. Go back to the application and start again.",
        ),
        Reason::ProviderError
        | Reason::TokenExchangeFailed
        | Reason::VaultRefused
        | Reason::RefreshFailing
        | Reason::RefreshFailed
        | Reason::TokenRejected
        | Reason::GoneAtVault
        | Reason::Requested => page(
            StatusCode::OK,
            "The connection failed",
            "The provider reported an error. Go back to the application and start again.",
        ),
    }
}

/// The callback could not be recorded.
pub(super) fn unavailable() -> impl IntoResponse {
    page(
        StatusCode::SERVICE_UNAVAILABLE,
        "Please try again",
        "The connection could not be finished just now. Reload this page in a few seconds.",
    )
}

fn page(status: StatusCode, title: &'static str, text: &'static str) -> impl IntoResponse {
    let html = format!(
        "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\">\
         <meta name=\"viewport\" content=\"width=device-width\"><title>{title}</title></head>\
         <body><main><h1>{title}</h1><p>{text}</p></main></body></html>\n"
    );
    let headers = [
        (header::CACHE_CONTROL, "no-store"),
        (header::REFERRER_POLICY, "no-referrer"),
        (header::CONTENT_SECURITY_POLICY, "default-src 'none'; frame-ancestors 'none'"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    ];
    (status, headers, Html(html))
}
