//! An id does not identify a key: what tells keys apart is kept, and nothing is sealed with another one.

use crate::{
    destination::{call, put},
    setup::Setup,
    support::TestApp,
};
use axum::http::{Method, StatusCode};
use contract::keys::KeyRing;
use control::{
    domain::sealing::Sealer,
    http::{AppState, router},
    startup::{Checked, Unfit, check},
};
use serde_json::json;
use sqlx::PgPool;

const FIRST: &str = "d:0123456789abcdef0123456789abcdef";
const ANOTHER: &str = "d:fedcba9876543210fedcba9876543210";

fn sealer(keys: &str) -> Sealer {
    Sealer::new(&KeyRing::parse(keys.as_bytes()).unwrap()).unwrap()
}

async fn replaced(app: &TestApp, keys: &str) -> Vec<String> {
    let replaced = app.store.claim_keys(&sealer(keys)).await.unwrap();
    replaced.iter().map(ToString::to_string).collect()
}

#[sqlx::test(migrator = "control::store::MIGRATIONS")]
async fn the_first_key_of_an_id_is_the_only_one(pool: PgPool) {
    let app = TestApp::start(pool).await;
    for _ in 0..2 {
        assert_eq!(replaced(&app, FIRST).await, [""; 0]);
        assert_eq!(replaced(&app, ANOTHER).await, ["d"]);
    }
    let beside = ANOTHER.replace("d:", "e:");
    assert_eq!(replaced(&app, &format!("{beside},{FIRST}")).await, [""; 0]);
    assert_eq!(replaced(&app, &format!("{beside},{ANOTHER}")).await, ["d"]);
    // An old key that only opens is looked at, too.
    let checked = check(&app.store, Some(&sealer(&format!("{beside},{ANOTHER}")))).await;
    let Checked::Unfit(unfit) = checked else { panic!("{checked:?}") };
    assert_eq!(unfit, Unfit::KeyReplaced("d".parse().unwrap()));
    for fit in [Some(sealer(FIRST)), None] {
        assert!(matches!(check(&app.store, fit.as_ref()).await, Checked::Fit));
    }
    app.finish().await;
}

/// A release that kept no check values may have sealed with a key; the one that is set now must open that.
#[sqlx::test(migrator = "control::store::MIGRATIONS")]
async fn a_key_that_was_never_checked_must_open_what_its_id_has_sealed(pool: PgPool) {
    let app = TestApp::start(pool).await;
    put(&app, json!({"url": "https://app.example/"})).await;
    sqlx::query("DELETE FROM key_checks").execute(&app.pool).await.unwrap();
    assert_eq!(replaced(&app, ANOTHER).await, ["d"]);
    assert_eq!(app.count("SELECT count(*) FROM key_checks").await, 0, "it is kept for no id");
    assert_eq!(replaced(&app, FIRST).await, [""; 0]);
    // One lost secret among others says nothing of the key.
    sqlx::query("DELETE FROM key_checks").execute(&app.pool).await.unwrap();
    call(&app, "rival", Method::PUT, &json!({"url": "https://app.example/"})).await;
    sqlx::query("DELETE FROM key_checks").execute(&app.pool).await.unwrap();
    sqlx::query("UPDATE destinations SET secrets = 'd.AAAA' WHERE tenant_id = 'acme'")
        .execute(&app.pool)
        .await
        .unwrap();
    assert_eq!(replaced(&app, FIRST).await, [""; 0]);
    app.finish().await;
}

/// Two processes with different keys, of which neither was looked at: the second keeps nothing.
#[sqlx::test(migrator = "control::store::MIGRATIONS")]
async fn a_put_keeps_nothing_that_is_sealed_with_another_key(pool: PgPool) {
    let app = TestApp::start(pool).await;
    let own = json!({"url": "https://app.example/"});
    let put_at = async |keys: &str, tenant: &str, body: &serde_json::Value| {
        let state = AppState { sealer: Some(sealer(keys)), ..app.state.clone() };
        let vouched = crate::support::caller(tenant, contract::action::Action::Notify);
        let path = format!("/tenants/{tenant}/destination");
        let request = app.request("PUT", &path, &vouched);
        let body = axum::body::Body::from(body.to_string());
        TestApp::send_to(router(state), request.body(body).unwrap()).await
    };
    assert_eq!(put_at(FIRST, "acme", &own).await.status, StatusCode::OK);
    let refused = put_at(ANOTHER, "rival", &own).await;
    assert_eq!(refused.status, StatusCode::INTERNAL_SERVER_ERROR, "{:?}", refused.body);
    assert_eq!(app.count("SELECT count(*) FROM destinations").await, 1);
    // Secrets that nobody can decrypt do not stay, and nothing else changes either.
    let keys = ANOTHER.replace("d:", "e:");
    let moved = json!({"url": "https://other.example/"});
    let refused = put_at(&keys, "acme", &moved).await;
    assert_eq!(
        (refused.status, refused.code()),
        (StatusCode::BAD_REQUEST, "invalid_request".to_owned())
    );
    assert!(refused.json()["detail"].as_str().unwrap().starts_with("`secrets` is missing"));
    let unchanged =
        "SELECT count(*) FROM destinations WHERE version = 1 AND url LIKE '%app.example%'";
    assert_eq!(app.count(unchanged).await, 1);
    let secret = crate::support::SIGNING_SECRET;
    let with_secrets = json!({"url": "https://other.example/", "secrets": [secret]});
    assert_eq!(put_at(&keys, "acme", &with_secrets).await.status, StatusCode::OK);
    app.finish().await;
}

#[sqlx::test(migrator = "control::store::MIGRATIONS")]
async fn a_delivery_that_no_key_opens_blames_the_keys_and_no_certificate(pool: PgPool) {
    let app = TestApp::start_as(pool, Setup::default()).await;
    put(&app, json!({"url": "https://app.example/"})).await;
    sqlx::query("UPDATE destinations SET secrets = 'lost.AAAA'").execute(&app.pool).await.unwrap();
    app.activate().await;
    let tried: (String, String) = sqlx::query_as("SELECT outcome, detail FROM delivery_attempts")
        .fetch_one(&app.pool)
        .await
        .unwrap();
    assert_eq!(tried.0, "our_keys");
    assert!(tried.1.contains("DATA_ENCRYPTION_KEY"), "{}", tried.1);
    app.abandon();
}
