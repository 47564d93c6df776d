//! Databases that answer and must not be used, or not yet: behind a pooler, a standby, one that lets nobody in.

use crate::flow::{authorize, notified, start};
use sandbox::{
    browser::Decision,
    control::Settings,
    pgbouncer::PgBouncer,
    process::wait_for,
    stack::{Choices, Stack, WhichDatabase},
    tools::Tools,
};
use serde_json::Value;
use std::time::Duration;

const SOON: Duration = Duration::from_mins(1);

async fn stack(folder: &tempfile::TempDir) -> Stack {
    let tools = Tools::for_tests().await.unwrap();
    let choices =
        Choices { database: WhichDatabase::OwnServer, is_kind: true, ..Choices::default() };
    Box::pin(Stack::start(&tools, folder.path(), choices)).await.unwrap()
}

fn through(stack: &Stack, bouncer: &PgBouncer) -> Settings {
    let mut settings = stack.control_settings.clone();
    settings.environment.insert("DATABASE_URL".to_owned(), bouncer.url.clone());
    settings
}

/// The findings about the database that are not ok, by their names.
async fn unwell(settings: &Settings) -> Vec<(String, String)> {
    let report = settings.run(&["doctor", "--json"]).await.unwrap();
    let report: Value = serde_json::from_slice(&report.stdout).unwrap();
    let findings = report["findings"].as_array().unwrap().iter();
    let unwell = findings.filter(|finding| {
        finding["status"] != "ok" && finding["name"].as_str().unwrap().starts_with("database")
    });
    let text = |finding: &Value, key: &str| finding[key].as_str().unwrap().to_owned();
    unwell.map(|finding| (text(finding, "name"), text(finding, "seen"))).collect()
}

#[tokio::test]
async fn a_pooler_may_keep_sessions_together_and_may_not_deal_them_out() {
    let folder = tempfile::tempdir().unwrap();
    let mut stack = stack(&folder).await;
    for mode in ["transaction", "statement"] {
        let bouncer = PgBouncer::start(&stack.database.url, mode, folder.path()).await.unwrap();
        let settings = through(&stack, &bouncer);
        let found = unwell(&settings).await;
        let [(name, seen)] = found.as_slice() else { panic!("{mode}: {found:?}") };
        assert_eq!(name, "database pooling", "{mode}");
        assert!(seen.contains(&format!("{mode} pooling")), "{seen}");
        for command in ["serve", "migrate"] {
            let ended = settings.run(&[command]).await.unwrap();
            let told = String::from_utf8(ended.stderr).unwrap();
            assert_eq!(ended.status.code(), Some(1), "{mode}: {command}: {told}");
            assert!(told.contains(&format!("{mode} pooling")), "{mode}: {command}: {told}");
            assert!(told.contains("pool_mode = session"), "{mode}: {command}: {told}");
        }
        bouncer.stop().await.unwrap();
    }
    // With sessions of its own it works as without a pooler: it waits for changes, and each statement has its limit.
    let bouncer = PgBouncer::start(&stack.database.url, "session", folder.path()).await.unwrap();
    let pooled = through(&stack, &bouncer);
    let direct = std::mem::replace(&mut stack.control_settings, pooled);
    stack.kill_control().await.unwrap();
    let settings = &stack.control_settings;
    settings.migrate().await.unwrap();
    assert_eq!(unwell(settings).await, []);
    stack.start_control().await.unwrap();
    let started = start(&stack).await;
    assert_eq!(authorize(&stack, &started, Decision::Allow).await, 200);
    assert_eq!(notified(&stack, 1).await[0]["type"], "connection.activated");
    stack.kill_control().await.unwrap();
    stack.control_settings = direct;
    bouncer.stop().await.unwrap();
    stack.stop().await.unwrap();
}

#[tokio::test]
async fn a_standby_that_nobody_promoted_is_not_ready_and_is_found() {
    let folder = tempfile::tempdir().unwrap();
    let mut stack = stack(&folder).await;
    assert_eq!(unwell(&stack.control_settings).await, []);
    stack.database.demote().await.unwrap();
    let ready = format!("http://{}/readyz", stack.control_settings.admin);
    let health = wait_for("it is ready", SOON, || async {
        let answer = reqwest::get(&ready).await?;
        let is_ready = answer.status().is_success();
        let health: Value = answer.json().await?;
        let seen = health["checks"]["database"]["detail"].as_str().unwrap_or_default();
        Ok((!is_ready && seen.contains("standby")).then_some(health))
    })
    .await
    .unwrap();
    assert_eq!(health["status"], "unavailable");
    let found = unwell(&stack.control_settings).await;
    let [(name, seen)] = found.as_slice() else { panic!("{found:?}") };
    assert_eq!(name, "database role");
    assert!(seen.contains("standby that was not promoted"), "{seen}");
    stack.stop().await.unwrap();
}

#[tokio::test]
async fn a_database_that_lets_nobody_in_is_503_and_is_asked_again() {
    let folder = tempfile::tempdir().unwrap();
    let mut stack = stack(&folder).await;
    stack.kill_control().await.unwrap();
    stack.database.let_in_by("host all all 127.0.0.1/32 reject\n").unwrap();
    // It starts all the same: what passes restarts nobody.
    stack.control = Some(stack.control_settings.spawn().unwrap());
    let url = stack.edge("/tenants/acme/connections");
    let refused = wait_for("control does not answer", SOON, || async {
        let answer = stack.http.get(&url).send().await?;
        let retry_after = answer.headers().get("retry-after").cloned();
        let status = answer.status().as_u16();
        let problem: Value = answer.json().await?;
        // The edge says so, too, until control listens.
        let is_controls = problem["detail"].as_str().unwrap().contains("Retry-After");
        Ok(is_controls.then_some((status, retry_after.is_some(), problem)))
    })
    .await
    .unwrap();
    assert_eq!((refused.0, refused.1), (503, true), "{}", refused.2);
    assert_eq!(refused.2["code"], "unavailable");
    let found = unwell(&stack.control_settings).await;
    let [(name, seen)] = found.as_slice() else { panic!("{found:?}") };
    assert!(name == "database" && seen.contains("pg_hba.conf"), "{seen}");
    stack.database.let_in_by("host all all 127.0.0.1/32 password\n").unwrap();
    wait_for("it serves nobody", SOON, || async {
        let status = stack.http.get(&url).send().await?.status().as_u16();
        Ok((status == 200).then_some(()))
    })
    .await
    .unwrap();
    stack.stop().await.unwrap();
}
