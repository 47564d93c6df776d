//! Listing connections.

use crate::support::TestApp;
use axum::http::StatusCode;
use serde_json::{Value, json};
use sqlx::PgPool;

async fn start(app: &TestApp, tenant: &str, sub: &str) -> String {
    let body = json!({"sub": sub, "provider": "github"});
    let started = app.call(tenant, "POST", "/connections", &body).await;
    assert_eq!(started.status, StatusCode::CREATED);
    started.json()["connectionId"].as_str().unwrap().to_owned()
}

async fn list(app: &TestApp, tenant: &str, query: &str) -> Value {
    let answer = app.call(tenant, "GET", &format!("/connections?{query}"), &Value::Null).await;
    assert_eq!(answer.status, StatusCode::OK, "{query}: {:?}", answer.body);
    assert_eq!(answer.headers["cache-control"], "no-store");
    answer.json()
}

fn ids(page: &Value) -> Vec<String> {
    let connections = page["connections"].as_array().unwrap().iter();
    connections.map(|it| it["connectionId"].as_str().unwrap().to_owned()).collect()
}

#[sqlx::test(migrator = "control::store::MIGRATIONS")]
async fn a_list_shows_what_a_single_connection_shows(pool: PgPool) {
    let app = TestApp::start(pool).await;
    let none = json!({"connections": [], "nextCursor": null});
    assert_eq!(list(&app, "acme", "").await, none);
    let (started, _) = app.activate().await;
    let shown = app.get(started["connectionId"].as_str().unwrap()).await;
    let page = list(&app, "acme", "").await;
    assert_eq!(page, json!({"connections": [shown], "nextCursor": null}));
    assert_eq!(list(&app, "rival", "").await, none);
    app.finish().await;
}

#[sqlx::test(migrator = "control::store::MIGRATIONS")]
async fn pages_show_every_connection_once_and_the_newest_first(pool: PgPool) {
    let app = TestApp::start(pool).await;
    let mut newest_first = Vec::new();
    for moment in 0..3 {
        // Of one moment, the order is any, as long as it is the same on each page.
        let mut at_once = Vec::new();
        for number in 0..3 {
            at_once.push(start(&app, "acme", &format!("user-{moment}-{number}")).await);
            start(&app, "rival", "user").await;
        }
        at_once.sort();
        newest_first.extend(at_once);
        app.advance(1);
    }
    newest_first.reverse();
    for limit in [1, 2, 3, 4, 8, 9, 10] {
        let mut seen = Vec::new();
        let mut cursor = String::new();
        loop {
            let page = list(&app, "acme", &format!("limit={limit}{cursor}")).await;
            let shown = ids(&page);
            let is_last = page["nextCursor"].is_null();
            assert!(shown.len() == limit || is_last && (1..=limit).contains(&shown.len()));
            seen.extend(shown);
            if is_last {
                break;
            }
            cursor = format!("&cursor={}", page["nextCursor"].as_str().unwrap());
        }
        assert_eq!(seen, newest_first, "{limit} a page");
    }
    app.finish().await;
}

#[sqlx::test(migrator = "control::store::MIGRATIONS")]
async fn a_connection_that_is_started_meanwhile_shifts_no_page(pool: PgPool) {
    let app = TestApp::start(pool).await;
    let older = start(&app, "acme", "a").await;
    app.advance(1);
    let newer = start(&app, "acme", "b").await;
    let first = list(&app, "acme", "limit=1").await;
    assert_eq!(ids(&first), [newer]);
    app.advance(1);
    start(&app, "acme", "c").await;
    let cursor = first["nextCursor"].as_str().unwrap();
    let second = list(&app, "acme", &format!("limit=1&cursor={cursor}")).await;
    assert_eq!((ids(&second), &second["nextCursor"]), (vec![older], &Value::Null));
    app.finish().await;
}

#[sqlx::test(migrator = "control::store::MIGRATIONS")]
async fn a_filter_shows_what_passes_it_and_nothing_else(pool: PgPool) {
    let app = TestApp::start(pool).await;
    let (active, _) = app.activate().await;
    let active = active["connectionId"].as_str().unwrap().to_owned();
    app.advance(1);
    let pending = start(&app, "acme", "user 2&é").await;
    start(&app, "rival", "user-1").await;
    let account = app.get(&active).await["providerAccountId"].as_str().unwrap().to_owned();
    let both = [pending.clone(), active.clone()];
    for (query, expected) in [
        (String::new(), &both[..]),
        ("provider=github".to_owned(), &both),
        ("provider=slack".to_owned(), &[]),
        ("status=active".to_owned(), &both[1..]),
        ("status=pending".to_owned(), &both[..1]),
        ("status=deleted".to_owned(), &[]),
        ("sub=user-1".to_owned(), &both[1..]),
        ("sub=user+2%26%C3%A9".to_owned(), &both[..1]),
        ("sub=user".to_owned(), &[]),
        ("sub=%25".to_owned(), &[]),
        (format!("providerAccountId={account}"), &both[1..]),
        (format!("providerAccountId={account}0"), &[]),
        (
            format!("sub=user-1&provider=github&status=active&providerAccountId={account}"),
            &both[1..],
        ),
        (format!("sub=user-1&status=pending&providerAccountId={account}"), &[]),
    ] {
        assert_eq!(ids(&list(&app, "acme", &query).await), expected, "{query}");
    }
    app.finish().await;
}

#[sqlx::test(migrator = "control::store::MIGRATIONS")]
async fn a_cursor_goes_on_within_its_filter(pool: PgPool) {
    let app = TestApp::start(pool).await;
    let oldest = start(&app, "acme", "wanted").await;
    start(&app, "acme", "other").await;
    app.advance(1);
    let newest = start(&app, "acme", "wanted").await;
    let first = list(&app, "acme", "sub=wanted&limit=1").await;
    assert_eq!(ids(&first), [newest]);
    let cursor = first["nextCursor"].as_str().unwrap();
    let second = list(&app, "acme", &format!("sub=wanted&limit=1&cursor={cursor}")).await;
    assert_eq!((ids(&second), &second["nextCursor"]), (vec![oldest], &Value::Null));
    app.finish().await;
}

#[sqlx::test(migrator = "control::store::MIGRATIONS")]
async fn a_list_that_cannot_be_is_told_how_to_mend_it(pool: PgPool) {
    let app = TestApp::start(pool).await;
    for sub in ["a", "b"] {
        start(&app, "acme", sub).await;
        start(&app, "rival", sub).await;
    }
    let theirs = list(&app, "acme", "limit=1").await["nextCursor"].as_str().unwrap().to_owned();
    let (_, cut) = theirs.split_at(1);
    for (query, code, detail) in [
        ("limit=0", "invalid_request", "limit must be a number from 1 to 200"),
        ("limit=201", "invalid_request", "limit must be a number from 1 to 200"),
        ("sub=a&sub=b", "invalid_request", "sub may be in the query once"),
        ("sub=%00", "invalid_request", "sub must be 1 to 255 bytes without control characters"),
        ("status=alive", "invalid_request", "status must be one of: pending, active"),
        ("provider=Git%20Hub", "invalid_request", "provider must be"),
        ("page=2&tenant=acme", "invalid_request", "unknown in the query: page, tenant;"),
        ("cursor=", "invalid_cursor", "nextCursor"),
        ("cursor=x", "invalid_cursor", "nextCursor"),
        (&format!("cursor={cut}"), "invalid_cursor", "nextCursor"),
        (&format!("cursor={theirs}"), "invalid_cursor", "of this tenant"),
    ] {
        let answer = app.call("rival", "GET", &format!("/connections?{query}"), &Value::Null).await;
        assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{query}");
        let problem = answer.json();
        assert_eq!(problem["code"], code, "{query}");
        assert!(problem["detail"].as_str().unwrap().contains(detail), "{query}: {problem}");
    }
    app.finish().await;
}
