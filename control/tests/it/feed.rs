//! A tenant's events by pull.

use crate::support::{Answer, TestApp, caller};
use axum::{body::Body, http::StatusCode};
use contract::{action::Action, id::TenantId};
use control::hub::TENANT_WAITERS_MAX;
use serde_json::{Value, json};
use sqlx::PgPool;
use std::time::Duration;

async fn ask(app: &TestApp, tenant: &str, query: &str) -> Answer {
    app.call(tenant, "GET", &format!("/events?{query}"), &Value::Null).await
}

async fn pull(app: &TestApp, tenant: &str, query: &str) -> Value {
    let answer = ask(app, tenant, query).await;
    assert_eq!(answer.status, StatusCode::OK, "{query}: {:?}", answer.body);
    assert_eq!(answer.headers["cache-control"], "no-store");
    answer.json()
}

fn cursor(page: &Value) -> String {
    page["nextCursor"].as_str().unwrap().to_owned()
}

fn types(page: &Value) -> Vec<String> {
    let events = page["events"].as_array().unwrap().iter();
    events.map(|it| it["type"].as_str().unwrap().to_owned()).collect()
}

async fn delete(app: &TestApp, started: &Value) {
    let path = format!("/connections/{}", started["connectionId"].as_str().unwrap());
    app.call("acme", "DELETE", &path, &Value::Null).await;
    app.outbox.run_once().await.unwrap();
}

/// A connection that was activated and deleted: two events, sealed.
async fn two_events(app: &TestApp) {
    let (started, _) = app.activate().await;
    delete(app, &started).await;
    app.outbox.seal_once().await.unwrap();
}

#[sqlx::test(migrator = "control::store::MIGRATIONS")]
async fn the_feed_shows_to_the_byte_what_was_sent(pool: PgPool) {
    let app = TestApp::start(pool).await;
    two_events(&app).await;
    let bodies: Vec<String> = sqlx::query_scalar("SELECT body FROM events ORDER BY sequence")
        .fetch_all(&app.pool)
        .await
        .unwrap();
    let page = ask(&app, "acme", "").await;
    let begins = format!("{{\"events\":[{},{}],\"nextCursor\":\"", bodies[0], bodies[1]);
    let body = String::from_utf8(page.body.to_vec()).unwrap();
    assert!(body.starts_with(&begins), "{body}");
    let told: Vec<Value> = app.notified().into_iter().map(|it| it.body).collect();
    assert_eq!(page.json()["events"], json!(told));
    assert_eq!(page.json()["hasMore"], false);
    app.finish().await;
}

#[sqlx::test(migrator = "control::store::MIGRATIONS")]
async fn an_event_is_in_the_feed_when_it_was_sealed_and_not_before(pool: PgPool) {
    let app = TestApp::start(pool).await;
    let empty = pull(&app, "acme", "").await;
    assert_eq!((&empty["events"], &empty["hasMore"]), (&json!([]), &json!(false)));
    app.activate().await;
    assert_eq!(pull(&app, "acme", "").await, empty);
    app.outbox.seal_once().await.unwrap();
    // The end of an empty feed is where its first event comes.
    let page = pull(&app, "acme", &format!("after={}", cursor(&empty))).await;
    assert_eq!(types(&page), ["connection.activated"]);
    app.finish().await;
}

#[sqlx::test(migrator = "control::store::MIGRATIONS")]
async fn pages_show_every_event_once_and_go_on_from_the_end(pool: PgPool) {
    let app = TestApp::start(pool).await;
    for _ in 0..3 {
        two_events(&app).await;
    }
    let all = pull(&app, "acme", "").await["events"].clone();
    assert_eq!(all.as_array().unwrap().len(), 6);
    for limit in 1..=7 {
        let (mut seen, mut query) = (Vec::new(), format!("limit={limit}"));
        let end = loop {
            let page = pull(&app, "acme", &query).await;
            let shown = page["events"].as_array().unwrap();
            assert!(shown.len() <= limit);
            seen.extend(shown.clone());
            query = format!("limit={limit}&after={}", cursor(&page));
            if page["hasMore"] == false {
                break query;
            }
        };
        assert_eq!(json!(seen), all, "{limit} a page");
        assert_eq!(pull(&app, "acme", &end).await["events"], json!([]));
    }
    app.finish().await;
}

#[sqlx::test(migrator = "control::store::MIGRATIONS")]
async fn a_filter_shows_its_types_and_goes_on_behind_all_others(pool: PgPool) {
    let app = TestApp::start(pool).await;
    for _ in 0..2 {
        two_events(&app).await;
    }
    let both = ["connection.activated", "connection.deleted"];
    for (wanted, expected) in [
        ("connection.deleted", vec![both[1]; 2]),
        ("connection.deleted,connection.activated", both.repeat(2)),
        ("connection.failed", vec![]),
    ] {
        let page = pull(&app, "acme", &format!("types={wanted}")).await;
        assert_eq!(types(&page), expected, "{wanted}");
        // Nothing is looked at again.
        let rest = pull(&app, "acme", &format!("after={}", cursor(&page))).await;
        assert_eq!(types(&rest), Vec::<String>::new(), "{wanted}");
    }
    let first = pull(&app, "acme", "types=connection.deleted&limit=1").await;
    assert_eq!((types(&first), &first["hasMore"]), (vec![both[1].to_owned()], &json!(true)));
    let next = format!("types=connection.deleted&limit=1&after={}", cursor(&first));
    assert_eq!(types(&pull(&app, "acme", &next).await), [both[1]]);
    app.finish().await;
}

/// One page looks at two thousand positions: a type that does not come up costs no walk through all.
#[sqlx::test(migrator = "control::store::MIGRATIONS")]
async fn a_rare_type_is_looked_for_page_by_page(pool: PgPool) {
    let app = TestApp::start(pool).await;
    app.activate().await;
    let query = "INSERT INTO events (tenant_id, event_id, connection_id, sequence, type, occurred_at, body)
        SELECT tenant_id, gen_random_uuid(), connection_id, nth + 1, 'connection.updated', occurred_at, '{}'
        FROM events, generate_series(1, 4500) AS nth";
    sqlx::query(query).execute(&app.pool).await.unwrap();
    let deleted = "INSERT INTO events (tenant_id, event_id, connection_id, sequence, type, occurred_at, body)
        SELECT tenant_id, gen_random_uuid(), connection_id, 5000, 'connection.deleted', occurred_at, '{\"the\":1}'
        FROM events LIMIT 1";
    sqlx::query(deleted).execute(&app.pool).await.unwrap();
    app.outbox.seal_once().await.unwrap();
    let (mut query, mut found) = ("types=connection.deleted".to_owned(), Vec::new());
    loop {
        let page = pull(&app, "acme", &query).await;
        found.push(page["events"].clone());
        query = format!("types=connection.deleted&after={}", cursor(&page));
        if page["hasMore"] == false {
            break;
        }
    }
    assert_eq!(found, [json!([]), json!([]), json!([{"the": 1}])]);
    app.finish().await;
}

#[sqlx::test(migrator = "control::store::MIGRATIONS")]
async fn nobody_sees_another_tenants_feed(pool: PgPool) {
    let app = TestApp::start(pool).await;
    two_events(&app).await;
    let theirs = cursor(&pull(&app, "acme", "limit=1").await);
    assert_eq!(pull(&app, "rival", "").await["events"], json!([]));
    let answer = ask(&app, "rival", &format!("after={theirs}")).await;
    assert_eq!((answer.status.as_u16(), answer.code().as_str()), (400, "invalid_cursor"));
    let vouched = caller("rival", Action::Read);
    let crossed = app.send("GET", "/tenants/acme/events", &vouched, Body::empty()).await;
    assert_eq!((crossed.status.as_u16(), crossed.code().as_str()), (403, "no_grant"));
    let vouched = caller("acme", Action::Connect);
    let other = app.send("GET", "/tenants/acme/events", &vouched, Body::empty()).await;
    assert_eq!(other.status, StatusCode::FORBIDDEN);
    app.finish().await;
}

#[sqlx::test(migrator = "control::store::MIGRATIONS")]
async fn a_pull_that_cannot_be_is_told_how_to_mend_it(pool: PgPool) {
    let app = TestApp::start(pool).await;
    two_events(&app).await;
    let end = cursor(&pull(&app, "acme", "").await);
    let (_, cut) = end.split_at(1);
    for (query, code, detail) in [
        ("limit=0", "invalid_request", "limit must be a number from 1 to 200"),
        ("wait=61", "invalid_request", "wait must be a number of seconds from 1 to 60"),
        ("types=deleted", "invalid_request", "types must be some of: connection.activated,"),
        ("since=1", "invalid_request", "this call takes after, limit, types, wait"),
        ("after=", "invalid_cursor", "after must be a nextCursor of this call and tenant"),
        ("after=1", "invalid_cursor", "leave it out to begin with the oldest"),
        (&format!("after={cut}"), "invalid_cursor", "unchanged"),
    ] {
        let answer = ask(&app, "acme", query).await;
        assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{query}");
        let problem = answer.json();
        assert_eq!(problem["code"], code, "{query}");
        assert!(problem["detail"].as_str().unwrap().contains(detail), "{query}: {problem}");
    }
    // A backup was restored: what the cursor has seen never happened.
    let back = "UPDATE tenant_heads SET event_position = 1";
    sqlx::query(back).execute(&app.pool).await.unwrap();
    let answer = ask(&app, "acme", &format!("after={end}")).await;
    assert_eq!((answer.status.as_u16(), answer.code().as_str()), (400, "invalid_cursor"));
    sqlx::query("UPDATE tenant_heads SET event_position = 2").execute(&app.pool).await.unwrap();
    app.finish().await;
}

/// The database is what it was after the first event.
async fn restore(app: &TestApp) {
    for query in [
        "DELETE FROM delivery_attempts WHERE delivery_id IN (
             SELECT delivery_id FROM deliveries JOIN events USING (tenant_id, event_id) WHERE position > 1)",
        "DELETE FROM deliveries WHERE event_id IN (SELECT event_id FROM events WHERE position > 1)",
        "DELETE FROM events WHERE position > 1",
        "UPDATE tenant_heads SET event_position = 1",
    ] {
        sqlx::query(query).execute(&app.pool).await.unwrap();
    }
}

/// A position is reached again by other events. To go on behind it would be a gap in silence.
#[sqlx::test(migrator = "control::store::MIGRATIONS")]
async fn a_cursor_that_saw_what_a_restored_backup_never_had_is_refused(pool: PgPool) {
    let app = TestApp::start(pool).await;
    two_events(&app).await;
    let kept = cursor(&pull(&app, "acme", "limit=1").await);
    let second = format!("limit=1&after={kept}");
    // The place behind an event that is shown, and behind one that a filter passes over.
    let lost = [
        cursor(&pull(&app, "acme", &second).await),
        cursor(&pull(&app, "acme", "types=connection.activated").await),
        cursor(&pull(&app, "acme", "types=connection.failed").await),
    ];
    restore(&app).await;
    two_events(&app).await;
    for after in &lost {
        for wait in ["", "&wait=60"] {
            let answer = ask(&app, "acme", &format!("after={after}{wait}")).await;
            assert_eq!((answer.status.as_u16(), answer.code().as_str()), (400, "invalid_cursor"));
        }
    }
    let went_on = pull(&app, "acme", &format!("after={kept}")).await;
    assert_eq!(types(&went_on), ["connection.activated", "connection.deleted"]);
    app.abandon();
}

/// What the database tells comes soon; if it never came, the test would not end.
async fn in_time<T>(told: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(30), told).await.unwrap()
}

/// No clock moves here, so that nothing but the sealer's word can end the wait.
#[sqlx::test(migrator = "control::store::MIGRATIONS")]
async fn who_waits_is_answered_when_the_next_event_is_sealed(pool: PgPool) {
    let app = TestApp::start(pool).await;
    let (hub, store, clock) = (app.hub.clone(), app.store.clone(), app.clock.clone());
    let running = tokio::spawn(async move { hub.run(&store, &clock).await });
    app.hub.is_listening().wait_for(|is_listening| *is_listening).await.unwrap();
    let wanted = in_time(pull(&app, "acme", "wait=60&types=connection.deleted"));
    let any = in_time(pull(&app, "acme", "wait=60"));
    let others = Box::pin(ask(&app, "rival", "wait=60"));
    let waiting = async {
        app.hub.waiters().wait_for(|waiters| *waiters == 3).await.unwrap();
        two_events(&app).await;
    };
    let told = async { tokio::join!(wanted, any, waiting) };
    let (wanted, any) = tokio::select! {
        (wanted, any, ()) = told => (wanted, any),
        _ = others => panic!("another tenant was woken"),
    };
    assert_eq!(types(&wanted), ["connection.deleted"]);
    assert_eq!(types(&any).first().unwrap(), "connection.activated");
    // What is there already is not waited for.
    assert_eq!(types(&in_time(pull(&app, "acme", "wait=60")).await).len(), 2);
    app.stop.cancel();
    running.await.unwrap();
    app.finish().await;
}

#[sqlx::test(migrator = "control::store::MIGRATIONS")]
async fn a_wait_that_is_over_or_has_no_place_leaves_the_cursor_as_it_was(pool: PgPool) {
    let app = TestApp::start(pool).await;
    two_events(&app).await;
    let end = pull(&app, "acme", &format!("after={}", cursor(&pull(&app, "acme", "").await))).await;
    let query = format!("wait=30&after={}", cursor(&end));
    let mut waiting = Box::pin(pull(&app, "acme", &query));
    tokio::select! {
        _ = &mut waiting => panic!("it did not wait"),
        _ = async { app.hub.waiters().wait_for(|waiters| *waiters == 1).await.map(drop) } => {}
    }
    app.advance(29);
    assert!(futures::poll!(&mut waiting).is_pending());
    app.advance(1);
    assert_eq!(waiting.await, end);
    let acme: TenantId = "acme".parse().unwrap();
    let taken: Vec<_> =
        (0..TENANT_WAITERS_MAX).map(|_| app.hub.enter_feed(&acme).unwrap()).collect();
    let full = ask(&app, "acme", &query).await;
    assert_eq!((full.status.as_u16(), full.code().as_str()), (503, "too_many_wait"));
    drop(taken);
    app.finish().await;
}

#[sqlx::test(migrator = "control::store::MIGRATIONS")]
async fn an_event_that_nobody_told_of_is_found_by_the_poll(pool: PgPool) {
    let app = TestApp::start(pool).await;
    let (mut acme, mut rival) = (
        app.hub.enter_feed(&"acme".parse().unwrap()).unwrap(),
        app.hub.enter_feed(&"rival".parse().unwrap()).unwrap(),
    );
    two_events(&app).await;
    // Nobody listens.
    app.hub.look(&app.store).await.unwrap();
    let far = app.clock.now() + chrono::TimeDelta::days(1);
    assert!(in_time(acme.newer_than(1, &app.clock, far)).await);
    assert!(futures::poll!(Box::pin(rival.newer_than(0, &app.clock, far))).is_pending());
    drop((acme, rival));
    app.finish().await;
}
