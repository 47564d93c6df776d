//! Two releases side by side: an earlier control goes on working while the database and its neighbours are newer.

use crate::flow::{authorize, notified, show, start};
use nango_stand_in::Trouble;
use sandbox::{
    browser::Decision,
    control::Settings,
    ports,
    process::wait_for,
    say,
    stack::{Choices, Stack, WhichDatabase},
    tools::{Tools, earlier},
};
use serde_json::Value;
use std::time::Duration;

const SOON: Duration = Duration::from_secs(30);

async fn delete(stack: &Stack, started: &Value) {
    let id = started["connectionId"].as_str().unwrap();
    let url = stack.edge(&format!("/tenants/acme/connections/{id}"));
    assert_eq!(stack.http.delete(url).send().await.unwrap().status(), 202);
    wait_for("it is not deleted", SOON, || async {
        Ok((show(stack, started).await["status"] == "deleted").then_some(()))
    })
    .await
    .unwrap();
}

/// A whole life of a connection, whoever does which part of it.
async fn live(stack: &Stack, told: usize) {
    let started = start(stack).await;
    assert_eq!(authorize(stack, &started, Decision::Allow).await, 200);
    let events = notified(stack, told + 1).await;
    assert_eq!(events[told]["type"], "connection.activated");
    delete(stack, &started).await;
    let events = notified(stack, told + 2).await;
    assert_eq!(events[told + 1]["type"], "connection.deleted");
}

#[tokio::test]
async fn an_earlier_release_goes_on_while_the_database_and_its_neighbours_are_upgraded() {
    let Some(earlier) = earlier::control().await.unwrap() else { return };
    say::line(&format!("upgrading from {}", earlier.display()));
    let tools = Tools::for_tests().await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    let choices = Choices {
        database: WhichDatabase::Empty,
        is_kind: true,
        // The earlier release reserves a small budget for itself for longer than this test waits for a deletion.
        nango_calls_per_minute: Some(10_000),
        ..Choices::default()
    };
    let before = Tools { control: earlier, ..tools.clone() };
    let mut stack = Box::pin(Stack::start(&before, folder.path(), choices)).await.unwrap();
    live(&stack, 0).await;
    // Under way while everything changes: one user is at the provider, one notification is not taken.
    let at_the_provider = start(&stack).await;

    let mut today = Settings { program: tools.control, ..stack.control_settings.clone() };
    today.migrate().await.unwrap();
    live(&stack, 2).await;

    // Another replica, of today: both claim work of the same tables, and the edge still calls the earlier one.
    let [port, admin] = ports::free().unwrap();
    let mut beside = today.clone();
    beside.environment.insert("PORT".to_owned(), port.to_string());
    beside.environment.insert("ADMIN_PORT".to_owned(), admin.to_string());
    beside.admin.set_port(admin);
    beside.log = folder.path().join("control-beside.log");
    let neighbour = beside.start().await.unwrap();
    live(&stack, 4).await;
    // What the earlier one begins is ended by whoever is left.
    stack.stand_in().unwrap().make_trouble(Trouble::Unavailable);
    assert_eq!(authorize(&stack, &at_the_provider, Decision::Allow).await, 200);
    stack.kill_control().await.unwrap();
    stack.stand_in().unwrap().make_trouble(Trouble::None);
    let events = notified(&stack, 7).await;
    assert_eq!(events[6]["connectionId"], at_the_provider["connectionId"]);

    std::mem::swap(&mut stack.control_settings, &mut today);
    stack.start_control().await.unwrap();
    delete(&stack, &at_the_provider).await;
    live(&stack, 8).await;
    neighbour.stop().await.unwrap();
    stack.stop().await.unwrap();
}
