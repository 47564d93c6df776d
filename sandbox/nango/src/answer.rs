//! The shapes of Nango's answers.

use axum::{
    body::Body,
    http::{HeaderValue, Response, StatusCode, header},
};
use serde_json::{Value, json};

pub(crate) type Answer = Response<Body>;

pub(crate) fn ok(body: &Value) -> Answer {
    json_answer(StatusCode::OK, body)
}

pub(crate) fn json_answer(status: StatusCode, body: &Value) -> Answer {
    typed(status, "application/json; charset=utf-8", body.to_string())
}

/// An error in Nango's envelope.
pub(crate) fn refused(status: StatusCode, error: Value) -> Answer {
    json_answer(status, &json!({ "error": error }))
}

/// An `invalid_…` error with one complaint.
pub(crate) fn invalid(what: &str, complaint: Value) -> Answer {
    refused(StatusCode::BAD_REQUEST, json!({"code": what, "errors": [complaint]}))
}

pub(crate) fn missing(what: &str, path: &[&str], kind: &str) -> Answer {
    let message = format!("Invalid input: expected {kind}, received undefined");
    invalid(what, json!({"code": "invalid_type", "message": message, "path": path}))
}

/// What a proxy in front of Nango says, or whoever else has its address.
pub(crate) fn page_instead(status: StatusCode) -> Answer {
    typed(status, "text/html", "<html>a page of somebody's</html>".to_owned())
}

pub(crate) fn unavailable() -> Answer {
    typed(StatusCode::SERVICE_UNAVAILABLE, "text/html", "<html>503</html>".to_owned())
}

pub(crate) fn rate_limited(retry_after: u16) -> Answer {
    let mut answer = refused(
        StatusCode::TOO_MANY_REQUESTS,
        json!({"code": "too_many_request", "method": "GET", "path": "/"}),
    );
    answer.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(retry_after));
    answer
}

pub(crate) async fn health() -> Answer {
    ok(&json!({"result": "ok"}))
}

/// The page that a browser sees after a success.
pub(crate) fn success_page() -> Answer {
    page(StatusCode::OK, "Successful connection ✅", "You can close this window.", None)
}

/// The page that a browser sees after a failure.
pub(crate) fn failure_page(message: &str) -> Answer {
    let error = json!({"message": message, "errorType": "connection_validation_failed"});
    page(StatusCode::BAD_REQUEST, "Connection failed ✕", "", Some(&error))
}

fn page(status: StatusCode, heading: &str, text: &str, error: Option<&Value>) -> Answer {
    // Nango escapes these three in the embedded JSON.
    let escaped = error.map(|error| {
        error.to_string().replace('<', "\\u003c").replace('>', "\\u003e").replace('&', "\\u0026")
    });
    let script = escaped
        .map(|error| format!("<script>window.__nangoOAuthError = {error};</script>"))
        .unwrap_or_default();
    let html = format!(
        "<!doctype html><html><head><meta charset=\"utf-8\"><title>Authorization callback</title>{script}</head>\
         <body><h1>{heading}</h1><p>{text}</p></body></html>"
    );
    typed(status, "text/html; charset=utf-8", html)
}

fn typed(status: StatusCode, content_type: &'static str, body: String) -> Answer {
    let mut answer = Response::new(Body::from(body));
    *answer.status_mut() = status;
    answer.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    answer
}
