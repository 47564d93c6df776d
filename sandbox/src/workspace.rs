//! Where things are in this checkout.

use std::path::{Path, PathBuf};

/// The folder of the workspace's `Cargo.toml`.
pub fn root() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.parent().unwrap_or(here).to_owned()
}

/// The sandbox's own folder: downloaded tools, logs, what `up` wrote. It goes with `cargo clean`.
pub fn sandbox_folder() -> PathBuf {
    root().join("target").join("sandbox")
}

/// Envoy's configuration as it stands in the repository.
pub fn envoy_folder() -> PathBuf {
    root().join("envoy")
}
