//! All of a time are sent again, and that has an end: in how much is counted, for how long it waits, and how long it is kept.

use crate::{
    deliver_again::redeliver,
    destination::call,
    sending::seed,
    support::{TestApp, caller, text},
};
use axum::{
    body::Body,
    http::{Method, StatusCode},
};
use chrono::TimeDelta;
use contract::action::Action;
use serde_json::{Value, json};
use sqlx::PgPool;
use std::collections::BTreeSet;

async fn show(app: &TestApp, tenant: &str, job: &Value) -> (StatusCode, Value) {
    let path = format!("/tenants/{tenant}/deliveries/redeliveries/{}", job.as_str().unwrap());
    let answer = app.send("GET", &path, &caller(tenant, Action::Notify), Body::empty()).await;
    (answer.status, answer.json())
}

#[sqlx::test(migrator = "control::store::MIGRATIONS")]
async fn all_of_a_time_are_sent_again_in_batches_that_let_new_events_by(pool: PgPool) {
    let app = TestApp::start(pool).await;
    seed(&app, "acme", 450).await;
    seed(&app, "rival", 3).await;
    app.outbox.run_once().await.unwrap();
    app.advance(60);
    let since = app.clock.now() - TimeDelta::seconds(60);
    let asked = json!({"since": since});
    let only_counted = json!({"since": since, "dryRun": true});
    let counted = redeliver(&app, "acme", &only_counted).await;
    let expected =
        json!({"jobId": null, "count": 450, "since": text(since), "until": text(app.clock.now())});
    assert_eq!((counted.status, counted.json()), (StatusCode::OK, expected));
    let answer = redeliver(&app, "acme", &asked).await;
    assert_eq!((answer.status, &answer.json()["count"]), (StatusCode::ACCEPTED, &json!(450)));
    let job = answer.json()["jobId"].clone();
    assert!(job.is_string());
    let asked_at = text(app.clock.now());
    let stands = |status: &str, made: i64, done_at: Option<String>| {
        let shown = json!({"jobId": job, "status": status, "count": 450, "made": made, "since": text(since),
            "until": asked_at, "createdAt": asked_at, "doneAt": done_at, "replacedBy": null});
        (StatusCode::OK, shown)
    };
    let shown = async || show(&app, "acme", &job).await;
    assert_eq!(shown().await, stands("under_way", 0, None));
    assert_eq!(show(&app, "rival", &job).await.0, StatusCode::NOT_FOUND);
    let again = redeliver(&app, "acme", &asked).await;
    assert_eq!(
        (again.status, again.code()),
        (StatusCode::CONFLICT, "redelivery_under_way".to_owned())
    );
    assert!(again.json()["detail"].as_str().unwrap().contains(job.as_str().unwrap()));
    assert_eq!(
        redeliver(&app, "rival", &json!({"since": since, "status": "exhausted"})).await.json()["count"],
        0
    );
    // A batch, and no other before it is sent: 200 wait at most.
    assert!(app.store.redeliver_batch(app.clock.now()).await.unwrap());
    while app.store.redeliver_batch(app.clock.now()).await.unwrap() {}
    let waiting = "SELECT count(*) FROM deliveries WHERE is_redelivery AND status = 'ready'";
    assert_eq!(app.count(waiting).await, 200);
    assert_eq!(shown().await, stands("under_way", 200, None));
    let before = app.notified().len();
    for _ in 0..4 {
        app.outbox.run_once().await.unwrap();
        app.advance(1);
    }
    let sent = app.notified().split_off(before);
    let ids: BTreeSet<String> = sent.iter().map(|it| it.id.clone()).collect();
    assert_eq!((sent.len(), ids.len()), (450, 450), "each once");
    assert!(sent.iter().all(|it| it.body["tenantId"] == "acme"));
    let done = "SELECT count(*) FROM redeliveries WHERE done_at IS NOT NULL AND made = total";
    assert_eq!(app.count(done).await, 2);
    let done_at = text(app.clock.now() - TimeDelta::seconds(2));
    assert_eq!(shown().await, stands("done", 450, Some(done_at)));
    // Another one may be asked for now.
    assert_eq!(redeliver(&app, "acme", &asked).await.status, StatusCode::ACCEPTED);
    for _ in 0..4 {
        app.outbox.run_once().await.unwrap();
        app.advance(1);
    }
    assert_eq!(app.notified().len(), before + 2 * 450);
    app.finish().await;
}

/// Seeds 450 that were delivered, and asks for all of them; the job.
async fn ask_for_450(app: &TestApp) -> (Value, Value) {
    seed(app, "acme", 450).await;
    app.outbox.run_once().await.unwrap();
    app.advance(60);
    let asked = json!({"since": app.clock.now() - TimeDelta::seconds(60)});
    let answer = redeliver(app, "acme", &asked).await;
    assert_eq!(answer.status, StatusCode::ACCEPTED);
    while app.store.redeliver_batch(app.clock.now()).await.unwrap() {}
    (asked, answer.json()["jobId"].clone())
}

#[sqlx::test(migrator = "control::store::MIGRATIONS")]
async fn what_waits_for_a_destination_that_takes_nothing_is_replaced_by_the_next(pool: PgPool) {
    let app = TestApp::start(pool).await;
    let (asked, first) = ask_for_450(&app).await;
    assert_eq!(redeliver(&app, "acme", &asked).await.code(), "redelivery_under_way");
    let stopped = "UPDATE destination_health SET status = 'stopped', reason = 'gone'";
    sqlx::query(stopped).execute(&app.pool).await.unwrap();
    let less = json!({"since": app.clock.now() - TimeDelta::seconds(1)});
    let answer = redeliver(&app, "acme", &less).await;
    assert_eq!((answer.status, &answer.json()["count"]), (StatusCode::ACCEPTED, &json!(0)));
    let replaced: String = sqlx::query_scalar(
        "SELECT detail->>'replaces' FROM audit_events WHERE action = 'delivery.redelivery_asked'
         AND detail->>'replaces' IS NOT NULL",
    )
    .fetch_one(&app.pool)
    .await
    .unwrap();
    assert_eq!(replaced, first.as_str().unwrap());
    let shown = show(&app, "acme", &first).await.1;
    let told = (&shown["status"], &shown["replacedBy"], &shown["doneAt"]);
    assert_eq!(told, (&json!("replaced"), &answer.json()["jobId"], &json!(text(app.clock.now()))));
    assert_eq!(show(&app, "acme", &json!("none")).await.1["code"], "not_found");
    let started = "UPDATE destination_health SET status = 'active', reason = NULL";
    sqlx::query(started).execute(&app.pool).await.unwrap();
    for _ in 0..3 {
        app.outbox.run_once().await.unwrap();
        app.advance(1);
    }
    // What the first had made is sent; it makes no more.
    assert_eq!(app.count("SELECT count(*) FROM deliveries WHERE is_redelivery").await, 200);
    assert_eq!(app.count("SELECT count(*) FROM redeliveries WHERE done_at IS NULL").await, 0);
    app.finish().await;
}

#[sqlx::test(migrator = "control::store::MIGRATIONS")]
async fn what_waits_for_a_destination_that_takes_nothing_is_looked_at_each_minute(pool: PgPool) {
    let app = TestApp::start(pool).await;
    ask_for_450(&app).await;
    let batch = async || app.store.redeliver_batch(app.clock.now()).await.unwrap();
    // 200 wait. As long as they are sent, the next batch may be a second away.
    app.advance(1);
    assert!(batch().await && !batch().await);
    let stopped = "UPDATE destination_health SET status = 'stopped', reason = 'gone'";
    sqlx::query(stopped).execute(&app.pool).await.unwrap();
    app.advance(1);
    assert!(batch().await);
    app.advance(59);
    assert!(!batch().await);
    app.advance(1);
    assert!(batch().await);
    // Once it takes something again, nobody waits for the minute.
    let answer = call(&app, "acme", Method::DELETE, &Value::Null).await;
    assert_eq!(answer.status, StatusCode::NO_CONTENT);
    for _ in 0..3 {
        app.outbox.run_once().await.unwrap();
        app.advance(1);
    }
    assert_eq!(app.count("SELECT count(*) FROM deliveries WHERE is_redelivery").await, 450);
    app.finish().await;
}

#[sqlx::test(migrator = "control::store::MIGRATIONS")]
async fn a_time_with_more_events_than_are_counted_is_asked_for_part_by_part(pool: PgPool) {
    let app = TestApp::start(pool).await;
    seed(&app, "acme", 1).await;
    app.outbox.run_once().await.unwrap();
    sqlx::query(
        "INSERT INTO events (tenant_id, event_id, connection_id, sequence, type, occurred_at, body)
         SELECT tenant_id, gen_random_uuid(), connection_id, 1 + n, type, occurred_at, '{}'
         FROM events CROSS JOIN generate_series(1, 99999) AS n",
    )
    .execute(&app.pool)
    .await
    .unwrap();
    app.advance(1);
    let asked = json!({"since": app.clock.now() - TimeDelta::seconds(1), "dryRun": true});
    assert_eq!(
        redeliver(&app, "acme", &asked).await.json()["count"],
        1,
        "a hundred thousand are few"
    );
    sqlx::query(
        "INSERT INTO events (tenant_id, event_id, connection_id, sequence, type, occurred_at, body)
         SELECT tenant_id, gen_random_uuid(), connection_id, 100001, type, occurred_at, '{}' FROM events LIMIT 1",
    )
    .execute(&app.pool)
    .await
    .unwrap();
    let answer = redeliver(&app, "acme", &asked).await;
    let told = (answer.status.as_u16(), answer.code());
    assert_eq!(told, (422, "redelivery_too_large".to_owned()));
    assert!(answer.json()["detail"].as_str().unwrap().contains("until"));
    app.abandon();
}

#[sqlx::test(migrator = "control::store::MIGRATIONS")]
async fn a_redelivery_that_ended_is_forgotten_and_one_that_waits_is_not(pool: PgPool) {
    let app = TestApp::start(pool).await;
    ask_for_450(&app).await;
    let asked = "SELECT count(*) FROM redeliveries";
    app.advance(31 * 24 * 3600);
    app.outbox.forget_once().await.unwrap();
    assert_eq!(app.count(asked).await, 1);
    for _ in 0..4 {
        app.outbox.run_once().await.unwrap();
        app.advance(1);
    }
    app.outbox.forget_once().await.unwrap();
    assert_eq!(app.count(asked).await, 1);
    app.advance(31 * 24 * 3600);
    app.outbox.forget_once().await.unwrap();
    assert_eq!(app.count(asked).await, 0);
    app.abandon();
}
