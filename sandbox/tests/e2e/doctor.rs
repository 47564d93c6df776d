//! The doctor at a real edge: what Envoy says of itself, and whether it takes what Nango signs.

use crate::support::World;
use sandbox::{
    ports,
    process::Process,
    stack::{Choices, WhichDatabase},
    tools::Tools,
};
use serde_json::Value;
use std::{collections::BTreeMap, path::Path, process::Stdio, time::Duration};
use tokio::process::Command;

/// What the doctor finds with these settings besides control's, by name: status, and what was seen.
async fn findings(world: &World, settings: &[(&str, &str)]) -> BTreeMap<String, (String, String)> {
    let control = &world.stack.control_settings;
    examine(&control.program, &control.environment, settings).await
}

async fn examine(
    program: &Path,
    environment: &BTreeMap<String, String>,
    settings: &[(&str, &str)],
) -> BTreeMap<String, (String, String)> {
    let told = Command::new(program)
        .args(["doctor", "--json"])
        .env_clear()
        .envs(environment)
        .envs(settings.iter().copied())
        .stdin(Stdio::null())
        .output()
        .await
        .unwrap();
    let report: Value = serde_json::from_slice(&told.stdout).unwrap();
    let text = |finding: &Value, member: &str| finding[member].as_str().unwrap().to_owned();
    let findings = report["findings"].as_array().unwrap().iter();
    findings.map(|it| (text(it, "name"), (text(it, "status"), text(it, "seen")))).collect()
}

#[track_caller]
fn check(found: &BTreeMap<String, (String, String)>, name: &str, status: &str, seen: &str) {
    let (is, says) = &found[name];
    assert!(is == status && says.contains(seen), "{name}: {is} {says}");
}

#[tokio::test]
async fn the_doctor_finds_a_standby_that_was_not_promoted() {
    let choices = Choices { database: WhichDatabase::OwnServer, ..Choices::default() };
    let mut world = World::with(choices).await;
    check(&findings(&world, &[]).await, "database role", "ok", "takes writes");
    world.stack.database.restart_as_standby(true).await.unwrap();
    check(&findings(&world, &[]).await, "database role", "fail", "is a standby");
    world.stack.database.restart_as_standby(false).await.unwrap();
    check(&findings(&world, &[]).await, "database role", "ok", "takes writes");
    world.finish().await;
}

#[tokio::test]
async fn the_doctor_finds_fields_that_envoy_left_out_and_a_filter_that_does_not_run() {
    let tools = Tools::for_tests().await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    let [port] = ports::free().unwrap();
    let address = serde_json::json!({"address": "127.0.0.1", "port_value": port});
    let bootstrap =
        serde_json::json!({"admin": {"address": {"socket_address": address}}, "statics": {}});
    let mut envoy = Command::new(&tools.envoy);
    envoy.args(["--config-yaml", &bootstrap.to_string(), "--allow-unknown-static-fields"]).args([
        "--disable-hot-restart",
        "--concurrency",
        "1",
    ]);
    let mut envoy = Process::start("Envoy", envoy, &folder.path().join("envoy.log")).unwrap();
    let admin = format!("http://127.0.0.1:{port}");
    envoy.wait_until_well(&format!("{admin}/ready"), Duration::from_secs(30)).await.unwrap();
    let found = examine(&tools.control, &BTreeMap::new(), &[("EDGE_ADMIN_URL", &admin)]).await;
    check(&found, "edge", "ok", "Envoy 1.");
    check(&found, "edge configuration", "fail", "left out 1 fields of its bootstrap and 0");
    check(&found, "edge filter", "fail", "no Wasm filter runs");
    envoy.stop().await.unwrap();
}

#[tokio::test]
async fn the_doctor_asks_envoy_and_tries_the_webhook_key_at_the_edge() {
    let world = World::start().await;
    let at = &world.stack.coordinates;
    let admin = ("EDGE_ADMIN_URL", at.envoy_admin_url.as_str());
    let right = ("NANGO_WEBHOOK_SECRET", at.webhook_secret.as_str());
    let wrong = ("NANGO_WEBHOOK_SECRET", "another-key-of-nango");

    let found = findings(&world, &[]).await;
    check(&found, "edge", "skip", "not asked");
    check(&found, "webhook key", "skip", "not known here");

    let found = findings(&world, &[admin, right]).await;
    check(&found, "edge", "ok", "Envoy 1.");
    check(&found, "edge configuration", "ok", "knows every field");
    check(&found, "edge capabilities", "ok", "may do what it needs");
    check(&found, "edge filter", "ok", "runs in Envoy");
    check(&found, "webhook key", "ok", "has refused no webhook");

    let found = findings(&world, &[wrong]).await;
    check(&found, "webhook key", "fail", "refuses what NANGO_WEBHOOK_SECRET signs");

    // Who does not know the key sees what it refused, and no more.
    let found = findings(&world, &[admin]).await;
    check(&found, "webhook key", "warn", "refused 1 webhooks");
    for (name, (_, seen)) in &found {
        assert!(!seen.contains(right.1) && !seen.contains(wrong.1), "{name}: {seen}");
    }
    world.finish().await;
}
