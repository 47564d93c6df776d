//! What a fresh machine may lack, found or got: `cargo sandbox` says which and from where.

pub mod cargo;
mod debian;
pub mod deny;
pub mod earlier;
pub mod envoy;
pub mod kubectl;
pub mod node;
pub mod pgbouncer;
pub mod pip;
mod postgres;
mod prometheus;
pub mod standard_webhooks;
pub mod wasm;

use anyhow::Context as _;
use clap::{Args, ValueEnum};
use serde::{Deserialize, Serialize};
use std::path::PathBuf;

pub use postgres::Postgres;
pub use prometheus::Prometheus;

/// Which of several ways to take, where there are several.
#[derive(Debug, Clone, Copy, Default, Args)]
pub struct Preferences {
    /// How to build the filter; without it, the first way that works.
    #[arg(long, global = true, value_enum)]
    wasm_toolchain: Option<WasmToolchain>,
    /// Where PostgreSQL comes from; without it, what the machine has, else the wheel.
    #[arg(long, global = true, value_enum)]
    postgres: Option<PostgresSource>,
    /// Install Debian packages where they are needed; root does so without being told.
    #[arg(long, global = true)]
    install: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum WasmToolchain {
    /// The toolchain of this workspace, with the target that rustup adds.
    Rustup,
    /// Debian's `rustc-web`, with the standard library built from source.
    Debian,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum PostgresSource {
    /// `initdb` and `postgres` of this machine.
    System,
    /// The binaries in a wheel.
    Wheel,
}

/// Everything that a stack is started from.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Tools {
    pub envoy: PathBuf,
    pub filter: PathBuf,
    pub control: PathBuf,
    pub postgres: Postgres,
}

/// By which `cargo sandbox test` tells the tests what it found, so that none builds anything.
pub const TOOLS_VARIABLE: &str = "SANDBOX_TOOLS";

impl Tools {
    /// What the caller found already, else what can be found.
    pub async fn for_tests() -> anyhow::Result<Self> {
        match std::env::var_os(TOOLS_VARIABLE) {
            Some(found) => serde_json::from_str(&found.to_string_lossy())
                .with_context(|| format!("{TOOLS_VARIABLE} is malformed")),
            None => Self::ready(&Preferences::default()).await,
        }
    }

    /// Finds, gets or builds each of them.
    pub async fn ready(preferences: &Preferences) -> anyhow::Result<Self> {
        let filter = wasm::build(preferences).await?;
        let control = cargo::build_control().await?;
        let envoy = envoy::find().await?;
        let postgres = postgres::find(preferences).await?;
        Ok(Self { envoy, filter, control, postgres })
    }
}
