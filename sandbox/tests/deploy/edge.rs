//! The parts of the manifests that Envoy reads, in the real Envoy: as Istio and Envoy Gateway put them into a
//! listener, and the probes of Kubernetes beside `envoy.yaml`. There is no control behind it: what is let through
//! is answered by Envoy, with 503 and without a code.

use crate::manifests::{kind, name, rendered};
use filter::policy::Policy;
use reqwest::{Client, Method};
use sandbox::{
    client_app::client_as,
    envoy::{Addresses, EdgeSecrets, Envoy, configuration},
    pki::{Identity, Name, Pki},
    ports,
    tools::Tools,
};
use serde_json::{Value, json};
use std::{fs, net::Ipv4Addr, path::Path, time::Duration};
use tempfile::TempDir;

const WASM: &str = "type.googleapis.com/envoy.extensions.filters.http.wasm.v3.Wasm";
const STRING: &str = "type.googleapis.com/google.protobuf.StringValue";
const FACTS: &str = "type.googleapis.com/envoy.extensions.filters.http.set_filter_state.v3.Config";
const MANAGER: &str = "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager";
pub(crate) const KEYS: &str = "0123456789abcdef0123456789abcdef";

/// What a mesh makes of a listener: fields of its manager, and filters before the router.
#[derive(Debug, Clone)]
pub(crate) struct Listener {
    pub(crate) name: &'static str,
    pub(crate) manager: Value,
    pub(crate) filters: Vec<Value>,
}

/// A running Envoy with listeners of somebody else's making.
pub(crate) struct World {
    pub(crate) envoy: Envoy,
    pki: Pki,
    _folder: TempDir,
}

pub(crate) fn address(port: u16) -> std::net::SocketAddr {
    (Ipv4Addr::LOCALHOST, port).into()
}

pub(crate) async fn prepare(folder: &Path) -> (Tools, Pki, Addresses) {
    let tools = Tools::for_tests().await.unwrap();
    let pki = Pki::create(&folder.join("pki")).unwrap();
    let [clients, public, admin, control] = ports::free().unwrap().map(address);
    let addresses = Addresses { clients, public, admin, control };
    let secrets = EdgeSecrets { webhook_keys: KEYS.to_owned(), assertion_keys: KEYS.to_owned() };
    Envoy::prepare(&folder.join("envoy"), &tools.filter, addresses, &pki, &secrets).unwrap();
    (tools, pki, addresses)
}

impl World {
    async fn start(listeners: &[Listener], environment: &[(&str, String)]) -> Self {
        Self::start_with(listeners, environment, None).await
    }

    /// With what somebody else measures.
    pub(crate) async fn start_with(
        listeners: &[Listener],
        environment: &[(&str, String)],
        stats: Option<Value>,
    ) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let (tools, pki, addresses) = prepare(folder.path()).await;
        let envoys = folder.path().join("envoy");
        configuration::adjust(&envoys, |document| {
            if let Some(stats) = stats {
                document["stats_config"] = stats;
            }
            for listener in listeners {
                let found = configuration::listener(document, listener.name)?;
                *configuration::manager(found)? = listener.made(&envoys);
            }
            Ok(())
        })
        .unwrap();
        let envoy = Envoy::start(&tools.envoy, &envoys, addresses, environment).await.unwrap();
        Self { envoy, pki, _folder: folder }
    }

    fn client(&self, spiffe: &str) -> Client {
        let Identity { certificate_pem, key_pem, .. } =
            self.pki.clients.issue("it", &[Name::Uri(spiffe)]).unwrap();
        client_as(&self.pki, Some(&format!("{certificate_pem}{key_pem}"))).unwrap()
    }

    /// The status, and the code of the filter's own answers.
    async fn ask(&self, client: &Client, listener: &str, call: (Method, &str)) -> (u16, String) {
        let at = if listener == "clients" {
            self.envoy.addresses.clients
        } else {
            self.envoy.addresses.public
        };
        let (method, path) = call;
        let ask = |media_type: &'static str| {
            let request = client.request(method.clone(), format!("https://{at}{path}"));
            let request = request.header("content-type", media_type);
            if method == Method::POST { request.body("{}") } else { request }
        };
        // Whoever declares gRPC is answered like everybody else, though not always for the same reason.
        let grpc = ask("application/grpc").timeout(Duration::from_secs(10)).send().await.unwrap();
        assert!(grpc.status().as_u16() >= 400, "{grpc:?}");
        for inside in ["grpc-status", "x-edge-status"] {
            assert!(!grpc.headers().contains_key(inside), "{grpc:?}");
        }
        assert_ne!(grpc.headers()["content-type"], "application/grpc");
        let request = ask("application/json");
        // A request that hangs is a failure, and not a wait.
        let answer = request.timeout(Duration::from_secs(10)).send().await.unwrap();
        assert!(!answer.headers().contains_key("x-edge-status"), "{answer:?}");
        let status = answer.status().as_u16();
        let document: Value =
            serde_json::from_str(&answer.text().await.unwrap()).unwrap_or_default();
        (status, document["code"].as_str().unwrap_or_default().to_owned())
    }

    pub(crate) async fn serves_clients(&self, granted: &str) {
        let (app, stranger) = (self.client(granted), self.client("spiffe://acme.example/stranger"));
        let (own, other) = ("/tenants/acme/connections", "/tenants/rival/connections");
        let passed = (503, String::new());
        let denied = (403, "no_grant".to_owned());
        assert_eq!(self.ask(&app, "clients", (Method::GET, own)).await, passed);
        assert_eq!(self.ask(&app, "clients", (Method::POST, own)).await, passed);
        assert_eq!(self.ask(&app, "clients", (Method::GET, other)).await, denied);
        // With a body that a refusal might wait for.
        assert_eq!(self.ask(&app, "clients", (Method::POST, other)).await, denied);
        assert_eq!(self.ask(&stranger, "clients", (Method::GET, own)).await, denied);
    }

    pub(crate) async fn serves_strangers(&self) {
        let nobody = client_as(&self.pki, None).unwrap();
        let ask = |method, path| self.ask(&nobody, "public", (method, path));
        assert_eq!(ask(Method::GET, "/health").await, (503, String::new()));
        let unsigned = (401, "signature_invalid".to_owned());
        assert_eq!(ask(Method::POST, "/webhooks/nango").await, unsigned);
        assert_eq!(ask(Method::GET, "/tenants/acme/connections").await.0, 404);
    }
}

impl Listener {
    /// A manager as plain as a mesh's, with what the manifest says of it.
    fn made(&self, folder: &Path) -> Value {
        let router = json!({"name": "envoy.filters.http.router", "typed_config":
            {"@type": "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router"}});
        let mut manager = self.manager.clone();
        let fields = manager.as_object_mut().unwrap();
        fields.insert("@type".to_owned(), json!(MANAGER));
        fields.entry("stat_prefix").or_insert(json!(self.name));
        let filters: Vec<Value> = self.filters.iter().cloned().chain([router]).collect();
        fields.insert("http_filters".to_owned(), json!(filters));
        let route = json!({"match": {"prefix": "/"}, "route": {"cluster": "control"}});
        let host = json!({"name": "all", "domains": ["*"], "routes": [route]});
        fields.insert("route_config".to_owned(), json!({"virtual_hosts": [host]}));
        let text = manager.to_string().replace("/etc/envoy", &folder.to_string_lossy());
        serde_json::from_str(&text).unwrap()
    }
}

/// What an agent makes of the address of an image: a file.
pub(crate) fn local_code() -> Value {
    json!({"local": {"filename": "/etc/envoy/filter/connections_filter.wasm"}})
}

/// Both listeners of the gateway, as istiod puts the patches of `filter.yaml` into them.
pub(crate) fn istios_listeners(objects: &[Value]) -> Vec<Listener> {
    let filter = objects.iter().find(|it| kind(it) == "EnvoyFilter").unwrap();
    let patches = filter["spec"]["configPatches"].as_array().unwrap();
    let extension = |called: &Value| {
        let mut found = patches.iter().filter(|it| it["applyTo"] == "EXTENSION_CONFIG");
        let found = found.find(|it| &it["patch"]["value"]["name"] == called).unwrap();
        let mut value = found["patch"]["value"].clone();
        assert!(value.pointer("/typed_config/config/vm_config/code/remote/http_uri/uri").is_some());
        value["typed_config"]["config"]["vm_config"]["code"] = local_code();
        value
    };
    let of = |name: &'static str, port: u64| {
        let here =
            || patches.iter().filter(move |it| it["match"]["listener"]["portNumber"] == port);
        let merged = here().find(|it| it["applyTo"] == "NETWORK_FILTER").unwrap();
        let mut filters = Vec::new();
        for patch in here().filter(|it| it["applyTo"] == "HTTP_FILTER").map(|it| &it["patch"]) {
            let value = &patch["value"];
            let filter = match value.get("config_discovery") {
                Some(_) => extension(&value["name"]),
                None => value.clone(),
            };
            let at = if patch["operation"] == "INSERT_FIRST" { 0 } else { filters.len() };
            filters.insert(at, filter);
        }
        let manager = merged["patch"]["value"]["typed_config"].clone();
        Listener { name, manager, filters }
    };
    vec![of("clients", 8443), of("public", 8444)]
}

#[tokio::test]
async fn istios_gateway_verifies_holds_and_grants() {
    let objects = rendered("istio/gateway").await;
    let listeners = istios_listeners(&objects);
    let pod = objects.iter().find(|it| kind(it) == "Deployment" && name(it) == "edge").unwrap();
    let environment: Vec<(&str, String)> =
        ["CONNECTIONS_ASSERTION_KEYS", "CONNECTIONS_WEBHOOK_KEYS"]
            .map(|key| (key, KEYS.to_owned()))
            .into();
    for (key, _) in &environment {
        assert!(pod.to_string().contains(key), "the gateway's pods have no {key}");
    }
    let world = World::start(&listeners, &environment).await;
    world.serves_clients(sandbox::pki::APP).await;
    world.serves_strangers().await;
    world.envoy.stop().await.unwrap();
}

/// As a waypoint has it: no flag, no filter of ours before it, the key from the environment.
#[tokio::test]
async fn a_plain_wasm_plugin_grants_and_refuses_at_once() {
    let objects = rendered("istio/waypoint").await;
    let plugin = objects.iter().find(|it| kind(it) == "WasmPlugin").unwrap();
    let spec = &plugin["spec"];
    let hosts: Vec<&Value> =
        spec["vmConfig"]["env"].as_array().unwrap().iter().map(|it| &it["name"]).collect();
    let granted = spec["pluginConfig"]["grants"][0]["principal"].as_str().unwrap().to_owned();
    let istios = json!({"name": "istio", "typed_config": {"@type": FACTS, "on_request_headers": [
        {"object_key": "io.istio.peer_principal", "factory_key": "envoy.string",
         "format_string": {"text_format_source": {"inline_string": "%DOWNSTREAM_PEER_URI_SAN%"}}}]}});
    let ours = json!({"name": "ours", "typed_config": {"@type": WASM, "config": {
        "root_id": spec["pluginName"], "failure_policy": spec["failStrategy"],
        "vm_config": {"runtime": "envoy.wasm.runtime.v8", "code": local_code(), "environment_variables": {"host_env_keys": hosts}},
        "configuration": {"@type": STRING, "value": spec["pluginConfig"].to_string()}}}});
    let patches = objects.iter().find(|it| kind(it) == "EnvoyFilter").unwrap();
    let patched = |applies_to: &str, operation: &str| {
        let mut patches = patches["spec"]["configPatches"].as_array().unwrap().iter();
        let patch = patches.find(|it| it["applyTo"] == applies_to).unwrap();
        assert_eq!(patch["match"]["context"], "WAYPOINT");
        assert_eq!(patch["patch"]["operation"], operation);
        patch["patch"]["value"].clone()
    };
    let manager = patched("NETWORK_FILTER", "MERGE")["typed_config"].clone();
    let statuses = patched("HTTP_FILTER", "INSERT_FIRST");
    let clients = Listener { name: "clients", manager, filters: vec![statuses, istios, ours] };
    let environment: Vec<(&str, String)> =
        hosts.iter().map(|it| (it.as_str().unwrap(), KEYS.to_owned())).collect();
    let world = World::start(&[clients], &environment).await;
    world.serves_clients(&granted).await;
    world.envoy.stop().await.unwrap();
    // What it cannot do, it does not pretend to do.
    let mut public = spec["pluginConfig"].clone();
    public["listener"] = json!("public");
    assert!(Policy::parse(public.to_string().as_bytes()).is_err());
}

#[tokio::test]
async fn envoy_gateways_listeners_verify_hold_and_grant() {
    let objects = rendered("gateway").await;
    let called = |of: &str, called: &str| {
        objects.iter().find(|it| kind(it) == of && name(it) == called).unwrap()["spec"].clone()
    };
    let mut hosts = Vec::new();
    let mut listener = |listener: &'static str| {
        let policy = format!("edge-{listener}");
        let wasm = called("EnvoyExtensionPolicy", &policy)["wasm"][0].clone();
        hosts.extend(
            wasm["env"]["hostKeys"]
                .as_array()
                .unwrap()
                .iter()
                .map(|it| it.as_str().unwrap().to_owned()),
        );
        let mut config = json!({"root_id": wasm["rootID"], "fail_open": wasm["failOpen"],
            "vm_config": {"runtime": "envoy.wasm.runtime.v8", "code": local_code(),
                "environment_variables": {"host_env_keys": wasm["env"]["hostKeys"]}},
            "configuration": {"@type": STRING, "value": wasm["config"].to_string()}});
        let (mut filters, mut manager) = (Vec::new(), json!({}));
        for patch in called("EnvoyPatchPolicy", &policy)["jsonPatches"].as_array().unwrap() {
            assert_eq!(patch["name"], format!("connections/edge/{listener}"));
            let operation = &patch["operation"];
            match operation["path"].as_str() {
                Some("/local_reply_config") => {
                    assert_eq!(operation["jsonPath"], "filter_chains[0].filters[0].typed_config");
                    manager["local_reply_config"] = operation["value"].clone();
                }
                Some(path) => {
                    let wanted = format!("envoyextensionpolicy/connections/{policy}/wasm/0");
                    assert!(operation["jsonPath"].as_str().unwrap().contains(&wanted));
                    config[path.trim_start_matches('/')] = operation["value"].clone();
                }
                None => {
                    let at = operation["jsonPath"].as_str().unwrap();
                    assert!(at.ends_with(".http_filters[0]"), "{at}");
                    filters.insert(0, operation["value"].clone());
                }
            }
        }
        assert_eq!(config["allow_on_headers_stop_iteration"], json!(true));
        assert!(config["capability_restriction_config"]["allowed_capabilities"].is_object());
        filters.push(json!({"name": policy, "typed_config": {"@type": WASM, "config": config}}));
        Listener { name: listener, manager, filters }
    };
    let listeners = [listener("clients"), listener("public")];
    let proxy = called("EnvoyProxy", "edge");
    for host in &hosts {
        assert!(proxy.to_string().contains(host), "the proxy's pods have no {host}");
    }
    let environment: Vec<(&str, String)> =
        hosts.iter().map(|it| (it.as_str(), KEYS.to_owned())).collect();
    let world = World::start(&listeners, &environment).await;
    world.serves_clients("spiffe://acme.example/app").await;
    world.serves_strangers().await;
    world.envoy.stop().await.unwrap();
}

/// The access log of a mesh is the edge's own, but for the listener's name: its filter chains have none.
#[tokio::test]
async fn the_access_log_of_a_mesh_has_the_fields_of_the_edges() {
    let text =
        fs::read_to_string(sandbox::workspace::envoy_folder().join("istio/mesh-config.yaml"))
            .unwrap();
    let mesh: Value = serde_saphyr::from_str(&text).unwrap();
    let gateway = rendered("gateway").await;
    let proxy = gateway.iter().find(|it| kind(it) == "EnvoyProxy").unwrap();
    let mut edge = configuration::read_configuration().unwrap();
    let listener = configuration::listener(&mut edge, "clients").unwrap();
    let mut fields = configuration::manager(listener).unwrap()["access_log"][0]["typed_config"]["log_format"]
        ["json_format"]
        .clone();
    fields["listener"] = json!("%DOWNSTREAM_LOCAL_PORT%");
    let istios =
        &mesh["meshConfig"]["extensionProviders"][0]["envoyFileAccessLog"]["logFormat"]["labels"];
    assert_eq!(istios, &fields);
    assert_eq!(proxy["spec"]["telemetry"]["accessLog"]["settings"][0]["format"]["json"], fields);
}
