//! A service that cannot start says why, all of it at once.

use sandbox::tools::Tools;
use std::process::Output;
use tokio::process::Command;

async fn run(environment: &[(&str, &str)]) -> Output {
    let tools = Tools::for_tests().await.unwrap();
    let mut command = Command::new(tools.control);
    command.env_clear().envs(environment.iter().copied());
    command.output().await.unwrap()
}

#[tokio::test]
async fn every_missing_and_malformed_setting_is_named_at_once() {
    let output = run(&[
        ("PORT", "http"),
        ("DATABASE_URL", "postgres://u:dbsecret@127.0.0.1:1/d"),
        ("EDGE_ASSERTION_KEY", "tooshort"),
        ("PUBLIC_URL", "connections.example"),
        ("GITHUB_INTEGRATION_KEY", "github"),
    ])
    .await;
    assert_eq!(output.status.code(), Some(1));
    let told = String::from_utf8(output.stderr).unwrap();
    for name in [
        "PORT is malformed",
        "EDGE_ASSERTION_KEY is unusable",
        "PUBLIC_URL is malformed",
        "NANGO_SECRET_KEY is missing",
        "CLIENT_API_URL is missing",
        "NOTIFICATION_SIGNING_SECRET is missing",
    ] {
        assert!(told.contains(name), "{name} in:\n{told}");
    }
    for unwanted in ["panicked", "backtrace", "tooshort", "dbsecret", "DATABASE_URL"] {
        assert!(!told.contains(unwanted), "{unwanted} in:\n{told}");
    }
}

#[tokio::test]
async fn a_database_that_cannot_be_reached_is_told_without_its_password() {
    let tools = Tools::for_tests().await.unwrap();
    let output = Command::new(tools.control)
        .arg("migrate")
        .env_clear()
        .env("DATABASE_URL", "postgres://u:dbsecret@127.0.0.1:1/d")
        .output()
        .await
        .unwrap();
    assert_eq!(output.status.code(), Some(1));
    let told = String::from_utf8(output.stderr).unwrap();
    assert!(told.starts_with("control cannot go on:"), "{told}");
    assert!(!told.contains("dbsecret") && !told.contains("panicked"), "{told}");
}
