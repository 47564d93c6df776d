//! What a browser is shown: fixed words, so that nothing a stranger sent can be in them.

use super::complete::Said;
use crate::domain::connection::Reason;
use axum::{
    http::{StatusCode, header},
    response::{Html, IntoResponse, Response},
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

/// This service finished the callback, and Nango said this.
pub(super) fn finished(said: Said) -> Response {
    match said {
        Said::Success => connected(),
        Said::Failure(reason) => failed(reason).into_response(),
        Said::Nothing => under_way(),
    }
}

/// A page that is loaded again shows what became of the attempt.
pub(super) fn stored(status: &str, reason: Option<&str>) -> Response {
    match (status, reason) {
        ("done", _) => connected(),
        ("open", _) => under_way(),
        ("failed", Some("access_denied")) => failed(Reason::AccessDenied).into_response(),
        ("failed", Some("account_changed")) => failed(Reason::AccountChanged).into_response(),
        ("failed", _) => failed(Reason::ProviderError).into_response(),
        _ => unknown().into_response(),
    }
}

fn connected() -> Response {
    let text = "You can close this window.";
    page(StatusCode::OK, "Connected", text).into_response()
}

fn under_way() -> Response {
    let text =
        "The connection is being finished. You can close this window; the application will know.";
    page(StatusCode::OK, "Almost there", text).into_response()
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
