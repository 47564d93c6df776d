//! The `OpenAPI` document of everything that the edge lets through: generated from what stands beside each
//! handler, with what the edge itself may answer added.
//!
//! A handler says which codes it may refuse with (`x-codes`); their statuses, bodies and headers are put in here.

use super::{code::Code, notification};
use crate::domain::rehearsal::TestEvent;
use axum::{
    http::{HeaderName, header},
    response::IntoResponse,
};
use contract::{header::REQUEST_ID, problem::MEDIA_TYPE};
use serde_json::{Value, json};
use utoipa::{
    IntoParams, OpenApi, ToSchema,
    openapi::{
        self, HeaderBuilder, ObjectBuilder, Ref, RefOr, Response,
        header::Header,
        path::Operation,
        schema::Type,
        security::{ApiKey, ApiKeyValue, SecurityRequirement, SecurityScheme},
    },
};

/// Of the listener that asks for a client certificate.
pub(super) const CLIENTS: &str = "clients";

/// Of the listener for browsers and Nango.
pub(super) const PUBLIC: &str = "public";

/// Where a handler says which [`Code`]s it may refuse with, and the document then says it of each status.
const CODES: &str = "x-codes";

/// What the edge may answer in this service's place, to whatever listener. `control/tests/it/document.rs` holds it
/// against what the filter and Envoy say.
const OF_THE_EDGE: &[(u16, &str)] = &[
    (400, "malformed_header"),
    (400, "malformed_path"),
    (400, "malformed_request"),
    (400, "upgrade_not_supported"),
    // An upgrade of HTTP/1.1, which Envoy refuses by itself.
    (403, "gateway"),
    (429, "rate_limited"),
    (431, "head_too_large"),
    (502, "gateway"),
    (503, "edge_unavailable"),
    (503, "unavailable"),
    (504, "timeout"),
];

/// To clients only. On the public listener a slow request is 503, for Nango does not repeat after 408.
const OF_THE_CLIENTS_EDGE: &[(u16, &str)] =
    &[(403, "certificate_expired"), (403, "no_identity"), (408, "request_timeout")];

/// Where there is a tenant: one that cannot be, and one that is not granted.
const OF_A_TENANTS_ROUTE: &[(u16, &str)] = &[(403, "no_grant"), (404, "no_route")];

/// Where a signature is asked for.
const OF_A_SIGNED_ROUTE: &[(u16, &str)] = &[(401, "signature_invalid")];

/// Where there is a body.
const OF_A_BODY: &[(u16, &str)] = &[(413, "body_too_large"), (415, "unsupported_media_type")];

/// Headers of answers that stand for many operations.
const HEADERS: &[(&str, &str)] = &[
    (REQUEST_ID, "Envoy's name for the request, the same in the logs."),
    ("retry-after", "When to come back, in seconds."),
    ("x-ratelimit-limit", "How many calls of this tenant fit at once."),
    ("x-ratelimit-remaining", "How many are left."),
    ("x-ratelimit-reset", "In how many seconds there are more."),
];

/// What every route of this service may answer.
const OF_EVERY_ROUTE: &[Code] = &[Code::Internal, Code::EdgeOutOfStep];

/// A tenant's path.
#[derive(IntoParams)]
#[into_params(parameter_in = Path)]
#[expect(dead_code, reason = "a description; handlers parse the path themselves")]
pub(super) struct OfTenant {
    /// Who owns the connections. The edge checks that the caller's grants cover it.
    #[param(
        pattern = "^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$",
        min_length = 1,
        max_length = 63,
        example = "acme"
    )]
    tenant: String,
}

/// The path of one of a tenant's connections.
#[derive(IntoParams)]
#[into_params(parameter_in = Path)]
#[expect(dead_code, reason = "a description; handlers parse the path themselves")]
pub(super) struct OfConnection {
    /// Who owns the connection. The edge checks that the caller's grants cover it.
    #[param(
        pattern = "^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$",
        min_length = 1,
        max_length = 63,
        example = "acme"
    )]
    tenant: String,
    /// The `connectionId` of the start.
    #[param(pattern = "^[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$")]
    id: String,
}

/// The path of one of a tenant's deliveries.
#[derive(IntoParams)]
#[into_params(parameter_in = Path)]
#[expect(dead_code, reason = "a description; handlers parse the path themselves")]
pub(super) struct OfDelivery {
    /// Who owns the connection. The edge checks that the caller's grants cover it.
    #[param(
        pattern = "^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$",
        min_length = 1,
        max_length = 63,
        example = "acme"
    )]
    tenant: String,
    /// The `deliveryId` of one of its connections' deliveries.
    #[param(pattern = "^[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$")]
    id: String,
}

/// The path of one of a tenant's redeliveries.
#[derive(IntoParams)]
#[into_params(parameter_in = Path)]
#[expect(dead_code, reason = "a description; handlers parse the path themselves")]
pub(super) struct OfRedelivery {
    /// Who owns the connections. The edge checks that the caller's grants cover it.
    #[param(
        pattern = "^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$",
        min_length = 1,
        max_length = 63,
        example = "acme"
    )]
    tenant: String,
    /// The `jobId` of the answer that began it.
    #[param(pattern = "^[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$")]
    id: String,
}

/// A call that is done once, however often it is sent.
#[derive(IntoParams)]
#[into_params(parameter_in = Header)]
#[expect(dead_code, reason = "a description; `idempotency.rs` reads the header")]
pub(super) struct Once {
    /// The caller's own name for this call, in quotes or without. For 24 hours a repeat gets the first answer.
    #[param(
        rename = "Idempotency-Key",
        required = false,
        pattern = r"^[!#-~]([ -~]*[!-~])?$",
        min_length = 1,
        max_length = 255
    )]
    key: Option<String>,
}

/// Why a request was refused, by RFC 9457.
#[derive(ToSchema)]
#[schema(rename_all = "camelCase")]
#[expect(dead_code, reason = "a description of `contract::problem::Problem`")]
pub(super) struct Problem {
    /// Leads to what the code means: `/errors#<code>`, at the host that refused.
    #[schema(pattern = "^/errors#[a-z_]+$")]
    r#type: String,
    /// The same words for every problem of this code.
    title: String,
    /// The HTTP status, repeated.
    status: u16,
    /// What is wrong with this request, and how to mend it.
    detail: String,
    /// The stable name that a program may compare.
    #[schema(pattern = "^[a-z_]+$")]
    code: String,
    /// Names the request in the logs; the header `x-request-id` does, too.
    #[schema(nullable = false)]
    request_id: Option<String>,
}

#[derive(OpenApi)]
#[openapi(
    info(
        title = "Connections",
        description = "Starts, shows and ends OAuth connections whose tokens nobody but the vault holds.\n\n\
            Everything is called through the edge. Operations of `clients` ask for a client certificate, and for a grant of \
            their action; those of `public` are for browsers and for Nango. Whoever calls past the edge is refused with 401 \
            `not_vouched`, on every path. What has no route is 404 `no_route`, a method that a route lacks is 405 \
            `method_not_allowed` with `Allow`; HEAD is answered where GET is, but for `/oauth/callback`.\n\n\
            Each refusal is a `Problem`; `/errors` says what each code means and what to do.",
    ),
    tags(
        (name = "clients", description = "What client applications call, over mTLS."),
        (name = "public", description = "What browsers and Nango call."),
    ),
    components(schemas(Problem, TestEvent))
)]
struct Base;

/// What the document has beside operations.
pub(super) fn base() -> openapi::OpenApi {
    let mut base = Base::openapi();
    let certificate = SecurityScheme::MutualTls {
        description: Some(
            "A certificate of the clients' authority that names one workload.".to_owned(),
        ),
        deprecated: None,
        extensions: None,
    };
    let signature = SecurityScheme::ApiKey(ApiKey::Header(ApiKeyValue::with_description(
        "x-nango-hmac-sha256",
        "Lower-case hex of HMAC-SHA256 over the body, with one of the webhook signing keys.",
    )));
    let components = base.components.get_or_insert_default();
    components.add_security_scheme("clientCertificate", certificate);
    components.add_security_scheme("webhookSignature", signature);
    let headers = HEADERS.iter().map(|(name, what)| ((*name).to_owned(), RefOr::T(text(what))));
    components.headers.extend(headers);
    base
}

/// The whole document, as it is committed, served and printed.
pub fn document() -> Value {
    let mut document = super::routes(|route| route, |route| route).into_openapi();
    for (path, item) in &mut document.paths.paths {
        let operations = [&mut item.get, &mut item.put, &mut item.post, &mut item.delete];
        for operation in operations.into_iter().flatten() {
            complete(path, operation);
        }
    }
    document.webhooks = Some(notification::webhooks());
    json!(document)
}

/// `GET /openapi.json`, on the port for probes.
pub(super) async fn show() -> impl IntoResponse {
    let headers: [(HeaderName, &str); 1] = [(header::CONTENT_TYPE, "application/json")];
    (headers, document().to_string())
}

/// Adds to an operation what may be answered instead of its success.
fn complete(path: &str, operation: &mut Operation) {
    let is_for_clients = operation.tags.iter().flatten().any(|tag| tag == CLIENTS);
    let is_for_all = operation.tags.iter().flatten().any(|tag| tag == PUBLIC) && is_for_clients;
    let is_signed = operation.security.is_some();
    let has_tenant = path.contains("{tenant}");
    if is_for_clients && !is_for_all {
        let certificate = SecurityRequirement::new::<_, [&str; 0], &str>("clientCertificate", []);
        operation.security.get_or_insert_default().push(certificate);
    }
    let said = operation.extensions.as_mut().and_then(|extensions| extensions.remove(CODES));
    let said = said.as_ref().and_then(Value::as_array).into_iter().flatten();
    let own = said.filter_map(Value::as_str);
    let own = Code::ALL.iter().filter(|code| own.clone().any(|said| said == code.as_str()));
    let own = own.chain(OF_EVERY_ROUTE).map(|code| (code.status().as_u16(), code.as_str()));
    let tables = [
        (true, OF_THE_EDGE),
        (is_for_clients, OF_THE_CLIENTS_EDGE),
        (has_tenant, OF_A_TENANTS_ROUTE),
        (is_signed, OF_A_SIGNED_ROUTE),
        (operation.request_body.is_some(), OF_A_BODY),
    ];
    let edges = tables.into_iter().filter(|(applies, _)| *applies).flat_map(|(_, table)| table);
    let mut refusals: Vec<(u16, &str)> = own.chain(edges.copied()).collect();
    refusals.sort_unstable();
    refusals.dedup();
    for (status, code) in refusals {
        let responses = &mut operation.responses.responses;
        let empty = || RefOr::T(Response::new(""));
        let RefOr::T(response) = responses.entry(status.to_string()).or_insert_with(empty) else {
            continue;
        };
        refuse(response, status, code);
    }
    for response in operation.responses.responses.values_mut() {
        let RefOr::T(response) = response else { continue };
        let names = HEADERS.iter().map(|(name, _)| *name);
        let applies =
            |name: &str| name == REQUEST_ID || (has_tenant && name.starts_with("x-ratelimit"));
        for name in names.filter(|name| applies(name)) {
            response.headers.insert(name.to_owned(), header_by(name));
        }
    }
}

/// Adds one code to what a status may say.
fn refuse(response: &mut Response, status: u16, code: &str) {
    let separator = match response.description.as_str() {
        "" => "",
        text if text.ends_with('`') => ", ",
        _ => " Or refused: ",
    };
    for part in [separator, "`", code, "`"] {
        response.description.push_str(part);
    }
    let codes = response.extensions.get_or_insert_default();
    let codes = codes.entry(CODES.to_owned()).or_insert_with(|| json!([]));
    if let Some(codes) = codes.as_array_mut() {
        codes.push(json!(code));
    }
    let problem = openapi::Content::new(Some(Ref::from_schema_name("Problem")));
    response.content.insert(MEDIA_TYPE.to_owned(), RefOr::T(problem));
    let is_later = matches!(status, 429 | 503) || code == Code::IdempotencyKeyInUse.as_str();
    if is_later {
        response.headers.insert("retry-after".to_owned(), header_by("retry-after"));
    }
}

/// A header of [`HEADERS`], by its name.
fn header_by(name: &str) -> RefOr<Header> {
    RefOr::Ref(Ref::new(format!("#/components/headers/{name}")))
}

pub(super) fn text(description: &str) -> Header {
    let schema = ObjectBuilder::new().schema_type(Type::String);
    HeaderBuilder::new().schema(Some(schema)).description(Some(description)).build()
}
