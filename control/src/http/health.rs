//! Whether the service stands.

use crate::store::Store;
use axum::{Json, extract::State, http::StatusCode};
use serde_json::{Value, json};

/// `GET /health`, through the edge: edge and control stand.
pub(super) async fn health() -> Json<Value> {
    Json(json!({ "status": "ok" }))
}

/// `GET /livez`: the process answers. It depends on nothing, so that a database outage restarts nobody.
pub(super) async fn livez() -> StatusCode {
    StatusCode::OK
}

/// `GET /readyz`: the database answers, and has every migration of this binary.
pub(super) async fn readyz(State(store): State<Store>) -> (StatusCode, Json<Value>) {
    match store.is_migrated().await {
        Ok(true) => (StatusCode::OK, Json(json!({ "database": "ok", "migrations": "ok" }))),
        Ok(false) => (
            StatusCode::SERVICE_UNAVAILABLE,
            Json(json!({ "database": "ok", "migrations": "missing; run `control migrate`" })),
        ),
        Err(error) => {
            tracing::warn!(error = &error as &dyn std::error::Error, "not ready");
            (StatusCode::SERVICE_UNAVAILABLE, Json(json!({ "database": "unavailable" })))
        }
    }
}
