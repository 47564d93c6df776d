//! Lists the providers that can be connected to.

use super::{AppState, caller::AnyCaller};
use crate::domain::provider::Provider;
use axum::{Json, extract::State, http::header, response::IntoResponse};
use serde::Serialize;
use std::collections::BTreeSet;

#[derive(Debug, Serialize)]
struct View {
    providers: Vec<Described>,
}

#[derive(Debug, Serialize)]
struct Described {
    provider: Provider,
    scopes: Scopes,
    /// Whether connections say whose account they are.
    profile: bool,
}

#[derive(Debug, Serialize)]
struct Scopes {
    /// Absent where every scope may be asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    allowed: Option<BTreeSet<String>>,
}

/// `GET /providers`: the same for every caller that has a grant.
pub(super) async fn list(State(state): State<AppState>, _caller: AnyCaller) -> impl IntoResponse {
    let catalogue = &state.catalogue;
    let reads_profiles = state.nango.reads_profiles();
    let describe = |provider: &Provider| Described {
        provider: provider.clone(),
        scopes: Scopes { allowed: catalogue.scopes(provider).cloned() },
        profile: reads_profiles && catalogue.mapping(provider).is_some(),
    };
    let view = View { providers: catalogue.providers().map(describe).collect() };
    ([(header::CACHE_CONTROL, "no-store")], Json(view))
}
