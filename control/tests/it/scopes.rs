//! Which scopes the user granted: reported where it is known, and null where it is not.

use crate::{
    setup::Setup,
    support::{Answer, TestApp},
};
use axum::http::StatusCode;
use serde_json::{Value, json};
use sqlx::PgPool;

/// An operator who describes the double of GitHub as a provider like Google.
const LIKE_GOOGLE: &str = r#"{"github": {
    "grantedScopes": {"inCallback": true, "includes": {"https://example/email": ["email"]}},
    "consentParameters": {"prompt": "consent"},
    "scopes": ["repo", "user", "email", "public_repo"]}}"#;

fn id(started: &Value) -> &str {
    started["connectionId"].as_str().unwrap()
}

async fn start(app: &TestApp, scopes: &[&str]) -> Value {
    let body = json!({"sub": "user-1", "provider": "github", "scopes": scopes});
    let answer = app.call("acme", "POST", "/connections", &body).await;
    assert_eq!(answer.status, StatusCode::CREATED, "{:?}", answer.body);
    answer.json()
}

async fn reconnect(app: &TestApp, started: &Value, body: &Value) -> Answer {
    let path = format!("/connections/{}/reconnect", id(started));
    app.call("acme", "POST", &path, body).await
}

/// The user grants these, Nango makes a connection of it, and it is found.
async fn grant(app: &TestApp, started: &Value, granted: &str) {
    let query = app.decide(started, &format!("allow&granted={granted}")).await;
    finish(app, &query).await;
}

async fn finish(app: &TestApp, query: &str) {
    let sent_on = app.callback(query).await;
    app.finish_at_nango(sent_on.headers["location"].to_str().unwrap()).await;
    app.advance(2);
    app.outbox.run_once().await.unwrap();
}

/// What the API and the newest notification say; they never differ.
async fn scopes(app: &TestApp, started: &Value) -> [Value; 4] {
    const NAMES: [&str; 4] =
        ["requestedScopes", "authorizedScopes", "scopesVerified", "missingScopes"];
    let shown = app.get(id(started)).await;
    let told = app.notified().pop().unwrap().body;
    for name in NAMES {
        assert_eq!(shown.get(name), told.get(name), "{name}");
    }
    NAMES.map(|name| shown[name].clone())
}

#[sqlx::test(migrator = "control::store::MIGRATIONS")]
async fn scopes_that_cannot_be_known_are_null_and_not_what_was_requested(pool: PgPool) {
    let app = TestApp::start(pool).await;
    let started = start(&app, &["repo", "user"]).await;
    grant(&app, &started, "repo").await;
    let expected = [json!(["repo", "user"]), Value::Null, json!(false), Value::Null];
    assert_eq!(scopes(&app, &started).await, expected);
    app.finish().await;
}

#[sqlx::test(migrator = "control::store::MIGRATIONS")]
async fn scopes_that_the_provider_names_in_a_header_are_verified(pool: PgPool) {
    let app = TestApp::start(pool).await;
    app.nango.forward_headers();
    let started = start(&app, &["repo", "user"]).await;
    grant(&app, &started, "repo").await;
    let expected = [json!(["repo", "user"]), json!(["repo"]), json!(true), json!(["user"])];
    assert_eq!(scopes(&app, &started).await, expected);
    // A check finds that the user took the rest away, and none of the profile.
    app.nango.provider().change_scopes("");
    app.advance(60);
    app.ask_check(&started).await;
    app.outbox.run_once().await.unwrap();
    let expected = [json!(["repo", "user"]), json!([]), json!(true), json!(["repo", "user"])];
    assert_eq!(scopes(&app, &started).await, expected);
    assert_eq!(app.notified_types(), ["connection.activated", "connection.updated"]);
    app.finish().await;
}

#[sqlx::test(migrator = "control::store::MIGRATIONS")]
async fn scopes_that_the_callback_names_are_verified_where_the_provider_is_known_to(pool: PgPool) {
    for (providers, is_known) in [(LIKE_GOOGLE, true), ("{}", false)] {
        let setup = Setup { providers, ..Setup::default() };
        let app = TestApp::start_as(pool.clone(), setup).await;
        app.nango.provider().name_scopes_in_callbacks();
        let started = start(&app, &["email", "repo", "user"]).await;
        grant(&app, &started, "https://example/email%20repo").await;
        let known = [json!(["https://example/email", "repo"]), json!(true), json!(["user"])];
        let unknown = [Value::Null, json!(false), Value::Null];
        let [_, shown @ ..] = scopes(&app, &started).await;
        assert_eq!(shown, if is_known { known } else { unknown }, "{providers}");
        app.finish().await;
    }
}

#[sqlx::test(migrator = "control::store::MIGRATIONS")]
async fn a_callback_whose_scopes_are_not_a_list_of_scopes_says_nothing(pool: PgPool) {
    let setup = Setup { providers: LIKE_GOOGLE, ..Setup::default() };
    let app = TestApp::start_as(pool, setup).await;
    let long = "a".repeat(256);
    for scope in ["scope=repo&scope=user", "scope=re%00po", &format!("scope={long}")] {
        let started = start(&app, &["repo"]).await;
        let query = app.decide(&started, "allow").await;
        finish(&app, &format!("{query}&{scope}")).await;
        let [_, shown @ ..] = scopes(&app, &started).await;
        assert_eq!(shown, [Value::Null, json!(false), Value::Null], "{scope}");
    }
    app.finish().await;
}

#[sqlx::test(migrator = "control::store::MIGRATIONS")]
async fn a_scope_that_another_includes_is_not_missing(pool: PgPool) {
    let app = TestApp::start(pool).await;
    app.nango.forward_headers();
    let started = start(&app, &["repo", "public_repo", "read:user"]).await;
    grant(&app, &started, "repo%20user").await;
    let [_, shown @ ..] = scopes(&app, &started).await;
    assert_eq!(shown, [json!(["repo", "user"]), json!(true), json!([])]);
    app.finish().await;
}

#[sqlx::test(migrator = "control::store::MIGRATIONS")]
async fn a_reconnect_may_request_other_scopes_and_the_consent_screen(pool: PgPool) {
    let setup = Setup { providers: LIKE_GOOGLE, ..Setup::default() };
    let app = TestApp::start_as(pool, setup).await;
    app.nango.provider().name_scopes_in_callbacks();
    let started = start(&app, &["repo"]).await;
    grant(&app, &started, "repo").await;
    assert_eq!(app.nango.provider().requested("prompt"), None);
    let asked = json!({"scopes": ["repo", "user"], "forceConsent": true});
    // A user who denies leaves everything as it was.
    let again = reconnect(&app, &started, &asked).await;
    assert_eq!(again.status, StatusCode::OK, "{:?}", again.body);
    let query = app.decide(&again.json(), "deny").await;
    app.callback(&query).await;
    app.outbox.run_once().await.unwrap();
    assert_eq!(app.nango.provider().requested("scope").as_deref(), Some("repo user"));
    assert_eq!(app.nango.provider().requested("prompt").as_deref(), Some("consent"));
    let before = [json!(["repo"]), json!(["repo"]), json!(true), json!([])];
    assert_eq!(scopes(&app, &started).await, before);
    // One who allows some of it has some of it.
    let again = reconnect(&app, &started, &asked).await.json();
    assert_eq!(app.get(id(&started)).await["requestedScopes"], json!(["repo"]), "not yet");
    grant(&app, &again, "repo").await;
    let after = [json!(["repo", "user"]), json!(["repo"]), json!(true), json!(["user"])];
    assert_eq!(scopes(&app, &started).await, after);
    // Without a word, the scopes are requested that were last granted to.
    let again = reconnect(&app, &started, &json!({})).await.json();
    grant(&app, &again, "repo%20user").await;
    assert_eq!(app.nango.provider().requested("scope").as_deref(), Some("repo user"));
    assert_eq!(app.nango.provider().requested("prompt"), None);
    let after = [json!(["repo", "user"]), json!(["repo", "user"]), json!(true), json!([])];
    assert_eq!(scopes(&app, &started).await, after);
    app.finish().await;
}

#[sqlx::test(migrator = "control::store::MIGRATIONS")]
async fn a_pending_connection_that_is_reconnected_requests_the_other_scopes_at_once(pool: PgPool) {
    let app = TestApp::start(pool).await;
    let started = start(&app, &["repo"]).await;
    let again = reconnect(&app, &started, &json!({"scopes": ["user"]})).await.json();
    assert_eq!(app.get(id(&started)).await["requestedScopes"], json!(["user"]));
    grant(&app, &again, "user").await;
    assert_eq!(scopes(&app, &started).await[0], json!(["user"]));
    app.finish().await;
}

#[sqlx::test(migrator = "control::store::MIGRATIONS")]
async fn a_reconnect_requests_no_scope_that_a_start_may_not(pool: PgPool) {
    let setup = Setup { providers: LIKE_GOOGLE, ..Setup::default() };
    let app = TestApp::start_as(pool, setup).await;
    let (started, _) = app.activate().await;
    let calls = app.nango.api_calls();
    for (body, status, words) in [
        (json!({"scopes": ["admin:org"]}), 422, "scope admin:org is not allowed"),
        (json!({"scopes": ["repo user"]}), 400, "scopes must be"),
        (
            json!({"scopes": "repo"}),
            400,
            "scopes: invalid type: string \"repo\", expected an array",
        ),
        (json!({"scopes": vec!["repo"; 101]}), 400, "scopes must be"),
        (
            json!({"forceConsent": 1}),
            400,
            "forceConsent: invalid type: integer `1`, expected a boolean",
        ),
        (json!({"consent": true}), 400, "unknown field"),
    ] {
        let refused = reconnect(&app, &started, &body).await;
        assert_eq!(refused.status, status, "{body}: {:?}", refused.body);
        let detail = refused.json()["detail"].as_str().unwrap().to_owned();
        assert!(detail.contains(words), "{body}: {detail}");
    }
    assert_eq!(app.nango.api_calls(), calls, "Nango was not asked");
    assert_eq!(app.get(id(&started)).await["version"], 2);
    app.finish().await;
}

#[sqlx::test(migrator = "control::store::MIGRATIONS")]
async fn a_consent_screen_that_cannot_be_forced_is_refused_and_changes_nothing(pool: PgPool) {
    let app = TestApp::start(pool).await;
    let (started, _) = app.activate().await;
    let refused = reconnect(&app, &started, &json!({"forceConsent": true})).await;
    assert_eq!(
        (refused.status, refused.code().as_str()),
        (StatusCode::BAD_REQUEST, "invalid_request")
    );
    assert_eq!(app.get(id(&started)).await["version"], 2);
    app.finish().await;
}
