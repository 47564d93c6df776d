//! What the edge may call, and what probes may call: every route on one page.

mod audit;
mod body;
mod callback;
mod caller;
mod code;
mod complete;
mod connection;
mod connections;
mod deliveries;
mod destination;
mod document;
mod error;
mod errors;
mod events;
mod get;
mod health;
mod idempotency;
mod list;
mod measure;
mod metrics;
mod notification;
mod object;
mod opened;
mod page;
mod plain;
mod providers;
mod reconnect;
mod redeliver;
mod redelivery;
mod request_log;
mod start;
mod view;
mod webhook;

use crate::{
    clock::Clock,
    config::CallbackMode,
    domain::{egress::Egress, provider::Catalogue, sealing::Sealer},
    hub::Hub,
    metrics::Metrics,
    mint::Mint,
    nango::NangoClient,
    rehearsal::Rehearsal,
    store::Store,
    tls::Callers,
};
use axum::{
    Router,
    extract::DefaultBodyLimit,
    middleware,
    routing::{MethodRouter, get},
};
use contract::{action::Action, keys::KeyRing};
use std::{convert::Infallible, sync::Arc};
use tower_http::catch_panic::CatchPanicLayer;
use utoipa_axum::{
    router::{OpenApiRouter, UtoipaMethodRouterExt as _},
    routes,
};

pub use code::Code;
pub use document::document;
pub use error::ApiError;
pub use health::Probed;

/// The largest body of a call by a client application.
const CALL_BYTES_MAX: usize = 64 << 10;

/// The largest webhook. The edge's policy is stricter, for its route holds no more than this.
const WEBHOOK_BYTES_MAX: usize = 2 << 20;

/// What handlers work with.
#[derive(Debug, Clone)]
pub struct AppState {
    pub store: Store,
    pub nango: Arc<NangoClient>,
    pub catalogue: Arc<Catalogue>,
    pub callbacks: Arc<CallbackMode>,
    pub assertion_keys: Arc<KeyRing>,
    pub clock: Clock,
    pub mint: Mint,
    pub hub: Hub,
    /// Seals tenants' secrets, where a key is set.
    pub sealer: Option<Sealer>,
    /// Where tenants' own destinations may be.
    pub egress: Arc<Egress>,
    /// Judges who is on the other end of a connection; nothing, where this hop is plain.
    pub callers: Option<Arc<Callers>>,
    pub rehearsal: Rehearsal,
    pub metrics: Metrics,
}

/// Everything on the port that only the edge may call. Without a valid assertion, every path is 401.
pub fn router(state: AppState) -> Router {
    state.metrics.may_refuse(Code::ALL.iter().map(|code| code.as_str()));
    // A call that starts something may be repeated by its caller without being done twice.
    let once = middleware::from_fn_with_state((state.clone(), Action::Connect), idempotency::once);
    let notify_once =
        middleware::from_fn_with_state((state.clone(), Action::Notify), idempotency::once);
    let (router, _document) = routes(
        |route| route.route_layer(once.clone()),
        |route| route.route_layer(notify_once.clone()),
    )
    .split_for_parts();
    router
        .fallback(error::no_route)
        .method_not_allowed_fallback(error::method_not_allowed)
        .layer(DefaultBodyLimit::max(CALL_BYTES_MAX))
        .layer(middleware::from_fn(body::whole))
        .layer(middleware::from_fn_with_state(state.clone(), caller::require_assertion))
        .layer(middleware::from_fn_with_state(state.clone(), connection::require_certificate))
        .layer(CatchPanicLayer::custom(error::panicked))
        .layer(middleware::from_fn_with_state(state.mint.clone(), request_log::line))
        .layer(middleware::from_fn_with_state(state.metrics.clone(), measure::measure))
        .with_state(state)
}

/// Every route with its description, which stands beside its handler; `once` has calls with an
/// `Idempotency-Key` done once.
fn routes(
    once: impl Fn(MethodRouter<AppState>) -> MethodRouter<AppState>,
    notify_once: impl Fn(MethodRouter<AppState>) -> MethodRouter<AppState>,
) -> OpenApiRouter<AppState> {
    let webhook = |route: MethodRouter<AppState>| {
        route.layer::<_, Infallible>(DefaultBodyLimit::max(WEBHOOK_BYTES_MAX))
    };
    OpenApiRouter::with_openapi(document::base())
        // Client applications.
        .routes(routes!(start::handler).map(&once))
        .routes(routes!(list::handler))
        .routes(routes!(get::handler))
        .routes(routes!(connections::delete))
        .routes(routes!(reconnect::handler).map(&once))
        .routes(routes!(connections::check))
        .routes(routes!(complete::handler))
        .routes(routes!(providers::list))
        .routes(routes!(deliveries::handler))
        .routes(routes!(redeliver::one).map(&notify_once))
        .routes(routes!(redeliver::all).map(&notify_once))
        .routes(routes!(redelivery::handler))
        .routes(routes!(destination::get, destination::put, destination::delete))
        .routes(routes!(destination::test))
        .routes(routes!(events::handler))
        .routes(routes!(audit::handler))
        // Browsers.
        .routes(routes!(callback::handler, callback::form))
        // Nango.
        .routes(routes!(webhook::handler).map(webhook))
        // Whoever asks whether edge and control stand, or what a refusal means.
        .routes(routes!(health::health))
        .routes(routes!(errors::page))
}

/// Everything on the port for probes, which is never routed and shows no tenant's data.
pub fn admin_router(probed: Probed) -> Router {
    Router::new()
        .route("/livez", get(health::livez))
        .route("/readyz", get(health::readyz))
        .route("/openapi.json", get(document::show))
        .route("/metrics", get(metrics::scrape))
        .with_state(probed)
}
