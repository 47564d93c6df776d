//! The real Envoy on the repository's own configuration. Only addresses and file paths are changed, by
//! the names that the configuration gives them; `tests/envoy_config.rs` holds that.

use crate::{pki::Pki, process::Process, workspace};
use anyhow::Context as _;
use serde_json::Value;
use std::{
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    time::Duration,
};
use tokio::process::Command;

/// Where the configuration has its files.
const CONFIGURED_FOLDER: &str = "/etc/envoy";

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
    /// Writes everything that Envoy reads below `folder`, and starts it.
    pub async fn start(
        (program, filter): (&Path, &Path),
        folder: &Path,
        addresses: Addresses,
        pki: &Pki,
        secrets: &EdgeSecrets,
    ) -> anyhow::Result<Self> {
        write_configuration(folder, addresses)?;
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
        let mut command = Command::new(program);
        command
            .arg("-c")
            .arg(folder.join("envoy.json"))
            // Shared memory for hot restarts has one name per id; two sandboxes must not share it.
            .args(["--disable-hot-restart", "--concurrency", "2", "--log-level", "warn"])
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

/// Reads `envoy/envoy.yaml`.
pub fn read_configuration() -> anyhow::Result<Value> {
    let path = workspace::envoy_folder().join("envoy.yaml");
    let text = fs::read_to_string(&path).with_context(|| format!("no {}", path.display()))?;
    serde_saphyr::from_str(&text).with_context(|| format!("{} is no YAML", path.display()))
}

/// Puts addresses and paths in, where the configuration has them, by name.
pub fn localize(
    mut configuration: Value,
    folder: &Path,
    addresses: Addresses,
) -> anyhow::Result<Value> {
    let Addresses { clients, public, admin, control } = addresses;
    set_address(configuration.pointer_mut("/admin/address"), admin)?;
    for (name, address) in [("clients", clients), ("public", public)] {
        let listener = named(configuration.pointer_mut("/static_resources/listeners"), name)?;
        set_address(listener.pointer_mut("/address"), address)?;
    }
    let cluster = named(configuration.pointer_mut("/static_resources/clusters"), "control")?;
    let endpoint = "/load_assignment/endpoints/0/lb_endpoints/0/endpoint/address";
    set_address(cluster.pointer_mut(endpoint), control)?;
    set_folder(&mut configuration, &folder.to_string_lossy());
    Ok(configuration)
}

fn write_configuration(folder: &Path, addresses: Addresses) -> anyhow::Result<()> {
    fs::create_dir_all(folder)?;
    let configuration = localize(read_configuration()?, folder, addresses)?;
    fs::write(folder.join("envoy.json"), serde_json::to_vec_pretty(&configuration)?)?;
    for part in ["ecds", "sds"] {
        fs::create_dir_all(folder.join(part))?;
        for entry in fs::read_dir(workspace::envoy_folder().join(part))? {
            let entry = entry?;
            let text = fs::read_to_string(entry.path())?;
            let text = text.replace(CONFIGURED_FOLDER, &folder.to_string_lossy());
            fs::write(folder.join(part).join(entry.file_name()), text)?;
        }
    }
    Ok(())
}

fn named<'a>(list: Option<&'a mut Value>, name: &str) -> anyhow::Result<&'a mut Value> {
    list.and_then(Value::as_array_mut)
        .into_iter()
        .flatten()
        .find(|item| item.get("name").and_then(Value::as_str) == Some(name))
        .with_context(|| format!("envoy.yaml has nothing of the name {name}"))
}

fn set_address(place: Option<&mut Value>, address: SocketAddr) -> anyhow::Result<()> {
    let socket = place.and_then(|place| place.get_mut("socket_address"));
    let socket = socket.context("envoy.yaml has no address where one is expected")?;
    if let Some(fields) = socket.as_object_mut() {
        fields.insert("address".to_owned(), Value::from(address.ip().to_string()));
        fields.insert("port_value".to_owned(), Value::from(address.port()));
    }
    Ok(())
}

fn set_folder(value: &mut Value, folder: &str) {
    match value {
        Value::String(text) => {
            if let Some(rest) = text.strip_prefix(CONFIGURED_FOLDER) {
                *text = format!("{folder}{rest}");
            }
        }
        Value::Array(items) => items.iter_mut().for_each(|item| set_folder(item, folder)),
        Value::Object(fields) => fields.values_mut().for_each(|item| set_folder(item, folder)),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}
