//! What is known of providers: the list, their scopes, their profiles, and those that Nango lacks.

use crate::support::{TestApp, caller, nobody};
use axum::{body::Body, http::StatusCode};
use contract::{action::Action, assertion::Vouched};
use control::domain::{description::Descriptions, provider::Catalogue};
use nango_stand_in::{Mood, Trouble};
use serde_json::{Value, json};
use sqlx::PgPool;
use std::sync::Arc;

#[sqlx::test(migrator = "control::store::MIGRATIONS")]
async fn whoever_has_any_grant_sees_the_configured_providers(pool: PgPool) {
    let app = TestApp::start(pool).await;
    let principal = Some("spiffe://acme.example/app".parse().unwrap());
    let vouched = Vouched { principal, ..nobody() };
    let answer = app.send("GET", "/providers", &vouched, Body::empty()).await;
    assert_eq!(answer.status, StatusCode::OK);
    assert_eq!(
        answer.json(),
        json!({"providers": [
            {"provider": "github", "scopes": {}, "profile": true},
            {"provider": "slack", "scopes": {"allowed": ["identify", "users:read"]}, "profile": true},
        ]})
    );
    let webhook = Vouched { webhook_key: Some("k".parse().unwrap()), ..nobody() };
    for stranger in [nobody(), webhook, caller("acme", Action::Read)] {
        let answer = app.send("GET", "/providers", &stranger, Body::empty()).await;
        assert_eq!((answer.status, answer.code().as_str()), (StatusCode::FORBIDDEN, "no_grant"));
    }
    let answer = app.send("POST", "/providers", &vouched, Body::empty()).await;
    assert_eq!(answer.code(), "method_not_allowed");
    app.finish().await;
}

async fn start(app: &TestApp, provider: &str, scopes: Value) -> (StatusCode, Value) {
    let body = json!({"sub": "u", "provider": provider, "scopes": scopes});
    let answer = app.call("acme", "POST", "/connections", &body).await;
    (answer.status, answer.json())
}

#[sqlx::test(migrator = "control::store::MIGRATIONS")]
async fn a_scope_that_is_not_on_the_providers_list_is_422_and_named(pool: PgPool) {
    let app = TestApp::start(pool).await;
    let (status, problem) = start(&app, "slack", json!(["users:read", "admin"])).await;
    assert_eq!(
        (status, &problem["code"]),
        (StatusCode::UNPROCESSABLE_ENTITY, &json!("scope_not_allowed"))
    );
    let detail = problem["detail"].as_str().unwrap();
    assert!(detail.contains("scope admin is not allowed for slack"), "{detail}");
    assert_eq!(app.nango.api_calls(), 0, "Nango is not asked");
    // One that is on the list gets further, to a Nango that lacks the integration.
    let (_, problem) = start(&app, "slack", json!(["users:read"])).await;
    assert_eq!(problem["code"], "provider_unavailable");
    // Without a list every scope may be asked for.
    let (status, _) = start(&app, "github", json!(["admin:org"])).await;
    assert_eq!(status, StatusCode::CREATED);
    app.finish().await;
}

#[sqlx::test(migrator = "control::store::MIGRATIONS")]
async fn an_integration_that_nango_does_not_have_is_422_whenever_nango_says_so(pool: PgPool) {
    let app = TestApp::start(pool).await;
    // Nango opens no session for it.
    let (status, problem) = start(&app, "slack", json!([])).await;
    assert_eq!(
        (status, &problem["code"]),
        (StatusCode::UNPROCESSABLE_ENTITY, &json!("provider_unavailable"))
    );
    // Nango opens a session, and then has a page for browsers: it is neither kept nor passed on.
    app.nango.make_trouble(Trouble::IntegrationGone);
    let (status, problem) = start(&app, "github", json!([])).await;
    assert_eq!(
        (status, &problem["code"]),
        (StatusCode::UNPROCESSABLE_ENTITY, &json!("provider_unavailable"))
    );
    assert!(!problem.to_string().contains("Provider Config"), "{problem}");
    assert_eq!(app.count("SELECT count(*) FROM connections").await, 0);
    app.finish().await;
}

/// An app whose GitHub says who the user is as Slack does.
async fn slack_like(pool: PgPool, method: &str) -> TestApp {
    let mut app = TestApp::start(pool).await;
    let built_in = include_str!("../../providers.json").parse::<Value>().unwrap();
    let mut profile = built_in["slack"]["profile"].clone();
    profile["method"] = json!(method);
    let file = json!({"github": {"profile": profile}}).to_string();
    let mut catalogue = Catalogue::default();
    catalogue.describe(Descriptions::read(file.as_bytes()).unwrap());
    app.outbox.catalogue = Arc::new(catalogue);
    app
}

#[track_caller]
fn check_profile(app: &TestApp, account: Value, name: Value) {
    let body = &app.notified()[0].body;
    assert_eq!(body["type"], "connection.activated");
    assert_eq!([&body["providerAccountId"], &body["displayName"]], [&account, &name]);
}

#[sqlx::test(migrator = "control::store::MIGRATIONS")]
async fn a_person_is_known_by_the_first_path_that_knows_one(pool: PgPool) {
    let app = slack_like(pool, "GET").await;
    app.nango.provider().be(Mood::KnowsPerson);
    app.activate().await;
    check_profile(&app, json!("U0G9QF9C6"), json!("Sonny"));
    assert_eq!(app.notified()[0].body["metadata"]["avatar"], "https://avatars.example/192");
    app.finish().await;
}

#[sqlx::test(migrator = "control::store::MIGRATIONS")]
async fn a_failure_that_says_200_leads_to_the_next_path(pool: PgPool) {
    let app = slack_like(pool, "POST").await;
    app.activate().await;
    check_profile(&app, json!("W23456789"), json!("bot"));
    app.finish().await;
}

#[sqlx::test(migrator = "control::store::MIGRATIONS")]
async fn a_provider_that_knows_nobody_on_any_path_leaves_the_profile_empty(pool: PgPool) {
    let app = slack_like(pool, "GET").await;
    app.nango.provider().be(Mood::HidesUsers);
    app.activate().await;
    check_profile(&app, Value::Null, Value::Null);
    app.finish().await;
}

#[sqlx::test(migrator = "control::store::MIGRATIONS")]
async fn a_path_that_is_down_does_not_make_another_account_of_the_user(pool: PgPool) {
    let app = slack_like(pool, "GET").await;
    app.nango.provider().be(Mood::LosesPerson);
    app.activate().await;
    check_profile(&app, Value::Null, Value::Null);
    app.finish().await;
}

#[sqlx::test(migrator = "control::store::MIGRATIONS")]
async fn a_token_that_slack_takes_no_more_needs_its_user_as_one_of_githubs_does(pool: PgPool) {
    for word in ["token_revoked", "invalid_auth", "token_expired", "account_inactive"] {
        let ended = probe_twice(&pool, Mood::SaysOfSlack(word)).await;
        assert_eq!(ended, ("needs_reauth".to_owned(), "token_rejected".into()), "{word}");
        // Many within an hour would be the provider's outage.
        let past = sqlx::query("UPDATE connections SET since = since - interval '61 minutes'");
        past.execute(&pool).await.unwrap();
    }
}

#[sqlx::test(migrator = "control::store::MIGRATIONS")]
async fn what_slack_says_of_itself_costs_nobody_a_connection(pool: PgPool) {
    for word in ["ratelimited", "internal_error", "not_allowed_token_type", "missing_scope"] {
        let ended = probe_twice(&pool, Mood::SaysOfSlack(word)).await;
        assert_eq!(ended, ("active".to_owned(), Value::Null), "{word}");
    }
}

/// What a connection like Slack's is after two looks, a minute apart, at a provider in this mood.
async fn probe_twice(pool: &PgPool, mood: Mood) -> (String, Value) {
    let app = slack_like(pool.clone(), "GET").await;
    let (started, _) = app.activate().await;
    app.nango.provider().be(mood);
    app.advance(60);
    app.ask_check(&started).await;
    app.outbox.run_once().await.unwrap();
    let status = async || app.get(started["connectionId"].as_str().unwrap()).await;
    assert_eq!(status().await["status"], "active", "seen once");
    app.advance(61);
    app.outbox.run_once().await.unwrap();
    // Whatever was in doubt is looked at twice by now, and the next look would be one too many.
    let now = status().await;
    app.abandon();
    (now["status"].as_str().unwrap().to_owned(), now["reason"].clone())
}
