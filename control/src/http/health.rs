//! Whether the service stands.

use crate::{cause::chain, store::Store};
use axum::{Json, extract::State, http::StatusCode};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

/// `GET /health`, through the edge: edge and control stand.
pub(super) async fn health() -> Json<Value> {
    Json(json!({ "status": "ok" }))
}

/// `GET /livez`: the process answers. It depends on nothing, so that a database outage restarts nobody.
pub(super) async fn livez() -> StatusCode {
    StatusCode::OK
}

/// What the probes look at.
#[derive(Debug, Clone)]
pub struct Probed {
    pub store: Store,
    /// Cancelled when the service is asked to stop.
    pub stop: CancellationToken,
}

/// `GET /readyz`: the database answers, and has every migration of this binary. While the service stops,
/// it is not ready, so that nobody sends it more.
pub(super) async fn readyz(State(probed): State<Probed>) -> (StatusCode, Json<Value>) {
    if probed.stop.is_cancelled() {
        return (StatusCode::SERVICE_UNAVAILABLE, Json(json!({ "stopping": true })));
    }
    match probed.store.is_migrated().await {
        Ok(true) => (StatusCode::OK, Json(json!({ "database": "ok", "migrations": "ok" }))),
        Ok(false) => (
            StatusCode::SERVICE_UNAVAILABLE,
            Json(json!({ "database": "ok", "migrations": "missing; run `control migrate`" })),
        ),
        Err(error) => {
            tracing::warn!(error = chain(&error), "not ready");
            (StatusCode::SERVICE_UNAVAILABLE, Json(json!({ "database": "unavailable" })))
        }
    }
}
