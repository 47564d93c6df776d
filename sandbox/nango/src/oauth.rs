//! The two ends of an authorisation: where the browser is sent, and where it comes back to.

use crate::{
    Shared, Trouble,
    access::unauthorized,
    answer::{Answer, failure_page, invalid, refused, success_page},
    lock,
    vault::{Pending, hex, random_uuid},
    webhooks,
};
use axum::{
    body::Body,
    extract::{Path, Query, State},
    http::{HeaderMap, HeaderValue, Response, StatusCode, header},
};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use serde_json::json;
use sha2::{Digest, Sha256};
use std::{collections::HashMap, sync::Arc};
use url::Url;

/// What the integrations are registered with at the stand-in provider.
pub(crate) const CLIENT_ID: &str = "Iv1.fakeclientid";
/// The scopes that an integration asks for when its session does not say.
const DEFAULT_SCOPES: &str = "repo,user";

type Parameters = Query<HashMap<String, String>>;

/// `GET /oauth/connect/{integration}`
pub(crate) async fn connect(
    State(shared): State<Arc<Shared>>,
    Path(integration): Path<String>,
    Query(parameters): Parameters,
) -> Result<Answer, Answer> {
    shared.weather().await?;
    let Some(token) = parameters.get("connect_session_token") else {
        let why = "The request is missing a valid public key parameter.";
        return Err(unauthorized("missing_public_key", why));
    };
    let is_well_formed = token
        .strip_prefix("nango_connect_session_")
        .is_some_and(|digits| digits.len() == 64 && digits.bytes().all(|b| b.is_ascii_hexdigit()));
    if !is_well_formed {
        let why = "The provided connect session token is not following correct format: nango_connect_session_RANDOM)";
        return Err(unauthorized("invalid_connect_session_token_format", why));
    }
    let Some(session) = lock(&shared.vault).session(token).cloned() else {
        let why = "The provided connect session token does not match any account.";
        return Err(unauthorized("unknown_connect_session_token", why));
    };
    if parameters.contains_key("connection_id") {
        let message = "connection_id is forbidden when using session token";
        let complaint = json!({"code": "custom", "message": message, "path": ["connection_id"]});
        return Err(invalid("invalid_query_params", complaint));
    }
    let is_gone = lock(&shared.trouble).0 == Trouble::IntegrationGone;
    if is_gone || !shared.has_integration(&integration) {
        let message =
            format!("Could not find a Provider Config matching the \"{integration}\" key.");
        return Err(failure_page(&message));
    }
    let allowed = &session.allowed_integrations;
    if !allowed.is_empty() && !allowed.contains(&integration) {
        let error = json!({"code": "integration_not_allowed"});
        return Err(refused(StatusCode::BAD_REQUEST, error));
    }
    Ok(send_off(&shared, session, integration))
}

fn send_off(shared: &Shared, session: crate::vault::Session, integration: String) -> Answer {
    let code_verifier = hex();
    let challenge = URL_SAFE_NO_PAD.encode(Sha256::digest(&code_verifier));
    let scopes = session.scopes_override.clone().unwrap_or_else(|| DEFAULT_SCOPES.to_owned());
    let added = session.authorization_params.clone();
    let connection_id = session.reconnects.clone().unwrap_or_else(|| random_uuid().to_string());
    let pending = Pending { session, integration, connection_id, code_verifier };
    let state = lock(&shared.vault).await_callback(pending);
    let authorize = format!("http://{}/login/oauth/authorize", shared.provider);
    let location = Url::parse_with_params(
        &authorize,
        [
            ("response_type", "code"),
            ("client_id", CLIENT_ID),
            ("redirect_uri", &shared.settings.callback_url),
            ("scope", &scopes.replace(',', " ")),
            ("state", &state),
            ("code_challenge", &challenge),
            ("code_challenge_method", "S256"),
        ],
    );
    let location = location.map(|mut url| {
        if !added.is_empty() {
            url.query_pairs_mut().extend_pairs(&added);
        }
        url
    });
    // An address of a socket makes a URL.
    let location = location.map(String::from).unwrap_or_default();
    let cookie = format!("oauth2-{state}=1; Max-Age=3600; Path=/; HttpOnly; SameSite=Lax");
    let mut answer = Response::new(Body::from(format!("Found. Redirecting to {location}")));
    *answer.status_mut() = StatusCode::FOUND;
    for (name, value) in [
        (header::LOCATION, location),
        (header::SET_COOKIE, cookie),
        (header::CONTENT_TYPE, "text/plain; charset=utf-8".to_owned()),
    ] {
        if let Ok(value) = HeaderValue::from_str(&value) {
            answer.headers_mut().insert(name, value);
        }
    }
    answer
}

/// `GET /oauth/callback`
///
/// The state is taken before anything else is looked at: whatever happens then, it was used.
pub(crate) async fn callback(
    State(shared): State<Arc<Shared>>,
    Query(parameters): Parameters,
    headers: HeaderMap,
) -> Answer {
    let Some(state) = parameters.get("state") else {
        return failure_page("No state found in callback");
    };
    if uuid::Uuid::try_parse(state).is_err() {
        return failure_page("invalid_oauth_state");
    }
    let Some(pending) = lock(&shared.vault).take_pending(state) else {
        return failure_page(&format!("No session found for state: \"{state}\""));
    };
    if shared.settings.enforces_cookie && !has_cookie(&headers, state) {
        return failure_page(
            "OAuth state cookie missing. The callback must be completed by the same browser that started the flow — a server-side or fetch-forwarded callback does not include it.",
        );
    }
    let Some(code) = parameters.get("code") else {
        return denied(&shared, &pending, &parameters);
    };
    match exchange(&shared, &pending, code).await {
        Some(access_token) => {
            let mut kept = lock(&shared.vault).keep(&pending, access_token);
            // Of an integration `github-app-oauth`, which has no installation yet.
            if parameters.get("setup_action").is_some_and(|action| action == "request") {
                let waiting = lock(&shared.vault).install(&kept.connection_id, None);
                kept = waiting.unwrap_or(kept);
            }
            let is_reconnect = pending.session.reconnects.is_some();
            webhooks::send(&shared, webhooks::succeeded(&kept, is_reconnect));
            success_page()
        }
        None => {
            let description =
                "OAuth2 token request failed, response from the server could not be parsed";
            let kind = "unable_to_parse_token_response";
            webhooks::send(&shared, webhooks::failed(&pending, kind, description));
            failure_page("Unknown error during the Oauth flow.")
        }
    }
}

fn denied(shared: &Arc<Shared>, pending: &Pending, parameters: &HashMap<String, String>) -> Answer {
    let told: Vec<String> = ["error", "error_description", "error_uri"]
        .iter()
        .filter_map(|name| parameters.get(*name).map(|value| format!("{name}: {value}")))
        .collect();
    let description = format!(
        "Did not get authorization code in the callback. Provider error: {}",
        told.join("; ")
    );
    webhooks::send(shared, webhooks::failed(pending, "invalid_callback", &description));
    let errors: HashMap<&String, &String> =
        parameters.iter().filter(|(name, _)| name.starts_with("error")).collect();
    failure_page(&json!(errors).to_string())
}

fn has_cookie(headers: &HeaderMap, state: &str) -> bool {
    let wanted = format!("oauth2-{state}=1");
    let cookies = headers.get_all(header::COOKIE).iter().filter_map(|value| value.to_str().ok());
    cookies.flat_map(|line| line.split(';')).any(|cookie| cookie.trim() == wanted)
}

/// Changes a code into a token at the provider.
async fn exchange(shared: &Shared, pending: &Pending, code: &str) -> Option<String> {
    let url = format!("http://{}/login/oauth/access_token", shared.provider);
    let form = [
        ("grant_type", "authorization_code"),
        ("client_id", CLIENT_ID),
        ("code", code),
        ("redirect_uri", &shared.settings.callback_url),
        ("code_verifier", &pending.code_verifier),
    ];
    let answer = shared.http.post(url).form(&form).send().await.ok()?;
    let token: serde_json::Value = answer.error_for_status().ok()?.json().await.ok()?;
    Some(token.get("access_token")?.as_str()?.to_owned())
}
