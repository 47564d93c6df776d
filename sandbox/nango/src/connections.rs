//! What the vault shows of its connections, and how one is deleted.

use crate::{
    Shared,
    access::{Access, forbidden},
    answer::{Answer, missing, ok, refused},
    lock,
    vault::Kept,
    webhooks,
};
use axum::{
    extract::{Path, Query, State},
    http::{HeaderMap, StatusCode},
};
use serde_json::{Value, json};
use std::sync::Arc;

type Parameters = Query<Vec<(String, String)>>;

fn parameter<'a>(parameters: &'a [(String, String)], wanted: &str) -> Option<&'a str> {
    parameters.iter().find(|(name, _)| name == wanted).map(|(_, value)| value.as_str())
}

/// `GET /integrations`
pub(crate) async fn integrations(
    State(shared): State<Arc<Shared>>,
    headers: HeaderMap,
) -> Result<Answer, Answer> {
    shared.access(&headers).await?.needs(Access::Main, "environment:integrations:list")?;
    let rows = shared.settings.integrations.iter().map(|key| {
        json!({"unique_key": key, "provider": "github", "display_name": "GitHub",
            "logo": format!("http://{}/images/template-logos/github.svg", shared.address),
            "forward_webhooks": true, "created_at": "2026-11-22T09:46:11.450Z",
            "updated_at": "2026-11-22T09:46:11.450Z"})
    });
    Ok(ok(&json!({"data": rows.collect::<Vec<Value>>()})))
}

/// `GET /connections`: without credentials, the newest first.
pub(crate) async fn list(
    State(shared): State<Arc<Shared>>,
    Query(parameters): Parameters,
    headers: HeaderMap,
) -> Result<Answer, Answer> {
    shared.access(&headers).await?.needs(Access::Main, "environment:connections:list")?;
    let number = |name| parameter(&parameters, name).and_then(|text| text.parse().ok());
    let limit: usize = number("limit").unwrap_or(10_000);
    let before = number("page").unwrap_or(0_usize).saturating_mul(limit);
    let is_lagging = shared.is_lagging();
    let vault = lock(&shared.vault);
    let rows: Vec<Value> = vault
        .list()
        .filter(|kept| !is_lagging && is_wanted(kept, &parameters))
        .skip(before)
        .take(limit)
        .map(row)
        .collect();
    Ok(ok(&json!({ "connections": rows })))
}

fn is_wanted(kept: &Kept, parameters: &[(String, String)]) -> bool {
    parameters.iter().all(|(name, value)| {
        let tag = name.strip_prefix("tags[").and_then(|name| name.strip_suffix(']'));
        match (name.as_str(), tag) {
            ("connectionId", _) => kept.connection_id == *value,
            ("endUserId", _) => kept.end_user_id.as_ref() == Some(value),
            ("integrationId", _) => value.split(',').any(|key| key == kept.integration),
            (_, Some(tag)) => kept.tags.get(&tag.to_ascii_lowercase()) == Some(value),
            _ => true,
        }
    })
}

/// As Nango tells that it could not refresh a token.
fn errors(kept: &Kept) -> Value {
    if kept.fails_to_refresh {
        json!([{"type": "auth", "log_id": "1795340948332_GEh7hqk4"}])
    } else {
        json!([])
    }
}

fn row(kept: &Kept) -> Value {
    let created = kept.created.to_rfc3339_opts(chrono::SecondsFormat::Millis, false);
    json!({"id": kept.number, "connection_id": kept.connection_id, "provider_config_key": kept.integration,
        "provider": "github", "errors": errors(kept), "end_user": kept.end_user(), "tags": kept.tags, "metadata": null,
        "created": created})
}

/// `GET /connections/{id}`: the credentials are empty, as for every key that may not read them.
pub(crate) async fn get(
    State(shared): State<Arc<Shared>>,
    Path(id): Path<String>,
    Query(parameters): Parameters,
    headers: HeaderMap,
) -> Result<Answer, Answer> {
    shared.access(&headers).await?.needs(Access::Main, "environment:connections:read")?;
    let asks_for_credentials = ["force_refresh", "refresh_token"]
        .iter()
        .any(|name| parameter(&parameters, name) == Some("true"));
    if asks_for_credentials && !lock(&shared.excess).reads_credentials {
        return Err(forbidden("environment:connections:read_credentials"));
    }
    let integration = integration(&parameters)?;
    if !shared.has_integration(integration) {
        let error =
            json!({"code": "unknown_provider_config", "message": "Provider does not exists"});
        return Err(refused(StatusCode::BAD_REQUEST, error));
    }
    let vault = lock(&shared.vault);
    let Some(kept) = vault.find(integration, &id) else {
        let error = json!({"code": "not_found", "message": "Failed to find connection"});
        return Err(refused(StatusCode::NOT_FOUND, error));
    };
    let created = kept.created.to_rfc3339_opts(chrono::SecondsFormat::Millis, false);
    Ok(ok(&json!({"id": kept.number, "connection_id": kept.connection_id,
        "provider_config_key": kept.integration, "provider": "github", "errors": errors(kept),
        "end_user": kept.end_user(), "tags": kept.tags, "metadata": null,
        "connection_config": connection_config(kept), "webhook_url_override": null, "created_at": created, "updated_at": created,
        "last_fetched_at": created, "credentials": {}})))
}

/// Of an installation that an owner approved, `pending` stays.
fn connection_config(kept: &Kept) -> Value {
    match (&kept.installation, kept.awaits_installation) {
        (_, false) => json!({}),
        (None, true) => json!({"pending": true}),
        (Some(installation), true) => json!({"pending": true, "installation_id": installation}),
    }
}

/// `DELETE /connections/{id}`
pub(crate) async fn delete(
    State(shared): State<Arc<Shared>>,
    Path(id): Path<String>,
    Query(parameters): Parameters,
    headers: HeaderMap,
) -> Result<Answer, Answer> {
    shared.access(&headers).await?.needs(Access::Main, "environment:connections:delete")?;
    let integration = integration(&parameters)?;
    let deleted = {
        let mut vault = lock(&shared.vault);
        let is_known = vault.find(integration, &id).is_some();
        if is_known { vault.delete(&id) } else { None }
    };
    match deleted {
        Some(deleted) => {
            webhooks::send(&shared, webhooks::deleted(&deleted));
            Ok(ok(&json!({"success": true})))
        }
        None => Err(refused(StatusCode::BAD_REQUEST, json!({"code": "unknown_connection"}))),
    }
}

fn integration(parameters: &[(String, String)]) -> Result<&str, Answer> {
    parameter(parameters, "provider_config_key")
        .ok_or_else(|| missing("invalid_query_params", &["provider_config_key"], "string"))
}
