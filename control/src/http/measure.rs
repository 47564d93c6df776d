//! One layer around every request: how long it took, by route, method and class of status, which code
//! it was refused with; and its span.
//! Of the request it keeps the route's template and the request id, and no path, query, header or body.

use super::Code;
use crate::{
    domain::traceparent::Traceparent,
    metrics::{Metrics, RequestLabels},
    trace::{self, TRACEPARENT},
};
use axum::{
    extract::{MatchedPath, Request, State},
    http::{Method, StatusCode},
    middleware::Next,
    response::Response,
};
use contract::header::REQUEST_ID;
use tracing::{Span, field::Empty};

/// Runs the request, and counts it.
pub(super) async fn measure(
    State(metrics): State<Metrics>,
    request: Request,
    next: Next,
) -> Response {
    let begun = metrics.begin();
    let (route, method) = (route(&request), method(request.method()));
    let span = span(&route, method, &request);
    // A header twice is nobody's trace.
    let mut told = request.headers().get_all(TRACEPARENT).iter();
    let caller = told.next().filter(|_one| told.next().is_none());
    let caller: Option<Traceparent> =
        caller.and_then(|value| value.to_str().ok()).and_then(|value| value.parse().ok());
    let under_way = metrics.request();
    let answered = trace::within(caller, span, async {
        let response = next.run(request).await;
        end(response.status());
        response
    });
    let response = answered.await;
    drop(under_way);
    if let Some(code) = response.extensions().get::<Code>() {
        metrics.refused(code.as_str());
    }
    let status = class(response.status());
    metrics.answered(&RequestLabels { route, method, status }, &begun);
    response
}

fn span(route: &str, method: &'static str, request: &Request) -> Span {
    let id = request.headers().get(REQUEST_ID).and_then(|value| value.to_str().ok());
    tracing::info_span!(
        "request",
        otel.name = format!("{method} {route}"),
        otel.kind = "server",
        otel.status_code = Empty,
        http.route = route,
        http.request.method = method,
        http.response.status_code = Empty,
        request.id = id,
        trace.id = Empty,
    )
}

fn end(status: StatusCode) {
    let span = Span::current();
    span.record("http.response.status_code", status.as_u16());
    if status.is_server_error() {
        span.record("otel.status_code", "ERROR");
    }
}

/// The router's own template; a call that waits says nothing of how fast the others are.
fn route(request: &Request) -> String {
    let template = request.extensions().get::<MatchedPath>().map_or("none", MatchedPath::as_str);
    let query = request.uri().query().unwrap_or_default();
    let waits = request.method() == Method::GET
        && template != "none"
        && query.split('&').any(|part| part.starts_with("wait="));
    if waits { format!("{template}?wait") } else { template.to_owned() }
}

/// A method is a caller's word, too.
fn method(method: &Method) -> &'static str {
    const KNOWN: [&str; 7] = ["GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS"];
    KNOWN.into_iter().find(|known| *known == method.as_str()).unwrap_or("other")
}

const fn class(status: StatusCode) -> &'static str {
    match status.as_u16() {
        100..200 => "1xx",
        200..300 => "2xx",
        300..400 => "3xx",
        400..500 => "4xx",
        _ => "5xx",
    }
}
