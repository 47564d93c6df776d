//! `GET /metrics`, for Prometheus.

use super::Probed;
use axum::{extract::State, http::header, response::IntoResponse};

/// What the specification of `OpenMetrics` calls its text.
const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Everything that is counted here. It asks no database: what must be asked for is sampled.
pub(super) async fn scrape(State(probed): State<Probed>) -> impl IntoResponse {
    ([(header::CONTENT_TYPE, OPEN_METRICS)], probed.sampler.scraped())
}
