//! The control service as a process of its own, so that it can be killed as a crash would.

use crate::process::Process;
use anyhow::{Context as _, ensure};
use std::{
    collections::BTreeMap,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{ExitStatus, Output, Stdio},
    time::Duration,
};
use tokio::process::Command;

const READY_WITHIN: Duration = Duration::from_secs(30);

/// What control is started with.
#[derive(Debug, Clone)]
pub struct Settings {
    pub program: PathBuf,
    pub environment: BTreeMap<String, String>,
    pub admin: SocketAddr,
    pub log: PathBuf,
}

/// A running control service.
#[derive(Debug)]
pub struct Control {
    process: Process,
}

impl Settings {
    /// Brings the database up to date.
    pub async fn migrate(&self) -> anyhow::Result<()> {
        let migrated = self.run(&["migrate"]).await?;
        let said = String::from_utf8_lossy(&migrated.stderr);
        ensure!(migrated.status.success(), "control migrate: {}", said.trim());
        Ok(())
    }

    /// Runs one of its commands to the end.
    pub async fn run(&self, arguments: &[&str]) -> anyhow::Result<Output> {
        let mut command = self.command();
        command.args(arguments).stdin(Stdio::null()).kill_on_drop(true);
        command.output().await.context("cannot run control")
    }

    /// Starts it, and waits until it is ready.
    pub async fn start(&self) -> anyhow::Result<Control> {
        let mut control = self.spawn()?;
        let ready = format!("http://{}/readyz", self.admin);
        control.process.wait_until_well(&ready, READY_WITHIN).await?;
        Ok(control)
    }

    /// Starts it, and waits for nothing.
    pub fn spawn(&self) -> anyhow::Result<Control> {
        Ok(Control { process: Process::start("control", self.command(), &self.log)? })
    }

    /// Only what is set here: a setting of the caller's shell must not leak in.
    fn command(&self) -> Command {
        let mut command = Command::new(&self.program);
        command.env_clear().envs(&self.environment).current_dir(Path::new("/"));
        command
    }
}

impl Control {
    pub const fn process(&self) -> &Process {
        &self.process
    }

    /// Asks it to end, and says how it did.
    pub async fn stop(self) -> anyhow::Result<ExitStatus> {
        self.process.stop().await
    }

    /// `kill -9`.
    pub async fn kill(self) -> anyhow::Result<()> {
        self.process.kill().await
    }
}
