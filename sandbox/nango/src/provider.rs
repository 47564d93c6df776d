//! A provider that asks for consent and issues tokens: GitHub's three calls, as far as an OAuth flow
//! needs them, and Slack's two ways to "me".

use crate::{SLOW, lock, vault::hex};
use axum::{
    Form, Json, Router,
    extract::{Query, State},
    http::{HeaderMap, StatusCode, header},
    response::{Html, IntoResponse, Redirect, Response},
    routing::{get, post},
};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use serde::Deserialize;
use serde_json::json;
use sha2::{Digest, Sha256};
use std::{
    collections::HashMap,
    io,
    net::{Ipv4Addr, SocketAddr},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
};
use tokio::{net::TcpListener, sync::watch, task::JoinHandle};
use url::Url;

/// How the provider answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Mood {
    #[default]
    Well,
    /// Codes cannot be changed into tokens: the answer is HTML.
    RefusesCodes,
    /// Nobody is told who the user is: the answer is 403, or Slack's 200 that is none.
    HidesUsers,
    /// Nobody is told who the user is, because that part is down: the answer is 500.
    LosesUsers,
    /// Codes are changed into tokens after a second.
    Slow,
    /// No token is taken, as after its user revoked it.
    RejectsTokens,
    /// The token is a person's, which Slack's `users.identity` needs.
    KnowsPerson,
    /// Slack's `users.identity` is down, and nothing else.
    LosesPerson,
    /// Slack answers every question so, with 200.
    SaysOfSlack(&'static str),
}

/// A running provider. It ends when this is dropped.
#[derive(Debug)]
pub struct Provider {
    shared: Arc<Shared>,
    address: SocketAddr,
    server: JoinHandle<()>,
}

#[derive(Debug, Default)]
struct Shared {
    mood: Mutex<Mood>,
    codes: Mutex<HashMap<String, Granted>>,
    tokens: Mutex<Vec<String>>,
    /// What each token may do, as `x-oauth-scopes` says it.
    scopes: Mutex<HashMap<String, String>>,
    /// Whether the callback names the granted scopes, as Google's does.
    names_scopes: AtomicBool,
    /// The query of the last authorization request.
    last_request: Mutex<HashMap<String, String>>,
    /// Who authorises from now on; GitHub's octocat at first.
    account: Mutex<Option<u64>>,
    /// Whose each token is, where it is not octocat's.
    accounts: Mutex<HashMap<String, u64>>,
    /// How many codes were brought.
    asked: watch::Sender<usize>,
    /// How many of them were answered with a token.
    issued: watch::Sender<usize>,
}

/// What a code stands for.
#[derive(Debug)]
struct Granted {
    redirect_uri: String,
    scope: String,
    code_challenge: String,
}

impl Provider {
    pub(crate) async fn start(interface: Ipv4Addr, port: u16) -> io::Result<Self> {
        let listener = TcpListener::bind((interface, port)).await?;
        let address = (Ipv4Addr::LOCALHOST, listener.local_addr()?.port()).into();
        let shared = Arc::<Shared>::default();
        let router = Router::new()
            .route("/login/oauth/authorize", get(ask).post(decide))
            .route("/login/oauth/access_token", post(exchange))
            .route("/user", get(user))
            .route("/users.identity", get(identity).post(identity))
            .route("/auth.test", get(auth_test).post(auth_test))
            .with_state(Arc::clone(&shared));
        let server = tokio::spawn(async move {
            if let Err(error) = axum::serve(listener, router).await {
                tracing::error!(%error, "the stand-in provider ended");
            }
        });
        Ok(Self { shared, address, server })
    }

    pub(crate) const fn address(&self) -> SocketAddr {
        self.address
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    pub fn be(&self, mood: Mood) {
        *lock(&self.shared.mood) = mood;
    }

    /// Waits until somebody brought a code.
    pub async fn is_asked(&self) {
        // The sender is kept here, so that it does not end before.
        drop(self.shared.asked.subscribe().wait_for(|asked| *asked > 0).await);
    }

    /// Waits until a token was issued.
    pub async fn has_answered(&self) {
        drop(self.shared.issued.subscribe().wait_for(|issued| *issued > 0).await);
    }

    /// Makes callbacks name the granted scopes, as Google's do; GitHub's do not.
    pub fn name_scopes_in_callbacks(&self) {
        self.shared.names_scopes.store(true, Ordering::SeqCst);
    }

    /// Every token may do this from now on, as after its user took something away.
    pub fn change_scopes(&self, scopes: &str) {
        lock(&self.shared.scopes).values_mut().for_each(|kept| scopes.clone_into(kept));
    }

    /// A parameter of the last authorization request that a browser answered.
    pub fn requested(&self, parameter: &str) -> Option<String> {
        lock(&self.shared.last_request).get(parameter).cloned()
    }

    /// Another user authorises from now on.
    pub fn log_in(&self, account: u64) {
        *lock(&self.shared.account) = Some(account);
    }

    pub(crate) fn issued_tokens(&self) -> Vec<String> {
        lock(&self.shared.tokens).clone()
    }
}

impl Drop for Provider {
    fn drop(&mut self) {
        self.server.abort();
    }
}

/// What the browser brings along.
#[derive(Debug, Deserialize)]
struct Asked {
    redirect_uri: String,
    state: String,
    #[serde(default)]
    scope: String,
    #[serde(default)]
    code_challenge: String,
}

/// The consent page: it asks, and sends the browser back with what was decided. Its form has all that the
/// query had, because that is where it was read from.
async fn ask(Query(asked): Query<Asked>) -> Response {
    let Asked { scope, .. } = asked;
    let scope = scope.replace(['<', '>', '&', '"'], "");
    let html = format!(
        "<!doctype html><title>Stand-in provider</title><h1>Give access?</h1><p>Scopes: {scope}</p>\
         <form method=\"post\"><button name=\"decision\" value=\"allow\">Allow</button> \
         <button name=\"decision\" value=\"deny\">Deny</button></form>"
    );
    Html(html).into_response()
}

#[derive(Debug, Deserialize)]
struct Decision {
    decision: String,
    /// The scopes that the user left checked, separated by spaces; all that were asked for, if it is absent.
    granted: Option<String>,
}

async fn decide(
    State(shared): State<Arc<Shared>>,
    Query(asked): Query<Asked>,
    Query(all): Query<HashMap<String, String>>,
    Form(Decision { decision, granted }): Form<Decision>,
) -> Response {
    *lock(&shared.last_request) = all;
    let Asked { redirect_uri, state, scope, code_challenge } = asked;
    let scope = granted.unwrap_or(scope);
    let answer = if decision == "allow" {
        let code = hex();
        let mut answer = vec![("code", code.clone()), ("state", state)];
        if shared.names_scopes.load(Ordering::SeqCst) {
            answer.push(("scope", scope.clone()));
        }
        let granted = Granted { redirect_uri: redirect_uri.clone(), scope, code_challenge };
        lock(&shared.codes).insert(code, granted);
        answer
    } else {
        let why = "The user has denied your application access.".to_owned();
        vec![("error", "access_denied".to_owned()), ("error_description", why), ("state", state)]
    };
    match Url::parse_with_params(&redirect_uri, answer) {
        Ok(url) => Redirect::to(url.as_str()).into_response(),
        Err(_not_a_url) => StatusCode::BAD_REQUEST.into_response(),
    }
}

#[derive(Debug, Deserialize)]
struct Exchange {
    code: String,
    redirect_uri: String,
    code_verifier: String,
}

/// A code is good once, for the redirect it was made for, by whoever knows the verifier.
async fn exchange(State(shared): State<Arc<Shared>>, Form(exchange): Form<Exchange>) -> Response {
    let Exchange { code, redirect_uri, code_verifier } = exchange;
    shared.asked.send_modify(|asked| *asked = asked.saturating_add(1));
    if *lock(&shared.mood) == Mood::Slow {
        tokio::time::sleep(SLOW).await;
    }
    if *lock(&shared.mood) == Mood::RefusesCodes {
        return Html("<html>something went wrong</html>").into_response();
    }
    let granted = lock(&shared.codes).remove(&code);
    let challenge = URL_SAFE_NO_PAD.encode(Sha256::digest(code_verifier));
    let is_good = |granted: &Granted| {
        granted.redirect_uri == redirect_uri && granted.code_challenge == challenge
    };
    let Some(granted) = granted.filter(is_good) else {
        return Json(json!({"error": "bad_verification_code"})).into_response();
    };
    let token = format!("gho_{}{}", hex(), "0000");
    lock(&shared.tokens).push(token.clone());
    lock(&shared.scopes).insert(token.clone(), granted.scope.replace(' ', ", "));
    let account = *lock(&shared.account);
    lock(&shared.accounts).extend(account.map(|account| (token.clone(), account)));
    shared.issued.send_modify(|issued| *issued = issued.saturating_add(1));
    let scope = granted.scope.replace(' ', ",");
    Json(json!({"access_token": token, "token_type": "bearer", "scope": scope})).into_response()
}

async fn user(State(shared): State<Arc<Shared>>, headers: HeaderMap) -> Response {
    if *lock(&shared.mood) == Mood::HidesUsers {
        let error = json!({"message": "Resource not accessible by integration"});
        return (StatusCode::FORBIDDEN, Json(error)).into_response();
    }
    if *lock(&shared.mood) == Mood::LosesUsers {
        return StatusCode::INTERNAL_SERVER_ERROR.into_response();
    }
    if is_issued(&shared, &headers) {
        let id = lock(&shared.accounts).get(bearer(&headers)).copied().unwrap_or(583_231);
        let user = json!({"login": "octocat", "id": id, "type": "User", "name": "The Octocat",
            "avatar_url": "https://avatars.example/583231"});
        // https://docs.github.com/en/apps/oauth-apps/building-oauth-apps/scopes-for-oauth-apps
        let scopes = lock(&shared.scopes).get(bearer(&headers)).cloned().unwrap_or_default();
        ([("x-oauth-scopes", scopes)], Json(user)).into_response()
    } else {
        let error = json!({"message": "Bad credentials", "documentation_url": "https://docs.github.com/rest", "status": "401"});
        (StatusCode::UNAUTHORIZED, Json(error)).into_response()
    }
}

fn is_issued(shared: &Shared, headers: &HeaderMap) -> bool {
    let token = bearer(headers);
    let is_taken = *lock(&shared.mood) != Mood::RejectsTokens;
    is_taken && lock(&shared.tokens).iter().any(|issued| issued == token)
}

fn bearer(headers: &HeaderMap) -> &str {
    let header = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    header.and_then(|value| value.strip_prefix("Bearer ")).unwrap_or_default()
}

/// Slack's failure is a success to HTTP.
fn slack_fails(error: &str) -> Response {
    Json(json!({"ok": false, "error": error})).into_response()
}

/// <https://docs.slack.dev/reference/methods/users.identity>
async fn identity(State(shared): State<Arc<Shared>>, headers: HeaderMap) -> Response {
    if !is_issued(&shared, &headers) {
        return slack_fails("invalid_auth");
    }
    match *lock(&shared.mood) {
        Mood::SaysOfSlack(error) => slack_fails(error),
        Mood::KnowsPerson => {
            let user = json!({"id": "U0G9QF9C6", "name": "Sonny", "image_192": "https://avatars.example/192"});
            Json(json!({"ok": true, "user": user, "team": {"id": "T0G9PQBBK"}})).into_response()
        }
        Mood::LosesPerson => StatusCode::SERVICE_UNAVAILABLE.into_response(),
        Mood::Well
        | Mood::Slow
        | Mood::RefusesCodes
        | Mood::HidesUsers
        | Mood::LosesUsers
        | Mood::RejectsTokens => slack_fails("not_allowed_token_type"),
    }
}

/// <https://docs.slack.dev/reference/methods/auth.test>: with a bot's token, "me" is the bot.
async fn auth_test(State(shared): State<Arc<Shared>>, headers: HeaderMap) -> Response {
    if let Mood::SaysOfSlack(error) = *lock(&shared.mood) {
        return slack_fails(error);
    }
    if *lock(&shared.mood) == Mood::HidesUsers {
        return slack_fails("access_denied");
    }
    if !is_issued(&shared, &headers) {
        return slack_fails("invalid_auth");
    }
    Json(json!({"ok": true, "url": "https://subarachnoid.slack.com/", "team": "Subarachnoid Workspace",
        "user": "bot", "team_id": "T0G9PQBBK", "user_id": "W23456789", "bot_id": "BZYBOTHED"}))
    .into_response()
}
