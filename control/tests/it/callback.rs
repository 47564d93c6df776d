//! A browser comes back.

use crate::support::TestApp;
use axum::http::StatusCode;
use serde_json::json;
use sqlx::PgPool;

#[sqlx::test(migrator = "control::store::MIGRATIONS")]
async fn a_known_state_is_sent_on_to_nango_byte_for_byte_and_by_no_other_query(pool: PgPool) {
    let app = TestApp::start(pool).await;
    let started = app.start_connection().await;
    let state = started["state"].as_str().unwrap();
    // Not as anybody would encode it, and with parameters that nobody asked for.
    let query = format!("code=a%2fB+c&state={state}&scope=x,y&x=%zz");
    let sent_on = app.callback(&query).await;
    assert_eq!(sent_on.status, StatusCode::PERMANENT_REDIRECT);
    let location = format!("{}/oauth/callback?{query}", app.nango.url());
    assert_eq!(sent_on.headers["location"], location);
    assert_eq!(sent_on.headers["cache-control"], "no-store");
    assert_eq!(sent_on.headers["referrer-policy"], "no-referrer");
    // Its answer may have been lost: the same query leads to the same place, where Nango takes a state once.
    let again = app.callback(&query).await;
    assert_eq!(again.status, StatusCode::PERMANENT_REDIRECT);
    assert_eq!(again.headers["location"], location);
    // Another one shows how things stand and sends nobody anywhere.
    let again = app.callback(&format!("code=other&state={state}")).await;
    assert_eq!((again.status, again.headers.get("location")), (StatusCode::OK, None));
    assert!(String::from_utf8_lossy(&again.body).contains("Almost there"));
    app.outbox.run_once().await.unwrap();
    app.finish().await;
}

#[sqlx::test(migrator = "control::store::MIGRATIONS")]
async fn a_user_who_says_no_fails_the_connection_with_the_reason(pool: PgPool) {
    let app = TestApp::start(pool).await;
    let started = app.start_connection().await;
    let query = app.decide(&started, "deny").await;
    let page = app.callback(&query).await;
    assert_eq!(page.status, StatusCode::OK);
    assert!(String::from_utf8_lossy(&page.body).contains("You did not give access"));
    app.outbox.run_once().await.unwrap();
    let shown = app.get(started["connectionId"].as_str().unwrap()).await;
    assert_eq!(
        [&shown["status"], &shown["reason"], &shown["nextAction"]],
        ["failed", "access_denied", "reconnect"]
    );
    let notified = app.notified();
    assert_eq!(notified.len(), 1);
    assert_eq!(notified[0].body["type"], "connection.failed");
    assert_eq!(notified[0].body["reason"], "access_denied");
    app.finish().await;
}

#[sqlx::test(migrator = "control::store::MIGRATIONS")]
async fn an_error_of_the_provider_is_a_reason_of_its_own(pool: PgPool) {
    let app = TestApp::start(pool).await;
    let started = app.start_connection().await;
    let state = started["state"].as_str().unwrap();
    app.callback(&format!("error=server_error&error_description=%3Cscript%3E&state={state}")).await;
    app.outbox.run_once().await.unwrap();
    assert_eq!(
        app.get(started["connectionId"].as_str().unwrap()).await["reason"],
        "provider_error"
    );
    app.finish().await;
}

#[sqlx::test(migrator = "control::store::MIGRATIONS")]
async fn a_state_that_nobody_knows_is_a_plain_page_that_repeats_nothing(pool: PgPool) {
    let app = TestApp::start(pool).await;
    let started = app.start_connection().await;
    for query in [
        "",
        "code=c",
        "state=",
        "state=unknown-marker&code=c",
        "state=a&state=b",
        "error=%3Cscript%3Emarker%3C/script%3E&state=unknown-marker",
        "state=%00%ff",
    ] {
        let page = app.callback(query).await;
        assert_eq!(page.status, StatusCode::BAD_REQUEST, "{query}");
        assert_eq!(page.headers["content-type"], "text/html; charset=utf-8");
        let body = String::from_utf8_lossy(&page.body).into_owned();
        assert!(!body.contains("marker") && !body.contains("<script"), "{body}");
    }
    assert_eq!(app.get(started["connectionId"].as_str().unwrap()).await["status"], "pending");
    app.finish().await;
}

#[sqlx::test(migrator = "control::store::MIGRATIONS")]
async fn a_state_is_good_until_its_deadline(pool: PgPool) {
    let app = TestApp::start(pool).await;
    let started = app.start_connection().await;
    let query = app.decide(&started, "allow").await;
    app.advance(3600);
    assert_eq!(app.callback(&query).await.status, StatusCode::BAD_REQUEST);
    let started = app.start_connection().await;
    let query = app.decide(&started, "allow").await;
    app.advance(3599);
    assert_eq!(app.callback(&query).await.status, StatusCode::PERMANENT_REDIRECT);
    app.outbox.run_once().await.unwrap();
    app.finish().await;
}

#[sqlx::test(migrator = "control::store::MIGRATIONS")]
async fn the_state_of_a_deleted_connection_is_no_state(pool: PgPool) {
    let app = TestApp::start(pool).await;
    let started = app.start_connection().await;
    let query = app.decide(&started, "allow").await;
    let path = format!("/connections/{}", started["connectionId"].as_str().unwrap());
    app.call("acme", "DELETE", &path, &json!(null)).await;
    assert_eq!(app.callback(&query).await.status, StatusCode::BAD_REQUEST);
    app.outbox.run_once().await.unwrap();
    app.finish().await;
}

#[sqlx::test(migrator = "control::store::MIGRATIONS")]
async fn an_error_that_could_not_be_recorded_can_be_brought_again(pool: PgPool) {
    let app = TestApp::start(pool.clone()).await;
    let started = app.start_connection().await;
    let query = app.decide(&started, "deny").await;
    sqlx::query("ALTER TABLE audit_events RENAME TO gone").execute(&pool).await.unwrap();
    let page = app.callback(&query).await;
    assert_eq!(page.status, StatusCode::SERVICE_UNAVAILABLE);
    assert!(String::from_utf8_lossy(&page.body).contains("Reload this page"));
    sqlx::query("ALTER TABLE gone RENAME TO audit_events").execute(&pool).await.unwrap();
    let reloaded = app.callback(&query).await;
    assert_eq!(reloaded.status, StatusCode::OK);
    app.outbox.run_once().await.unwrap();
    assert_eq!(app.notified_types(), ["connection.failed"]);
    app.finish().await;
}
