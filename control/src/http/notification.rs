//! What this service sends to receivers, as the document tells it: the two notifications, their headers and answers.

use super::document::text;
use crate::{domain::signing::header, trace::TRACEPARENT};
use utoipa::openapi::{
    Content, HttpMethod, Paths, Ref, Required, Response,
    path::{OperationBuilder, ParameterBuilder, ParameterIn, PathItem, PathsBuilder},
    request_body::RequestBodyBuilder,
};

/// What a request to a receiver has beside its body.
const HEADERS: &[(&str, Required, &str)] = &[
    (header::ID, Required::True, "The event's `id`; a repeat has the same."),
    (
        header::TIMESTAMP,
        Required::True,
        "Seconds since 1970, of this try. Refuse what is older than five minutes.",
    ),
    (
        header::SIGNATURE,
        Required::True,
        "`v1,` and the base64 of HMAC-SHA256 over `webhook-id`.`webhook-timestamp`.body; several while secrets rotate, \
         separated by a space. One that matches is enough.",
    ),
    (TRACEPARENT, Required::False, "The trace that the change belongs to, by W3C Trace Context."),
];

/// What an answer of the receiver does.
const ANSWERS: &[(&str, &str)] = &[
    ("2XX", "The event is kept. Within 15 s."),
    ("410", "Nothing is sent any more, until the destination is put again."),
    (
        "default",
        "It is tried again for about three days; 429 and 503 may say when, with `Retry-After`.",
    ),
];

/// The requests that receivers get.
pub(super) fn webhooks() -> Paths {
    PathsBuilder::new()
        .path(
            "event",
            notification(
                "event",
                "An event of a connection: at least once, and in order per connection, but for what was asked to be sent \
                 again: ignore what is not above the `sequence` that is known. The same is in the feed.",
                "Event",
            ),
        )
        .path(
            "destinationTest",
            notification(
                "destination_tested",
                "Sent when the destination is tried out, and kept nowhere. Whatever is answered is told to whoever asked.",
                "TestEvent",
            ),
        )
        .build()
}

fn notification(id: &str, description: &str, schema: &str) -> PathItem {
    let body = Content::new(Some(Ref::from_schema_name(schema)));
    let body =
        RequestBodyBuilder::new().content("application/json", body).required(Some(Required::True));
    let sent = "Sent under this service's client certificate, where it has one; signed by Standard Webhooks.";
    let mut operation = OperationBuilder::new()
        .operation_id(Some(id))
        .description(Some(format!("{description} {sent}")))
        .request_body(Some(body.build()));
    for (name, required, what) in HEADERS {
        let parameter = ParameterBuilder::new()
            .name(*name)
            .parameter_in(ParameterIn::Header)
            .required(required.clone())
            .description(Some(*what))
            .schema(text(what).schema);
        operation = operation.parameter(parameter);
    }
    for (status, what) in ANSWERS {
        operation = operation.response(*status, Response::new(*what));
    }
    PathItem::new(HttpMethod::Post, operation)
}
