//! What Istio's own proxy is built with: it leaves out extensions that Envoy's own image has, and refuses a
//! listener that names one of them.

use crate::{
    manifests::{kind, name, rendered},
    schema,
};
use serde_json::{Value, json};
use std::collections::BTreeSet;

const EXTENSIONS: &str = "type.googleapis.com/envoy.extensions.";

/// The name that an extension is registered by, from the type of its configuration:
/// `envoy.extensions.filters.http.wasm.v3.Wasm` is `envoy.filters.http.wasm`.
fn registered(of: &str) -> Option<String> {
    let (package, _message) = of.strip_prefix(EXTENSIONS)?.rsplit_once('.')?;
    let (name, _version) = package.rsplit_once('.')?;
    Some(format!("envoy.{name}"))
}

/// Every extension that a patch or a plugin names, at any depth.
fn named(value: &Value, found: &mut BTreeSet<String>) {
    match value {
        Value::Object(fields) => {
            for (field, value) in fields {
                if let Some(text) = value.as_str() {
                    match field.as_str() {
                        "@type" => found.extend(registered(text)),
                        "runtime" => drop(found.insert(text.to_owned())),
                        _ => {}
                    }
                }
                named(value, found);
            }
        }
        Value::Array(items) => items.iter().for_each(|item| named(item, found)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

#[tokio::test]
async fn istios_proxy_has_every_extension_that_is_named_to_it() {
    let mut wanted = BTreeSet::new();
    for installation in ["istio/gateway", "istio/waypoint"] {
        for object in rendered(installation).await {
            match kind(&object) {
                "EnvoyFilter" => named(&object, &mut wanted),
                // What istiod makes of it.
                "WasmPlugin" => wanted.extend(["envoy.filters.http.wasm".to_owned()]),
                _ => {}
            }
        }
    }
    for known in
        ["envoy.filters.http.wasm", "envoy.wasm.runtime.v8", "envoy.filters.http.set_filter_state"]
    {
        assert!(wanted.contains(known), "{known} is not among {wanted:?}");
    }
    for release in ["1.30", "1.31"] {
        let has = schema::extensions_of_istio(release);
        let missing: Vec<_> = wanted.iter().filter(|name| !has.contains(*name)).collect();
        assert!(missing.is_empty(), "Istio {release} has no {missing:?}");
        // Envoy's own image has it, and envoy.yaml uses it: what this test is for.
        assert!(has.len() > 100 && !has.contains("envoy.formatter.generic_secret"));
    }
}

/// `HostProbeSNATIP` and its sister in `cni/pkg/config` of Istio 1.31: whence ambient pods see their kubelet.
const PROBED_FROM: [&str; 2] = ["169.254.7.127/32", "fd16:9254:7127:1337:ffff:ffff:ffff:ffff/128"];

#[tokio::test]
async fn an_ambient_kubelet_reaches_what_it_probes_and_nothing_else() {
    let objects = rendered("istio/waypoint").await;
    let of = |wanted: &str| {
        objects.iter().find(|it| kind(it) == wanted && name(it) == "control").unwrap()
    };
    let container = &of("Deployment")["spec"]["template"]["spec"]["containers"][0];
    let probed = &container["livenessProbe"]["httpGet"]["port"];
    assert_eq!(probed, &container["readinessProbe"]["httpGet"]["port"]);
    let rules = of("NetworkPolicy")["spec"]["ingress"].as_array().unwrap();
    for address in PROBED_FROM {
        let is_it = |rule: &&Value| rule["from"].to_string().contains(&format!("\"{address}\""));
        let rules: Vec<_> = rules.iter().filter(is_it).collect();
        let [rule] = rules.as_slice() else { panic!("{address} is let in by {rules:?}") };
        assert_eq!(rule["ports"], json!([{ "port": probed }]));
    }
}

/// Merging `false` into Istio's `true` leaves `true`: what is to be off is off in the mesh's own settings.
#[tokio::test]
async fn paths_come_as_they_are_by_the_meshs_settings_and_by_no_patch() {
    let file = sandbox::workspace::envoy_folder().join("istio/mesh-config.yaml");
    let mesh: Value = serde_saphyr::from_str(&std::fs::read_to_string(file).unwrap()).unwrap();
    assert_eq!(mesh["meshConfig"]["pathNormalization"]["normalization"], "NONE");
    let objects = rendered("istio/gateway").await;
    let filter = objects.iter().find(|it| kind(it) == "EnvoyFilter").unwrap();
    for patch in filter["spec"]["configPatches"].as_array().unwrap() {
        let merged = patch["patch"]["value"]["typed_config"].as_object();
        let is_merge = patch["patch"]["operation"] == "MERGE";
        for (field, value) in merged.into_iter().flatten().filter(|_| is_merge) {
            assert_ne!(value, &json!(false), "{field} cannot be taken back by a patch");
        }
    }
}

/// A webhook is held whole, by a buffer that its policy does not know of.
#[tokio::test]
async fn envoy_gateway_holds_as_much_as_the_policy_takes() {
    let objects = rendered("gateway").await;
    let of = |wanted: &str, called: &str| {
        &objects.iter().find(|it| kind(it) == wanted && name(it) == called).unwrap()["spec"]
    };
    let buffer = of("ClientTrafficPolicy", "public")["connection"]["bufferLimit"].as_str().unwrap();
    let buffer: u64 = buffer.strip_suffix("Ki").unwrap().parse().unwrap();
    let policy = &of("EnvoyExtensionPolicy", "edge-public")["wasm"][0]["config"]["webhook"];
    assert!(buffer * 1024 > policy["maxBodyBytes"].as_u64().unwrap(), "{buffer} KiB");
}

#[test]
fn an_extension_is_known_by_its_type() {
    let type_of = |rest: &str| format!("type.googleapis.com/{rest}");
    for (of, expected) in [
        (
            "envoy.extensions.formatter.generic_secret.v3.GenericSecret",
            Some("envoy.formatter.generic_secret"),
        ),
        (
            "envoy.extensions.filters.http.set_filter_state.v3.Config",
            Some("envoy.filters.http.set_filter_state"),
        ),
        ("google.protobuf.StringValue", None),
    ] {
        assert_eq!(registered(&type_of(of)).as_deref(), expected, "{of}");
    }
}
