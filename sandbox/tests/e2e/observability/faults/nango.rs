//! Faults of Nango, and of a database in which another transaction holds what the workers need.

use super::{Stack, Watch, until_found};
use crate::{
    flow::{authorize, notified, start},
    support::World,
};
use nango_stand_in::Trouble;
use sandbox::{browser::Decision, stack};
use serde_json::json;
use sqlx::Connection as _;

/// Tries to start a connection, however it ends.
async fn try_start(stack: &stack::Stack) -> u16 {
    let body = json!({"sub": "user-1", "provider": "github"});
    let request = stack.http.post(stack.edge("/tenants/acme/connections")).json(&body);
    request.send().await.unwrap().status().as_u16()
}

#[tokio::test]
async fn a_nango_that_fails_and_rows_that_are_held_raise_their_alerts() {
    let mut world = World::start().await;
    let watch = Watch::start(&world, Stack::Nango).await;
    let stack = &mut world.stack;
    let idle = async || ();
    let [mut head, mut receipt, mut clock] = [
        stack.database.connect().await.unwrap(),
        stack.database.connect().await.unwrap(),
        stack.database.connect().await.unwrap(),
    ];
    let first = start(stack).await;
    authorize(stack, &first, Decision::Allow).await;
    notified(stack, 1).await;

    // A transaction that somebody forgot holds the head of a feed, and no event gets its place.
    let mut head = head.begin().await.unwrap();
    let held = "SELECT tenant_id FROM tenant_heads WHERE tenant_id = 'acme' FOR UPDATE";
    sqlx::query(held).fetch_one(&mut *head).await.unwrap();
    let second = start(stack).await;
    authorize(stack, &second, Decision::Allow).await;
    notified(stack, 2).await;

    // The same with a webhook that waits for a Nango that fails.
    let third = start(stack).await;
    stack.stand_in().unwrap().make_trouble(Trouble::Unavailable);
    authorize(stack, &third, Decision::Allow).await;
    let mut receipt = receipt.begin().await.unwrap();
    let held = "SELECT receipt_id FROM receipts WHERE settled_at IS NULL AND lease IS NULL AND failures > 0 FOR UPDATE";
    until_found(&mut receipt, held).await;

    // A quarter of an hour is over since Nango's list was walked through.
    let walked = "UPDATE sweeps SET swept_at = swept_at - interval '15 minutes', due_at = due_at - interval '15 minutes'
        WHERE swept_at IS NOT NULL";
    let walked = sqlx::query(walked).execute(&mut clock).await.unwrap();
    assert_eq!(walked.rows_affected(), 1);
    let of_nango = [
        "ConnectionsNangoLeftAlone",
        "ConnectionsControlErrors",
        "ConnectionsEdgeErrors",
        "ConnectionsSweepStale",
    ];
    watch.raises(&of_nango, async || assert_eq!(try_start(stack).await, 503)).await;
    stack.stand_in().unwrap().make_trouble(Trouble::None);
    watch.raises(&["ConnectionsSealerLags"], idle).await;
    head.rollback().await.unwrap();
    watch.raises(&["ConnectionsBacklogOld"], idle).await;
    receipt.rollback().await.unwrap();
    let ended = [&of_nango[..], &["ConnectionsSealerLags", "ConnectionsBacklogOld"]].concat();
    watch.ends(&ended, idle).await;

    exhaust_the_budget(&watch, stack).await;
    watch.finish().await;
    world.finish().await;
}

/// More is started than Nango takes; and then its owner lets it take more.
async fn exhaust_the_budget(watch: &Watch, stack: &mut stack::Stack) {
    let set = |stack: &mut stack::Stack, calls: &str| {
        let environment = &mut stack.control_settings.environment;
        environment.insert("NANGO_CALLS_PER_MINUTE".to_owned(), calls.to_owned());
    };
    let exhausted = ["ConnectionsNangoBudgetExhausted"];
    set(stack, "20");
    stack.kill_control().await.unwrap();
    stack.start_control().await.unwrap();
    watch.raises(&exhausted, async || assert!([201, 503].contains(&try_start(stack).await))).await;
    // What the stand-in takes, as Nango does by default.
    set(stack, "200");
    stack.kill_control().await.unwrap();
    stack.start_control().await.unwrap();
    watch.ends(&exhausted, async || ()).await;
}
