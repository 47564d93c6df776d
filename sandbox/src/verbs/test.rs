//! `test`: everything that CI runs, in the order in which it fails soonest.

use crate::{
    database::Database,
    say,
    tools::{Preferences, Prometheus, TOOLS_VARIABLE, Tools, cargo, deny, earlier},
    verbs::reproduce,
    workspace,
};
use anyhow::ensure;
use std::process::Stdio;
use tokio::process::Command;

pub async fn run(preferences: &Preferences) -> anyhow::Result<()> {
    cargo("formatting", &["fmt", "--all", "--check"], &[]).await?;
    let clippy = ["clippy", "--workspace", "--all-targets", "--", "-D", "warnings"];
    cargo("lints", &clippy, &[]).await?;
    check_dependencies().await?;
    earlier::control().await?;
    let tools = Tools::ready(preferences).await?;
    // The tests of rules and dashboard need it, and would be late to say so.
    Prometheus::find().await?;
    let logs = workspace::sandbox_folder().join("test");
    std::fs::create_dir_all(&logs)?;
    let database = Database::start(&tools, &logs).await?;
    let environment =
        [("DATABASE_URL", database.url.clone()), (TOOLS_VARIABLE, serde_json::to_string(&tools)?)];
    let tested = async {
        cargo("unit, service and end-to-end tests", &["test", "--workspace"], &environment).await?;
        let doc = ["doc", "--workspace", "--no-deps", "--document-private-items", "--quiet"];
        cargo("documentation", &doc, &[("RUSTDOCFLAGS", "-D warnings".to_owned())]).await?;
        say::timed("the filter's bytes, built twice", reproduce::run(preferences)).await
    };
    let tested = tested.await;
    database.stop().await?;
    tested
}

/// What may come in, by `deny.toml`. Not its `advisories`: they are a database elsewhere, so that a commit that was
/// good yesterday would fail today; `CONTRIBUTING.md` says when to look at them.
async fn check_dependencies() -> anyhow::Result<()> {
    let program = deny::find().await?;
    let check = async {
        let status = Command::new(program)
            .args(["--log-level", "error", "check", "bans", "licenses", "sources"])
            .current_dir(workspace::root())
            .stdin(Stdio::null())
            .status()
            .await?;
        ensure!(status.success(), "cargo deny ended with {status}");
        Ok(())
    };
    say::timed("licences and sources of dependencies", check).await
}

async fn cargo(
    what: &str,
    arguments: &[&str],
    environment: &[(&str, String)],
) -> anyhow::Result<()> {
    let run = async {
        let status = cargo::command()
            .args(arguments)
            .envs(environment.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null())
            .status()
            .await?;
        ensure!(status.success(), "{what}: cargo {} ended with {status}", arguments.join(" "));
        Ok(())
    };
    say::timed(what, run).await
}
