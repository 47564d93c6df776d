//! `test`: everything that CI runs, in the order in which it fails soonest.

use crate::{
    database::Database,
    say,
    tools::{Preferences, Prometheus, TOOLS_VARIABLE, Tools, cargo, earlier},
    workspace,
};
use anyhow::ensure;
use std::process::Stdio;

pub async fn run(preferences: &Preferences) -> anyhow::Result<()> {
    cargo("formatting", &["fmt", "--all", "--check"], &[]).await?;
    let clippy = ["clippy", "--workspace", "--all-targets", "--", "-D", "warnings"];
    cargo("lints", &clippy, &[]).await?;
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
        cargo("documentation", &doc, &[("RUSTDOCFLAGS", "-D warnings".to_owned())]).await
    };
    let tested = tested.await;
    database.stop().await?;
    tested
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
