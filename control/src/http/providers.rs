//! Lists the providers that can be connected to.

use super::{AppState, Code, caller::AnyCaller, document};
use crate::domain::provider::Provider;
use axum::{Json, extract::State, http::header, response::IntoResponse};
use serde::Serialize;
use std::collections::BTreeSet;
use utoipa::ToSchema;

#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Providers)]
struct View {
    providers: Vec<Described>,
}

#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Provider)]
struct Described {
    #[schema(value_type = String)]
    provider: Provider,
    scopes: Scopes,
    /// Whether connections say whose account they are.
    profile: bool,
}

#[derive(Debug, Serialize, ToSchema)]
struct Scopes {
    /// Absent where every scope may be asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    allowed: Option<BTreeSet<String>>,
}

/// `GET /providers`: the same for every caller that has a grant.
#[utoipa::path(
    get,
    path = "/providers",
    operation_id = "providers",
    tag = document::CLIENTS,
    responses((status = 200, description = "Those that are configured.", body = View, headers(("cache-control" = String, description = "`no-store`.")))),
    extensions(("x-codes" = json!([Code::NoGrant]))),
)]
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
