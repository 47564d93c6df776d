//! The trail, read and verified.

use crate::{
    destination,
    support::{Answer, TestApp, caller},
};
use axum::{
    body::Body,
    http::{Method, StatusCode},
};
use contract::action::Action;
use control::audit::verify_trail;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use sqlx::PgPool;

async fn ask(app: &TestApp, tenant: &str, query: &str) -> Answer {
    let path = format!("/tenants/{tenant}/audit?{query}");
    app.send("GET", &path, &caller(tenant, Action::Audit), Body::empty()).await
}

async fn trail(app: &TestApp, tenant: &str, query: &str) -> Value {
    let answer = ask(app, tenant, query).await;
    assert_eq!(answer.status, StatusCode::OK, "{query}: {:?}", answer.body);
    assert_eq!(answer.headers["cache-control"], "no-store");
    answer.json()
}

async fn run(app: &TestApp, query: &'static str) {
    assert_eq!(sqlx::query(query).execute(&app.pool).await.unwrap().rows_affected(), 1);
}

async fn holds(app: &TestApp) -> Result<i64, String> {
    let verified = verify_trail(&app.store, &"acme".parse().unwrap()).await;
    verified.map(|(lines, _)| lines).map_err(|bad| bad.to_string())
}

#[sqlx::test(migrator = "control::store::MIGRATIONS")]
async fn the_trail_tells_who_did_what_in_order(pool: PgPool) {
    let app = TestApp::start(pool).await;
    assert_eq!(trail(&app, "acme", "").await["auditEvents"], json!([]));
    let (started, _) = app.activate().await;
    app.outbox.seal_once().await.unwrap();
    let page = trail(&app, "acme", "").await;
    let links = "SELECT audit_id, encode(hash, 'hex') FROM audit_chain ORDER BY position";
    let links: Vec<(uuid::Uuid, String)> =
        sqlx::query_as(links).fetch_all(&app.pool).await.unwrap();
    let attempt = sqlx::query_scalar("SELECT attempt_id FROM attempts");
    let attempt: uuid::Uuid = attempt.fetch_one(&app.pool).await.unwrap();
    let line = |position: usize, actor: &str, action: &str, request: Value, detail: Value| {
        json!({"position": position + 1, "id": links[position].0, "hash": links[position].1, "tenantId": "acme",
            "at": "2026-11-22T09:33:20.000000Z", "actor": actor, "action": action,
            "connectionId": started["connectionId"], "requestId": request, "detail": detail})
    };
    // What one look at the vault's list showed of many was nobody's request.
    let expected = [
        line(
            0,
            "spiffe://acme.example/app",
            "connection.started",
            json!("r-1"),
            json!({"provider": "github"}),
        ),
        line(
            1,
            "vault",
            "connection.activated",
            Value::Null,
            json!({"reason": null, "attempt": attempt}),
        ),
    ];
    assert_eq!(page["auditEvents"], json!(expected));
    app.finish().await;
}

#[sqlx::test(migrator = "control::store::MIGRATIONS")]
async fn what_is_done_to_a_destination_is_in_the_trail_and_names_no_connection(pool: PgPool) {
    let app = TestApp::start(pool).await;
    let body = json!({"url": "https://app.example/hooks"});
    let put = destination::call(&app, "acme", Method::PUT, &body).await;
    assert_eq!(put.status, StatusCode::OK, "{:?}", put.body);
    app.outbox.seal_once().await.unwrap();
    let page = trail(&app, "acme", "").await;
    let line = &page["auditEvents"][0];
    assert_eq!((&line["action"], &line["connectionId"]), (&json!("destination.set"), &Value::Null));
    app.finish().await;
}

#[sqlx::test(migrator = "control::store::MIGRATIONS")]
async fn whoever_has_the_answers_can_compute_every_hash(pool: PgPool) {
    let app = TestApp::start(pool).await;
    app.activate().await;
    app.outbox.seal_once().await.unwrap();
    let page = trail(&app, "acme", "").await;
    let mut previous = vec![0; 32];
    for line in page["auditEvents"].as_array().unwrap() {
        let mut line = line.clone();
        let claimed = line.as_object_mut().unwrap().remove("hash").unwrap();
        // What was parsed is sorted by name.
        let text = serde_json::to_vec(&line).unwrap();
        previous = Sha256::new().chain_update(previous).chain_update(text).finalize().to_vec();
        assert_eq!(claimed, hex::encode(&previous));
    }
    assert_eq!(verify_trail(&app.store, &"acme".parse().unwrap()).await.unwrap().0, 2);
    app.finish().await;
}

#[sqlx::test(migrator = "control::store::MIGRATIONS")]
async fn pages_of_the_trail_go_on_from_the_end(pool: PgPool) {
    let app = TestApp::start(pool).await;
    for _ in 0..3 {
        app.start_connection().await;
    }
    app.outbox.seal_once().await.unwrap();
    let all = trail(&app, "acme", "").await["auditEvents"].clone();
    let (mut seen, mut query) = (Vec::new(), "limit=2".to_owned());
    for shown in [2, 1, 0] {
        let page = trail(&app, "acme", &query).await;
        let lines = page["auditEvents"].as_array().unwrap();
        assert_eq!(lines.len(), shown);
        seen.extend(lines.clone());
        query = format!("limit=2&after={}", page["nextCursor"].as_str().unwrap());
    }
    assert_eq!(json!(seen), all);
    app.start_connection().await;
    app.outbox.seal_once().await.unwrap();
    let page = trail(&app, "acme", &query).await;
    assert_eq!(page["auditEvents"][0]["position"], 4);
    app.finish().await;
}

/// The trail is that of a backup, and went on from there.
#[sqlx::test(migrator = "control::store::MIGRATIONS")]
async fn a_trail_does_not_go_on_behind_lines_that_it_never_had(pool: PgPool) {
    let app = TestApp::start(pool).await;
    for _ in 0..3 {
        app.start_connection().await;
    }
    app.outbox.seal_once().await.unwrap();
    let mut cursors = Vec::new();
    for limit in 1..=3 {
        let page = trail(&app, "acme", &format!("limit={limit}")).await;
        cursors.push(format!("after={}", page["nextCursor"].as_str().unwrap()));
    }
    for query in [
        "DELETE FROM audit_chain WHERE position > 1",
        "DELETE FROM audit_events WHERE position > 1",
        "UPDATE tenant_heads SET audit_position = 1, audit_hash = (SELECT hash FROM audit_chain)",
    ] {
        sqlx::query(query).execute(&app.pool).await.unwrap();
    }
    app.start_connection().await;
    app.outbox.seal_once().await.unwrap();
    // The second line is another one now, and the third is not there.
    for lost in &cursors[1..] {
        let answer = ask(&app, "acme", lost).await;
        assert_eq!((answer.status.as_u16(), answer.code().as_str()), (400, "invalid_cursor"));
    }
    let went_on = trail(&app, "acme", &cursors[0]).await;
    assert_eq!(went_on["auditEvents"][0]["position"], 2);
    app.abandon();
}

#[sqlx::test(migrator = "control::store::MIGRATIONS")]
async fn nobody_reads_another_tenants_trail_or_one_without_the_grant(pool: PgPool) {
    let app = TestApp::start(pool).await;
    app.start_connection().await;
    app.outbox.seal_once().await.unwrap();
    let page = trail(&app, "acme", "").await;
    assert_eq!(trail(&app, "rival", "").await["auditEvents"], json!([]));
    let theirs = format!("after={}", page["nextCursor"].as_str().unwrap());
    let feeds = app.call("acme", "GET", "/events", &Value::Null).await.json();
    let feeds = format!("after={}", feeds["nextCursor"].as_str().unwrap());
    for (tenant, query) in [("rival", theirs.as_str()), ("acme", &feeds), ("acme", "after=7")] {
        let answer = ask(&app, tenant, query).await;
        assert_eq!((answer.status.as_u16(), answer.code().as_str()), (400, "invalid_cursor"));
    }
    assert_eq!(ask(&app, "acme", "wait=5").await.code(), "invalid_request");
    let read = app.call("acme", "GET", "/audit", &Value::Null).await;
    assert_eq!((read.status.as_u16(), read.code().as_str()), (403, "no_grant"));
    app.finish().await;
}

#[sqlx::test(migrator = "control::store::MIGRATIONS")]
async fn whatever_is_done_to_a_sealed_trail_shows(pool: PgPool) {
    let app = TestApp::start(pool).await;
    for _ in 0..3 {
        app.start_connection().await;
    }
    app.outbox.seal_once().await.unwrap();
    assert_eq!(holds(&app).await, Ok(3));
    let changed = Err("the line at position 2, or its hash, was changed".to_owned());
    let missing = |position| Err(format!("the line at position {position} is missing"));
    run(&app, "UPDATE audit_events SET actor = actor || 'x' WHERE position = 2").await;
    assert_eq!(holds(&app).await, changed);
    run(&app, "UPDATE audit_events SET actor = rtrim(actor, 'x') WHERE position = 2").await;
    run(&app, "UPDATE audit_chain SET hash = sha256(hash) WHERE position = 2").await;
    assert_eq!(holds(&app).await, changed);
    run(&app, "DELETE FROM audit_chain WHERE position = 2").await;
    assert_eq!(holds(&app).await, missing(2));
    run(&app, "DELETE FROM audit_chain WHERE position = 3").await;
    run(&app, "DELETE FROM audit_chain WHERE position = 1").await;
    assert_eq!(holds(&app).await, missing(1));
    app.abandon();
}

#[sqlx::test(migrator = "control::store::MIGRATIONS")]
async fn the_service_itself_may_not_change_the_trail(pool: PgPool) {
    let app = TestApp::start(pool.clone()).await;
    app.start_connection().await;
    app.outbox.seal_once().await.unwrap();
    for role in ["connections_api", "connections_worker"] {
        for query in [
            "UPDATE audit_events SET actor = 'x'",
            "DELETE FROM audit_events",
            "UPDATE audit_chain SET hash = sha256(hash)",
            "DELETE FROM audit_chain",
        ] {
            let mut tx = pool.begin().await.unwrap();
            let become_role = "SELECT set_config('role', $1, true), set_config('connections.tenant', 'acme', true)";
            sqlx::query(become_role).bind(role).execute(&mut *tx).await.unwrap();
            let refused = sqlx::query(query).execute(&mut *tx).await.unwrap_err().to_string();
            assert!(refused.contains("permission denied"), "{role}: {query}: {refused}");
        }
    }
    app.finish().await;
}
