//! The repository's own configuration of Envoy, moved to other addresses and files. Nothing else is
//! changed, but for the limits where a load is to reach the filter; `tests/envoy_config.rs` holds that.

use super::Addresses;
use crate::workspace;
use anyhow::Context as _;
use serde_json::{Value, json};
use std::{
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
};

/// Where the configuration has its files.
const CONFIGURED_FOLDER: &str = "/etc/envoy";

/// More than any load of ours.
const UNLIMITED: u64 = 10_000_000;

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
        set_address(listener(&mut configuration, name)?.pointer_mut("/address"), address)?;
    }
    let cluster = named(configuration.pointer_mut("/static_resources/clusters"), "control")?;
    let endpoint = "/load_assignment/endpoints/0/lb_endpoints/0/endpoint/address";
    set_address(cluster.pointer_mut(endpoint), control)?;
    set_folder(&mut configuration, &folder.to_string_lossy());
    Ok(configuration)
}

/// Takes the limits away, by the names that the configuration gives them, for a load that is to reach
/// the filter.
pub fn raise_limits(configuration: &mut Value) -> anyhow::Result<()> {
    let monitors = configuration.pointer_mut("/overload_manager/resource_monitors");
    let connections = named(monitors, "envoy.resource_monitors.global_downstream_max_connections")?;
    set(connections, "/typed_config/max_active_downstream_connections", UNLIMITED)?;
    for name in ["clients", "public"] {
        let listener = listener(configuration, name)?;
        let limit = network_filter(listener, "envoy.filters.network.connection_limit")?;
        set(limit, "/typed_config/max_connections", UNLIMITED)?;
        for limiter in ["per-address", "per-tenant"] {
            if let Ok(limiter) = filter(listener, limiter) {
                raise_bucket(limiter.pointer_mut("/typed_config"))?;
            }
        }
        if let Ok(webhook) = route(listener, "webhook") {
            raise_bucket(webhook.pointer_mut("/typed_per_filter_config/per-address"))?;
        }
    }
    Ok(())
}

/// A listener.
pub fn listener<'a>(configuration: &'a mut Value, name: &str) -> anyhow::Result<&'a mut Value> {
    named(configuration.pointer_mut("/static_resources/listeners"), name)
}

/// A network filter of a listener.
pub fn network_filter<'a>(listener: &'a mut Value, name: &str) -> anyhow::Result<&'a mut Value> {
    named(listener.pointer_mut("/filter_chains/0/filters"), name)
}

/// The HTTP connection manager of a listener.
pub fn manager(listener: &mut Value) -> anyhow::Result<&mut Value> {
    let manager = network_filter(listener, "envoy.filters.network.http_connection_manager")?;
    manager.get_mut("typed_config").context("envoy.yaml has a manager without a configuration")
}

/// An HTTP filter of a listener.
pub fn filter<'a>(listener: &'a mut Value, name: &str) -> anyhow::Result<&'a mut Value> {
    named(manager(listener)?.get_mut("http_filters"), name)
}

/// A route of a listener.
pub fn route<'a>(listener: &'a mut Value, name: &str) -> anyhow::Result<&'a mut Value> {
    named(manager(listener)?.pointer_mut("/route_config/virtual_hosts/0/routes"), name)
}

fn raise_bucket(limiter: Option<&mut Value>) -> anyhow::Result<()> {
    let limiter = limiter.context("envoy.yaml has a limiter without a configuration")?;
    for field in ["max_tokens", "tokens_per_fill"] {
        set(limiter, &format!("/descriptors/0/token_bucket/{field}"), UNLIMITED)?;
    }
    Ok(())
}

fn set(within: &mut Value, place: &str, value: u64) -> anyhow::Result<()> {
    *within.pointer_mut(place).with_context(|| format!("envoy.yaml has no {place}"))? =
        json!(value);
    Ok(())
}

/// Writes what Envoy reads below `folder`, but for secrets and certificates.
pub(super) fn write(folder: &Path, addresses: Addresses) -> anyhow::Result<()> {
    fs::create_dir_all(folder)?;
    let configuration = localize(read_configuration()?, folder, addresses)?;
    fs::write(main_file(folder), serde_json::to_vec_pretty(&configuration)?)?;
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

/// The file that Envoy is started with.
pub(super) fn main_file(folder: &Path) -> PathBuf {
    folder.join("envoy.json")
}

/// Changes the configuration that was written, before Envoy reads it.
pub fn adjust(
    folder: &Path,
    change: impl FnOnce(&mut Value) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let mut configuration = serde_json::from_slice(&fs::read(main_file(folder))?)?;
    change(&mut configuration)?;
    Ok(fs::write(main_file(folder), serde_json::to_vec_pretty(&configuration)?)?)
}

/// Where the file of a filter has its policy.
const POLICY: &str = "/resources/0/typed_config/config/configuration/value";

/// The policy of a listener.
pub fn policy(folder: &Path, listener: &str) -> anyhow::Result<String> {
    let mut policy = None;
    adjust_filter(folder, listener, |filter| {
        policy = filter.pointer(POLICY).and_then(Value::as_str).map(str::to_owned);
        Ok(())
    })?;
    policy.context("the filter has no policy")
}

/// Replaces the policy of a listener, as an operator does: the whole file, by a rename.
pub fn replace_policy(folder: &Path, listener: &str, policy: &str) -> anyhow::Result<()> {
    adjust_filter(folder, listener, |filter| {
        let text = filter.pointer_mut(POLICY).context("the filter has no policy")?;
        *text = Value::from(policy);
        Ok(())
    })
}

/// Changes the file that gives a listener its filter, and replaces it by a rename.
pub fn adjust_filter(
    folder: &Path,
    listener: &str,
    change: impl FnOnce(&mut Value) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let file = folder.join("ecds").join(format!("edge-{listener}.yaml"));
    let mut filter = serde_saphyr::from_str(&fs::read_to_string(&file)?)?;
    change(&mut filter)?;
    replace(&file, &serde_json::to_string_pretty(&filter)?)
}

/// Replaces a file by a rename: what is written into one is ignored by Envoy, or read by halves.
pub fn replace(file: &Path, text: &str) -> anyhow::Result<()> {
    let next = file.with_extension("next");
    fs::write(&next, text)?;
    Ok(fs::rename(next, file)?)
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
