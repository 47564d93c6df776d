//! The real Envoy on the repository's own configuration.

pub mod configuration;

use crate::{pki::Pki, process::Process};
use serde_json::Value;
use std::{
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    time::Duration,
};
use tokio::process::Command;

const READY_WITHIN: Duration = Duration::from_secs(30);

/// Where Envoy listens, and where control is.
#[derive(Debug, Clone, Copy)]
pub struct Addresses {
    pub clients: SocketAddr,
    pub public: SocketAddr,
    pub admin: SocketAddr,
    pub control: SocketAddr,
}

/// The secrets that Envoy hands to the filter.
#[derive(Debug, Clone)]
pub struct EdgeSecrets {
    pub webhook_keys: String,
    pub assertion_keys: String,
}

/// A running Envoy and the folder of its configuration.
#[derive(Debug)]
pub struct Envoy {
    pub addresses: Addresses,
    pub folder: PathBuf,
    process: Process,
}

impl Envoy {
    /// Writes everything that Envoy reads below `folder`.
    pub fn prepare(
        folder: &Path,
        filter: &Path,
        addresses: Addresses,
        pki: &Pki,
        secrets: &EdgeSecrets,
    ) -> anyhow::Result<()> {
        configuration::write(folder, addresses)?;
        fs::create_dir_all(folder.join("filter"))?;
        fs::copy(filter, folder.join("filter").join("connections_filter.wasm"))?;
        fs::create_dir_all(folder.join("tls"))?;
        for file in
            ["server.crt", "server.key", "edge.crt", "edge.key", "clients-ca.crt", "service-ca.crt"]
        {
            fs::copy(pki.path(file), folder.join("tls").join(file))?;
        }
        fs::create_dir_all(folder.join("secrets"))?;
        fs::write(folder.join("secrets").join("webhook-keys"), &secrets.webhook_keys)?;
        fs::write(folder.join("secrets").join("assertion-keys"), &secrets.assertion_keys)?;
        Ok(())
    }

    /// Starts Envoy on what was prepared in `folder`.
    pub async fn start(
        program: &Path,
        folder: &Path,
        addresses: Addresses,
        environment: &[(&str, String)],
    ) -> anyhow::Result<Self> {
        let mut command = Command::new(program);
        command
            .arg("-c")
            .arg(configuration::main_file(folder))
            .envs(environment.iter().map(|(name, value)| (name, value)))
            // Shared memory for hot restarts has one name per id; two sandboxes must not share it.
            .args(["--disable-hot-restart", "--concurrency", "2", "--log-level", "warn"])
            // A misspelt field would be passed over, and what it should restrict not restricted.
            .arg("--reject-unknown-dynamic-fields")
            // The logger `config` would write out the keys at debug level; envoy/README.md says so too.
            .args(["--component-log-level", "wasm:info,config:info"])
            // Ten seconds without it: too late for whoever watches the access log.
            .args(["--file-flush-interval-msec", "50"]);
        let log = folder.parent().unwrap_or(folder).join("envoy.log");
        let mut process = Process::start("Envoy", command, &log)?;
        let ready = format!("http://{}/ready", addresses.admin);
        process.wait_until_well(&ready, READY_WITHIN).await?;
        Ok(Self { addresses, folder: folder.to_owned(), process })
    }

    pub const fn process(&self) -> &Process {
        &self.process
    }

    /// The lines of the access log so far.
    pub fn access_log(&self) -> anyhow::Result<Vec<Value>> {
        let text = fs::read(self.process.log())?;
        let text = String::from_utf8_lossy(&text);
        Ok(text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect())
    }

    pub async fn stop(self) -> anyhow::Result<()> {
        self.process.stop().await?;
        Ok(())
    }
}
