//! `reproduce`: whoever builds the filter from the same sources with the same toolchain has the same bytes, and
//! can so check the ones that run.

use crate::{
    say,
    tools::{Preferences, wasm},
    workspace,
};
use anyhow::{Context as _, ensure};
use sha2::{Digest as _, Sha256};
use std::{fs, path::Path, process::Stdio};
use tokio::process::Command;

pub async fn run(preferences: &Preferences) -> anyhow::Result<()> {
    let here = fs::read(wasm::build(preferences).await?)?;
    let elsewhere = workspace::sandbox_folder().join("reproduce");
    copy_sources(&elsewhere.join("source")).await?;
    // Another folder for cargo too, with the same downloads: its path must not be in the bytes either.
    let home = elsewhere.join("cargo");
    fs::create_dir_all(&home)?;
    if !home.join("registry").exists() {
        std::os::unix::fs::symlink(wasm::cargo_home()?.join("registry"), home.join("registry"))?;
    }
    say::doing("building the filter a second time, in another folder");
    let there = wasm::build_at(&elsewhere.join("source"), &home).await?;
    let digest = |bytes: &[u8]| hex::encode(Sha256::digest(bytes));
    let [here, there] = [digest(&here), digest(&fs::read(there)?)];
    ensure!(here == there, "the bytes differ: sha256 {here} here and {there} there");
    say::line(&format!("the same bytes: sha256 {here}"));
    Ok(())
}

/// What git has, as it stands in this folder. The target folder of a build before is kept.
async fn copy_sources(to: &Path) -> anyhow::Result<()> {
    let listed = Command::new("git")
        .args(["ls-files", "-z"])
        .current_dir(workspace::root())
        .stdin(Stdio::null())
        .output()
        .await
        .context("cannot run git")?;
    ensure!(listed.status.success(), "git ls-files ended with {}", listed.status);
    let listed = String::from_utf8(listed.stdout)?;
    for file in listed.split('\0').filter(|file| !file.is_empty()) {
        let (from, to) = (workspace::root().join(file), to.join(file));
        let Ok(content) = fs::read(&from) else { continue };
        // Cargo goes by the time of a change.
        if fs::read(&to).is_ok_and(|there| there == content) {
            continue;
        }
        fs::create_dir_all(to.parent().context("a file without a folder")?)?;
        fs::write(to, content)?;
    }
    Ok(())
}
