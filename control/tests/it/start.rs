//! Starting a connection.

use crate::support::{TestApp, caller, text};
use axum::{body::Body, http::StatusCode};
use chrono::TimeDelta;
use contract::action::Action;
use nango_stand_in::Trouble;
use serde_json::{Value, json};
use sqlx::PgPool;

const ID: &str = "0195f2a1-0000-7000-8000-000000000001";

#[sqlx::test(migrator = "control::store::MIGRATIONS")]
async fn a_start_answers_with_the_providers_own_url(pool: PgPool) {
    let app = TestApp::start(pool).await;
    let started = app.start_connection().await;
    let url = started["authorizationUrl"].as_str().unwrap();
    assert!(url.starts_with(&app.nango.provider().url()), "{url}");
    assert!(url.contains("scope=repo&"), "{url}");
    assert!(url.contains(&format!("state={}", started["state"].as_str().unwrap())), "{url}");
    let expires_at = text(app.clock.now() + TimeDelta::minutes(60));
    assert_eq!(
        started,
        json!({"connectionId": started["connectionId"], "authorizationUrl": url, "state": started["state"],
            "provider": "github", "tenantId": "acme", "status": "pending", "version": 1, "expiresAt": expires_at})
    );
    let now = text(app.clock.now());
    assert_eq!(
        app.get(started["connectionId"].as_str().unwrap()).await,
        json!({"connectionId": started["connectionId"], "tenantId": "acme", "sub": "user-1", "provider": "github",
            "status": "pending", "reason": null, "since": now, "checkedAt": null, "nextAction": "authorize",
            "version": 1, "requestedScopes": ["repo"], "authorizedScopes": null, "scopesVerified": false,
            "missingScopes": null, "lastAuthorization": null, "providerAccountId": null, "displayName": null,
            "metadata": {"username": null, "avatar": null}, "clientMetadata": {"plan": "pro"}, "createdAt": now})
    );
    app.finish().await;
}

#[sqlx::test(migrator = "control::store::MIGRATIONS")]
async fn a_start_that_cannot_be_is_told_how_to_mend_it_and_changes_nothing(pool: PgPool) {
    let app = TestApp::start(pool).await;
    for (body, detail) in [
        (json!({"sub": "u"}), "missing field `provider`"),
        (json!({"provider": "github"}), "missing field `sub`"),
        (
            json!({"sub": 1, "provider": "github"}),
            "sub: invalid type: integer `1`, expected a string at line 1 column",
        ),
        (json!({"sub": "u", "provider": "github", "scope": "repo"}), "unknown field `scope`"),
        (json!({"sub": "u", "provider": "gitlab"}), "provider must be one of: github, slack"),
        (json!({"sub": "", "provider": "github"}), "sub must have 1 to 255 bytes"),
        (json!({"sub": "u", "provider": "github", "scopes": ["a,b"]}), "without commas"),
        (json!({"sub": "u", "provider": "github", "returnUrl": "https://a.example"}), "returnUrl"),
        (json!({"sub": "u", "provider": "github", "metadata": {"a": "\u{0}"}}), "metadata"),
        (
            json!({"sub": "u", "provider": "github", "scopes": "repo"}),
            "scopes: invalid type: string \"repo\", expected an array",
        ),
        (
            json!({"sub": "u", "provider": "github", "scopes": {}}),
            "scopes: invalid type: an object, expected an array",
        ),
        (
            json!({"sub": "u", "provider": "github", "metadata": []}),
            "metadata: invalid type: an array, expected an object",
        ),
        (json!([]), "invalid type: an array, expected a JSON object"),
        (Value::Null, "invalid"),
    ] {
        let answer = app.call("acme", "POST", "/connections", &body).await;
        assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{body}");
        let problem = answer.json();
        assert_eq!(problem["code"], "invalid_request", "{body}");
        assert_eq!(problem["requestId"], "r-1", "{body}");
        assert!(problem["detail"].as_str().unwrap().contains(detail), "{body}: {problem}");
        let words = ["Failed", "deserialize", "sequence", "a map", "target type", "ident"];
        let said = problem["detail"].as_str().unwrap();
        assert!(!words.iter().any(|word| said.contains(word)), "{said}");
        assert_eq!(answer.headers["content-type"], "application/problem+json");
    }
    for bytes in [70_000, 3 << 20] {
        let large = json!({"sub": "u".repeat(bytes), "provider": "github"});
        for path in ["/connections", &format!("/connections/{ID}/reconnect")] {
            let answer = app.call("acme", "POST", path, &large).await;
            assert_eq!(
                (answer.status, answer.code().as_str()),
                (StatusCode::PAYLOAD_TOO_LARGE, "body_too_large"),
                "{path}"
            );
            let detail = answer.json()["detail"].as_str().unwrap().to_owned();
            assert!(detail.contains("at most 64 KiB"), "{detail}");
        }
    }
    let broken = Body::from("nul");
    let path = "/tenants/acme/connections";
    let answer = app.send("POST", path, &caller("acme", Action::Connect), broken).await;
    let detail = answer.json()["detail"].as_str().unwrap().to_owned();
    assert!(detail.contains("expected null, true or false") || detail.contains("EOF"), "{detail}");
    assert_eq!(app.count("SELECT count(*) FROM connections").await, 0);
    app.finish().await;
}

#[sqlx::test(migrator = "control::store::MIGRATIONS")]
async fn a_nango_that_does_not_answer_is_503_and_changes_nothing(pool: PgPool) {
    let app = TestApp::start(pool).await;
    for trouble in [Trouble::Unavailable, Trouble::RateLimited] {
        app.nango.make_trouble(trouble);
        let body = json!({"sub": "u", "provider": "github"});
        let answer = app.call("acme", "POST", "/connections", &body).await;
        assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(answer.code(), "vault_unavailable");
        let seconds: u64 = answer.headers["retry-after"].to_str().unwrap().parse().unwrap();
        assert!((1..=3).contains(&seconds), "{seconds}");
    }
    assert_eq!(app.count("SELECT count(*) FROM connections").await, 0);
    app.finish().await;
}

#[sqlx::test(migrator = "control::store::MIGRATIONS")]
async fn a_page_in_the_place_of_nango_is_never_passed_on(pool: PgPool) {
    let app = TestApp::start(pool).await;
    for (trouble, status) in [(Trouble::Failing, 503), (Trouble::Page, 502)] {
        app.nango.make_trouble(trouble);
        let body = json!({"sub": "u", "provider": "github"});
        let answer = app.call("acme", "POST", "/connections", &body).await;
        assert_eq!(answer.status, status, "{trouble:?}");
        assert_eq!(answer.headers["content-type"], "application/problem+json");
        let body = String::from_utf8_lossy(&answer.body);
        assert!(!body.contains("html") && !body.contains("somebody"), "{body}");
    }
    app.finish().await;
}

#[sqlx::test(migrator = "control::store::MIGRATIONS")]
async fn a_nango_that_calls_back_somewhere_else_is_refused(pool: PgPool) {
    let app = TestApp::start_with(pool, "https://elsewhere.example/oauth/callback").await;
    let body = json!({"sub": "u", "provider": "github"});
    let answer = app.call("acme", "POST", "/connections", &body).await;
    assert_eq!(
        (answer.status, answer.code().as_str()),
        (StatusCode::BAD_GATEWAY, "vault_misconfigured")
    );
    assert!(!String::from_utf8_lossy(&answer.body).contains("elsewhere"), "{:?}", answer.body);
    assert_eq!(app.count("SELECT count(*) FROM connections").await, 0);
    app.finish().await;
}

#[sqlx::test(migrator = "control::store::MIGRATIONS")]
async fn the_state_is_kept_as_its_hash_only(pool: PgPool) {
    let app = TestApp::start(pool).await;
    let started = app.start_connection().await;
    let state = started["state"].as_str().unwrap();
    let kept: Vec<u8> = sqlx::query_scalar("SELECT state_hash FROM callback_states")
        .fetch_one(&app.pool)
        .await
        .unwrap();
    assert_eq!(kept, control::domain::callback::state_hash(state));
    app.finish().await;
}

#[sqlx::test(migrator = "control::store::MIGRATIONS")]
async fn an_array_is_no_object_whose_fields_it_might_hold_in_their_order(pool: PgPool) {
    let app = TestApp::start(pool).await;
    for (path, body) in [
        ("/connections", json!(["user-1", "github"])),
        ("/connections/0195f2a1-0000-7000-8000-000000000001/reconnect", json!([])),
        ("/connections/0195f2a1-0000-7000-8000-000000000001/complete", json!(["ticket"])),
    ] {
        let answer = app.call("acme", "POST", path, &body).await;
        assert_eq!((answer.status.as_u16(), answer.code().as_str()), (400, "invalid_request"));
        let detail = answer.json()["detail"].as_str().unwrap().to_owned();
        assert!(detail.contains("expected a JSON object"), "{detail}");
    }
    assert_eq!(app.nango.api_calls(), 0);
    app.finish().await;
}

#[sqlx::test(migrator = "control::store::MIGRATIONS")]
async fn whatever_number_metadata_has_is_kept_and_read_again(pool: PgPool) {
    let app = TestApp::start(pool).await;
    let metadata = json!({"numbers": [f64::MAX, f64::MIN, f64::MIN_POSITIVE, 5e-324, 1e300, u64::MAX, i64::MIN]});
    let body = json!({"sub": "user-1", "provider": "github", "metadata": metadata});
    let started = app.call("acme", "POST", "/connections", &body).await;
    assert_eq!(started.status, StatusCode::CREATED);
    let listed = app.call("acme", "GET", "/connections?sub=user-1", &Value::Null).await;
    assert_eq!(listed.status, StatusCode::OK, "{:?}", listed.body);
    let numbers = &listed.json()["connections"][0]["clientMetadata"]["numbers"];
    assert_eq!(numbers.to_string().parse::<Value>().unwrap(), metadata["numbers"]);
    app.advance(60 * 60);
    app.outbox.run_once().await.unwrap();
    app.finish().await;
}
