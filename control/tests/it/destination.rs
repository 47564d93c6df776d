//! A tenant says where it is told, what of, and how it verifies that.

use crate::{
    receiver::{Receiver, listen},
    sending::seed,
    setup::Setup,
    support::{Answer, TestApp, caller},
};
use axum::{
    body::Body,
    http::{Method, StatusCode},
};
use contract::action::Action;
use serde_json::{Value, json};
use sqlx::PgPool;
use std::{
    sync::{Arc, Mutex},
    time::Duration,
};
use url::Url;

pub async fn call(app: &TestApp, tenant: &str, method: Method, body: &Value) -> Answer {
    let path = format!("/tenants/{tenant}/destination");
    let body = if body.is_null() { Body::empty() } else { Body::from(body.to_string()) };
    app.send(method.as_str(), &path, &caller(tenant, Action::Notify), body).await
}

pub async fn put(app: &TestApp, body: Value) -> Value {
    let answer = call(app, "acme", Method::PUT, &body).await;
    assert_eq!(answer.status, StatusCode::OK, "{:?}", answer.body);
    answer.json()
}

async fn get(app: &TestApp, tenant: &str) -> Value {
    let answer = call(app, tenant, Method::GET, &Value::Null).await;
    assert_eq!(answer.status, StatusCode::OK);
    answer.json()
}

/// A receiver of a tenant's own, and an app that lets tenants have it.
pub async fn with_own_receiver(pool: PgPool) -> (TestApp, Arc<Mutex<Receiver>>, String) {
    let receiver = Arc::<Mutex<Receiver>>::default();
    let url = listen(Arc::clone(&receiver)).await;
    let port = Url::parse(&url).unwrap().port().unwrap();
    let setup = Setup { egress: ("127.0.0.0/8", vec![port]), ..Setup::default() };
    (TestApp::start_as(pool, setup).await, receiver, url)
}

fn types(receiver: &Mutex<Receiver>) -> Vec<String> {
    let taken = receiver.lock().unwrap().taken.clone();
    taken.iter().map(|it| it.body["type"].as_str().unwrap().to_owned()).collect()
}

#[sqlx::test(migrator = "control::store::MIGRATIONS")]
async fn a_secret_is_made_shown_once_and_kept_sealed(pool: PgPool) {
    let app = TestApp::start(pool).await;
    let operators = get(&app, "acme").await;
    assert_eq!((&operators["isDefault"], &operators["version"]), (&json!(true), &json!(0)));
    let shown = put(
        &app,
        json!({"url": "https://app.example/hooks", "eventTypes": ["connection.deleted"],
        "returnOrigins": ["https://app.example"], "serverName": "app.internal"}),
    )
    .await;
    let secret = shown["secrets"][0].as_str().unwrap().to_owned();
    assert!(standardwebhooks::Webhook::new(&secret).is_ok());
    let health = json!({"status": "active", "reason": null, "since": null, "failures": 0,
        "lastSuccessAt": null, "lastFailureAt": null});
    assert_eq!(operators["health"], health);
    // It begins with what was put.
    let health = json!({"status": "active", "reason": null, "since": crate::support::text(app.clock.now()),
        "failures": 0, "lastSuccessAt": null, "lastFailureAt": null});
    assert_eq!(shown["health"], health);
    let expected = json!({"url": "https://app.example/hooks", "isDefault": false, "version": 1,
        "eventTypes": ["connection.deleted"], "returnOrigins": ["https://app.example"], "ca": null,
        "serverName": "app.internal", "updatedAt": crate::support::text(app.clock.now()), "health": health});
    assert_eq!(get(&app, "acme").await, expected);
    let kept: String =
        sqlx::query_scalar("SELECT secrets FROM destinations").fetch_one(&app.pool).await.unwrap();
    assert!(kept.starts_with("d.") && !kept.contains("whsec"), "{kept}");
    // The same secret stays with another address.
    let again = put(&app, json!({"url": "https://app.example/other"})).await;
    assert_eq!((&again["version"], &again["secrets"]), (&json!(2), &Value::Null));
    assert_eq!(again["eventTypes"], Value::Null);
    let still: String =
        sqlx::query_scalar("SELECT secrets FROM destinations").fetch_one(&app.pool).await.unwrap();
    assert_eq!(still, kept);
    let trail: Vec<(String, String, Value)> = sqlx::query_as(
        "SELECT action, actor, detail FROM audit_events WHERE connection_id IS NULL ORDER BY detail->'version'",
    )
    .fetch_all(&app.pool)
    .await
    .unwrap();
    let actor = "spiffe://acme.example/app".to_owned();
    let line = |detail: Value| ("destination.set".to_owned(), actor.clone(), detail);
    let first = json!({"version": 1, "url": "https://app.example/hooks", "eventTypes": ["connection.deleted"],
        "changed": ["url", "eventTypes", "returnOrigins", "serverName", "secrets"]});
    let second = json!({"version": 2, "url": "https://app.example/other", "eventTypes": null,
        "changed": ["url", "eventTypes", "returnOrigins", "serverName"]});
    assert_eq!(trail, [line(first), line(second)]);
    app.finish().await;
}

#[sqlx::test(migrator = "control::store::MIGRATIONS")]
async fn a_tenant_is_told_at_its_own_destination_with_its_own_secret_until_it_is_removed(
    pool: PgPool,
) {
    let (app, own, url) = with_own_receiver(pool).await;
    let shown = put(&app, json!({ "url": url })).await;
    own.lock().unwrap().secret = shown["secrets"][0].as_str().map(str::to_owned);
    app.activate().await;
    assert_eq!(types(&own), ["connection.activated"]);
    assert_eq!(app.tries(), 0, "the operator's receiver is not told");
    for _ in 0..2 {
        let removed = call(&app, "acme", Method::DELETE, &Value::Null).await;
        assert_eq!(removed.status, StatusCode::NO_CONTENT);
    }
    app.activate().await;
    assert_eq!((types(&own).len(), app.notified_types().len()), (1, 1));
    assert_eq!(get(&app, "acme").await["isDefault"], true);
    let removals = "SELECT count(*) FROM audit_events WHERE action = 'destination.removed'";
    assert_eq!(app.count(removals).await, 1, "the second one removed nothing");
    // A removed destination has left no secret behind, and its version goes on.
    assert_eq!(app.count("SELECT count(*) FROM destinations WHERE secrets IS NOT NULL").await, 0);
    assert_eq!(put(&app, json!({ "url": url })).await["version"], 3);
    app.finish().await;
}

#[sqlx::test(migrator = "control::store::MIGRATIONS")]
async fn while_secrets_rotate_a_receiver_verifies_with_either(pool: PgPool) {
    let (app, own, url) = with_own_receiver(pool).await;
    let [new, old] =
        ["bmV3IG5ldyBuZXcgbmV3IG5ldyBuZXcgbmV3", "b2xkIG9sZCBvbGQgb2xkIG9sZCBvbGQgb2xk"]
            .map(|text| format!("whsec_{text}"));
    let answer = put(&app, json!({"url": url, "secrets": [new, old]})).await;
    assert_eq!(answer["secrets"], Value::Null, "the tenant knows them");
    for secret in [&old, &new] {
        own.lock().unwrap().secret = Some(secret.clone());
        app.activate().await;
        assert_eq!(own.lock().unwrap().signatures, 2);
    }
    put(&app, json!({"url": url, "secrets": [new]})).await;
    app.activate().await;
    assert_eq!(own.lock().unwrap().signatures, 1);
    assert_eq!(types(&own).len(), 3);
    app.finish().await;
}

#[sqlx::test(migrator = "control::store::MIGRATIONS")]
async fn what_a_tenant_does_not_want_is_in_the_feed_and_not_sent(pool: PgPool) {
    let (app, own, url) = with_own_receiver(pool).await;
    let shown = put(&app, json!({"url": url, "eventTypes": ["connection.deleted"]})).await;
    own.lock().unwrap().secret = shown["secrets"][0].as_str().map(str::to_owned);
    let (started, _) = app.activate().await;
    assert_eq!(app.count("SELECT count(*) FROM events").await, 1);
    assert_eq!(app.count("SELECT count(*) FROM deliveries").await, 0);
    let path = format!("/connections/{}", started["connectionId"].as_str().unwrap());
    app.call("acme", "DELETE", &path, &Value::Null).await;
    app.outbox.run_once().await.unwrap();
    assert_eq!(types(&own), ["connection.deleted"]);
    assert_eq!(own.lock().unwrap().taken[0].body["sequence"], 2);
    put(&app, json!({"url": url, "eventTypes": []})).await;
    app.activate().await;
    assert_eq!((app.count("SELECT count(*) FROM events").await, types(&own).len()), (3, 1));
    // Nothing is left behind that would be sent one day: who only pulls has no backlog.
    assert_eq!(app.count("SELECT count(*) FROM deliveries").await, 1);
    app.finish().await;
}

#[sqlx::test(migrator = "control::store::MIGRATIONS")]
async fn a_browser_comes_back_to_an_origin_of_its_tenant_or_of_the_operator(pool: PgPool) {
    let app = TestApp::completing(pool).await;
    let start = async |tenant: &str, page: &str| {
        let body = json!({"sub": "u", "provider": "github", "returnUrl": page});
        app.call(tenant, "POST", "/connections", &body).await.status
    };
    assert_eq!(start("acme", "https://own.example/done").await, StatusCode::BAD_REQUEST);
    let body = json!({"url": "https://own.example/", "returnOrigins": ["https://own.example"]});
    put(&app, body).await;
    assert_eq!(start("acme", "https://own.example/done").await, StatusCode::CREATED);
    assert_eq!(start("acme", "https://app.example/done").await, StatusCode::CREATED);
    assert_eq!(start("acme", "https://own.example:444/").await, StatusCode::BAD_REQUEST);
    assert_eq!(start("rival", "https://own.example/done").await, StatusCode::BAD_REQUEST);
    // What is started expires, and that is told; not there.
    call(&app, "acme", Method::DELETE, &Value::Null).await;
    app.finish().await;
}

#[sqlx::test(migrator = "control::store::MIGRATIONS")]
async fn what_is_no_destination_is_refused_and_changes_nothing(pool: PgPool) {
    let app = TestApp::start(pool).await;
    let names = ["ca.example".to_owned()];
    let made = rcgen::generate_simple_self_signed(names).unwrap();
    let (ca, ca_key) = (made.cert, made.signing_key.serialize_pem());
    for (body, words) in [
        (json!({}), "url"),
        (json!({"url": "http://app.example/"}), "https://"),
        (
            json!({"url": "https://10.0.0.1/"}),
            "may allow its network in NOTIFICATION_ALLOWED_NETWORKS",
        ),
        (json!({"url": "https://0x7f.1/"}), "127.0.0.1"),
        (json!({"url": "https://app.example:22/"}), "these ports: 443"),
        (json!({"url": "https://app.example/", "eventTypes": ["all"]}), "connection.activated, "),
        (json!({"url": "https://app.example/", "returnOrigins": ["http://a.example"]}), "origins"),
        (json!({"url": "https://app.example/", "ca": "none"}), "PEM"),
        (
            json!({"url": "https://app.example/", "ca": format!("{}{}", ca.pem(), ca_key)}),
            "private key",
        ),
        (json!({"url": "https://app.example/", "secrets": ["short"]}), "whsec_"),
        (json!({"url": "https://app.example/", "secret": "whsec_"}), "unknown field"),
        (json!({"url": "https://app.example/", "version": -1}), "version"),
        (json!(["https://app.example/", null, null, null, null, null, null]), "object"),
    ] {
        let answer = call(&app, "acme", Method::PUT, &body).await;
        let detail = answer.json()["detail"].as_str().unwrap().to_owned();
        let told = (answer.status.as_u16(), answer.code());
        assert!(matches!(told.0, 400 | 422) && detail.contains(words), "{body}: {told:?} {detail}");
    }
    assert_eq!(get(&app, "acme").await["isDefault"], true);
    assert_eq!(app.count("SELECT count(*) FROM audit_events").await, 0);
    app.finish().await;
}

#[sqlx::test(migrator = "control::store::MIGRATIONS")]
async fn who_says_which_version_he_replaces_overwrites_no_other(pool: PgPool) {
    let app = TestApp::start(pool).await;
    let put = async |version: Option<i64>| {
        let body = json!({"url": "https://app.example/", "version": version});
        let answer = call(&app, "acme", Method::PUT, &body).await;
        (answer.status.as_u16(), answer.json()["version"].as_i64())
    };
    assert_eq!(put(Some(1)).await, (409, None));
    assert_eq!(put(Some(0)).await, (200, Some(1)));
    assert_eq!(put(Some(0)).await, (409, None));
    assert_eq!(put(Some(1)).await, (200, Some(2)));
    assert_eq!(put(Some(1)).await, (409, None));
    assert_eq!(put(None).await, (200, Some(3)));
    call(&app, "acme", Method::DELETE, &Value::Null).await;
    assert_eq!(put(Some(3)).await, (409, None));
    assert_eq!(put(Some(0)).await, (200, Some(5)));
    app.finish().await;
}

#[sqlx::test(migrator = "control::store::MIGRATIONS")]
async fn without_a_key_for_its_secrets_nobody_has_a_destination_of_his_own(pool: PgPool) {
    let app = TestApp::start_as(pool, Setup { has_data_key: false, ..Setup::default() }).await;
    let answer = call(&app, "acme", Method::PUT, &json!({"url": "https://app.example/"})).await;
    assert_eq!((answer.status.as_u16(), answer.code().as_str()), (422, "destinations_unavailable"));
    assert!(answer.json()["detail"].as_str().unwrap().contains("DATA_ENCRYPTION_KEY"));
    assert_eq!(get(&app, "acme").await["isDefault"], true);
    app.finish().await;
}

/// A key that was lost is the operator's trouble: it is no failure of the receiver's.
#[sqlx::test(migrator = "control::store::MIGRATIONS")]
async fn a_secret_that_no_key_opens_is_our_own_fault(pool: PgPool) {
    let (app, own, url) = with_own_receiver(pool).await;
    put(&app, json!({ "url": url })).await;
    let other = "UPDATE destinations SET secrets = 'x.AAAA'";
    sqlx::query(other).execute(&app.pool).await.unwrap();
    app.activate().await;
    let outcome: String = sqlx::query_scalar("SELECT outcome FROM delivery_attempts")
        .fetch_one(&app.pool)
        .await
        .unwrap();
    assert_eq!((outcome.as_str(), own.lock().unwrap().tries, app.tries()), ("our_keys", 0, 0));
    call(&app, "acme", Method::DELETE, &Value::Null).await;
    app.advance(3600);
    app.outbox.run_once().await.unwrap();
    assert_eq!(app.notified_types(), ["connection.activated"]);
    app.finish().await;
}

/// As another release may have written it, or a hand.
#[sqlx::test(migrator = "control::store::MIGRATIONS")]
async fn a_destination_that_nobody_can_read_stops_its_own_tenant_and_no_other(pool: PgPool) {
    let app = TestApp::start(pool).await;
    for tenant in ["acme", "rival"] {
        seed(&app, tenant, 1).await;
    }
    sqlx::query(
        "INSERT INTO destinations (tenant_id, version, url, secrets, updated_at)
         VALUES ('rival', 7, 'no url', 'x', $1)",
    )
    .bind(app.clock.now())
    .execute(&app.pool)
    .await
    .unwrap();
    app.outbox.run_once().await.unwrap();
    let tried = "SELECT tenant_id, outcome FROM delivery_attempts ORDER BY tenant_id";
    let tried: Vec<(String, String)> = sqlx::query_as(tried).fetch_all(&app.pool).await.unwrap();
    let tried: Vec<_> = tried.iter().map(|(tenant, how)| (tenant.as_str(), how.as_str())).collect();
    assert_eq!(tried, [("acme", "delivered"), ("rival", "our_identity")]);
    assert_eq!(app.notified().len(), 1, "nobody else is told of it");
    app.abandon();
}

#[sqlx::test(migrator = "control::store::MIGRATIONS")]
async fn a_destination_is_its_tenants_alone_and_for_those_who_may_notify(pool: PgPool) {
    let app = TestApp::start(pool).await;
    put(&app, json!({"url": "https://app.example/"})).await;
    assert_eq!(get(&app, "rival").await["isDefault"], true);
    call(&app, "rival", Method::DELETE, &Value::Null).await;
    assert_eq!(get(&app, "acme").await["isDefault"], false);
    for (method, path) in [
        ("GET", "destination"),
        ("PUT", "destination"),
        ("DELETE", "destination"),
        ("POST", "destination/test"),
    ] {
        let path = format!("/tenants/acme/{path}");
        for vouched in [caller("acme", Action::Read), caller("rival", Action::Notify)] {
            let body = Body::from(r#"{"url": "https://rival.example/"}"#);
            let answer = app.send(method, &path, &vouched, body).await;
            assert_eq!(answer.status, StatusCode::FORBIDDEN, "{method} {path}");
        }
    }
    assert_eq!(get(&app, "acme").await["url"], "https://app.example/");
    app.finish().await;
}

/// Whoever sends a whole bundle is told what of it is used.
#[sqlx::test(migrator = "control::store::MIGRATIONS")]
async fn of_a_ca_the_certificates_are_kept_and_nothing_around_them(pool: PgPool) {
    let app = TestApp::start(pool).await;
    let pem = || rcgen::generate_simple_self_signed(["ca.example".to_owned()]).unwrap().cert.pem();
    let certificates = [pem(), pem()].map(|pem| pem.replace("\r\n", "\n"));
    let [first, second] = &certificates;
    let bundle = format!("# ours\0 \x1b[2J\n{first}the second\r\n{second}\0");
    let shown = put(&app, json!({"url": "https://app.example/", "ca": bundle})).await;
    assert_eq!(shown["ca"], certificates.concat());
    assert_eq!(get(&app, "acme").await["ca"], certificates.concat());
    app.finish().await;
}

/// Both saw that there was no destination, and each made a secret.
#[sqlx::test(migrator = "control::store::MIGRATIONS")]
async fn of_two_first_ones_at_once_one_is_put_and_its_secret_signs(pool: PgPool) {
    let (app, own, url) = with_own_receiver(pool).await;
    let body = json!({ "url": url });
    let put = || call(&app, "acme", Method::PUT, &body);
    let (one, other) = tokio::join!(put(), put());
    let secrets: Vec<Value> =
        [one, other].iter().map(|it| it.json()["secrets"][0].clone()).collect();
    let told: Vec<&Value> = secrets.iter().filter(|secret| secret.is_string()).collect();
    assert_eq!(told.len(), 1, "{secrets:?}");
    own.lock().unwrap().secret = told[0].as_str().map(str::to_owned);
    app.activate().await;
    assert_eq!(types(&own), ["connection.activated"]);
    app.finish().await;
}

/// It was there when it was looked for, and is gone when it is written.
#[sqlx::test(migrator = "control::store::MIGRATIONS")]
async fn who_puts_a_first_one_while_another_is_removed_is_told_its_secret(pool: PgPool) {
    let app = TestApp::start(pool).await;
    put(&app, json!({"url": "https://app.example/"})).await;
    let mut removal = app.pool.begin().await.unwrap();
    let remove = "UPDATE destinations SET version = 2, url = NULL, secrets = NULL";
    sqlx::query(remove).execute(&mut *removal).await.unwrap();
    let body = json!({"url": "https://app.example/", "version": 0});
    let waits = async {
        let waiting = "SELECT count(*) FROM pg_stat_activity
            WHERE datname = current_database() AND wait_event_type = 'Lock'";
        while app.count(waiting).await == 0 {}
        removal.commit().await.unwrap();
    };
    let both = async { tokio::join!(call(&app, "acme", Method::PUT, &body), waits) };
    let (answer, ()) = tokio::time::timeout(Duration::from_secs(30), both).await.unwrap();
    assert_eq!(answer.status, StatusCode::OK, "{:?}", answer.body);
    let shown = answer.json();
    assert!(shown["secrets"][0].is_string() && shown["version"] == 3, "{shown}");
    app.finish().await;
}

#[sqlx::test(migrator = "control::store::MIGRATIONS")]
async fn the_trail_says_what_of_a_destination_changed_and_no_secret_of_it(pool: PgPool) {
    let app = TestApp::start(pool).await;
    let detail = async |body: Value| -> Value {
        put(&app, body).await;
        let last = "SELECT detail FROM audit_events ORDER BY (detail->>'version')::bigint DESC";
        sqlx::query_scalar(last).fetch_one(&app.pool).await.unwrap()
    };
    let first = detail(json!({"url": "https://app.example/hooks?token=one"})).await;
    let url = "https://app.example/hooks";
    let expected =
        json!({"version": 1, "url": url, "eventTypes": null, "changed": ["url", "secrets"]});
    assert_eq!(first, expected);
    let types = json!(["connection.deleted", "connection.activated"]);
    let second = detail(json!({"url": "https://app.example/hooks?token=two", "eventTypes": types}));
    let (second, types) = (second.await, json!(["connection.activated", "connection.deleted"]));
    let expected =
        json!({"version": 2, "url": url, "eventTypes": types, "changed": ["url", "eventTypes"]});
    assert_eq!(second, expected);
    let same = detail(json!({"url": "https://app.example/hooks?token=two", "eventTypes": types}));
    assert_eq!(same.await["changed"], json!([]));
    app.finish().await;
}
