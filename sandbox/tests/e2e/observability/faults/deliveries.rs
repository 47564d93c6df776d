//! Faults of receivers.

use super::{Stack, Watch};
use crate::{
    flow::{authorize, notified, start},
    support::World,
};
use sandbox::{browser::Decision, client_app::Mood};

#[tokio::test]
async fn a_receiver_that_refuses_and_one_that_is_gone_raise_their_alerts() {
    let mut world = World::start().await;
    let stack = &mut world.stack;
    // Two tries a second apart, instead of nine in three days.
    let environment = &mut stack.control_settings.environment;
    environment.insert("DELIVERY_SCHEDULE".to_owned(), "1s,1s".to_owned());
    stack.kill_control().await.unwrap();
    stack.start_control().await.unwrap();
    let watch = Watch::start(&world, Stack::Deliveries).await;
    let stack = &world.stack;
    let app = stack.app().unwrap();
    let idle = async || ();
    let connect = async || {
        let started = start(stack).await;
        authorize(stack, &started, Decision::Allow).await;
    };

    app.be(Mood::Refuses);
    let failing = ["ConnectionsDeliveriesFailing", "ConnectionsDeliveriesGivenUp"];
    connect().await;
    watch.raises(&failing, idle).await;
    app.be(Mood::Takes);
    connect().await;
    notified(stack, 1).await;

    app.be(Mood::Gone);
    connect().await;
    let paused = ["ConnectionsDestinationPaused"];
    watch.raises(&paused, idle).await;
    app.be(Mood::Takes);
    let destination = stack.edge("/tenants/acme/destination");
    let begun = stack.http.delete(destination).send().await.unwrap();
    assert!(begun.status().is_success(), "{begun:?}");
    watch.ends(&paused, idle).await;
    watch.ends(&failing, idle).await;
    watch.finish().await;
    world.finish().await;
}
