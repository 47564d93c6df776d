//! Callbacks that this service finishes itself: at once, or when the application says who came back.

use crate::support::{Answer, TestApp};
use axum::http::StatusCode;
use nango_stand_in::{Mood, Trouble};
use serde_json::{Value, json};
use sqlx::PgPool;
use std::sync::Arc;
use url::Url;

fn id(started: &Value) -> &str {
    started["connectionId"].as_str().unwrap()
}

fn says(page: &Answer, words: &str) -> bool {
    page.status == StatusCode::OK && String::from_utf8_lossy(&page.body).contains(words)
}

async fn outcome(app: &TestApp, started: &Value) -> (String, Value) {
    app.outbox.run_once().await.unwrap();
    app.advance(2);
    app.outbox.run_once().await.unwrap();
    let now = app.get(id(started)).await;
    (now["status"].as_str().unwrap().to_owned(), now["reason"].clone())
}

async fn start_bound(app: &TestApp, sub: &str) -> Value {
    let body =
        json!({"sub": sub, "provider": "github", "returnUrl": "https://app.example/done?x=1"});
    let answer = app.call("acme", "POST", "/connections", &body).await;
    assert_eq!(answer.status, StatusCode::CREATED, "{:?}", answer.body);
    answer.json()
}

/// Where the browser is sent back to, with which ticket.
fn ticket(answer: &Answer) -> String {
    assert_eq!(answer.status, StatusCode::SEE_OTHER, "{:?}", answer.body);
    assert_eq!(answer.headers["referrer-policy"], "no-referrer");
    let url = Url::parse(answer.headers["location"].to_str().unwrap()).unwrap();
    assert_eq!(url.origin().ascii_serialization(), "https://app.example");
    let named = |wanted: &str| {
        let mut pairs = url.query_pairs().filter(|(name, _)| name == wanted);
        pairs.next().map(|(_, value)| value.into_owned())
    };
    assert_eq!(named("x").as_deref(), Some("1"));
    assert!(!url.as_str().contains("code="), "the code stays here");
    named("ticket").unwrap()
}

async fn complete(app: &TestApp, tenant: &str, id: &str, ticket: &str) -> Answer {
    let path = format!("/connections/{id}/complete");
    app.call(tenant, "POST", &path, &json!({ "ticket": ticket })).await
}

#[sqlx::test(migrator = "control::store::MIGRATIONS")]
async fn a_callback_is_finished_at_once_where_nango_enforces_its_cookie(pool: PgPool) {
    let app = TestApp::completing(pool).await;
    let started = app.start_connection().await;
    let query = app.decide(&started, "allow").await;
    assert!(says(&app.callback(&query).await, "Connected"));
    app.outbox.run_once().await.unwrap();
    assert_eq!(app.notified_types(), ["connection.activated"]);
    // Loaded again, it shows what became of it, and finishes nothing twice.
    assert!(says(&app.callback(&query).await, "Connected"));
    assert_eq!(app.nango.connection_ids().len(), 1);
    app.finish().await;
}

#[sqlx::test(migrator = "control::store::MIGRATIONS")]
async fn a_code_that_is_not_exchanged_is_a_reason_within_seconds(pool: PgPool) {
    let app = TestApp::completing(pool).await;
    let started = app.start_connection().await;
    app.nango.provider().be(Mood::RefusesCodes);
    let query = app.decide(&started, "allow").await;
    assert!(says(&app.callback(&query).await, "The connection failed"));
    let expected = ("failed".to_owned(), "token_exchange_failed".into());
    assert_eq!(outcome(&app, &started).await, expected);
    assert!(says(&app.callback(&query).await, "The connection failed"));
    app.finish().await;
}

#[sqlx::test(migrator = "control::store::MIGRATIONS")]
async fn a_callback_that_nango_does_not_know_is_a_reason_of_its_own(pool: PgPool) {
    let app = TestApp::completing(pool).await;
    let started = app.start_connection().await;
    let query = app.decide(&started, "allow").await;
    // Somebody used its state up before, without the cookie.
    let early = format!("{}/oauth/callback?{query}", app.nango.url());
    assert_eq!(reqwest::get(early).await.unwrap().status(), 400);
    app.callback(&query).await;
    assert_eq!(outcome(&app, &started).await, ("failed".to_owned(), "vault_refused".into()));
    app.finish().await;
}

#[sqlx::test(migrator = "control::store::MIGRATIONS")]
async fn what_nango_says_of_a_success_is_not_believed_before_the_list_shows_it(pool: PgPool) {
    let app = TestApp::completing(pool).await;
    let started = app.start_connection().await;
    let query = app.decide(&started, "allow").await;
    app.nango.make_trouble(Trouble::Lagging);
    app.callback(&query).await;
    assert_eq!(outcome(&app, &started).await.0, "pending");
    app.nango.make_trouble(Trouble::None);
    app.advance(60);
    assert_eq!(outcome(&app, &started).await.0, "active");
    app.finish().await;
}

#[sqlx::test(migrator = "control::store::MIGRATIONS")]
async fn a_bound_callback_is_finished_by_its_ticket_once(pool: PgPool) {
    let app = TestApp::completing(pool).await;
    let started = start_bound(&app, "user-1").await;
    let query = app.decide(&started, "allow").await;
    let ticket = ticket(&app.callback(&query).await);
    assert_eq!(app.nango.connection_ids(), [""; 0], "nothing happened yet");
    assert!(says(&app.callback(&query).await, "opened already"), "no ticket without the cookie");
    // Another tenant, another connection, another ticket: none finishes it.
    let other = start_bound(&app, "user-2").await;
    for (tenant, id, ticket, status) in [
        ("rival", id(&started), ticket.as_str(), StatusCode::NOT_FOUND),
        ("acme", id(&other), &ticket, StatusCode::CONFLICT),
        ("acme", id(&started), "", StatusCode::CONFLICT),
        ("acme", id(&started), "AAAA", StatusCode::CONFLICT),
    ] {
        assert_eq!(complete(&app, tenant, id, ticket).await.status, status, "{tenant} {ticket}");
    }
    let done = complete(&app, "acme", id(&started), &ticket).await;
    assert_eq!(done.status, StatusCode::ACCEPTED, "{:?}", done.body);
    assert_eq!(outcome(&app, &started).await.0, "active");
    let again = complete(&app, "acme", id(&started), &ticket).await;
    assert_eq!(again.status, StatusCode::ACCEPTED, "answered again, and finished once");
    assert_eq!(app.nango.connection_ids().len(), 1);
    app.finish().await;
}

#[sqlx::test(migrator = "control::store::MIGRATIONS")]
async fn a_ticket_is_good_for_five_minutes(pool: PgPool) {
    let app = TestApp::completing(pool).await;
    let started = start_bound(&app, "user-1").await;
    let query = app.decide(&started, "allow").await;
    let ticket = ticket(&app.callback(&query).await);
    app.advance(300);
    let late = complete(&app, "acme", id(&started), &ticket).await;
    assert_eq!(late.code(), "ticket_invalid");
    for wait in [0, 300, 10, 20] {
        app.advance(wait);
        app.outbox.run_once().await.unwrap();
    }
    let now = app.get(id(&started)).await;
    assert_eq!([&now["status"], &now["reason"]], ["failed", "no_connection_after_callback"]);
    assert_eq!(app.nango.connection_ids(), [""; 0]);
    app.finish().await;
}

/// The attacker starts, and has the victim authorise. The application sees who came back.
#[sqlx::test(migrator = "control::store::MIGRATIONS")]
async fn a_victim_who_is_sent_through_an_attackers_flow_leaves_no_credential(pool: PgPool) {
    let app = TestApp::completing(pool).await;
    let attackers = start_bound(&app, "attacker").await;
    // The victim's browser follows the attacker's link, and consents.
    let query = app.decide(&attackers, "allow").await;
    let in_victims_browser = ticket(&app.callback(&query).await);
    // At the application the victim is logged in as the victim: it asks whose connection it is.
    let started_by = app.get(id(&attackers)).await["sub"].clone();
    assert_ne!(started_by, "victim", "so that the application does not finish it");
    drop(in_victims_browser);
    // The attacker knows everything but the ticket: the state, the link, his own callback.
    let state = attackers["state"].as_str().unwrap();
    for query in [query.clone(), format!("code=guessed&state={state}")] {
        let page = app.callback(&query).await;
        assert!(page.headers.get("location").is_none(), "no ticket for him");
    }
    // Nor does Nango finish it for him: its cookie never left this service.
    let at_nango = format!("{}/oauth/callback?{query}", app.nango.url());
    assert_eq!(reqwest::get(at_nango).await.unwrap().status(), 400);
    app.advance(600);
    for wait in [0, 2, 5, 15] {
        app.advance(wait);
        app.outbox.run_once().await.unwrap();
    }
    assert_eq!(app.nango.connection_ids(), [""; 0], "no credential ever existed");
    assert_eq!(app.get(id(&attackers)).await["status"], "failed");
    app.finish().await;
}

#[sqlx::test(migrator = "control::store::MIGRATIONS")]
async fn a_refusal_goes_back_to_the_application_in_words_of_ours(pool: PgPool) {
    let app = TestApp::completing(pool).await;
    let started = start_bound(&app, "user-1").await;
    let state = started["state"].as_str().unwrap();
    let query = format!("error=access_denied&error_description=%3Cscript%3E&state={state}");
    let back = app.callback(&query).await;
    assert_eq!(back.status, StatusCode::SEE_OTHER);
    let location = back.headers["location"].to_str().unwrap();
    let expected =
        format!("https://app.example/done?x=1&connectionId={}&error=access_denied", id(&started));
    assert_eq!(location, expected);
    app.outbox.run_once().await.unwrap();
    assert_eq!(app.notified_types(), ["connection.failed"]);
    app.finish().await;
}

#[sqlx::test(migrator = "control::store::MIGRATIONS")]
async fn a_page_of_another_origin_is_refused_and_so_is_any_where_nango_finishes(pool: PgPool) {
    let app = TestApp::completing(pool.clone()).await;
    let body = |url: &str| json!({"sub": "u", "provider": "github", "returnUrl": url});
    for url in ["https://evil.example/", "https://app.example.evil.example/", "javascript:1", ""] {
        let refused = app.call("acme", "POST", "/connections", &body(url)).await;
        assert_eq!(
            (refused.status, refused.code().as_str()),
            (StatusCode::BAD_REQUEST, "invalid_request")
        );
    }
    assert_eq!(app.nango.api_calls(), 0);
    app.finish().await;
    let app = TestApp::start(pool).await;
    let refused = app.call("acme", "POST", "/connections", &body("https://app.example/")).await;
    assert_eq!(refused.status, StatusCode::BAD_REQUEST);
    app.finish().await;
}

#[sqlx::test(migrator = "control::store::MIGRATIONS")]
async fn neither_code_nor_cookie_is_readable_in_the_database(pool: PgPool) {
    let app = TestApp::completing(pool.clone()).await;
    let started = start_bound(&app, "user-1").await;
    let query = app.decide(&started, "allow").await;
    let code = query.split('&').find_map(|pair| pair.strip_prefix("code=")).unwrap().to_owned();
    let ticket = ticket(&app.callback(&query).await);
    let row: String = sqlx::query_scalar("SELECT to_jsonb(attempts)::text FROM attempts")
        .fetch_one(&pool)
        .await
        .unwrap();
    for secret in [code.as_str(), "oauth2-", &ticket, started["state"].as_str().unwrap()] {
        assert!(!row.contains(secret), "{secret} in {row}");
    }
    complete(&app, "acme", id(&started), &ticket).await;
    assert_eq!(outcome(&app, &started).await.0, "active");
    let kept = app
        .count("SELECT count(*) FROM attempts WHERE cookie IS NOT NULL OR query IS NOT NULL")
        .await;
    assert_eq!(kept, 0, "what was used is gone");
    // So is what will never be used.
    let refused = start_bound(&app, "user-2").await;
    let state = refused["state"].as_str().unwrap();
    app.callback(&format!("error=access_denied&state={state}")).await;
    let kept = app.count("SELECT count(*) FROM attempts WHERE cookie IS NOT NULL").await;
    assert_eq!(kept, 0, "what ended unused is gone");
    app.outbox.run_once().await.unwrap();
    app.finish().await;
}

/// A code is good once, so that whoever closes the window must not take the answer away.
#[sqlx::test(migrator = "control::store::MIGRATIONS")]
async fn a_browser_that_goes_away_is_connected_all_the_same(pool: PgPool) {
    let app = Arc::new(TestApp::completing(pool).await);
    let started = app.start_connection().await;
    let query = app.decide(&started, "allow").await;
    app.nango.provider().be(Mood::Slow);
    let browser = tokio::spawn({
        let app = Arc::clone(&app);
        async move { app.callback(&query).await }
    });
    app.nango.provider().is_asked().await;
    browser.abort();
    assert!(browser.await.is_err_and(|ended| ended.is_cancelled()));
    app.nango.provider().has_answered().await;
    let app = Arc::into_inner(app).unwrap();
    for wait in [0, 2, 3, 10, 45] {
        app.advance(wait);
        app.outbox.run_once().await.unwrap();
    }
    assert_eq!(app.notified_types(), ["connection.activated"]);
    app.finish().await;
}
