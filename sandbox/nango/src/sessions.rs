//! Connect sessions: `POST /connect/sessions`, and `POST /connect/sessions/reconnect`.

use crate::{
    Shared,
    access::Access,
    answer::{Answer, invalid, json_answer, missing, refused},
    lock,
    vault::{Session, Tags, now},
};
use axum::{
    body::Bytes,
    extract::State,
    http::{HeaderMap, StatusCode},
};
use chrono::TimeDelta;
use serde_json::{Value, json};
use std::{collections::BTreeMap, sync::Arc};

/// How long the real ones live; the stand-in's end when they are told to.
const SESSION_LIFE: TimeDelta = TimeDelta::minutes(30);

/// The fields that a session may have; any other is refused.
const FIELDS: &[&str] = &[
    "tags",
    "end_user",
    "organization",
    "allowed_integrations",
    "integrations_config_defaults",
    "overrides",
    "webhook_url_override",
];

pub(crate) async fn create(
    State(shared): State<Arc<Shared>>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Answer, Answer> {
    let access = shared.access(&headers).await?;
    access.needs(Access::Main, "environment:connect_sessions:write")?;
    Ok(opened(&shared, read(&shared, &parse(&body)?, FIELDS)?))
}

/// The fields of a session that renews a connection.
const RECONNECT_FIELDS: &[&str] = &[
    "connection_id",
    "integration_id",
    "tags",
    "end_user",
    "organization",
    "integrations_config_defaults",
    "overrides",
    "webhook_url_override",
];

pub(crate) async fn reconnect(
    State(shared): State<Arc<Shared>>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Answer, Answer> {
    let access = shared.access(&headers).await?;
    access.needs(Access::Main, "environment:connect_sessions:write")?;
    let mut body = parse(&body)?;
    let text = |name: &str| body.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
    let (id, integration) = (text("connection_id"), text("integration_id"));
    if lock(&shared.vault).find(&integration, &id).is_none() {
        let error = json!({"code": "invalid_body", "message": "ConnectionID or IntegrationId does not exists"});
        return Err(refused(StatusCode::BAD_REQUEST, error));
    }
    // Without tags the stored ones are wiped, as Nango does; a session of its own would need a user.
    if let Some(fields) = body.as_object_mut() {
        fields.entry("tags").or_insert_with(|| json!({}));
    }
    let mut session = read(&shared, &body, RECONNECT_FIELDS)?;
    session.scopes_override = scopes_override(&body, &integration);
    session.authorization_params = authorization_params(&body, &integration);
    session.allowed_integrations = vec![integration];
    session.reconnects = Some(id);
    Ok(opened(&shared, session))
}

fn opened(shared: &Shared, session: Session) -> Answer {
    let token = lock(&shared.vault).open_session(session);
    let link = format!("http://{}/?session_token={token}", shared.address);
    let expires_at = now().checked_add_signed(SESSION_LIFE).unwrap_or_default();
    let expires_at = expires_at.to_rfc3339_opts(chrono::SecondsFormat::Millis, true);
    let data = json!({"token": token, "connect_link": link, "expires_at": expires_at});
    json_answer(StatusCode::CREATED, &json!({ "data": data }))
}

fn parse(body: &[u8]) -> Result<Value, Answer> {
    serde_json::from_slice(body).map_err(|_malformed| {
        let error = json!({"code": "invalid_json", "message": "Unexpected end of JSON input"});
        refused(StatusCode::BAD_REQUEST, error)
    })
}

fn read(shared: &Shared, body: &Value, known: &[&str]) -> Result<Session, Answer> {
    let fields = body.as_object().cloned().unwrap_or_default();
    if let Some(unknown) = fields.keys().find(|name| !known.contains(&name.as_str())) {
        let message = format!("Unrecognized key: \"{unknown}\"");
        let complaint = json!({"code": "unrecognized_keys", "message": message, "path": []});
        return Err(invalid("invalid_body", complaint));
    }
    let end_user_id = body.pointer("/end_user/id").and_then(Value::as_str).map(str::to_owned);
    if end_user_id.is_none() && body.get("tags").is_none() {
        return Err(missing("invalid_body", &["end_user"], "object"));
    }
    let allowed_integrations = texts(body.get("allowed_integrations"));
    if let Some(index) = allowed_integrations.iter().position(|key| !shared.has_integration(key)) {
        let path = ["allowed_integrations".to_owned(), index.to_string()];
        let complaint =
            json!({"code": "custom", "message": "Integration does not exist", "path": path});
        return Err(invalid("invalid_body", complaint));
    }
    let mut tags = Tags::new();
    if let Some(id) = &end_user_id {
        tags.insert("end_user_id".to_owned(), id.clone());
    }
    let given = body.get("tags").and_then(Value::as_object).into_iter().flatten();
    tags.extend(
        given.filter_map(|(name, value)| {
            Some((name.to_ascii_lowercase(), value.as_str()?.to_owned()))
        }),
    );
    let scopes_override = allowed_integrations.first().and_then(|key| scopes_override(body, key));
    let authorization_params =
        allowed_integrations.first().map(|key| authorization_params(body, key)).unwrap_or_default();
    Ok(Session {
        tags,
        end_user_id,
        allowed_integrations,
        scopes_override,
        authorization_params,
        reconnects: None,
        is_expired: false,
    })
}

fn scopes_override(body: &Value, integration: &str) -> Option<String> {
    let defaults = body.get("integrations_config_defaults")?.get(integration)?;
    Some(defaults.pointer("/connection_config/oauth_scopes_override")?.as_str()?.to_owned())
}

fn authorization_params(body: &Value, integration: &str) -> BTreeMap<String, String> {
    let defaults = body.get("integrations_config_defaults").and_then(|it| it.get(integration));
    let params = defaults.and_then(|it| it.get("authorization_params")).and_then(Value::as_object);
    let texts = params.into_iter().flatten();
    texts.filter_map(|(name, value)| Some((name.clone(), value.as_str()?.to_owned()))).collect()
}

fn texts(value: Option<&Value>) -> Vec<String> {
    let values = value.and_then(Value::as_array).into_iter().flatten();
    values.filter_map(|value| value.as_str().map(str::to_owned)).collect()
}
