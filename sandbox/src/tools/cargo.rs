//! Runs cargo, with its progress shown, and reads from it what it made.

use crate::{say, workspace};
use anyhow::{Context as _, bail};
use serde::Deserialize;
use std::{
    ffi::OsString,
    path::PathBuf,
    process::{Output, Stdio},
};
use tokio::process::Command;

/// The cargo that runs the sandbox, or the one on the path.
pub fn command() -> Command {
    let mut command =
        Command::new(std::env::var_os("CARGO").unwrap_or_else(|| OsString::from("cargo")));
    command.current_dir(workspace::root());
    command
}

/// Builds the control service and says where it is.
pub async fn build_control() -> anyhow::Result<PathBuf> {
    say::doing("building control");
    let mut build = command();
    build.args(["build", "--package", "control"]);
    built(build, "control").await
}

/// Runs a build and says where the file of the package `target` is.
pub async fn built(mut build: Command, target: &str) -> anyhow::Result<PathBuf> {
    let Output { status, stdout, .. } = build
        .arg("--message-format=json-render-diagnostics")
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output()
        .await
        .context("cannot run cargo")?;
    if !status.success() {
        bail!("building {target} failed");
    }
    String::from_utf8_lossy(&stdout)
        .lines()
        .filter_map(|line| serde_json::from_str::<Message>(line).ok())
        .filter(|message| message.is_of(target))
        .find_map(Message::file)
        .with_context(|| format!("cargo does not say where {target} is"))
}

/// One line of cargo's account of a build.
#[derive(Debug, Deserialize)]
struct Message {
    reason: String,
    target: Option<Target>,
    #[serde(default)]
    filenames: Vec<PathBuf>,
    executable: Option<PathBuf>,
}

#[derive(Debug, Deserialize)]
struct Target {
    name: String,
    kind: Vec<String>,
}

impl Message {
    fn is_of(&self, wanted: &str) -> bool {
        let is_file = |kind: &String| kind == "bin" || kind == "cdylib";
        self.reason == "compiler-artifact"
            && self
                .target
                .as_ref()
                .is_some_and(|target| target.name == wanted && target.kind.iter().any(is_file))
    }

    fn file(self) -> Option<PathBuf> {
        self.executable.or_else(|| self.filenames.into_iter().next())
    }
}
