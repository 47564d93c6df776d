//! Webhooks about refreshing and deletion, as Nango sends them: with our tags (recordings w50 and w51).

use crate::support::TestApp;
use axum::http::StatusCode;
use serde_json::{Value, json};
use sqlx::PgPool;

/// A recorded webhook's body, about this connection.
async fn recorded(app: &TestApp, name: &str, started: &Value, nango_id: &str) -> Value {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../contract/fixtures/nango-0.71.4/webhooks");
    let text = std::fs::read_to_string(format!("{folder}/{name}.http")).unwrap();
    let (_, body) = text.split_once("\r\n\r\n").unwrap();
    let mut body: Value = serde_json::from_str(body.trim()).unwrap();
    let attempt: uuid::Uuid =
        sqlx::query_scalar("SELECT attempt_id FROM attempts").fetch_one(&app.pool).await.unwrap();
    body["connectionId"] = json!(nango_id);
    body["providerConfigKey"] = json!("github-dev");
    body["tags"] = json!({"attempt": attempt, "connection_ref": started["connectionId"],
        "end_user_id": "user-1", "instance": "test", "tenant_id": "acme"});
    body
}

async fn shown(app: &TestApp, started: &Value) -> (String, Value) {
    let now = app.get(started["connectionId"].as_str().unwrap()).await;
    (now["status"].as_str().unwrap().to_owned(), now["reason"].clone())
}

async fn hint(app: &TestApp, body: &Value) {
    assert_eq!(app.webhook(body).await.status, StatusCode::OK);
    app.outbox.run_once().await.unwrap();
}

#[sqlx::test(migrator = "control::store::MIGRATIONS")]
async fn a_refresh_that_fails_and_works_again_is_seen_by_its_webhooks(pool: PgPool) {
    let app = TestApp::start(pool).await;
    let (started, nango_id) = app.activate().await;
    app.advance(60);
    app.nango.fail_refresh(&nango_id, true);
    hint(&app, &recorded(&app, "w50-refresh-failed-with-tags", &started, &nango_id).await).await;
    assert_eq!(shown(&app, &started).await, ("active".to_owned(), json!("refresh_failing")));
    app.advance(60);
    app.nango.fail_refresh(&nango_id, false);
    let works = recorded(&app, "w51-refresh-recovered-success-true", &started, &nango_id).await;
    hint(&app, &works).await;
    assert_eq!(shown(&app, &started).await, ("active".to_owned(), Value::Null));
    assert_eq!(app.notified_types(), ["connection.activated", "connection.recovered"]);
    // What is known by now costs no call.
    let calls = app.nango.api_calls();
    hint(&app, &works).await;
    assert_eq!(app.nango.api_calls(), calls);
    app.finish().await;
}

/// A lookup a moment ago, as after an activation or another hint, keeps them no longer than a second.
#[sqlx::test(migrator = "control::store::MIGRATIONS")]
async fn what_refreshing_does_is_seen_within_a_second_however_new_the_last_lookup_is(pool: PgPool) {
    let app = TestApp::start(pool).await;
    let (started, nango_id) = app.activate().await;
    let fails = recorded(&app, "w50-refresh-failed-with-tags", &started, &nango_id).await;
    let works = recorded(&app, "w51-refresh-recovered-success-true", &started, &nango_id).await;
    for _ in 0..2 {
        for (is_failing, body, reason) in
            [(true, &fails, json!("refresh_failing")), (false, &works, Value::Null)]
        {
            app.nango.fail_refresh(&nango_id, is_failing);
            hint(&app, body).await;
            app.advance(1);
            app.outbox.run_once().await.unwrap();
            assert_eq!(shown(&app, &started).await, ("active".to_owned(), reason));
        }
        // Two lookups in half a minute need not wait.
        app.advance(30);
    }
    app.finish().await;
}

#[sqlx::test(migrator = "control::store::MIGRATIONS")]
async fn a_refresh_of_another_name_or_one_that_nango_does_not_confirm_changes_nothing(
    pool: PgPool,
) {
    let app = TestApp::start(pool).await;
    let (started, nango_id) = app.activate().await;
    app.advance(60);
    let forged = recorded(&app, "w50-refresh-failed-with-tags", &started, "another").await;
    let calls = app.nango.api_calls();
    hint(&app, &forged).await;
    assert_eq!(app.nango.api_calls(), calls, "another name than the bound one");
    hint(&app, &recorded(&app, "w50-refresh-failed-with-tags", &started, &nango_id).await).await;
    assert_eq!(shown(&app, &started).await, ("active".to_owned(), Value::Null));
    assert_eq!(app.notified_types(), ["connection.activated"]);
    app.finish().await;
}

#[sqlx::test(migrator = "control::store::MIGRATIONS")]
async fn a_deletion_in_nangos_dashboard_is_checked_at_once_and_believed_the_second_time(
    pool: PgPool,
) {
    let app = TestApp::start(pool).await;
    let (started, nango_id) = app.activate().await;
    app.advance(60);
    let mut deleted =
        recorded(&app, "w51-refresh-recovered-success-true", &started, &nango_id).await;
    deleted["operation"] = json!("deletion");
    // Forged: Nango has it still.
    hint(&app, &deleted).await;
    app.advance(120);
    app.outbox.run_once().await.unwrap();
    assert_eq!(shown(&app, &started).await.0, "active");
    app.nango.delete_behind_back(&nango_id);
    hint(&app, &deleted).await;
    assert_eq!(shown(&app, &started).await.0, "active", "seen once");
    app.advance(62);
    app.outbox.run_once().await.unwrap();
    assert_eq!(shown(&app, &started).await, ("deleted".to_owned(), json!("gone_at_vault")));
    app.finish().await;
}

#[sqlx::test(migrator = "control::store::MIGRATIONS")]
async fn a_renewal_that_nobody_here_waited_for_is_checked_for_its_account(pool: PgPool) {
    let app = TestApp::start(pool).await;
    let (started, nango_id) = app.activate().await;
    let mut renewed =
        recorded(&app, "w51-refresh-recovered-success-true", &started, &nango_id).await;
    renewed["operation"] = json!("override");
    let path = format!("/connections/{}/reconnect", started["connectionId"].as_str().unwrap());
    let again = app.call("acme", "POST", &path, &json!({})).await.json();
    let query = app.decide(&again, "allow").await;
    app.advance(3700);
    app.outbox.run_once().await.unwrap();
    // Its time is over, and the browser goes to Nango all the same, by a link that it has.
    app.nango.provider().log_in(7);
    app.finish_at_nango(&format!("{}/oauth/callback?{query}", app.nango.url())).await;
    assert_eq!(shown(&app, &started).await.0, "active");
    hint(&app, &renewed).await;
    // The last lookup of the attempt was a moment ago, and a check waits 25 s after it.
    app.advance(25);
    app.outbox.run_once().await.unwrap();
    assert_eq!(shown(&app, &started).await, ("needs_reauth".to_owned(), json!("account_changed")));
    app.finish().await;
}
