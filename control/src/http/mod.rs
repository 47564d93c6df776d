//! What the edge may call, and what probes may call: every route on one page.

mod callback;
mod caller;
mod complete;
mod connections;
mod error;
mod get;
mod health;
mod idempotency;
mod list;
mod measure;
mod metrics;
mod opened;
mod page;
mod providers;
mod reconnect;
mod request_log;
mod start;
mod view;
mod webhook;

use crate::{
    clock::Clock, config::CallbackMode, domain::provider::Catalogue, hub::Hub, metrics::Metrics,
    mint::Mint, nango::NangoClient, store::Store,
};
use axum::{
    Router,
    extract::DefaultBodyLimit,
    middleware,
    routing::{get, post},
};
use contract::{action::Action, keys::KeyRing};
use std::sync::Arc;
use tower_http::catch_panic::CatchPanicLayer;

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
    pub metrics: Metrics,
}

/// Everything on the port that only the edge may call. Without a valid assertion, every path is 401.
pub fn router(state: AppState) -> Router {
    let webhook = post(webhook::handler).layer(DefaultBodyLimit::max(WEBHOOK_BYTES_MAX));
    // A call that starts something may be repeated by its caller without being done twice.
    let once = middleware::from_fn_with_state((state.clone(), Action::Connect), idempotency::once);
    Router::new()
        // Client applications.
        .route(
            "/tenants/{tenant}/connections",
            post(start::handler).route_layer(once.clone()).get(list::handler),
        )
        .route("/tenants/{tenant}/connections/{id}", get(get::handler).delete(connections::delete))
        .route(
            "/tenants/{tenant}/connections/{id}/reconnect",
            post(reconnect::handler).route_layer(once),
        )
        .route("/tenants/{tenant}/connections/{id}/check", post(connections::check))
        .route("/tenants/{tenant}/connections/{id}/complete", post(complete::handler))
        .route("/providers", get(providers::list))
        // Browsers.
        .route("/oauth/callback", get(callback::handler))
        // Nango.
        .route("/webhooks/nango", webhook)
        // Whoever asks whether edge and control stand.
        .route("/health", get(health::health))
        .fallback(error::no_route)
        .method_not_allowed_fallback(error::method_not_allowed)
        .layer(DefaultBodyLimit::max(CALL_BYTES_MAX))
        .layer(middleware::from_fn_with_state(state.clone(), caller::require_assertion))
        .layer(CatchPanicLayer::custom(error::panicked))
        .layer(middleware::from_fn_with_state(state.clock.clone(), request_log::line))
        .layer(middleware::from_fn_with_state(state.metrics.clone(), measure::measure))
        .with_state(state)
}

/// Everything on the port for probes, which is never routed and shows no tenant's data.
pub fn admin_router(probed: Probed) -> Router {
    Router::new()
        .route("/livez", get(health::livez))
        .route("/readyz", get(health::readyz))
        .route("/metrics", get(metrics::scrape))
        .with_state(probed)
}
