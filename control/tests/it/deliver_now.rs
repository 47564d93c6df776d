//! A client has a delivery that fails tried again now, and the order of a connection's events holds.

use crate::{
    sending::{REFUSED, claim, finished, seed, send_all},
    support::{Answer, TestApp, caller},
};
use axum::{body::Body, http::StatusCode};
use contract::action::Action;
use serde_json::{Value, json};
use sqlx::PgPool;

async fn ask(app: &TestApp, tenant: &str, method: &str, path: &str) -> Answer {
    let path = format!("/tenants/{tenant}{path}");
    app.send(method, &path, &caller(tenant, Action::Notify), Body::empty()).await
}

async fn deliveries(app: &TestApp, started: &Value) -> Vec<Value> {
    let path = format!("/connections/{}/deliveries", started["connectionId"].as_str().unwrap());
    let mut found = ask(app, "acme", "GET", &path).await.json()["deliveries"].take();
    let found = found.as_array_mut().unwrap();
    found.sort_by_key(|delivery| delivery["sequence"].as_i64());
    found.clone()
}

async fn again(app: &TestApp, tenant: &str, delivery: &Value) -> Answer {
    let id = delivery["deliveryId"].as_str().unwrap();
    ask(app, tenant, "POST", &format!("/deliveries/{id}/redeliver")).await
}

#[sqlx::test(migrator = "control::store::MIGRATIONS")]
async fn a_delivery_that_fails_is_tried_again_now_and_its_successor_after_it(pool: PgPool) {
    let app = TestApp::start(pool).await;
    app.receiver_answers(&[500, 500]);
    let (started, _) = app.activate().await;
    let path = format!("/connections/{}", started["connectionId"].as_str().unwrap());
    app.call("acme", "DELETE", &path, &Value::Null).await;
    app.outbox.run_once().await.unwrap();
    app.advance(6);
    app.outbox.run_once().await.unwrap();
    let [first, second] = <[Value; 2]>::try_from(deliveries(&app, &started).await).unwrap();
    assert_eq!((&first["status"], &second["status"]), (&json!("ready"), &json!("blocked")));
    // Not another tenant's, and not the one that waits for its predecessor: it would overtake.
    assert_eq!(again(&app, "rival", &first).await.status, StatusCode::NOT_FOUND);
    let refused = again(&app, "acme", &second).await;
    assert_eq!(
        (refused.status, refused.code().as_str()),
        (StatusCode::CONFLICT, "delivery_not_ended")
    );
    let detail = refused.json()["detail"].as_str().unwrap().to_owned();
    assert!(detail.contains(first["deliveryId"].as_str().unwrap()), "{detail}");
    assert_eq!(app.outbox.run_once().await.unwrap(), 0);
    // It fails once more, which uses no attempt and moves no schedule.
    app.receiver_answers(&[500]);
    let retried = again(&app, "acme", &first).await;
    let expected = json!({"deliveryId": first["deliveryId"], "redeliveryOf": null, "eventId": first["eventId"]});
    assert_eq!((retried.status, retried.json()), (StatusCode::ACCEPTED, expected));
    app.outbox.run_once().await.unwrap();
    let now = deliveries(&app, &started).await;
    assert_eq!((&now[0]["tries"], &now[0]["ourFaults"]), (&json!(2), &json!(1)));
    assert_eq!(now[0]["nextTryAt"], first["nextTryAt"]);
    // And is taken at last, before the other; its receiver rests for a second after a failure.
    app.advance(1);
    assert_eq!(again(&app, "acme", &first).await.status, StatusCode::ACCEPTED);
    app.outbox.run_once().await.unwrap();
    assert_eq!(app.notified_types(), ["connection.activated", "connection.deleted"]);
    let lines =
        app.count("SELECT count(*) FROM audit_events WHERE action = 'delivery.retry_asked'");
    assert_eq!(lines.await, 2);
    // What ended is sent once more, as ever.
    let more = again(&app, "acme", &first).await.json();
    assert_eq!(more["redeliveryOf"], first["deliveryId"]);
    app.outbox.run_once().await.unwrap();
    assert_eq!(app.notified().len(), 3);
    app.finish().await;
}

#[sqlx::test(migrator = "control::store::MIGRATIONS")]
async fn a_delivery_that_is_being_sent_is_not_sent_twice(pool: PgPool) {
    let app = TestApp::start(pool).await;
    seed(&app, "acme", 1).await;
    let claimed = claim(&app).await;
    let delivery = json!({"deliveryId": claimed[0].id});
    assert_eq!(again(&app, "acme", &delivery).await.status, StatusCode::ACCEPTED);
    assert_eq!(claim(&app).await.len(), 0);
    app.abandon();
}

#[sqlx::test(migrator = "control::store::MIGRATIONS")]
async fn a_retry_at_a_paused_destination_is_its_probe_and_at_a_stopped_one_refused(pool: PgPool) {
    let app = TestApp::start(pool).await;
    seed(&app, "acme", 12).await;
    send_all(&app, REFUSED).await;
    app.advance(301);
    let claimed = claim(&app).await;
    let failed: Vec<_> = claimed.iter().map(|it| finished(&app, it, REFUSED)).collect();
    app.store.record_tries(&failed, 0.0).await.unwrap();
    assert_eq!(claim(&app).await.len(), 0, "it is paused");
    let delivery = json!({"deliveryId": claimed[0].id});
    assert_eq!(again(&app, "acme", &delivery).await.status, StatusCode::ACCEPTED);
    assert_eq!(claim(&app).await.iter().map(|it| it.is_probe).collect::<Vec<_>>(), [true]);
    sqlx::query("UPDATE destination_health SET status = 'stopped', probe_at = NULL")
        .execute(&app.pool)
        .await
        .unwrap();
    let refused = again(&app, "acme", &delivery).await;
    assert_eq!(
        (refused.status, refused.code().as_str()),
        (StatusCode::CONFLICT, "delivery_not_ended")
    );
    let detail = refused.json()["detail"].as_str().unwrap().to_owned();
    assert!(detail.contains("stopped") && detail.contains("/destination"), "{detail}");
    app.abandon();
}
