//! A verified webhook is taken, whatever it says, and believed in nothing.

use crate::support::{TestApp, nobody};
use axum::{body::Body, http::StatusCode};
use contract::assertion::Vouched;
use serde_json::json;
use sqlx::PgPool;
use std::{fs, path::PathBuf};

fn recorded(name: &str) -> String {
    let folder = "../contract/fixtures/nango-0.71.4/webhooks";
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(folder).join(format!("{name}.http"));
    fs::read_to_string(path).unwrap().split_once("\r\n\r\n").unwrap().1.to_owned()
}

#[sqlx::test(migrator = "control::store::MIGRATIONS")]
async fn a_recorded_forgery_is_stored_and_changes_nothing(pool: PgPool) {
    let app = TestApp::start(pool).await;
    let (started, _) = app.activate().await;
    let before = app.get(started["connectionId"].as_str().unwrap()).await;
    let body = recorded("w42-forward-FORGED-auth-event-correctly-signed");
    let answer = app.webhook(&serde_json::from_str(&body).unwrap()).await;
    assert_eq!(answer.status, StatusCode::OK);
    // Asking Nango about it would be a call that a stranger can make us pay.
    app.nango.make_trouble(nango_stand_in::Trouble::Unavailable);
    app.outbox.run_once().await.unwrap();
    let outcome: String = sqlx::query_scalar(
        "SELECT outcome FROM receipts WHERE hint->>'connectionId' = 'forged-connection'",
    )
    .fetch_one(&app.pool)
    .await
    .unwrap();
    assert_eq!(outcome, "no_match");
    assert_eq!(app.get(started["connectionId"].as_str().unwrap()).await, before);
    assert_eq!(app.notified_types(), ["connection.activated"]);
    app.finish().await;
}

#[sqlx::test(migrator = "control::store::MIGRATIONS")]
async fn every_recorded_webhook_is_taken(pool: PgPool) {
    let app = TestApp::start(pool).await;
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("../contract/fixtures/nango-0.71.4/webhooks");
    let mut taken = 0;
    for entry in fs::read_dir(folder).unwrap() {
        let name = entry.unwrap().path().file_stem().unwrap().to_string_lossy().into_owned();
        let body = serde_json::from_str(&recorded(&name)).unwrap();
        assert_eq!(app.webhook(&body).await.status, StatusCode::OK, "{name}");
        taken += 1;
    }
    app.outbox.run_once().await.unwrap();
    assert_eq!(app.count("SELECT count(*) FROM receipts").await, taken);
    assert_eq!(app.count("SELECT count(*) FROM connections").await, 0);
    app.finish().await;
}

#[sqlx::test(migrator = "control::store::MIGRATIONS")]
async fn a_body_that_is_nothing_known_is_taken_and_not_kept(pool: PgPool) {
    let app = TestApp::start(pool).await;
    let vouched = Vouched { webhook_key: Some("k".parse().unwrap()), ..nobody() };
    for body in ["", "not json", "{\"type\":\"of tomorrow\",\"secret\":\"canary\"}", "\u{0}"] {
        let answer = app.send("POST", "/webhooks/nango", &vouched, Body::from(body)).await;
        assert_eq!(answer.status, StatusCode::OK, "{body:?}");
    }
    let kept: Vec<String> = sqlx::query_scalar("SELECT receipts::text FROM receipts")
        .fetch_all(&app.pool)
        .await
        .unwrap();
    assert_eq!(kept.len(), 4);
    assert!(kept.iter().all(|row| !row.contains("canary") && row.contains("ignored")), "{kept:?}");
    app.finish().await;
}

#[sqlx::test(migrator = "control::store::MIGRATIONS")]
async fn a_webhook_that_cannot_be_kept_is_never_a_4xx_so_that_nango_repeats_it(pool: PgPool) {
    let app = TestApp::start(pool.clone()).await;
    sqlx::query("ALTER TABLE receipts RENAME TO gone").execute(&pool).await.unwrap();
    let answer = app.webhook(&json!({"type": "sync"})).await;
    assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE, "it is not migrated");
    sqlx::query("ALTER TABLE gone RENAME TO receipts").execute(&pool).await.unwrap();
    app.finish().await;
}

#[sqlx::test(migrator = "control::store::MIGRATIONS")]
async fn a_database_that_is_away_is_503(pool: PgPool) {
    let app = TestApp::start(pool.clone()).await;
    pool.close().await;
    let webhook = app.webhook(&json!({"type": "sync"})).await;
    assert_eq!(
        (webhook.status, webhook.code().as_str()),
        (StatusCode::SERVICE_UNAVAILABLE, "unavailable")
    );
    let id = "0195f2a1-0000-7000-8000-000000000001";
    let call = app.call("acme", "GET", &format!("/connections/{id}"), &json!(null)).await;
    assert_eq!(
        (call.status, &call.headers["retry-after"]),
        (StatusCode::SERVICE_UNAVAILABLE, &"3".parse().unwrap())
    );
    app.abandon();
}

#[sqlx::test(migrator = "control::store::MIGRATIONS")]
async fn a_stranger_cannot_make_a_verified_webhook_fail(pool: PgPool) {
    let app = TestApp::start(pool).await;
    let nul = "a\u{0}b";
    for body in [
        json!({"type": "auth", "from": "nango", "operation": "creation", "success": true, "connectionId": "n-1",
            "providerConfigKey": "github-dev", "tags": {"a": nul, "tenant_id": nul, "b": {"c": [1]}}}),
        json!({"type": "auth", "from": "nango", "operation": nul, "success": false, "connectionId": "n-1",
            "providerConfigKey": "github-dev", "error": {"type": nul, "description": nul}}),
        json!({"type": "auth", "from": "nango", "operation": "creation", "success": true, "connectionId": nul,
            "providerConfigKey": "github-dev"}),
        json!({"type": "connection.activated", "connectionId": "n-1", "vendor": nul}),
        json!({"type": nul}),
        json!({"type": "auth", "from": "nango", "operation": "creation", "success": true, "connectionId": "n-1",
            "providerConfigKey": "github-dev", "tags": {"a": "x".repeat(100_000)}}),
    ] {
        assert_eq!(app.webhook(&body).await.status, StatusCode::OK, "{body}");
    }
    app.outbox.run_once().await.unwrap();
    let longest = "SELECT max(length(receipts::text))::bigint FROM receipts";
    assert!(app.count(longest).await < 1000, "a stranger's texts are not kept");
    app.finish().await;
}

#[sqlx::test(migrator = "control::store::MIGRATIONS")]
async fn an_error_text_of_nangos_is_never_kept(pool: PgPool) {
    let app = TestApp::start(pool).await;
    let body = json!({"type": "auth", "from": "nango", "operation": "refresh", "success": false,
        "connectionId": "n-1", "providerConfigKey": "github-dev", "endUser": {"endUserEmail": "canary@example.com"},
        "error": {"type": "refresh_failed", "description": "Bearer gho_canary"}});
    app.webhook(&body).await;
    app.outbox.run_once().await.unwrap();
    let kept: String = sqlx::query_scalar("SELECT receipts::text FROM receipts")
        .fetch_one(&app.pool)
        .await
        .unwrap();
    assert!(kept.contains("refresh_failed") && !kept.contains("canary"), "{kept}");
    app.finish().await;
}
