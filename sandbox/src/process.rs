//! A child process with a log of its own, ended by its id.

use anyhow::{Context as _, bail};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use std::{
    fs::File,
    future::Future,
    path::{Path, PathBuf},
    process::{ExitStatus, Stdio},
    time::Duration,
};
use tokio::{
    process::{Child, Command},
    time::{Instant, sleep, timeout},
};

/// How long a process may take to end after it was asked to.
const GRACE: Duration = Duration::from_secs(30);

/// Between two looks at something that is not there yet.
const LOOK_AGAIN: Duration = Duration::from_millis(20);

/// How many lines of a log tell why a process ended.
const LAST_LINES: usize = 20;

/// A running process. It is killed when this is dropped.
#[derive(Debug)]
pub struct Process {
    name: &'static str,
    child: Child,
    log: PathBuf,
    /// Where in its log it begins: what stands before is of processes that ran earlier.
    begins: u64,
}

impl Process {
    /// Starts `command`, with everything that it prints in `log`, after what is there already.
    pub fn start(name: &'static str, mut command: Command, log: &Path) -> anyhow::Result<Self> {
        let out = File::options().create(true).append(true).open(log)?;
        let begins = out.metadata()?.len();
        let err = out.try_clone()?;
        let child = command
            .stdin(Stdio::null())
            .stdout(out)
            .stderr(err)
            .kill_on_drop(true)
            .spawn()
            .with_context(|| format!("cannot start {name}"))?;
        Ok(Self { name, child, log: log.to_owned(), begins })
    }

    pub fn id(&self) -> Option<u32> {
        self.child.id()
    }

    pub fn log(&self) -> &Path {
        &self.log
    }

    /// Waits until `is_ready` says so. A process that ends before is an error, with its last words.
    pub async fn wait_until<F>(
        &mut self,
        limit: Duration,
        mut is_ready: impl FnMut() -> F,
    ) -> anyhow::Result<()>
    where
        F: Future<Output = bool>,
    {
        let deadline = Instant::now().checked_add(limit);
        loop {
            if is_ready().await {
                return Ok(());
            }
            if let Some(status) = self.child.try_wait()? {
                bail!("{} ended with {status}; its last words:\n{}", self.name, self.last_words());
            }
            if deadline.is_some_and(|deadline| Instant::now() > deadline) {
                let words = self.last_words();
                bail!(
                    "{} is not ready after {} s; its last words:\n{words}",
                    self.name,
                    limit.as_secs()
                );
            }
            sleep(LOOK_AGAIN).await;
        }
    }

    /// Waits until `url` answers with a success.
    pub async fn wait_until_well(&mut self, url: &str, limit: Duration) -> anyhow::Result<()> {
        let http = reqwest::Client::builder().no_proxy().build()?;
        let is_well = || async {
            http.get(url).send().await.is_ok_and(|answer| answer.status().is_success())
        };
        self.wait_until(limit, is_well).await
    }

    /// Asks it to end, and says how it did; one that does not is killed, and that is an error.
    pub async fn stop(self) -> anyhow::Result<ExitStatus> {
        self.stop_by(Signal::SIGTERM).await
    }

    /// The same, for a process that means something else by SIGTERM.
    pub async fn stop_by(mut self, signal: Signal) -> anyhow::Result<ExitStatus> {
        self.signal(signal)?;
        match timeout(GRACE, self.child.wait()).await {
            Ok(status) => Ok(status?),
            Err(_elapsed) => {
                self.child.kill().await?;
                bail!("{} did not end within {} s and was killed", self.name, GRACE.as_secs());
            }
        }
    }

    /// Kills it as a crash would: `kill -9`.
    pub async fn kill(mut self) -> anyhow::Result<()> {
        self.child.kill().await?;
        Ok(())
    }

    pub fn signal(&self, signal: Signal) -> anyhow::Result<()> {
        let Some(id) = self.child.id() else { return Ok(()) };
        kill(Pid::from_raw(i32::try_from(id)?), signal)
            .with_context(|| format!("cannot signal {}", self.name))
    }

    fn last_words(&self) -> String {
        let words = std::fs::read(&self.log).unwrap_or_default();
        let begins = usize::try_from(self.begins).unwrap_or_default();
        let words = String::from_utf8_lossy(words.get(begins..).unwrap_or_default());
        let lines: Vec<&str> = words.lines().collect();
        let from = lines.len().saturating_sub(LAST_LINES);
        lines.get(from..).unwrap_or_default().join("\n")
    }
}

/// Waits until `look` finds something, and fails with `what` after `limit`.
pub async fn wait_for<T, F>(
    what: &str,
    limit: Duration,
    mut look: impl FnMut() -> F,
) -> anyhow::Result<T>
where
    F: Future<Output = anyhow::Result<Option<T>>>,
{
    let deadline = Instant::now().checked_add(limit);
    loop {
        if let Some(found) = look().await? {
            return Ok(found);
        }
        if deadline.is_some_and(|deadline| Instant::now() > deadline) {
            bail!("{what}: nothing after {} s", limit.as_secs());
        }
        sleep(LOOK_AGAIN).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_last_words_of_a_process_are_its_own_and_none_of_an_earlier_one() {
        let folder = tempfile::tempdir().unwrap();
        let log = folder.path().join("log");
        std::fs::write(&log, "an earlier process ran well\n").unwrap();
        let mut command = Command::new("sh");
        command.args(["-c", "echo PORT is malformed; exit 1"]);
        let mut process = Process::start("control", command, &log).unwrap();
        let ended = process.wait_until(Duration::from_secs(20), || async { false }).await;
        let words = ended.unwrap_err().to_string();
        assert!(words.ends_with("its last words:\nPORT is malformed"), "{words}");
    }
}
