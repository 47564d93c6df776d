//! The filter as WebAssembly, by either of two toolchains.

use super::{Preferences, WasmToolchain, cargo, debian};
use crate::{say, workspace};
use anyhow::Context as _;
use std::{
    path::{Path, PathBuf},
    process::Stdio,
};
use tokio::process::Command;

const TARGET: &str = "wasm32-wasip1";

/// SHA-256 has a SIMD path in WebAssembly; `.cargo/config.toml` says the same to the other toolchain.
const FEATURES: &str = "-Ctarget-feature=+simd128,+bulk-memory";

/// What Debian's toolchain consists of; it has no standard library for the target, but its source.
const DEBIAN_PACKAGES: [&str; 5] = ["rustc-web", "cargo-web", "rust-web-src", "wasi-libc", "lld"];

/// Builds the filter and says where it is.
pub async fn build(preferences: &Preferences) -> anyhow::Result<PathBuf> {
    let build = match preferences.wasm_toolchain {
        Some(WasmToolchain::Rustup) => {
            add_target().await.context("rustup cannot add the wasm target")?;
            by_rustup()?
        }
        Some(WasmToolchain::Debian) => by_debian(preferences).await?,
        None if has_target().await => by_rustup()?,
        None => match add_target().await {
            Ok(()) => by_rustup()?,
            Err(error) => {
                say::doing(&format!(
                    "rustup cannot add {TARGET} ({error}); taking Debian's toolchain"
                ));
                by_debian(preferences).await?
            }
        },
    };
    say::doing("building the filter for WebAssembly");
    cargo::built(build, "connections_filter").await
}

/// Builds a copy of the sources, by a cargo with another home.
pub async fn build_at(sources: &Path, home: &Path) -> anyhow::Result<PathBuf> {
    let mut build = cargo::command();
    build
        .args(arguments())
        .current_dir(sources)
        .env("CARGO_HOME", home)
        .env("CARGO_TARGET_DIR", sources.join("target"))
        .env(FLAGS, flags(home));
    cargo::built(build, "connections_filter").await
}

fn by_rustup() -> anyhow::Result<Command> {
    let mut build = cargo::command();
    build.args(arguments()).env(FLAGS, flags(&cargo_home()?));
    Ok(build)
}

/// Flags, with a separator that no path has.
const FLAGS: &str = "CARGO_ENCODED_RUSTFLAGS";

/// Messages of panics hold paths below cargo's home: without it the bytes are the same for everybody.
/// `filter/Dockerfile` says the same.
fn flags(home: &Path) -> String {
    format!("{FEATURES}\u{1f}--remap-path-prefix={}=/cargo", home.display())
}

/// Where cargo keeps what it downloads.
pub fn cargo_home() -> anyhow::Result<PathBuf> {
    let set = std::env::var_os("CARGO_HOME").map(PathBuf::from);
    let usual = || std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".cargo"));
    set.or_else(usual).context("neither CARGO_HOME nor HOME is set")
}

fn arguments() -> [&'static str; 7] {
    ["build", "--package", "connections-filter", "--target", TARGET, "--profile", "wasm"]
}

/// Whether the toolchain at hand has a standard library for the target.
async fn has_target() -> bool {
    let printed = Command::new("rustc")
        .args(["--print", "target-libdir", "--target", TARGET])
        .current_dir(workspace::root())
        .output()
        .await;
    printed.is_ok_and(|printed| {
        let folder = String::from_utf8_lossy(&printed.stdout);
        PathBuf::from(folder.trim()).is_dir()
    })
}

async fn add_target() -> anyhow::Result<()> {
    say::doing(&format!("getting the target {TARGET} by rustup"));
    let added = Command::new("rustup")
        .args(["target", "add", TARGET])
        .current_dir(workspace::root())
        .stdin(Stdio::null())
        .output()
        .await?;
    anyhow::ensure!(added.status.success(), "it ended with {}", added.status);
    Ok(())
}

/// Debian's compiler is not the workspace's, so that it gets a target folder of its own. The environment
/// that rustup's cargo set for us would make it call the other compiler.
async fn by_debian(preferences: &Preferences) -> anyhow::Result<Command> {
    debian::install(&DEBIAN_PACKAGES, preferences.install).await?;
    let mut build = Command::new("/usr/bin/cargo");
    build
        .args(arguments())
        .arg("-Zbuild-std=std,panic_abort")
        .arg("--target-dir")
        .arg(workspace::root().join("target").join("debian"))
        .current_dir(workspace::root())
        .env_remove("CARGO")
        .env_remove("RUSTUP_TOOLCHAIN")
        .env("RUSTC", "/usr/bin/rustc")
        .env("RUSTC_BOOTSTRAP", "1")
        .env("CARGO_TARGET_WASM32_WASIP1_LINKER", "wasm-ld")
        .env("RUSTFLAGS", format!("-Clink-self-contained=no -L/usr/lib/wasm32-wasi {FEATURES}"));
    Ok(build)
}
