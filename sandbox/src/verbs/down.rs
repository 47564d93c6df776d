//! `down`: ends what `up` started, by the ids that it wrote down.

use crate::{say, stack::Stack, workspace};
use nix::{
    errno::Errno,
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use serde::{Deserialize, Serialize};
use std::{
    fs,
    path::{Path, PathBuf},
    thread,
    time::{Duration, Instant},
};

const WITHIN: Duration = Duration::from_secs(30);

/// The processes of a running sandbox.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct State {
    /// The checkout that it was started in: a copy of one has a copy of this file.
    #[serde(default)]
    root: PathBuf,
    /// The process of `up`, which ends the others when it is asked to end.
    pub supervisor: i32,
    /// The others, in case that it was killed.
    children: Vec<i32>,
}

fn file() -> PathBuf {
    workspace::sandbox_folder().join("up.json")
}

impl State {
    pub fn of(stack: &Stack) -> Self {
        let database = stack.database.process();
        let control = stack.control.as_ref().map(crate::control::Control::process);
        let processes = [Some(stack.envoy.process()), control, database];
        let ids = processes.into_iter().flatten().filter_map(crate::process::Process::id);
        Self {
            root: workspace::root(),
            supervisor: Pid::this().as_raw(),
            children: ids.filter_map(|id| i32::try_from(id).ok()).collect(),
        }
    }

    pub fn write(&self) -> anyhow::Result<()> {
        Ok(fs::write(file(), serde_json::to_vec(self)?)?)
    }

    pub fn remove() -> anyhow::Result<()> {
        Ok(fs::remove_file(file())?)
    }
}

/// The sandbox that runs, if one does.
pub fn running() -> Option<State> {
    let state: State = serde_json::from_slice(&fs::read(file()).ok()?).ok()?;
    (is_of_here(&state.root) && is_ours(state.supervisor)).then_some(state)
}

pub fn run() -> anyhow::Result<()> {
    let Ok(written) = fs::read(file()) else {
        say::line("no sandbox runs");
        return Ok(());
    };
    let State { root, supervisor, children } = serde_json::from_slice(&written)?;
    if !is_of_here(&root) {
        remove_files()?;
        say::line(&format!(
            "no sandbox runs here; the one of {}, of which this is a copy, goes on",
            root.display()
        ));
        return Ok(());
    }
    for id in std::iter::once(supervisor).chain(children) {
        end(id)?;
    }
    remove_files()?;
    say::line("the sandbox is stopped");
    Ok(())
}

fn remove_files() -> anyhow::Result<()> {
    for left in [file(), workspace::sandbox_folder().join("sandbox.env")] {
        if left.exists() {
            fs::remove_file(left)?;
        }
    }
    Ok(())
}

/// Whether a checkout's folder is this one, by whatever name it is reached.
fn is_of_here(root: &Path) -> bool {
    let real = |path: &Path| path.canonicalize().ok();
    real(root).is_some_and(|root| Some(root) == real(&workspace::root()))
}

/// Asks a process to end, and waits until it did.
fn end(id: i32) -> anyhow::Result<()> {
    let deadline = Instant::now().checked_add(WITHIN);
    let mut is_asked = false;
    while is_ours(id) {
        if !is_asked {
            signal(id, Signal::SIGTERM)?;
            is_asked = true;
        }
        if deadline.is_some_and(|deadline| Instant::now() > deadline) {
            signal(id, Signal::SIGKILL)?;
        }
        thread::sleep(Duration::from_millis(50));
    }
    Ok(())
}

pub(super) fn signal(id: i32, signal: Signal) -> anyhow::Result<()> {
    match kill(Pid::from_raw(id), signal) {
        Ok(()) | Err(Errno::ESRCH) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// Whether a process of this id still runs one of our programs: an id may have been given away since. A
/// process that ended and was not waited for has no command line any more.
fn is_ours(id: i32) -> bool {
    let Ok(line) = fs::read(format!("/proc/{id}/cmdline")) else { return false };
    let line = String::from_utf8_lossy(&line);
    ["sandbox", "envoy", "control", "postgres"].iter().any(|name| line.contains(name))
}
