//! Answers that exist only in one response: each can be had again.

use crate::{
    setup::Setup,
    support::{Answer, TestApp, nobody},
};
use axum::{body::Body, http::StatusCode};
use serde_json::{Value, json};
use sqlx::PgPool;

fn id(started: &Value) -> &str {
    started["connectionId"].as_str().unwrap()
}

async fn start_bound(app: &TestApp, sub: &str) -> Value {
    let body = json!({"sub": sub, "provider": "github", "returnUrl": "https://app.example/done"});
    let answer = app.call("acme", "POST", "/connections", &body).await;
    assert_eq!(answer.status, StatusCode::CREATED, "{:?}", answer.body);
    answer.json()
}

/// A browser that has this cookie comes back.
async fn callback_with(app: &TestApp, query: &str, cookie: &str) -> Answer {
    let path = format!("/oauth/callback?{query}");
    let request = app.request("GET", &path, &nobody()).header("cookie", cookie);
    app.send_raw(request.body(Body::empty()).unwrap()).await
}

async fn post_form(app: &TestApp, form: &str) -> Answer {
    let mut request = app.request("POST", "/oauth/callback", &nobody());
    let form_type = "application/x-www-form-urlencoded".parse().unwrap();
    request.headers_mut().unwrap().insert("content-type", form_type);
    app.send_raw(request.body(Body::from(form.to_owned())).unwrap()).await
}

fn location(answer: &Answer) -> &str {
    assert!(answer.status.is_redirection(), "{} {:?}", answer.status, answer.body);
    assert_eq!(answer.headers["cache-control"], "no-store");
    assert_eq!(answer.headers["referrer-policy"], "no-referrer");
    answer.headers["location"].to_str().unwrap()
}

fn ticket(answer: &Answer) -> String {
    let (_, ticket) = location(answer).split_once("&ticket=").unwrap();
    ticket.to_owned()
}

/// What the browser was told to keep, as it sends it back; and all that was said of it.
fn cookie(answer: &Answer) -> (String, String) {
    let whole = answer.headers["set-cookie"].to_str().unwrap().to_owned();
    (whole.split(';').next().unwrap().to_owned(), whole)
}

fn says(answer: &Answer, words: &str) -> bool {
    assert_eq!(answer.headers["content-type"], "text/html; charset=utf-8");
    assert_eq!(
        answer.headers["content-security-policy"],
        "default-src 'none'; frame-ancestors 'none'"
    );
    String::from_utf8_lossy(&answer.body).contains(words)
}

async fn complete(app: &TestApp, started: &Value, ticket: &str) -> Answer {
    let path = format!("/connections/{}/complete", id(started));
    app.call("acme", "POST", &path, &json!({ "ticket": ticket })).await
}

async fn settle(app: &TestApp) {
    for wait in [0, 2, 5, 15] {
        app.advance(wait);
        app.outbox.run_once().await.unwrap();
    }
}

#[sqlx::test(migrator = "control::store::MIGRATIONS")]
async fn a_repeat_by_the_same_browser_leads_to_the_same_ticket_and_later_to_the_outcome(
    pool: PgPool,
) {
    let app = TestApp::completing(pool).await;
    let started = start_bound(&app, "user-1").await;
    let query = app.decide(&started, "allow").await;
    let first = app.callback(&query).await;
    let (own, whole) = cookie(&first);
    assert!(own.starts_with("__Host-connections-"), "{own}");
    assert!(whole.ends_with("; Max-Age=300; Path=/; HttpOnly; Secure; SameSite=Lax"), "{whole}");
    let again = callback_with(&app, &query, &format!("other=1; {own}")).await;
    assert_eq!(location(&again), location(&first));
    // Neither without the cookie, nor with another one, nor with another's of this deployment.
    let (name, _) = own.split_once('=').unwrap();
    let others = start_bound(&app, "user-2").await;
    let others_query = app.decide(&others, "allow").await;
    let (others, _) = cookie(&app.callback(&others_query).await);
    let renamed = format!("{name}={}", others.split_once('=').unwrap().1);
    for cookie in [String::new(), format!("{name}="), format!("{name}=x"), others, renamed] {
        let stranger = callback_with(&app, &query, &cookie).await;
        assert!(stranger.headers.get("location").is_none(), "{cookie}");
        assert!(says(&stranger, "This link was opened already"), "{cookie}");
    }
    // Used, and not yet confirmed; then confirmed.
    assert_eq!(complete(&app, &started, &ticket(&first)).await.status, StatusCode::ACCEPTED);
    let page = format!("https://app.example/done?connectionId={}", id(&started));
    let pending = callback_with(&app, &query, &own).await;
    assert_eq!(location(&pending), format!("{page}&outcome=pending"));
    settle(&app).await;
    for cookie in ["", &own] {
        let done = callback_with(&app, &query, cookie).await;
        assert_eq!(location(&done), format!("{page}&outcome=connected"));
    }
    assert_eq!(app.nango.connection_ids().len(), 1, "finished once");
    app.advance(700);
    settle(&app).await;
    app.finish().await;
}

#[sqlx::test(migrator = "control::store::MIGRATIONS")]
async fn a_ticket_that_nobody_used_ends_in_the_page_of_the_application(pool: PgPool) {
    let app = TestApp::completing(pool).await;
    let started = start_bound(&app, "user-1").await;
    let query = app.decide(&started, "allow").await;
    let (own, _) = cookie(&app.callback(&query).await);
    let page = format!("https://app.example/done?connectionId={}", id(&started));
    app.advance(300);
    let late = callback_with(&app, &query, &own).await;
    assert_eq!(location(&late), format!("{page}&outcome=pending"));
    for wait in [0, 300, 10, 20] {
        app.advance(wait);
        app.outbox.run_once().await.unwrap();
    }
    let failed = callback_with(&app, &query, &own).await;
    assert_eq!(location(&failed), format!("{page}&error=no_connection_after_callback"));
    app.finish().await;
}

#[sqlx::test(migrator = "control::store::MIGRATIONS")]
async fn a_completion_whose_answer_was_lost_is_answered_again_and_finishes_nothing_twice(
    pool: PgPool,
) {
    let app = TestApp::completing(pool).await;
    let started = start_bound(&app, "user-1").await;
    let query = app.decide(&started, "allow").await;
    let ticket = ticket(&app.callback(&query).await);
    assert_eq!(complete(&app, &started, &ticket).await.status, StatusCode::ACCEPTED);
    assert_eq!(complete(&app, &started, &ticket).await.status, StatusCode::ACCEPTED);
    settle(&app).await;
    let again = complete(&app, &started, &ticket).await;
    assert_eq!((again.status, &again.json()["status"]), (StatusCode::ACCEPTED, &json!("active")));
    assert_eq!(app.nango.connection_ids().len(), 1);
    // Of another connection it is no ticket, and not after its time.
    let other = start_bound(&app, "user-2").await;
    assert_eq!(complete(&app, &other, &ticket).await.code(), "ticket_invalid");
    app.advance(300);
    assert_eq!(complete(&app, &started, &ticket).await.code(), "ticket_invalid");
    app.finish().await;
}

#[sqlx::test(migrator = "control::store::MIGRATIONS")]
async fn who_says_no_and_then_yes_is_not_told_that_he_said_no(pool: PgPool) {
    let app = TestApp::start(pool.clone()).await;
    let started = app.start_connection().await;
    let denied = app.decide(&started, "deny").await;
    let allowed = app.decide(&started, "allow").await;
    assert!(says(&app.callback(&denied).await, "You did not give access"));
    assert!(says(&app.callback(&denied).await, "You did not give access"), "the same again");
    let page = app.callback(&allowed).await;
    assert!(says(&page, "This link was used already") && !says(&page, "did not give"));
    app.outbox.run_once().await.unwrap();
    assert_eq!(app.notified_types(), ["connection.failed"]);
    app.finish().await;
    let app = TestApp::completing(pool).await;
    let started = start_bound(&app, "user-2").await;
    let denied = app.decide(&started, "deny").await;
    let allowed = app.decide(&started, "allow").await;
    let page = format!("https://app.example/done?connectionId={}", id(&started));
    for (query, error) in
        [(&denied, "access_denied"), (&denied, "access_denied"), (&allowed, "link_used")]
    {
        assert_eq!(location(&app.callback(query).await), format!("{page}&error={error}"));
    }
    app.outbox.run_once().await.unwrap();
    app.finish().await;
}

#[sqlx::test(migrator = "control::store::MIGRATIONS")]
async fn a_link_whose_attempt_was_replaced_or_ran_out_leads_back_to_the_application(pool: PgPool) {
    let app = TestApp::completing(pool).await;
    let replaced = start_bound(&app, "user-1").await;
    let query = app.decide(&replaced, "allow").await;
    let path = format!("/connections/{}", id(&replaced));
    app.call("acme", "DELETE", &path, &Value::Null).await;
    let page = format!("https://app.example/done?connectionId={}", id(&replaced));
    assert_eq!(location(&app.callback(&query).await), format!("{page}&error=superseded"));
    let late = start_bound(&app, "user-2").await;
    let query = app.decide(&late, "allow").await;
    app.advance(3600);
    let page = format!("https://app.example/done?connectionId={}", id(&late));
    for _before_and_after in 0..2 {
        assert_eq!(location(&app.callback(&query).await), format!("{page}&error=not_authorized"));
        settle(&app).await;
    }
    app.finish().await;
}

#[sqlx::test(migrator = "control::store::MIGRATIONS")]
async fn a_callback_by_post_is_a_callback_like_any_other(pool: PgPool) {
    let app = TestApp::start(pool.clone()).await;
    let started = app.start_connection().await;
    let form = app.decide(&started, "allow").await;
    let sent_on = post_form(&app, &form).await;
    assert_eq!(sent_on.status, StatusCode::SEE_OTHER, "Nango takes no POST");
    assert_eq!(location(&sent_on), format!("{}/oauth/callback?{form}", app.nango.url()));
    app.finish_at_nango(location(&sent_on)).await;
    settle(&app).await;
    assert_eq!(app.notified_types(), ["connection.activated"]);
    for form in ["", "code=c", "state=a b", "state=\u{e9}", "state=x#y", "{\"state\":\"x\"}"] {
        let page = post_form(&app, form).await;
        assert_eq!(page.status, StatusCode::BAD_REQUEST, "{form}");
        assert!(says(&page, "not valid any more"), "{form}");
    }
    app.finish().await;
    let app = TestApp::completing(pool).await;
    let started = start_bound(&app, "user-2").await;
    let form = app.decide(&started, "allow").await;
    let first = post_form(&app, &form).await;
    let (_, whole) = cookie(&first);
    assert!(whole.ends_with("; Secure; SameSite=None"), "{whole}");
    assert_eq!(complete(&app, &started, &ticket(&first)).await.status, StatusCode::ACCEPTED);
    settle(&app).await;
    assert_eq!(app.get(id(&started)).await["status"], "active");
    app.finish().await;
}

#[sqlx::test(migrator = "control::store::MIGRATIONS")]
async fn a_callback_of_16_kib_is_taken_and_a_longer_one_is_a_page_that_names_the_limit(
    pool: PgPool,
) {
    let app = TestApp::start(pool).await;
    let started = app.start_connection().await;
    let query = app.decide(&started, "allow").await;
    let long = |bytes: usize| format!("{query}&x={}", "x".repeat(bytes - query.len() - 3));
    let (longest, too_long) = (long(16 << 10), long((16 << 10) + 1));
    for (page, status) in [
        (app.callback(&too_long).await, StatusCode::URI_TOO_LONG),
        (post_form(&app, &too_long).await, StatusCode::PAYLOAD_TOO_LARGE),
        // More than any call of a client application may have.
        (post_form(&app, &long(100 << 10)).await, StatusCode::PAYLOAD_TOO_LARGE),
    ] {
        assert_eq!(page.status, status);
        assert!(says(&page, "16 KiB"));
    }
    assert_eq!(app.get(id(&started)).await["status"], "pending", "nothing was used up");
    let sent_on = app.callback(&longest).await;
    assert_eq!(sent_on.status, StatusCode::PERMANENT_REDIRECT);
    app.finish_at_nango(location(&sent_on)).await;
    settle(&app).await;
    app.finish().await;
}

#[sqlx::test(migrator = "control::store::MIGRATIONS")]
async fn an_answer_of_another_issuer_is_not_taken_and_uses_nothing_up(pool: PgPool) {
    let providers = r#"{"github": {"issuer": "https://github.example/login"}}"#;
    let app = TestApp::start_as(pool, Setup { providers, ..Setup::default() }).await;
    let started = app.start_connection().await;
    let query = app.decide(&started, "allow").await;
    for iss in ["https%3A%2F%2Fevil.example", "https%3A%2F%2Fgithub.example%2Flogin%2F", ""] {
        let page = app.callback(&format!("{query}&iss={iss}")).await;
        assert_eq!(page.status, StatusCode::BAD_REQUEST, "{iss}");
        assert!(says(&page, "not the provider's") && !says(&page, "example"), "{iss}");
    }
    let sent_on = app.callback(&format!("{query}&iss=https://github.example/login")).await;
    assert_eq!(sent_on.status, StatusCode::PERMANENT_REDIRECT);
    app.finish_at_nango(location(&sent_on)).await;
    settle(&app).await;
    assert_eq!(app.get(id(&started)).await["status"], "active");
    app.finish().await;
}

#[sqlx::test(migrator = "control::store::MIGRATIONS")]
async fn an_installation_without_a_state_is_a_page_that_explains_it(pool: PgPool) {
    let app = TestApp::start(pool).await;
    for (query, words) in [
        ("installation_id=7&setup_action=install", "The app is installed"),
        ("installation_id=7&setup_action=update", "The app is installed"),
        ("setup_action=request", "An owner has to approve"),
    ] {
        let page = app.callback(query).await;
        assert_eq!(page.status, StatusCode::OK, "{query}");
        assert!(
            says(&page, words) && says(&page, "Go back to the application")
                || says(&page, "go back to the application"),
            "{query}"
        );
    }
    let page = app.callback("installation_id=7&setup_action=install&state=unknown").await;
    assert_eq!(page.status, StatusCode::BAD_REQUEST, "a state that nobody knows");
    app.finish().await;
}

/// What comes back when an owner has to approve the installation.
async fn request_approval(app: &TestApp, started: &Value) -> String {
    format!("{}&setup_action=request", app.decide(started, "allow").await)
}

#[sqlx::test(migrator = "control::store::MIGRATIONS")]
async fn an_installation_that_an_owner_has_to_approve_is_awaited_and_found(pool: PgPool) {
    let app = TestApp::completing(pool).await;
    let started = app.start_connection().await;
    let query = request_approval(&app, &started).await;
    for _repeat in 0..2 {
        assert!(says(&app.callback(&query).await, "An owner has to approve"));
    }
    // Nango lists it; it is of no use yet, for however long it is looked at.
    settle(&app).await;
    app.ask_check(&started).await;
    settle(&app).await;
    app.advance(3 * 86_400);
    settle(&app).await;
    let shown = app.get(id(&started)).await;
    assert_eq!(
        [&shown["status"], &shown["reason"], &shown["nextAction"]],
        ["pending", "awaiting_approval", "wait"]
    );
    assert_eq!(app.notified_types(), ["connection.updated"]);
    let [at_nango] = &app.nango.connection_ids()[..] else { panic!("one connection") };
    // The owner approves, and no webhook tells.
    app.nango.approve_installation(at_nango);
    app.advance(900);
    settle(&app).await;
    let shown = app.get(id(&started)).await;
    assert_eq!([&shown["status"], &shown["reason"]], [&json!("active"), &Value::Null]);
    assert_eq!(app.notified_types(), ["connection.updated", "connection.activated"]);
    app.finish().await;
}

#[sqlx::test(migrator = "control::store::MIGRATIONS")]
async fn a_check_finds_an_approval_at_once_and_seven_days_without_one_end_the_attempt(
    pool: PgPool,
) {
    let app = TestApp::start(pool).await;
    let approved = app.start_connection().await;
    let query = request_approval(&app, &approved).await;
    let at_nango = app.finish_at_nango(location(&app.callback(&query).await)).await;
    settle(&app).await;
    assert_eq!(app.get(id(&approved)).await["reason"], "awaiting_approval");
    app.nango.approve_installation(&at_nango);
    // The next look without it is 15 minutes away; the last check or look is a minute ago.
    app.advance(60);
    app.ask_check(&approved).await;
    settle(&app).await;
    assert_eq!(app.get(id(&approved)).await["status"], "active");
    let forgotten = app.start_connection().await;
    let query = request_approval(&app, &forgotten).await;
    app.finish_at_nango(location(&app.callback(&query).await)).await;
    settle(&app).await;
    app.advance(7 * 86_400);
    settle(&app).await;
    let shown = app.get(id(&forgotten)).await;
    assert_eq!([&shown["status"], &shown["reason"]], ["failed", "no_connection_after_callback"]);
    settle(&app).await;
    app.finish().await;
}

#[sqlx::test(migrator = "control::store::MIGRATIONS")]
async fn a_request_for_approval_without_a_code_uses_no_link_up(pool: PgPool) {
    let app = TestApp::completing(pool).await;
    let started = start_bound(&app, "user-1").await;
    let state = started["state"].as_str().unwrap();
    let page = format!("https://app.example/done?connectionId={}", id(&started));
    for _repeat in 0..2 {
        let back = app.callback(&format!("setup_action=request&state={state}")).await;
        assert_eq!(location(&back), format!("{page}&outcome=awaiting_approval"));
    }
    assert_eq!(app.get(id(&started)).await["reason"], "awaiting_approval");
    // After the approval, the user opens the same link again.
    let query = app.decide(&started, "allow").await;
    let ticket = ticket(&app.callback(&query).await);
    assert_eq!(complete(&app, &started, &ticket).await.status, StatusCode::ACCEPTED);
    settle(&app).await;
    assert_eq!(app.get(id(&started)).await["status"], "active");
    assert_eq!(app.notified_types(), ["connection.updated", "connection.activated"]);
    app.finish().await;
}

#[sqlx::test(migrator = "control::store::MIGRATIONS")]
async fn a_plain_installation_is_finished_where_nango_finishes_those(pool: PgPool) {
    let app = TestApp::start(pool).await;
    let started = app.start_connection().await;
    let state = started["state"].as_str().unwrap();
    let query = format!("installation_id=7&setup_action=install&state={state}");
    let sent_on = app.callback(&query).await;
    assert_eq!(location(&sent_on), format!("{}/app-auth/connect?{query}", app.nango.url()));
    app.finish().await;
}
