//! The control of an earlier release, built from the history: an upgrade is tried with it.

use super::cargo;
use crate::{say, workspace};
use anyhow::{Context as _, ensure};
use std::{
    fs,
    path::{Path, PathBuf},
};
use tokio::process::Command;

/// The release before notifications had destinations of their own, and the feed. Until there are tags it is
/// named by its commit; take the newest release that must be upgraded from.
const RELEASE: &str = "0d614a39c99af61ba9aee007975c99b082c93653";

fn folder() -> PathBuf {
    workspace::sandbox_folder().join("earlier").join(RELEASE)
}

/// Finds or builds it.
///
/// Where the history does not reach back so far, as in an archive of the sources or a shallow clone, this is an
/// error: an upgrade that nobody tried must not look like one that works. Only to whoever says
/// `EARLIER_RELEASE=optional` it is nothing, and a line that says so.
///
/// It shares the folder of builds, and with it what both are made of. That puts it where today's control would
/// be, so that today's must be built, or looked for, after this.
pub async fn control() -> anyhow::Result<Option<PathBuf>> {
    let kept = folder().join("control");
    if kept.exists() {
        return Ok(Some(kept));
    }
    let sources = folder().join("sources");
    fs::create_dir_all(&sources)?;
    if let Err(missing) = unpack(&workspace::root(), &sources).await {
        ensure!(is_optional(), missing);
        say::line(&format!("NOT RUN: the upgrade from an earlier release. {missing}"));
        return Ok(None);
    }
    say::doing("building the control of an earlier release");
    let mut build = cargo::command();
    build
        .args(["build", "--locked", "--package", "control", "--manifest-path"])
        .arg(sources.join("Cargo.toml"))
        .arg("--target-dir")
        .arg(workspace::root().join("target"));
    let built = cargo::built(build, "control").await?;
    // Copied under another name first: what has the name is whole.
    let copy = folder().join("control.new");
    fs::copy(built, &copy)?;
    fs::rename(&copy, &kept)?;
    cargo::build_control().await?;
    Ok(Some(kept))
}

#[expect(clippy::disallowed_methods, reason = "tests ask it, and CI says it")]
fn is_optional() -> bool {
    std::env::var("EARLIER_RELEASE").is_ok_and(|it| it == "optional")
}

/// The release's sources.
async fn unpack(clone: &Path, into: &Path) -> anyhow::Result<()> {
    let archive = into.with_extension("tar");
    let git = Command::new("git")
        .arg("-C")
        .arg(clone)
        .args(["archive", "--format=tar", "-o"])
        .arg(&archive)
        .arg(RELEASE)
        .output()
        .await
        .context("cannot run git")?;
    let said = String::from_utf8_lossy(&git.stderr);
    ensure!(
        git.status.success(),
        "this clone has no commit {RELEASE}, from which an upgrade is tried ({}); a shallow one gets it by \
         `git fetch --unshallow`",
        said.trim()
    );
    let tar = Command::new("tar").arg("-xf").arg(&archive).arg("-C").arg(into).status().await;
    ensure!(tar.context("cannot run tar")?.success(), "the earlier release cannot be unpacked");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_clone_without_the_release_is_refused_and_says_how_to_get_it() {
        let clone = tempfile::tempdir().unwrap();
        let mut init = Command::new("git");
        init.arg("-C").arg(clone.path()).args(["init", "--quiet"]);
        assert!(init.status().await.unwrap().success());
        let refused = unpack(clone.path(), &clone.path().join("sources")).await.unwrap_err();
        let refused = refused.to_string();
        assert!(refused.contains(RELEASE) && refused.contains("--unshallow"), "{refused}");
    }
}
