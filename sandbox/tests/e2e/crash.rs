//! What was accepted survives a crash.

use crate::{
    flow::{authorize, notified, show, start},
    support::World,
};
use nango_stand_in::Trouble;
use sandbox::{browser::Decision, client_app::Mood, process::wait_for};
use std::time::Duration;

const SOON: Duration = Duration::from_secs(20);

/// Killed after the webhook was answered, before anybody looked into it.
#[tokio::test]
async fn a_webhook_that_was_answered_is_looked_into_after_a_crash() {
    let mut world = World::start().await;
    let stack = &mut world.stack;
    let started = start(stack).await;
    // Nango answers nothing that would confirm it.
    stack.stand_in().unwrap().make_trouble(Trouble::Unavailable);
    authorize(stack, &started, Decision::Allow).await;
    wait_for("no webhook was answered", SOON, || async {
        let lines = stack.envoy.access_log()?;
        let is_answered =
            |line: &serde_json::Value| line["route"] == "webhook" && line["status"] == 200;
        Ok(lines.iter().any(is_answered).then_some(()))
    })
    .await
    .unwrap();
    stack.kill_control().await.unwrap();
    stack.stand_in().unwrap().make_trouble(Trouble::None);
    stack.start_control().await.unwrap();
    let notified = notified(stack, 1).await;
    assert_eq!(notified[0]["type"], "connection.activated");
    assert_eq!(show(stack, &started).await["status"], "active");
    world.finish().await;
}

/// Killed after the state was committed, before the application took the notification.
#[tokio::test]
async fn a_notification_that_was_not_taken_is_sent_after_a_crash() {
    let mut world = World::start().await;
    let stack = &mut world.stack;
    stack.app().unwrap().be(Mood::Refuses);
    let started = start(stack).await;
    authorize(stack, &started, Decision::Allow).await;
    wait_for("nobody tried to notify", SOON, || async {
        Ok((stack.app()?.refused() > 0).then_some(()))
    })
    .await
    .unwrap();
    stack.kill_control().await.unwrap();
    assert_eq!(stack.app().unwrap().notified(), []);
    stack.app().unwrap().be(Mood::Takes);
    stack.start_control().await.unwrap();
    let notified = notified(stack, 1).await;
    assert_eq!(notified[0]["type"], "connection.activated");
    world.finish().await;
}

/// Asked to stop while a call is under way: the call is answered, and the process ends well.
#[tokio::test]
async fn a_service_that_is_asked_to_stop_finishes_what_it_does() {
    let mut world = World::start().await;
    let stack = &mut world.stack;
    let nango = stack.stand_in().unwrap();
    // After a start control asks twice what its key may do, and lists once what there is; what comes then
    // is the call's.
    wait_for("control does not look around", SOON, || async {
        Ok((nango.api_calls() >= 3).then_some(()))
    })
    .await
    .unwrap();
    let at_first = nango.api_calls();
    nango.make_trouble(Trouble::Slow);
    let body = serde_json::json!({"sub": "user-1", "provider": "github"});
    let call = stack.http.post(stack.edge("/tenants/acme/connections")).json(&body).send();
    let call = tokio::spawn(call);
    let nango = stack.stand_in().unwrap();
    wait_for("control does not ask Nango", SOON, || async {
        Ok((nango.api_calls() > at_first).then_some(()))
    })
    .await
    .unwrap();
    let control = stack.control.take().unwrap();
    let status = control.stop().await.unwrap();
    assert_eq!(call.await.unwrap().unwrap().status(), 201);
    assert!(status.success(), "{status}");
    world.finish().await;
}
