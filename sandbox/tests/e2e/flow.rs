//! The main job, from outside: a user's connection through the edge, to the notification.

use crate::support::{Answer, SIGNATURE, World};
use contract::{keys::KeyRing, signature};
use reqwest::StatusCode;
use sandbox::{
    browser::{Browser, Decision},
    client_app, ports,
    process::wait_for,
    secrets,
    stack::{Choices, RemoteNango, Stack, WhichDatabase},
    tools::Tools,
};
use serde_json::{Value, json};
use std::{fs, path::PathBuf, time::Duration};

/// A delivery whose sender was killed waits for its lease to run out.
const SOON: Duration = Duration::from_mins(1);

pub async fn start(stack: &Stack) -> Value {
    let body = json!({"sub": "user-1", "provider": "github", "scopes": ["repo"], "metadata": {"plan": "pro"}});
    let request = stack.http.post(stack.edge("/tenants/acme/connections")).json(&body);
    let answer = Answer::of(request.send().await.unwrap()).await;
    assert_eq!(answer.status, 201, "{answer:?}");
    answer.json()
}

/// Goes through the provider and our callback to Nango.
pub async fn authorize(stack: &Stack, started: &Value, decision: Decision) -> u16 {
    let browser = Browser::new(&stack.pki).unwrap();
    let url = started["authorizationUrl"].as_str().unwrap();
    let decided = browser.decide(url, decision).await.unwrap();
    let callback = browser.open(decided.next().unwrap()).await.unwrap();
    if callback.status == 308 {
        browser.open(callback.next().unwrap()).await.unwrap().status
    } else {
        callback.status
    }
}

pub async fn show(stack: &Stack, started: &Value) -> Value {
    let id = started["connectionId"].as_str().unwrap();
    let url = stack.edge(&format!("/tenants/acme/connections/{id}"));
    stack.http.get(url).send().await.unwrap().json().await.unwrap()
}

pub async fn notified(stack: &Stack, count: usize) -> Vec<Value> {
    let app = stack.app().unwrap();
    wait_for("no notification", SOON, || async {
        let notified = app.notified();
        Ok((notified.len() >= count).then_some(notified))
    })
    .await
    .unwrap()
    .into_iter()
    .map(|notified| notified.body)
    .collect()
}

/// Sends a webhook as Nango would.
async fn send_webhook(stack: &Stack, webhook_secret: &str, body: &str) -> u16 {
    let keys = KeyRing::parse(webhook_secret.as_bytes()).unwrap();
    let anybody = client_app::client_as(&stack.pki, None).unwrap();
    let request = anybody
        .post(stack.public("/webhooks/nango"))
        .header("content-type", "application/json")
        .header(SIGNATURE, signature::sign(&keys, body.as_bytes()))
        .body(body.to_owned());
    request.send().await.unwrap().status().as_u16()
}

/// What `control/tests/it/` tries in every way, once through the real edge: its routes, grants and timeouts.
#[tokio::test]
async fn a_connection_is_started_once_waited_for_listed_and_renewed_through_the_edge() {
    let world = World::start().await;
    let stack = &world.stack;
    let connections = stack.edge("/tenants/acme/connections");
    let start = async || {
        let body = json!({"sub": "user-1", "provider": "github"});
        let request = stack.http.post(&connections).header("idempotency-key", "key-1").json(&body);
        Answer::of(request.send().await.unwrap()).await
    };
    let (first, again) = (start().await, start().await);
    assert_eq!((first.status, first.json()), (201, again.json()));
    assert_eq!(again.headers["idempotency-replayed"], "true");
    let started = first.json();
    let one = format!("{connections}/{}", started["connectionId"].as_str().unwrap());
    let waiting = stack.http.get(format!("{one}?wait=60&version=1")).send();
    let pulling = stack.http.get(stack.edge("/tenants/acme/events?wait=60")).send();
    let deciding = authorize(stack, &started, Decision::Allow);
    let (waited, pulled, status) = tokio::join!(waiting, pulling, deciding);
    assert_eq!(status, 200);
    let pulled = Answer::of(pulled.unwrap()).await.json();
    assert_eq!(pulled["events"], json!(notified(stack, 1).await));
    let trail = stack.http.get(stack.edge("/tenants/acme/audit?limit=1")).send().await.unwrap();
    let trail = Answer::of(trail).await.json();
    assert_eq!(trail["auditEvents"][0]["action"], "connection.started");
    let waited = Answer::of(waited.unwrap()).await;
    assert_eq!((waited.status, &waited.json()["status"]), (200, &json!("active")));
    let listed = stack.http.get(format!("{connections}?status=active&limit=1")).send();
    let listed = Answer::of(listed.await.unwrap()).await.json();
    assert_eq!(listed["connections"], json!([show(stack, &started).await]));
    let act = async |what: &str| {
        let request = stack.http.post(format!("{one}/{what}")).json(&json!({}));
        Answer::of(request.send().await.unwrap()).await
    };
    let renewed = act("reconnect").await;
    assert_eq!(renewed.status, 200, "{renewed:?}");
    assert_eq!(authorize(stack, &renewed.json(), Decision::Allow).await, 200);
    let told = notified(stack, 2).await;
    assert_eq!(told[1]["type"], "connection.reauthorized");
    assert_eq!(act("check").await.status, 202);
    let no_ticket = act("complete").await;
    assert_eq!((no_ticket.status, no_ticket.problem_code().as_str()), (400, "invalid_request"));
    let providers = stack.http.get(stack.edge("/providers")).send().await.unwrap();
    assert_eq!(Answer::of(providers).await.json()["providers"][0]["provider"], "github");
    world.finish().await;
}

#[tokio::test]
async fn a_user_connects_and_the_application_is_told() {
    let world = World::start().await;
    let stack = &world.stack;
    let started = start(stack).await;
    let provider = stack.stand_in().unwrap().provider().url();
    assert!(started["authorizationUrl"].as_str().unwrap().starts_with(&provider));
    assert_eq!(authorize(stack, &started, Decision::Allow).await, 200);
    let notified = notified(stack, 1).await;
    let body = &notified[0];
    assert_eq!(
        *body,
        json!({"id": body["id"], "type": "connection.activated", "sequence": 1, "occurredAt": body["occurredAt"],
            "connectionId": started["connectionId"], "tenantId": "acme", "oidcSub": "user-1", "provider": "github",
            "status": "active", "reason": null, "requestedScopes": ["repo"], "authorizedScopes": null,
            "scopesVerified": false, "missingScopes": null, "providerAccountId": "583231", "displayName": "The Octocat",
            "metadata": {"username": "octocat", "avatar": "https://avatars.example/583231"},
            "clientMetadata": {"plan": "pro"}})
    );
    assert_eq!(show(stack, &started).await["status"], "active");
    world.finish().await;
}

#[tokio::test]
async fn a_user_who_says_no_is_told_and_so_is_the_application() {
    let world = World::start().await;
    let stack = &world.stack;
    let started = start(stack).await;
    assert_eq!(authorize(stack, &started, Decision::Deny).await, 200);
    let notified = notified(stack, 1).await;
    assert_eq!(
        [&notified[0]["type"], &notified[0]["reason"]],
        ["connection.failed", "access_denied"]
    );
    assert_eq!(stack.stand_in().unwrap().connection_ids(), Vec::<String>::new());
    world.finish().await;
}

#[tokio::test]
async fn a_deleted_connection_is_deleted_at_the_vault() {
    let world = World::start().await;
    let stack = &world.stack;
    let started = start(stack).await;
    authorize(stack, &started, Decision::Allow).await;
    notified(stack, 1).await;
    let id = started["connectionId"].as_str().unwrap();
    let url = stack.edge(&format!("/tenants/acme/connections/{id}"));
    let answer = stack.http.delete(url).send().await.unwrap();
    assert_eq!(answer.status(), StatusCode::ACCEPTED);
    let notified = notified(stack, 2).await;
    assert_eq!(notified[1]["type"], "connection.deleted");
    assert_eq!(stack.stand_in().unwrap().connection_ids(), Vec::<String>::new());
    assert_eq!(show(stack, &started).await["status"], "deleted");
    world.finish().await;
}

#[tokio::test]
async fn the_recorded_forgery_is_verified_stored_and_changes_nothing() {
    let world = World::start().await;
    let stack = &world.stack;
    let started = start(stack).await;
    authorize(stack, &started, Decision::Allow).await;
    notified(stack, 1).await;
    let before = show(stack, &started).await;
    let folder = "../contract/fixtures/nango-0.71.4/webhooks";
    let name = "w42-forward-FORGED-auth-event-correctly-signed.http";
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(folder).join(name);
    let recorded = fs::read_to_string(path).unwrap();
    let body = recorded.split_once("\r\n\r\n").unwrap().1.to_owned();
    assert_eq!(send_webhook(stack, &stack.coordinates.webhook_secret, &body).await, 200);
    let mut connection = stack.database.connect().await.unwrap();
    let query = "SELECT outcome FROM receipts WHERE hint->>'connectionId' = 'forged-connection' AND outcome IS NOT NULL";
    let deadline = std::time::Instant::now() + SOON;
    let outcome: String = loop {
        if let Some(outcome) =
            sqlx::query_scalar(query).fetch_optional(&mut connection).await.unwrap()
        {
            break outcome;
        }
        assert!(std::time::Instant::now() < deadline, "the receipt is not settled");
        tokio::task::yield_now().await;
    };
    assert_eq!(outcome, "no_match");
    assert_eq!(show(stack, &started).await, before);
    assert_eq!(stack.app().unwrap().notified().len(), 1);
    world.finish().await;
}

#[tokio::test]
async fn whoever_reaches_control_past_the_edge_is_401() {
    let world = World::start().await;
    let stack = &world.stack;
    let url = |path: &str| format!("{}{path}", stack.coordinates.control_url);
    // Without a certificate nobody is let in.
    let anybody = client_app::client_as(&stack.pki, None).unwrap();
    assert!(anybody.get(url("/health")).send().await.is_err());
    // A workload is let in, and believed in nothing.
    for path in ["/health", "/tenants/acme/connections/1", "/webhooks/nango", "/nowhere"] {
        let answer = stack
            .http
            .get(url(path))
            .header("x-connections-principal", "spiffe://sandbox.example/app")
            .header("x-connections-tenant", "acme")
            .header("x-connections-action", "read")
            .send()
            .await
            .unwrap();
        let answer = Answer::of(answer).await;
        assert_eq!((answer.status, answer.problem_code().as_str()), (401, "not_vouched"), "{path}");
    }
    world.finish().await;
}

#[tokio::test]
async fn another_nango_than_the_stand_in_is_used_when_it_is_named() {
    let tools = Tools::for_tests().await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    let [public_port] = ports::free().unwrap();
    let public_url = format!("https://127.0.0.1:{public_port}");
    let [secret_key, profile_key, webhook_secret] = [(); 3].map(|()| secrets::nango_key());
    let settings = nango_stand_in::Settings {
        secret_key: secret_key.clone(),
        profile_key: profile_key.clone(),
        signing_keys: KeyRing::parse(webhook_secret.as_bytes()).unwrap(),
        callback_url: format!("{public_url}/oauth/callback"),
        integrations: vec!["gitlab-prod".to_owned()],
        trusted_ca: None,
        enforces_cookie: false,
        manners: nango_stand_in::Manners::KIND,
    };
    let theirs = nango_stand_in::StandIn::start(settings, 0).await.unwrap();
    let webhook_secret_there = webhook_secret.clone();
    let choices = Choices {
        nango: Some(RemoteNango {
            url: theirs.url(),
            secret_key,
            webhook_secret: webhook_secret_there,
            profile_key: Some(profile_key),
        }),
        integrations: vec![("GITLAB_INTEGRATION_KEY".to_owned(), "gitlab-prod".to_owned())],
        public_url: Some(public_url),
        public_port: Some(public_port),
        database: WhichDatabase::Empty,
        ..Choices::default()
    };
    let stack = Box::pin(Stack::start(&tools, folder.path(), choices)).await.unwrap();
    assert!(stack.nango.is_none());
    let body = json!({"sub": "user-1", "provider": "gitlab"});
    let request = stack.http.post(stack.edge("/tenants/acme/connections")).json(&body);
    let started = Answer::of(request.send().await.unwrap()).await.json();
    assert_eq!(authorize(&stack, &started, Decision::Allow).await, 200);
    // Theirs does not trust our certificate; its webhook comes by hand, with its own signature.
    let nango_id = theirs.connection_ids().pop().unwrap();
    let hint =
        json!({"type": "connection.activated", "connectionId": nango_id, "vendor": "gitlab"});
    assert_eq!(send_webhook(&stack, &webhook_secret, &hint.to_string()).await, 200);
    let notified = notified(&stack, 1).await;
    assert_eq!([&notified[0]["provider"], &notified[0]["status"]], ["gitlab", "active"]);
    let environment = &stack.control_settings.environment;
    assert!(environment.contains_key("NANGO_PROFILE_KEY"));
    // What Nango takes of this account is for whoever has it to say.
    assert!(!environment.contains_key("NANGO_CALLS_PER_MINUTE"));
    stack.stop().await.unwrap();
}
