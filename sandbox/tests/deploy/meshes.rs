//! The listeners that a mesh makes of our manifests: its defaults, with our patches.

use crate::{
    edge::{istios_listeners, local_code},
    manifests::{kind, name, rendered},
};
use sandbox::workspace;
use serde_json::{Value, json};
use std::fs;

/// A listener as a mesh makes it.
pub(crate) struct Made {
    pub name: &'static str,
    pub manager: Value,
    pub buffer_limit: u64,
}

/// What `EnvoyGateway` 1.9 makes of an HTTPS listener without our objects
/// (`internal/xds/translator/testdata/out/xds-ir/simple-tls.listeners.yaml`), and its access log
/// (`EnvoyTextLogFormat` in `internal/xds/translator/accesslog.go`), as far as it holds what a caller says.
fn envoy_gateways_manager() -> Value {
    json!({
        "stat_prefix": "https-8443", "use_remote_address": true, "server_header_transformation": "PASS_THROUGH",
        "merge_slashes": true, "normalize_path": true,
        "path_with_escaped_slashes_action": "UNESCAPE_AND_REDIRECT",
        "common_http_protocol_options": {"headers_with_underscores_action": "REJECT_REQUEST"},
        "http2_protocol_options": {"initial_connection_window_size": 1_048_576,
            "initial_stream_window_size": 65_536, "max_concurrent_streams": 100},
        "access_log": to_stdout(&json!({"method": "%REQ(:METHOD)%",
            "x-envoy-origin-path": "%REQ(X-ENVOY-ORIGINAL-PATH?:PATH)%"})),
    })
}

/// The limit of both meshes, where no object says more.
const BUFFER_LIMIT: u64 = 32_768;

fn to_stdout(fields: &Value) -> Value {
    json!([{"name": "log", "typed_config": {
        "@type": "type.googleapis.com/envoy.extensions.access_loggers.stream.v3.StdoutAccessLog",
        "log_format": {"json_format": fields}}}])
}

/// Bytes, as Kubernetes writes quantities.
fn bytes(quantity: &Value) -> u64 {
    let text = quantity.as_str().unwrap();
    let (number, unit) = match text.strip_suffix("Ki") {
        Some(number) => (number, 1 << 10),
        None => (text.strip_suffix("Mi").unwrap(), 1 << 20),
    };
    number.parse::<u64>().unwrap().checked_mul(unit).unwrap()
}

/// A JSON patch that adds a member or an item, by the two parts of its place.
fn add(manager: &mut Value, operation: &Value) {
    const MANAGER: &str = "filter_chains[0].filters[0].typed_config";
    assert_eq!(operation["op"], "add");
    let at = operation["jsonPath"].as_str().unwrap();
    let value = operation["value"].clone();
    if at == format!("{MANAGER}.http_filters[0]") {
        manager["http_filters"].as_array_mut().unwrap().insert(0, value);
        return;
    }
    let place = if at == MANAGER {
        manager
    } else {
        let (before, rest) = at.split_once("[?(@.name=='").unwrap();
        let (called, after) = rest.split_once("')]").unwrap();
        assert_eq!((before, after), ("..http_filters", ".typed_config.config"));
        let mut filters = manager["http_filters"].as_array_mut().unwrap().iter_mut();
        &mut filters.find(|it| it["name"] == called).unwrap()["typed_config"]["config"]
    };
    let (parent, member) = operation["path"].as_str().unwrap().rsplit_once('/').unwrap();
    // A patch whose parent is not there fails.
    let parent = place.pointer_mut(parent).unwrap_or_else(|| panic!("nothing at {parent}"));
    parent.as_object_mut().unwrap().insert(member.to_owned(), value);
}

/// What Envoy Gateway makes of our objects.
#[expect(clippy::too_many_lines, reason = "a translation reads best in one piece")]
async fn by_envoy_gateway() -> Vec<Made> {
    let objects = rendered("gateway").await;
    let spec = |of: &str, called: &str| {
        objects.iter().find(|it| kind(it) == of && name(it) == called).unwrap()["spec"].clone()
    };
    let proxy = spec("EnvoyProxy", "edge");
    let listener = |called: &'static str| {
        let mut manager = envoy_gateways_manager();
        let traffic = spec("ClientTrafficPolicy", called);
        let http2 = &traffic["http2"];
        for (field, quantity) in [
            ("initial_stream_window_size", &http2["initialStreamWindowSize"]),
            ("initial_connection_window_size", &http2["initialConnectionWindowSize"]),
        ] {
            if !quantity.is_null() {
                manager["http2_protocol_options"][field] = json!(bytes(quantity));
            }
        }
        manager["request_timeout"] = traffic["timeout"]["http"]["requestReceivedTimeout"].clone();
        assert_eq!(traffic["path"]["escapedSlashesAction"], "RejectRequest");
        manager["path_with_escaped_slashes_action"] = json!("REJECT_REQUEST");
        manager["merge_slashes"] =
            json!(!traffic["path"]["disableMergeSlashes"].as_bool().unwrap());
        let underscores = match traffic["headers"]["withUnderscoresAction"].as_str().unwrap() {
            "DropHeader" => "DROP_HEADER",
            "RejectRequest" => "REJECT_REQUEST",
            other => panic!("{other}"),
        };
        manager["common_http_protocol_options"]["headers_with_underscores_action"] =
            json!(underscores);
        let settings = &proxy["telemetry"]["accessLog"]["settings"];
        if settings.is_array() {
            assert_eq!(settings.as_array().unwrap().len(), 1);
            assert_eq!(
                settings[0]["sinks"],
                json!([{"type": "File", "file": {"path": "/dev/stdout"}}])
            );
            manager["access_log"] = to_stdout(&settings[0]["format"]["json"]);
        }
        let wasm = spec("EnvoyExtensionPolicy", &format!("edge-{called}"))["wasm"][0].clone();
        manager["http_filters"] = json!([{
            "name": format!("envoy.filters.http.wasm/envoyextensionpolicy/connections/edge-{called}/wasm/0"),
            "typed_config": {
                "@type": "type.googleapis.com/envoy.extensions.filters.http.wasm.v3.Wasm",
                "config": {
                    "root_id": wasm["rootID"],
                    "vm_config": {"runtime": "envoy.wasm.runtime.v8", "code": local_code(),
                        "environment_variables": {"host_env_keys": wasm["env"]["hostKeys"]}},
                    "configuration": {"@type": "type.googleapis.com/google.protobuf.StringValue",
                        "value": wasm["config"].to_string()}}}}]);
        for policy in objects.iter().filter(|it| kind(it) == "EnvoyPatchPolicy") {
            for patch in policy["spec"]["jsonPatches"].as_array().unwrap() {
                if patch["name"] == format!("connections/edge/{called}") {
                    add(&mut manager, &patch["operation"]);
                }
            }
        }
        let limit = &traffic["connection"]["bufferLimit"];
        let buffer_limit = if limit.is_null() { BUFFER_LIMIT } else { bytes(limit) };
        Made { name: called, manager, buffer_limit }
    };
    vec![listener("clients"), listener("public")]
}

/// What istiod makes of our patches.
async fn by_istio() -> Vec<Made> {
    let objects = rendered("istio/gateway").await;
    let filter = objects.iter().find(|it| kind(it) == "EnvoyFilter").unwrap();
    let patches = filter["spec"]["configPatches"].as_array().unwrap();
    let mesh: Value = serde_saphyr::from_str(
        &fs::read_to_string(workspace::envoy_folder().join("istio/mesh-config.yaml")).unwrap(),
    )
    .unwrap();
    let mesh = &mesh["meshConfig"];
    let is_normalised = mesh["pathNormalization"]["normalization"] != "NONE";
    let log =
        to_stdout(&mesh["extensionProviders"][0]["envoyFileAccessLog"]["logFormat"]["labels"]);
    let made = istios_listeners(&objects).into_iter().map(|listener| {
        let port = if listener.name == "clients" { 8443 } else { 8444 };
        let is_here = |it: &&Value| {
            it["applyTo"] == "LISTENER" && it["match"]["listener"]["portNumber"] == port
        };
        let limit = patches.iter().find(is_here);
        let limit =
            limit.map(|it| it["patch"]["value"]["per_connection_buffer_limit_bytes"].as_u64());
        let mut manager = listener.manager.clone();
        manager["http_filters"] = json!(listener.filters);
        manager["normalize_path"] = json!(is_normalised);
        manager["access_log"] = log.clone();
        let buffer_limit = limit.flatten().unwrap_or(BUFFER_LIMIT);
        Made { name: listener.name, manager, buffer_limit }
    });
    made.collect()
}

pub(crate) async fn made_by(mesh: &str) -> Vec<Made> {
    match mesh {
        "istio" => by_istio().await,
        "gateway" => by_envoy_gateway().await,
        other => panic!("{other}"),
    }
}
