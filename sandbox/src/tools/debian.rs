//! Debian's packages: installed by root or when told to, else named.

use crate::say;
use anyhow::{bail, ensure};
use nix::unistd::Uid;
use std::process::Stdio;
use tokio::process::Command;

/// Makes sure that `packages` are installed.
pub(super) async fn install(packages: &[&str], is_allowed: bool) -> anyhow::Result<()> {
    let mut missing = Vec::new();
    for package in packages {
        if !is_installed(package).await? {
            missing.push(*package);
        }
    }
    if missing.is_empty() {
        return Ok(());
    }
    let missing = missing.join(" ");
    let is_root = Uid::effective().is_root();
    if !is_root && !is_allowed {
        bail!("run `sudo apt-get install -y {missing}`, or add --install");
    }
    say::doing(&format!("installing Debian's {missing}"));
    let apt = if is_root { "apt-get" } else { "sudo apt-get" };
    let script =
        format!("{apt} update -qq && {apt} install -y -qq --no-install-recommends {missing}");
    let installed = Command::new("sh")
        .args(["-c", &script])
        .env("DEBIAN_FRONTEND", "noninteractive")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .status()
        .await?;
    ensure!(installed.success(), "apt-get ended with {installed}");
    Ok(())
}

async fn is_installed(package: &str) -> anyhow::Result<bool> {
    let shown = Command::new("dpkg-query")
        .args(["--show", "--showformat=${db:Status-Status}", package])
        .output()
        .await;
    match shown {
        Ok(shown) => Ok(shown.stdout == b"installed"),
        Err(error) => bail!("this needs Debian's {package}, and dpkg-query cannot be run: {error}"),
    }
}
