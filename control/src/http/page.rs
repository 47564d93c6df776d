//! What a browser is shown: fixed words, so that nothing a stranger sent can be in them.

use super::complete::Said;
use crate::domain::{callback::Setup, connection::Reason};
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

/// The authorization failed, for a reason of ours.
pub(super) fn failed_as(reason: &str) -> Response {
    let (title, text) = if reason == Reason::AccessDenied.as_str() {
        (
            "You did not give access",
            "Nothing was connected. You can close this window, or start again in the application.",
        )
    } else if reason == Reason::AccountChanged.as_str() {
        (
            "This is another account",
            "Sign in with the account that was connected before. Go back to the application and start again.",
        )
    } else if [Reason::NotAuthorized, Reason::NoConnectionAfterCallback]
        .iter()
        .any(|late| late.as_str() == reason)
    {
        (
            "The connection was not made",
            "It was not finished in time. Go back to the application and start again.",
        )
    } else {
        (
            "The connection failed",
            "The provider reported an error. Go back to the application and start again.",
        )
    };
    page(StatusCode::OK, title, text).into_response()
}

/// The user said no, and opened the same link again.
pub(super) fn link_used() -> Response {
    let text = "An answer was given with it before, and that one counts. Go back to the application and start again.";
    page(StatusCode::OK, "This link was used already", text).into_response()
}

/// The application waits for the browser that came back first.
pub(super) fn other_browser() -> Response {
    let text = "Go on in the window in which you gave access. If it is closed, go back to the application and start again.";
    page(StatusCode::OK, "This link was opened already", text).into_response()
}

/// RFC 9207: the answer is refused, and changes nothing.
pub(super) fn wrong_issuer() -> Response {
    let text = "It came from another service than the one that you were sent to, and was not used. Go back to the application and start again.";
    page(StatusCode::BAD_REQUEST, "This answer is not the provider's", text).into_response()
}

/// A GitHub App was installed, or asked for, and not from an application of ours.
pub(super) fn installation(setup: Setup) -> Response {
    let (title, text) = match setup {
        Setup::Installed => (
            "The app is installed",
            "Nothing was connected by that alone. Go back to the application and connect there.",
        ),
        Setup::Requested => (
            "An owner has to approve",
            "Your request was sent to the owners of the organization. When one has approved it, go back to the application and connect there.",
        ),
    };
    page(StatusCode::OK, title, text).into_response()
}

/// The installation that the user asked for has to be approved.
pub(super) fn awaiting_approval() -> Response {
    let text = "Your request was sent to the owners of the organization. When one has approved it, the application will know; you can also start again there.";
    page(StatusCode::OK, "An owner has to approve", text).into_response()
}

/// The edge refuses a longer query with the same words.
pub(super) fn too_long(status: StatusCode) -> Response {
    let text = "The provider sent more than 16 KiB (16,384 bytes). Go back to the application and start again; if it happens again, tell its operator.";
    page(status, "The provider's answer is too long", text).into_response()
}

/// This service finished the callback, and Nango said this.
pub(super) fn finished(said: Said) -> Response {
    match said {
        Said::Success => connected(),
        Said::Failure(reason) => failed_as(reason.as_str()),
        Said::Nothing => under_way(),
    }
}

pub(super) fn connected() -> Response {
    let text = "You can close this window.";
    page(StatusCode::OK, "Connected", text).into_response()
}

pub(super) fn under_way() -> Response {
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
