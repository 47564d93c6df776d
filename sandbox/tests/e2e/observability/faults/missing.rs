//! Connections that Nango does not list, and credentials that no connection here has.

use super::{Stack, Watch};
use crate::{
    flow::{authorize, notified, start},
    support::World,
};
use sandbox::{browser::Decision, stack};

/// The next walk through Nango's list begins at once.
async fn walk(stack: &stack::Stack) {
    let mut database = stack.database.connect().await.unwrap();
    let due = "UPDATE sweeps SET due_at = now() - interval '1 s' WHERE lease IS NULL";
    sqlx::query(due).execute(&mut database).await.unwrap();
}

#[tokio::test]
async fn a_nango_that_lists_nothing_and_a_database_that_lost_its_rows_raise_their_alerts() {
    let world = World::start().await;
    let watch = Watch::start(&world, Stack::Missing).await;
    let stack = &world.stack;
    let nango = stack.stand_in().unwrap();
    for count in 1..=3 {
        let started = start(stack).await;
        authorize(stack, &started, Decision::Allow).await;
        notified(stack, count).await;
    }

    // As with the key of another environment.
    nango.hide_connections(true);
    let held = ["ConnectionsDeletionsHeld"];
    watch.raises(&held, async || walk(stack).await).await;
    nango.hide_connections(false);
    watch.ends(&held, async || walk(stack).await).await;

    // As after the restore of a backup from before they were made.
    let mut database = stack.database.connect().await.unwrap();
    sqlx::query("TRUNCATE connections CASCADE").execute(&mut database).await.unwrap();
    let orphaned = ["ConnectionsOrphanedCredentials"];
    watch.raises(&orphaned, async || walk(stack).await).await;
    for credential in nango.connection_ids() {
        assert!(nango.delete_behind_back(&credential));
    }
    watch.ends(&orphaned, async || walk(stack).await).await;
    watch.finish().await;
    world.finish().await;
}
