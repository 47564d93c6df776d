//! No tenant meets another.

use crate::{
    destination::call,
    support::{TestApp, caller},
};
use axum::{
    body::Body,
    http::{Method, StatusCode},
};
use contract::action::Action;
use serde_json::json;
use sqlx::PgPool;

#[sqlx::test(migrator = "control::store::MIGRATIONS")]
async fn another_tenants_connection_is_answered_like_none_at_all(pool: PgPool) {
    let app = TestApp::start(pool).await;
    let (started, _) = app.activate().await;
    let theirs = format!("/connections/{}", started["connectionId"].as_str().unwrap());
    for method in ["GET", "DELETE"] {
        let other = app.call("rival", method, &theirs, &json!(null)).await;
        let nobodys = "/connections/0195f2a1-0000-7000-8000-000000000001";
        let none = app.call("rival", method, nobodys, &json!(null)).await;
        let malformed = app.call("rival", method, "/connections/x", &json!(null)).await;
        for answer in [&other, &none, &malformed] {
            assert_eq!(answer.status, StatusCode::NOT_FOUND);
            assert_eq!(answer.body, none.body);
        }
    }
    assert_eq!(app.get(started["connectionId"].as_str().unwrap()).await["status"], "active");
    app.finish().await;
}

/// Whatever a query of ours forgets, the database does not: as a tenant, no row of another is visible.
#[sqlx::test(migrator = "control::store::MIGRATIONS")]
async fn the_database_shows_a_tenant_its_own_rows_only(pool: PgPool) {
    let app = TestApp::start(pool.clone()).await;
    let (started, _) = app.activate().await;
    app.webhook(&json!({"type": "sync"})).await;
    let with_key = app
        .request("POST", "/tenants/acme/connections", &caller("acme", Action::Connect))
        .header("idempotency-key", "k");
    let body = Body::from(json!({"sub": "u", "provider": "github"}).to_string());
    assert_eq!(app.send_raw(with_key.body(body).unwrap()).await.status, StatusCode::CREATED);
    app.outbox.seal_once().await.unwrap();
    app.advance(1);
    let since = json!({"since": "2020-01-01T00:00:00Z"}).to_string();
    let notify = caller("acme", Action::Notify);
    let again = app.send("POST", "/tenants/acme/deliveries/redeliver", &notify, Body::from(since));
    assert_eq!(again.await.status, StatusCode::ACCEPTED);
    let own = json!({"url": "https://app.example/"});
    assert_eq!(call(&app, "acme", Method::PUT, &own).await.status, StatusCode::OK);
    app.ask_check(&started).await;
    let tables: Vec<String> = sqlx::query_scalar(
        "SELECT tablename::text FROM pg_tables WHERE schemaname = 'public' AND tablename <> '_sqlx_migrations'",
    )
    .fetch_all(&pool)
    .await
    .unwrap();
    assert_eq!(tables.len(), 20, "{tables:?}");
    for table in tables {
        for (tenant, sees_rows) in [("acme", true), ("rival", false), ("", false)] {
            let mut tx = pool.begin().await.unwrap();
            sqlx::query("SELECT set_config('role', 'connections_api', true), set_config('connections.tenant', $1, true)")
                .bind(tenant)
                .execute(&mut *tx)
                .await
                .unwrap();
            let query = sqlx::AssertSqlSafe(format!("SELECT count(*) FROM {table}"));
            let seen: Result<i64, _> = sqlx::query_scalar(query).fetch_one(&mut *tx).await;
            // These are the workers' tables: a tenant may not even ask.
            let is_hidden = [
                "receipts",
                "callback_states",
                "sweeps",
                "nango_budget",
                "key_checks",
                "deletions_held",
            ]
            .contains(&table.as_str());
            match seen {
                Ok(rows) => {
                    // Heartbeats are no tenant's.
                    let sees_rows = sees_rows && table != "heartbeats";
                    assert!(!is_hidden && (rows > 0) == sees_rows, "{table} as {tenant:?}: {rows}");
                }
                Err(error) => assert!(is_hidden, "{table} as {tenant:?}: {error}"),
            }
        }
    }
    call(&app, "acme", Method::DELETE, &json!(null)).await;
    app.outbox.run_once().await.unwrap();
    app.finish().await;
}

#[sqlx::test(migrator = "control::store::MIGRATIONS")]
async fn a_tenant_cannot_write_a_row_of_another(pool: PgPool) {
    let app = TestApp::start(pool.clone()).await;
    let (started, _) = app.activate().await;
    let id: uuid::Uuid = started["connectionId"].as_str().unwrap().parse().unwrap();
    let mut tx = pool.begin().await.unwrap();
    sqlx::query("SELECT set_config('role', 'connections_api', true), set_config('connections.tenant', 'rival', true)")
        .execute(&mut *tx)
        .await
        .unwrap();
    let updated = sqlx::query("UPDATE connections SET status = 'deleted' WHERE connection_id = $1")
        .bind(id)
        .execute(&mut *tx)
        .await
        .unwrap();
    assert_eq!(updated.rows_affected(), 0);
    let inserted = sqlx::query(
        "INSERT INTO audit_events (tenant_id, audit_id, at, actor, action, connection_id, detail)
         VALUES ('acme', $1, now(), 'x', 'x', $1, '{}')",
    )
    .bind(id)
    .execute(&mut *tx)
    .await;
    assert!(inserted.unwrap_err().to_string().contains("row-level security"));
    drop(tx);
    app.finish().await;
}
