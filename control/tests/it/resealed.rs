//! When the key changes, what the old one has sealed is sealed anew, and then the old one may go.

use crate::{
    destination::{call, put, with_own_receiver},
    support::TestApp,
};
use axum::http::Method;
use contract::keys::KeyRing;
use control::{
    domain::sealing::Sealer,
    store::{As, SealedSecrets},
};
use serde_json::json;
use sqlx::PgPool;
use std::collections::BTreeMap;

/// The key that these services have, and the one that is to take its place.
const OLD: &str = "d:0123456789abcdef0123456789abcdef";
const NEW: &str = "e:fedcba9876543210fedcba9876543210";

fn sealer(keys: &str) -> Sealer {
    Sealer::new(&KeyRing::parse(keys.as_bytes()).unwrap()).unwrap()
}

async fn counts(app: &TestApp) -> BTreeMap<String, i64> {
    app.store.count_secrets().await.unwrap()
}

#[sqlx::test(migrator = "control::store::MIGRATIONS")]
async fn the_old_key_may_go_when_all_is_sealed_anew(pool: PgPool) {
    let (mut app, own, url) = with_own_receiver(pool).await;
    let shown = put(&app, json!({ "url": url })).await;
    own.lock().unwrap().secret = shown["secrets"][0].as_str().map(str::to_owned);
    call(&app, "rival", Method::PUT, &json!({ "url": url })).await;
    assert_eq!(app.outbox.reseal_once().await.unwrap(), 0, "the first key has sealed all");
    app.outbox.sealer = Some(sealer(&format!("{NEW},{OLD}")));
    assert_eq!(counts(&app).await, [("d".to_owned(), 2)].into());
    assert_eq!(app.outbox.reseal_once().await.unwrap(), 2);
    assert_eq!(counts(&app).await, [("e".to_owned(), 2)].into());
    assert_eq!(app.outbox.reseal_once().await.unwrap(), 0);
    // The same secrets, for their own tenant, without the old key; and nothing that the tenant set has changed.
    let acme = "acme".parse().unwrap();
    let kept = app.store.destination(As::Worker, &acme).await.unwrap().unwrap();
    let owner = control::domain::destination::owner(&acme);
    let opened = sealer(NEW).open(&kept.secrets, &owner).unwrap();
    assert_eq!((opened.as_str(), kept.version), (shown["secrets"][0].as_str().unwrap(), 1));
    app.abandon();
}

#[sqlx::test(migrator = "control::store::MIGRATIONS")]
async fn what_no_key_opens_stays_and_keeps_no_other_from_being_sealed(pool: PgPool) {
    let mut app = TestApp::start(pool).await;
    for tenant in ["acme", "rival"] {
        call(&app, tenant, Method::PUT, &json!({"url": "https://app.example/"})).await;
    }
    sqlx::query("UPDATE destinations SET secrets = 'lost.AAAA' WHERE tenant_id = 'acme'")
        .execute(&app.pool)
        .await
        .unwrap();
    app.outbox.sealer = Some(sealer(&format!("{NEW},{OLD}")));
    assert_eq!(app.outbox.reseal_once().await.unwrap(), 1);
    assert_eq!(counts(&app).await, [("e".to_owned(), 1), ("lost".to_owned(), 1)].into());
    // Without a key there is nothing to seal with.
    app.outbox.sealer = None;
    assert_eq!(app.outbox.reseal_once().await.unwrap(), 0);
    app.finish().await;
}

#[sqlx::test(migrator = "control::store::MIGRATIONS")]
async fn secrets_that_are_put_meanwhile_stay(pool: PgPool) {
    let app = TestApp::start(pool).await;
    put(&app, json!({"url": "https://app.example/"})).await;
    let key = sealer(NEW).key_ids().next().unwrap().clone();
    let old = app.store.secrets_of_other_keys(&key, "").await.unwrap().pop().unwrap();
    let put_meanwhile = SealedSecrets { sealed: "e.BBBB".to_owned(), ..old.clone() };
    assert!(app.store.reseal(&old, &put_meanwhile.sealed).await.unwrap());
    assert!(!app.store.reseal(&old, "e.AAAA").await.unwrap());
    assert!(app.store.reseal(&put_meanwhile, "e.CCCC").await.unwrap());
    assert_eq!(app.store.secrets_of_other_keys(&key, "").await.unwrap(), []);
    app.finish().await;
}
