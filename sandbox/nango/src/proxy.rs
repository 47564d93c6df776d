//! `ANY /proxy/{path}`: a call to the provider with the connection's token, which is added here.

use crate::{
    Shared,
    access::Access,
    answer::{Answer, json_answer, refused},
    lock,
};
use axum::{
    extract::{Path, State},
    http::{HeaderMap, Method, StatusCode},
};
use serde_json::{Value, json};
use std::sync::{Arc, atomic::Ordering};

/// Nango forwards every header of a chunked answer, and newer releases of any answer; else only a few, of which
/// this is none.
const SCOPES: &str = "x-oauth-scopes";

pub(crate) async fn handler(
    State(shared): State<Arc<Shared>>,
    Path(path): Path<String>,
    method: Method,
    headers: HeaderMap,
) -> Result<Answer, Answer> {
    let access = shared.access(&headers).await?;
    if !(access == Access::Main && lock(&shared.excess).proxies) {
        access.needs(Access::Proxy, "environment:proxy")?;
    }
    let token = token(&shared, &headers)?;
    let url = format!("http://{}/{path}", shared.provider);
    let answer = async {
        let answer = shared.http.request(method, url).bearer_auth(token).send().await?;
        let (status, scopes) = (answer.status(), answer.headers().get(SCOPES).cloned());
        Ok::<_, reqwest::Error>((status, scopes, answer.json::<Value>().await?))
    };
    match answer.await {
        Ok((status, scopes, body)) => {
            let mut answer = json_answer(status, &body);
            if let Some(scopes) = scopes.filter(|_| shared.forwards_headers.load(Ordering::SeqCst))
            {
                answer.headers_mut().insert(SCOPES, scopes);
            }
            Ok(answer)
        }
        Err(_unreachable) => Err(json_answer(StatusCode::INTERNAL_SERVER_ERROR, &json!({}))),
    }
}

fn token(shared: &Shared, headers: &HeaderMap) -> Result<String, Answer> {
    let header = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    let (integration, id) = (header("provider-config-key"), header("connection-id"));
    let (Some(integration), Some(id)) = (integration, id) else {
        let complaint = |name: &str| json!({"code": "invalid_type", "message": "Invalid input: expected string, received undefined", "path": [name]});
        let missing = [("provider-config-key", integration), ("connection-id", id)];
        let errors: Vec<Value> = missing
            .iter()
            .filter(|(_, value)| value.is_none())
            .map(|(name, _)| complaint(name))
            .collect();
        let error = json!({"code": "invalid_headers", "errors": errors});
        return Err(refused(StatusCode::BAD_REQUEST, error));
    };
    if !shared.has_integration(integration) {
        let message = "Provider config not found for the given provider config key. Please make sure the provider config exists in the Nango dashboard.";
        let error = json!({"code": "unknown_provider_config", "message": message});
        return Err(refused(StatusCode::NOT_FOUND, error));
    }
    let vault = lock(&shared.vault);
    vault.find(integration, id).map(|kept| kept.access_token.clone()).ok_or_else(|| {
        let error = json!({"code": "server_error", "message": "Failed to get connection"});
        refused(StatusCode::BAD_REQUEST, error)
    })
}
