//! Faults at the edge: a filter that crashes, a policy that does not load, forged webhooks, and an Envoy that hangs.

use super::{Stack, Watch};
use crate::{
    load,
    module::crash_at,
    support::{Http, Sending, World},
    wire::{Message, Wire},
};
use nix::sys::signal::Signal;
use sandbox::{
    envoy::configuration::{adjust_filter, policy, replace, replace_policy},
    stack,
};
use std::{fs, time::Duration};

/// Three times the range of the alert on refused policies.
const HALF_AN_HOUR: Duration = Duration::from_secs(30);

/// Gives the public listener the module of this file, as an operator does: by a new name.
fn use_module(stack: &stack::Stack, name: &str) {
    adjust_filter(&stack.envoy.folder, "public", |filter| {
        let code = "/resources/0/typed_config/config/vm_config/code/local/filename";
        let file = stack.envoy.folder.join("filter").join(name);
        *filter.pointer_mut(code).unwrap() = file.to_str().unwrap().into();
        Ok(())
    })
    .unwrap();
}

async fn send(stack: &stack::Stack, message: &Message) -> Option<u16> {
    let address = stack.envoy.addresses.public;
    let mut wire = Wire::connect(&stack.pki, address, Http::Two, None).await.ok()?;
    wire.send(message).await.ok().map(|answer| answer.status)
}

#[tokio::test]
async fn what_goes_wrong_at_the_edge_raises_its_alert() {
    let world = World::start().await;
    let watch = Watch::start(&world, Stack::Edge).await;
    let stack = &world.stack;
    let idle = async || ();
    let webhook = load::webhook(&stack.coordinates.webhook_secret);

    // Nango's own come, too.
    assert_eq!(send(stack, &webhook).await, Some(200));
    // All of them between two scrapes, the first that this Envoy ever sees.
    let forged = load::webhook("another-key-of-somebody");
    let address = stack.envoy.addresses.public;
    let mut wire = Wire::connect(&stack.pki, address, Http::Two, None).await.unwrap();
    for _ in 0..30 {
        assert_eq!(wire.send(&forged).await.unwrap().status, 401);
    }
    watch.raises(&["ConnectionsWebhooksForged"], idle).await;

    let good = "connections_filter.wasm";
    let folder = stack.envoy.folder.join("filter");
    fs::copy(folder.join(good), folder.join("crashing.wasm")).unwrap();
    crash_at(&folder.join("crashing.wasm"), "proxy_on_request_trailers");
    use_module(stack, "crashing.wasm");
    let mut crashing = webhook.clone();
    crashing.body = crashing.body.map(|(_, body)| (Sending::Trailers, body));
    watch
        .raises(&["ConnectionsFilterCrashed"], async || {
            send(stack, &crashing).await;
        })
        .await;
    use_module(stack, good);

    let loaded = policy(&stack.envoy.folder, "clients").unwrap();
    replace_policy(&stack.envoy.folder, "clients", r#"{"version":"1"}"#).unwrap();
    let rejected = ["ConnectionsPolicyRejected"];
    watch.raises(&rejected, idle).await;
    // An Envoy that starts with such a policy has refused it before anybody scrapes.
    watch.raises_at_first_sight(&world, "ConnectionsPolicyRejected").await;
    watch.stays("ConnectionsPolicyRejected", HALF_AN_HOUR).await;
    replace_policy(&stack.envoy.folder, "clients", &loaded).unwrap();
    watch.ends(&rejected, idle).await;

    // The key was renewed at Nango, and not here.
    let key = stack.envoy.folder.join("secrets/webhook-keys");
    replace(&key, "the-key-that-nango-had-before-0123456789").unwrap();
    let all_refused = ["ConnectionsWebhooksAllRefused"];
    watch
        .raises(&all_refused, async || {
            send(stack, &webhook).await;
        })
        .await;
    replace(&key, &stack.coordinates.webhook_secret).unwrap();
    watch
        .ends(&all_refused, async || {
            send(stack, &webhook).await;
        })
        .await;

    stack.envoy.process().signal(Signal::SIGSTOP).unwrap();
    watch.raises(&["ConnectionsEdgeDown"], idle).await;
    stack.envoy.process().signal(Signal::SIGCONT).unwrap();

    let all = ["ConnectionsEdgeDown", "ConnectionsFilterCrashed", "ConnectionsWebhooksForged"];
    watch.ends(&all, idle).await;
    assert_eq!(send(stack, &webhook).await, Some(200));
    watch.finish().await;
    world.finish().await;
}
