//! PgBouncer: the machine's, else Debian's package.

use super::debian;
use anyhow::Context as _;
use std::path::{Path, PathBuf};

/// Where it is. Debian keeps it where only root looks by default.
pub async fn find() -> anyhow::Result<PathBuf> {
    if let Some(found) = on_this_machine() {
        return Ok(found);
    }
    debian::install(&["pgbouncer"], false).await?;
    on_this_machine().context("Debian's pgbouncer is installed, and is not there")
}

fn on_this_machine() -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders = std::env::split_paths(&path);
    let more = ["/usr/sbin", "/usr/local/sbin"].map(PathBuf::from);
    let programs = folders.chain(more).map(|folder| folder.join("pgbouncer"));
    programs.into_iter().find(|program: &PathBuf| Path::is_file(program))
}
