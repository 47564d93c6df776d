//! Prometheus and its tool: those on the path, else Debian's package, unpacked and not installed, so that no
//! service starts and no root is needed.

use crate::{say, workspace};
use anyhow::{Context as _, ensure};
use std::{
    fs,
    path::{Path, PathBuf},
    process::Stdio,
};
use tokio::process::Command;

const PACKAGE: &str = "prometheus";

/// Where the two programs are.
#[derive(Debug, Clone)]
pub struct Prometheus {
    pub server: PathBuf,
    pub promtool: PathBuf,
}

impl Prometheus {
    /// Finds or gets it. Without it nobody knows whether rules and dashboard work, so that this is an error
    /// and nothing is skipped.
    pub async fn find() -> anyhow::Result<Self> {
        if let Some(found) = Self::on_path() {
            return Ok(found);
        }
        let folder = unpack().await.context(
            "cannot get Prometheus: put `prometheus` and `promtool` on the PATH, or run this on a \
             Debian with apt-get, after `apt-get update`",
        )?;
        Ok(Self::below(&folder.join("usr").join("bin")))
    }

    fn on_path() -> Option<Self> {
        let path = std::env::var_os("PATH").unwrap_or_default();
        let found = std::env::split_paths(&path).map(|folder| Self::below(&folder));
        let mut both = found.filter(|found| found.server.is_file() && found.promtool.is_file());
        both.next()
    }

    fn below(folder: &Path) -> Self {
        Self { server: folder.join("prometheus"), promtool: folder.join("promtool") }
    }
}

/// The folder with the content of Debian's package, downloaded once for this checkout.
async fn unpack() -> anyhow::Result<PathBuf> {
    let tools = workspace::sandbox_folder().join("tools");
    let folder = tools.join(PACKAGE);
    if folder.is_dir() {
        return Ok(folder);
    }
    fs::create_dir_all(&tools)?;
    // As with wheels: each unpacks beside, and whoever is first wins.
    let scratch = tempfile::tempdir_in(&tools)?;
    say::doing("getting Debian's prometheus");
    // A fresh machine has no list of packages; only root can get one.
    let script = format!(
        "apt-get download -qq {PACKAGE} || (apt-get update -qq && apt-get download -qq {PACKAGE})"
    );
    run("sh", &["-c", &script], scratch.path()).await?;
    run("sh", &["-c", "dpkg-deb -x *.deb unpacked"], scratch.path()).await?;
    if let Err(error) = fs::rename(scratch.path().join("unpacked"), &folder)
        && !folder.is_dir()
    {
        return Err(error.into());
    }
    Ok(folder)
}

async fn run(program: &str, arguments: &[&str], folder: &Path) -> anyhow::Result<()> {
    let ran = Command::new(program)
        .args(arguments)
        .current_dir(folder)
        .stdin(Stdio::null())
        .output()
        .await
        .with_context(|| format!("cannot run {program}"))?;
    let said = String::from_utf8_lossy(&ran.stderr);
    ensure!(
        ran.status.success(),
        "{} ended with {}: {}",
        arguments.join(" "),
        ran.status,
        said.trim()
    );
    Ok(())
}
