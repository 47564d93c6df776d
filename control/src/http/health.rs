//! Whether the service stands.

use super::document;
use crate::{
    clock::Clock,
    domain::{
        health::{Database, Health, Status},
        skew::Standing,
    },
    nango::NangoClient,
    sampler::Sampler,
    store::Store,
    tls::Watched,
};
use axum::{Json, extract::State, http::StatusCode};
use serde::Serialize;
use std::sync::Arc;
use tokio_util::sync::CancellationToken;
use utoipa::ToSchema;

/// `GET /health`, through the edge: edge and control stand.
#[utoipa::path(
    get,
    path = "/health",
    operation_id = "health",
    tags = [document::CLIENTS, document::PUBLIC],
    responses((status = 200, description = "They do.", body = Stands)),
)]
pub(super) async fn health() -> Json<Stands> {
    Json(Stands { status: "ok" })
}

/// Whoever reads this was answered through both.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Health)]
pub(super) struct Stands {
    status: &'static str,
}

/// `GET /livez`: the process answers. It depends on nothing, so that a database outage restarts nobody.
pub(super) async fn livez() -> StatusCode {
    StatusCode::OK
}

/// What the probes look at.
#[derive(Debug, Clone)]
pub struct Probed {
    pub store: Store,
    /// Looked at, never called: a probe must not use up the calls that users need.
    pub nango: Arc<NangoClient>,
    pub clock: Clock,
    pub identity: Option<Arc<Watched>>,
    /// Shown at a scrape.
    pub sampler: Sampler,
    /// Cancelled when the service is asked to stop.
    pub stop: CancellationToken,
}

/// `GET /readyz`: each check by name. It is 503 when the database cannot serve, and while the service stops,
/// so that nobody sends it more.
pub(super) async fn readyz(State(probed): State<Probed>) -> (StatusCode, Json<Health>) {
    let health = if probed.stop.is_cancelled() {
        Health::stopping()
    } else {
        let at = probed.clock.now();
        let database = probed.sampler.readiness.look(at).await;
        let (skew, held) = match database {
            Database::Ready(_) => {
                let skew = probed.store.clock_skew(&probed.clock).await.ok();
                (skew, probed.store.deletions_held().await.ok().flatten())
            }
            Database::Unavailable | Database::NotMigrated | Database::ReadOnly { .. } => {
                (None, None)
            }
        };
        let mut health = Health::of(database, probed.nango.last_call(), at);
        if probed.clock.standing() == Some(Standing::Doubted) {
            health = health.with_doubted_clock();
        } else if let Some(skew) = skew {
            health = health.with_clock(skew);
        }
        if matches!(database, Database::Ready(_)) {
            health = health.with_deletions(held.map(|held| (held.missing, held.live)));
        }
        match &probed.identity {
            Some(identity) => health.with_certificate(&identity.state(), at),
            None => health,
        }
    };
    let status = match health.status {
        Status::Ok | Status::Degraded => StatusCode::OK,
        Status::Unavailable | Status::Stopping => StatusCode::SERVICE_UNAVAILABLE,
    };
    (status, Json(health))
}
