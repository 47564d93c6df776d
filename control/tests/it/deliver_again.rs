//! A tenant sees what was sent, and has it sent again.

use crate::support::{Answer, TestApp, caller, text};
use axum::{body::Body, http::StatusCode};
use chrono::TimeDelta;
use contract::action::Action;
use serde_json::{Value, json};
use sqlx::PgPool;
use std::collections::BTreeSet;

async fn notify(app: &TestApp, tenant: &str, method: &str, path: &str, body: &Value) -> Answer {
    let path = format!("/tenants/{tenant}{path}");
    let body = if body.is_null() { Body::empty() } else { Body::from(body.to_string()) };
    app.send(method, &path, &caller(tenant, Action::Notify), body).await
}

async fn deliveries(app: &TestApp, connection: &Value, query: &str) -> Value {
    let path = format!("/connections/{}/deliveries{query}", connection.as_str().unwrap());
    let answer = notify(app, "acme", "GET", &path, &Value::Null).await;
    assert_eq!(answer.status, StatusCode::OK, "{:?}", answer.body);
    answer.json()
}

pub async fn redeliver(app: &TestApp, tenant: &str, body: &Value) -> Answer {
    notify(app, tenant, "POST", "/deliveries/redeliver", body).await
}

#[sqlx::test(migrator = "control::store::MIGRATIONS")]
async fn every_try_is_shown_with_how_its_answer_begins(pool: PgPool) {
    let app = TestApp::start(pool).await;
    app.receiver().body = [b"no\0t now \xff".to_vec(), vec![b'!'; 5000]].concat();
    app.receiver_answers(&[500]);
    let first = app.clock.now();
    let (started, _) = app.activate().await;
    app.receiver().body = Vec::new();
    app.advance(6);
    let second = app.clock.now();
    app.outbox.run_once().await.unwrap();
    let shown = deliveries(&app, &started["connectionId"], "").await;
    let answer = shown["deliveries"][0]["attempts"][0]["answer"].as_str().unwrap();
    assert!(answer.starts_with("no\u{fffd}t now \u{fffd}!!!") && answer.len() == 4096);
    let (delivery, event) =
        (&shown["deliveries"][0]["deliveryId"], &shown["deliveries"][0]["eventId"]);
    assert_eq!(event, &app.notified()[0].body["id"]);
    let expected = json!({"nextCursor": null, "deliveries": [{
        "deliveryId": delivery, "eventId": event, "type": "connection.activated", "sequence": 1,
        "status": "delivered", "redelivery": false, "createdAt": text(first), "nextTryAt": null,
        "endedAt": text(second), "tries": 2, "ourFaults": 0, "attempts": [
            {"try": 1, "startedAt": text(first), "durationMs": 0, "outcome": "refused", "fault": "theirs",
                "httpStatus": 500, "detail": null, "answer": answer},
            {"try": 2, "startedAt": text(second), "durationMs": 0, "outcome": "delivered", "fault": null,
                "httpStatus": 204, "detail": null, "answer": null}]}]});
    assert_eq!(shown, expected);
    app.finish().await;
}

#[sqlx::test(migrator = "control::store::MIGRATIONS")]
async fn a_connections_deliveries_come_newest_first_page_by_page(pool: PgPool) {
    let app = TestApp::start(pool).await;
    let (started, _) = app.activate().await;
    let id = &started["connectionId"];
    let original = deliveries(&app, id, "").await["deliveries"][0]["deliveryId"].clone();
    let mut newest_first = vec![original.clone()];
    for _ in 0..4 {
        app.advance(1);
        let path = format!("/deliveries/{}/redeliver", original.as_str().unwrap());
        let again = notify(&app, "acme", "POST", &path, &Value::Null).await.json();
        newest_first.insert(0, again["deliveryId"].clone());
    }
    app.outbox.run_once().await.unwrap();
    for limit in [1, 2, 4, 5, 200] {
        let (mut seen, mut cursor) = (Vec::new(), String::new());
        loop {
            let page = deliveries(&app, id, &format!("?limit={limit}{cursor}")).await;
            let rows = page["deliveries"].as_array().unwrap().clone();
            assert!(rows.len() <= limit);
            seen.extend(rows.into_iter().map(|row| row["deliveryId"].clone()));
            let Some(next) = page["nextCursor"].as_str() else { break };
            cursor = format!("&cursor={next}");
        }
        assert_eq!(seen, newest_first, "{limit} a page");
    }
    app.finish().await;
}

#[sqlx::test(migrator = "control::store::MIGRATIONS")]
async fn a_delivery_is_sent_again_under_the_same_event_id(pool: PgPool) {
    let app = TestApp::start(pool).await;
    let (started, _) = app.activate().await;
    let original = deliveries(&app, &started["connectionId"], "").await["deliveries"][0].clone();
    let path = format!("/deliveries/{}/redeliver", original["deliveryId"].as_str().unwrap());
    let answer = notify(&app, "acme", "POST", &path, &json!({})).await;
    assert_eq!(answer.status, StatusCode::ACCEPTED);
    let told = answer.json();
    let expected = json!({"deliveryId": told["deliveryId"], "redeliveryOf": original["deliveryId"],
        "eventId": original["eventId"]});
    assert_eq!(told, expected);
    assert_ne!(told["deliveryId"], original["deliveryId"]);
    app.outbox.run_once().await.unwrap();
    let notified = app.notified();
    assert_eq!((notified.len(), &notified[0]), (2, &notified[1]), "the same to the last byte");
    let trail: Vec<(String, Value)> = sqlx::query_as(
        "SELECT actor, detail FROM audit_events WHERE action = 'delivery.redelivery_asked'",
    )
    .fetch_all(&app.pool)
    .await
    .unwrap();
    let detail = json!({"deliveryId": original["deliveryId"], "newDeliveryId": told["deliveryId"]});
    assert_eq!(trail, [("spiffe://acme.example/app".to_owned(), detail)]);
    app.finish().await;
}

#[sqlx::test(migrator = "control::store::MIGRATIONS")]
async fn what_is_sent_again_waits_for_nobody_and_nobody_for_it(pool: PgPool) {
    let app = TestApp::start(pool).await;
    let (started, _) = app.activate().await;
    let connection = format!("/connections/{}", started["connectionId"].as_str().unwrap());
    app.receiver_answers(&[500]);
    app.call("acme", "DELETE", &connection, &Value::Null).await;
    app.outbox.run_once().await.unwrap();
    // The deletion failed once and waits; the activation, before it, is sent again at once, and fails.
    let shown = deliveries(&app, &started["connectionId"], "").await;
    let all = shown["deliveries"].as_array().unwrap();
    let of = |kind: &str| all.iter().find(|it| it["type"] == kind).unwrap();
    assert_eq!(of("connection.deleted")["status"], "ready");
    let first = of("connection.activated")["deliveryId"].as_str().unwrap();
    let path = format!("/deliveries/{first}/redeliver");
    app.receiver_answers(&[500]);
    notify(&app, "acme", "POST", &path, &Value::Null).await;
    app.outbox.run_once().await.unwrap();
    assert_eq!((app.tries(), app.notified().len()), (3, 1));
    // It is not sent before the deletion is, nor after: each when it is due.
    app.advance(6);
    app.outbox.run_once().await.unwrap();
    let types: BTreeSet<String> = app.notified_types()[1..].iter().cloned().collect();
    let expected = ["connection.activated", "connection.deleted"].map(str::to_owned);
    assert_eq!(types, expected.into());
    app.finish().await;
}

#[sqlx::test(migrator = "control::store::MIGRATIONS")]
async fn what_waits_for_its_predecessor_is_not_sent_again(pool: PgPool) {
    let app = TestApp::start(pool).await;
    app.receiver_answers(&[500]);
    let (started, _) = app.activate().await;
    let connection = format!("/connections/{}", started["connectionId"].as_str().unwrap());
    app.call("acme", "DELETE", &connection, &Value::Null).await;
    app.outbox.run_once().await.unwrap();
    let shown = deliveries(&app, &started["connectionId"], "").await;
    let again = async |status: &str| {
        let of_it = |it: &&Value| it["status"] == status;
        let id = &shown["deliveries"].as_array().unwrap().iter().find(of_it).unwrap()["deliveryId"];
        let path = format!("/deliveries/{}/redeliver", id.as_str().unwrap());
        notify(&app, "acme", "POST", &path, &Value::Null).await
    };
    // It waits for the one that is to be tried again: sent now, it would come first.
    let answer = again("blocked").await;
    let told = (answer.status, answer.code());
    assert_eq!(told, (StatusCode::CONFLICT, "delivery_not_ended".to_owned()));
    assert_eq!(app.count("SELECT count(*) FROM deliveries WHERE is_redelivery").await, 0);
    app.advance(6);
    app.outbox.run_once().await.unwrap();
    assert_eq!(app.notified_types(), ["connection.activated", "connection.deleted"]);
    // Both ended by now.
    for status in ["ready", "blocked"] {
        assert_eq!(again(status).await.status, StatusCode::ACCEPTED);
    }
    app.outbox.run_once().await.unwrap();
    assert_eq!(app.notified().len(), 4);
    app.finish().await;
}

#[sqlx::test(migrator = "control::store::MIGRATIONS")]
async fn only_what_is_meant_is_sent_again(pool: PgPool) {
    let app = TestApp::start(pool).await;
    let begun = app.clock.now();
    app.receiver_answers(&[500; 10]);
    let (exhausted, _) = app.activate().await;
    for _ in 0..9 {
        app.advance(29 * 3600);
        app.outbox.run_once().await.unwrap();
    }
    // Ten failures in a row have paused the destination; what comes next is its probe.
    app.advance(36);
    let between = app.clock.now();
    let (delivered, _) = app.activate().await;
    app.advance(1);
    // One that is on its way needs nobody to send it again.
    app.receiver_answers(&[500]);
    app.activate().await;
    app.advance(1);
    let now = app.clock.now();
    for (asked, count) in [
        (json!({"since": begun}), 2),
        (json!({"since": between}), 1),
        (json!({"since": begun, "until": between}), 1),
        (json!({"since": begun, "status": "exhausted"}), 1),
        (json!({"since": between, "status": "exhausted"}), 0),
        (json!({"since": begun, "status": "delivered"}), 1),
        (json!({"since": begun, "types": ["connection.activated", "connection.failed"]}), 2),
        (json!({"since": begun, "types": ["connection.deleted"]}), 0),
        (json!({"since": now - TimeDelta::seconds(1)}), 0),
    ] {
        let told = app.notified().len();
        let mut only_count = asked.clone();
        only_count["dryRun"] = json!(true);
        assert_eq!(redeliver(&app, "acme", &only_count).await.json()["count"], count, "{asked}");
        assert_eq!(redeliver(&app, "acme", &asked).await.json()["count"], count, "{asked}");
        app.outbox.run_once().await.unwrap();
        let sent: Vec<_> = app.notified().split_off(told);
        assert_eq!(sent.len(), count, "{asked}");
        for it in sent {
            let id = &it.body["connectionId"];
            assert!([&exhausted["connectionId"], &delivered["connectionId"]].contains(&id));
        }
        app.clock.advance(TimeDelta::microseconds(1));
    }
    app.advance(6);
    app.outbox.run_once().await.unwrap();
    app.finish().await;
}

#[sqlx::test(migrator = "control::store::MIGRATIONS")]
async fn a_call_with_a_key_is_carried_out_once(pool: PgPool) {
    let app = TestApp::start(pool).await;
    let since = app.clock.now();
    let (started, _) = app.activate().await;
    app.advance(1);
    let original = deliveries(&app, &started["connectionId"], "").await["deliveries"][0].clone();
    let one =
        format!("/tenants/acme/deliveries/{}/redeliver", original["deliveryId"].as_str().unwrap());
    let all = "/tenants/acme/deliveries/redeliver";
    let (some, none) = (json!({"since": since}), json!({"since": since, "dryRun": true}));
    for (key, path, body, status, more) in [
        ("one", one.as_str(), String::new(), StatusCode::ACCEPTED, 1),
        ("all", all, some.to_string(), StatusCode::ACCEPTED, 1),
        ("count", all, none.to_string(), StatusCode::OK, 0),
    ] {
        let told = app.notified().len();
        let mut answers = Vec::new();
        for _ in 0..2 {
            let request = app.request("POST", path, &caller("acme", Action::Notify));
            let request = request.header("idempotency-key", key).body(Body::from(body.clone()));
            answers.push(app.send_raw(request.unwrap()).await);
        }
        assert_eq!((answers[0].status, &answers[0].body), (status, &answers[1].body), "{key}");
        assert_eq!(answers[1].headers["idempotency-replayed"], "true");
        app.outbox.run_once().await.unwrap();
        assert_eq!(app.notified().len(), told + more, "{key}");
    }
    app.finish().await;
}

#[sqlx::test(migrator = "control::store::MIGRATIONS")]
async fn another_tenants_deliveries_are_answered_like_none_at_all(pool: PgPool) {
    let app = TestApp::start(pool).await;
    let (started, _) = app.activate().await;
    let connection = started["connectionId"].as_str().unwrap();
    let delivery = deliveries(&app, &started["connectionId"], "").await["deliveries"][0].clone();
    let delivery = delivery["deliveryId"].as_str().unwrap();
    let nobodys = "0195f2a1-0000-7000-8000-000000000001";
    for (method, theirs, template) in [
        ("GET", connection, "/connections/{}/deliveries"),
        ("POST", delivery, "/deliveries/{}/redeliver"),
    ] {
        let mut bodies = BTreeSet::new();
        for id in [theirs, nobodys, "x"] {
            let answer =
                notify(&app, "rival", method, &template.replace("{}", id), &Value::Null).await;
            assert_eq!(
                (answer.status, answer.code()),
                (StatusCode::NOT_FOUND, "not_found".to_owned())
            );
            bodies.insert(answer.body.to_vec());
        }
        assert_eq!(bodies.len(), 1);
        let path = format!("/tenants/acme{}", template.replace("{}", theirs));
        for action in [Action::Read, Action::Connect] {
            let answer = app.send(method, &path, &caller("acme", action), Body::empty()).await;
            assert_eq!(answer.status, StatusCode::FORBIDDEN, "{action}");
        }
    }
    assert_eq!(
        redeliver(&app, "rival", &json!({"since": "2020-01-01T00:00:00Z"})).await.json()["count"],
        0
    );
    app.outbox.run_once().await.unwrap();
    assert_eq!(app.notified().len(), 1);
    app.finish().await;
}

#[sqlx::test(migrator = "control::store::MIGRATIONS")]
async fn what_cannot_be_is_told_how_to_mend_it_and_changes_nothing(pool: PgPool) {
    let app = TestApp::start(pool).await;
    let (started, _) = app.activate().await;
    let id = started["connectionId"].as_str().unwrap();
    let delivery = deliveries(&app, &started["connectionId"], "").await["deliveries"][0].clone();
    let one = format!("/deliveries/{}/redeliver", delivery["deliveryId"].as_str().unwrap());
    let all = "/deliveries/redeliver".to_owned();
    let since = "2020-01-01T00:00:00Z";
    for (method, path, body, code, mend) in [
        ("POST", &one, json!({"since": since}), "invalid_request", "unknown field"),
        ("POST", &all, json!({}), "invalid_request", "missing field `since`"),
        ("POST", &all, json!({"since": "now"}), "invalid_request", "since must be a time"),
        (
            "POST",
            &all,
            json!({"since": since, "until": since}),
            "invalid_request",
            "since must be before",
        ),
        ("POST", &all, json!({"since": "9999-01-01T00:00:00Z"}), "invalid_request", "in the past"),
        (
            "POST",
            &all,
            json!({"since": since, "status": "failed"}),
            "invalid_request",
            "delivered or exhausted",
        ),
        ("POST", &all, json!({"since": since, "types": ["x"]}), "invalid_request", "types must be"),
        ("POST", &all, json!({"since": since, "dryrun": true}), "invalid_request", "unknown field"),
        (
            "GET",
            &format!("/connections/{id}/deliveries?limit=0"),
            Value::Null,
            "invalid_request",
            "limit must be",
        ),
        (
            "GET",
            &format!("/connections/{id}/deliveries?cursor=x"),
            Value::Null,
            "invalid_cursor",
            "nextCursor",
        ),
    ] {
        let answer = notify(&app, "acme", method, path, &body).await;
        assert!(answer.status.is_client_error(), "{path} {body}: {}", answer.status);
        let problem = answer.json();
        assert_eq!(problem["code"], code, "{path} {body}");
        assert!(problem["detail"].as_str().unwrap().contains(mend), "{problem}");
    }
    assert_eq!(app.count("SELECT count(*) FROM deliveries").await, 1);
    assert_eq!(app.count("SELECT count(*) FROM redeliveries").await, 0);
    app.finish().await;
}
