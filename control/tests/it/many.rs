//! Many at once, and webhooks as badly sent as they can be.

use crate::support::TestApp;
use serde_json::{Value, json};
use sqlx::PgPool;

async fn authorize_many(app: &TestApp, count: usize) -> Vec<(Value, String)> {
    let mut all = Vec::new();
    for _ in 0..count {
        let started = app.start_connection().await;
        let nango_id = app.authorize(&started).await;
        all.push((started, nango_id));
    }
    all
}

#[sqlx::test(migrator = "control::store::MIGRATIONS")]
async fn many_successes_are_confirmed_by_one_call(pool: PgPool) {
    let app = TestApp::start(pool).await;
    let all = authorize_many(&app, 12).await;
    for (started, nango_id) in &all {
        app.say_created(started, nango_id).await;
    }
    let before = app.nango.api_calls();
    app.outbox.run_once().await.unwrap();
    // One page, and each user's profile by the other key.
    assert_eq!(app.nango.api_calls() - before, 1 + all.len());
    assert_eq!(app.notified_types(), vec!["connection.activated"; 12]);
    app.finish().await;
}

#[sqlx::test(migrator = "control::store::MIGRATIONS")]
async fn webhooks_that_come_twice_late_and_out_of_order_change_nothing_twice(pool: PgPool) {
    let app = TestApp::start(pool).await;
    let all = authorize_many(&app, 4).await;
    let refused = app.start_connection().await;
    let query = app.decide(&refused, "deny").await;
    app.callback(&query).await;
    // All look-ups are over before the first webhook comes.
    for wait in [2, 5, 15] {
        app.advance(wait);
        app.outbox.run_once().await.unwrap();
    }
    let (deleted, _) = &all[0];
    let path = format!("/connections/{}", deleted["connectionId"].as_str().unwrap());
    app.call("acme", "DELETE", &path, &Value::Null).await;
    app.outbox.run_once().await.unwrap();
    for _ in 0..2 {
        for (started, nango_id) in all.iter().rev() {
            app.say_created(started, nango_id).await;
            let failed = json!({"type": "auth", "from": "nango", "operation": "creation", "success": false,
                "connectionId": nango_id, "providerConfigKey": "github-dev",
                "error": {"type": "unknown", "description": "x"}});
            app.webhook(&failed).await;
        }
        app.outbox.run_once().await.unwrap();
    }
    let mut ids: Vec<String> =
        app.notified().iter().map(|it| it.body["id"].as_str().unwrap().to_owned()).collect();
    assert_eq!(ids.len(), 6, "four activated, one failed, one deleted");
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), 6, "each told once");
    assert_eq!(app.nango.connection_ids().len(), 3);
    // What was said of the deleted one is looked into for a while, and comes to nothing.
    for wait in [30, 30, 30, 60, 60, 300, 300] {
        app.advance(wait);
        app.outbox.run_once().await.unwrap();
    }
    app.finish().await;
}
