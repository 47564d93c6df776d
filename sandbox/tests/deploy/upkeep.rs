//! What keeps an edge up in a mesh, and what keeps two installations in one namespace apart.

use crate::manifests::{INSTALLATIONS, kind, name, rendered};
use sandbox::workspace;
use serde_json::{Value, json};
use std::{fs, path::Path};

fn of<'a>(objects: &'a [Value], wanted: &str, called: &str) -> &'a Value {
    let found = objects.iter().find(|it| kind(it) == wanted && name(it) == called);
    found.unwrap_or_else(|| panic!("no {wanted} {called}"))
}

/// Every member below `value`, with its name.
fn members(value: &Value, found: &mut Vec<(String, Value)>) {
    match value {
        Value::Object(fields) => {
            for (field, value) in fields {
                found.push((field.clone(), value.clone()));
                members(value, found);
            }
        }
        Value::Array(items) => items.iter().for_each(|item| members(item, found)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// The first values of Envoy's enums that a listener may have.
const FIRST_OF_THEIR_ENUMS: [&str; 8] =
    ["SANITIZE", "AUTO", "ALLOW", "KEEP_UNCHANGED", "OVERWRITE", "UNSPECIFIED", "TCP", "HTTP1"];

/// `false`, 0 and the first value of an enum are what a message has that says nothing: in a merge they vanish.
#[tokio::test]
async fn no_merge_says_what_vanishes_in_it() {
    let mut checked = 0;
    for installation in ["istio/gateway", "istio/waypoint"] {
        for object in rendered(installation).await.iter().filter(|it| kind(it) == "EnvoyFilter") {
            for patch in object["spec"]["configPatches"].as_array().unwrap() {
                if patch["patch"]["operation"] != "MERGE" {
                    continue;
                }
                let mut all = Vec::new();
                members(&patch["patch"]["value"], &mut all);
                for (field, value) in all {
                    let is_first =
                        value.as_str().is_some_and(|it| FIRST_OF_THEIR_ENUMS.contains(&it));
                    let is_nothing = [json!(false), json!(0), json!("")].contains(&value);
                    assert!(!is_first && !is_nothing, "{installation}: {field}: {value} vanishes");
                    checked += 1;
                }
            }
        }
    }
    assert!(checked > 20, "{checked}");
}

#[tokio::test]
async fn istios_gateway_is_ready_when_its_filter_answers_and_may_run_where_pods_are_restricted() {
    let objects = rendered("istio/gateway").await;
    let pod = &of(&objects, "Deployment", "edge")["spec"]["template"]["spec"];
    let own = rendered("kubernetes/overlays/example").await;
    let ours = &of(&own, "Deployment", "edge")["spec"]["template"]["spec"]["containers"][0];
    let proxy = &pod["containers"][0];
    assert_eq!(proxy["readinessProbe"], ours["readinessProbe"]);
    assert_eq!(proxy["securityContext"], ours["securityContext"]);
    assert_eq!(
        pod["securityContext"],
        json!({"runAsNonRoot": true, "seccompProfile": {"type": "RuntimeDefault"}})
    );
}

/// Seconds of a duration such as `75s`.
fn seconds(duration: &Value) -> u64 {
    duration.as_str().unwrap().trim_end_matches('s').parse().unwrap()
}

#[tokio::test]
async fn envoy_gateway_keeps_two_replicas_that_drain_for_as_long_as_a_client_may_wait() {
    let objects = rendered("gateway").await;
    let proxy = &of(&objects, "EnvoyProxy", "edge")["spec"];
    let own = rendered("kubernetes/overlays/example").await;
    let pods = &proxy["provider"]["kubernetes"];
    let mut scaled = pods["envoyHpa"].clone();
    drop(scaled.as_object_mut().unwrap().remove("name"));
    let mut ours = of(&own, "HorizontalPodAutoscaler", "edge")["spec"].clone();
    drop(ours.as_object_mut().unwrap().remove("scaleTargetRef"));
    assert_eq!(scaled, ours);
    assert!(ours["minReplicas"].as_u64().unwrap() >= 2);
    let ours = &of(&own, "PodDisruptionBudget", "edge")["spec"]["maxUnavailable"];
    assert_eq!(&pods["envoyPDB"]["maxUnavailable"], ours);
    let ours = &of(&own, "Deployment", "edge")["spec"]["template"]["spec"]["containers"][0];
    assert_eq!(pods["envoyDeployment"]["container"]["resources"], ours["resources"]);
    let route = of(&objects, "HTTPRoute", "clients");
    let longest = seconds(&route["spec"]["rules"][0]["timeouts"]["request"]);
    assert!(seconds(&proxy["shutdown"]["drainTimeout"]) >= longest);
}

/// Envoy Gateway names what it makes after the Gateway, and would share an account, a Service and a Deployment
/// with the edge of another installation that was there before.
#[tokio::test]
async fn what_envoy_gateway_makes_has_no_name_of_ours() {
    let objects = rendered("gateway").await;
    let pods = &of(&objects, "EnvoyProxy", "edge")["spec"]["provider"]["kubernetes"];
    for (made, wanted) in [
        ("envoyServiceAccount", "ServiceAccount"),
        ("envoyService", "Service"),
        ("envoyDeployment", "Deployment"),
        ("envoyHpa", "HorizontalPodAutoscaler"),
        ("envoyPDB", "PodDisruptionBudget"),
    ] {
        let called = pods[made]["name"].as_str().unwrap_or("edge");
        for installation in INSTALLATIONS {
            let others = rendered(installation).await;
            let is_there = others.iter().any(|it| kind(it) == wanted && name(it) == called);
            assert!(!is_there, "{wanted} {called} is one of {installation}");
        }
    }
}

/// A policy that an installation left over selects the pods of the next one, too, unless that one replaces it.
#[tokio::test]
async fn no_network_policy_that_is_left_over_shuts_another_installations_pods_in() {
    let own = rendered("kubernetes/overlays/example").await;
    let mut selected = 0;
    for installation in INSTALLATIONS {
        let objects = rendered(installation).await;
        for policy in own.iter().filter(|it| kind(it) == "NetworkPolicy") {
            let labels = policy["spec"]["podSelector"]["matchLabels"].as_object().unwrap();
            let is_selected = objects.iter().filter(|it| kind(it) == "Deployment").any(|it| {
                let pods = &it["spec"]["template"]["metadata"]["labels"];
                labels.iter().all(|(key, value)| &pods[key] == value)
            });
            if is_selected {
                let replaced = of(&objects, "NetworkPolicy", name(policy));
                assert_eq!(replaced["spec"]["podSelector"], policy["spec"]["podSelector"]);
                selected += 1;
            }
        }
    }
    assert!(selected >= 6, "{selected}");
    let istio = rendered("istio/gateway").await;
    let egress = of(&istio, "NetworkPolicy", "edge")["spec"]["egress"].to_string();
    assert!(egress.contains("istio-system") && egress.contains("15012"), "{egress}");
}

/// How Envoy prints a path with its query.
const WITH_QUERY: [&str; 8] = [
    "(:PATH)",
    "?:PATH)",
    "X-ENVOY-ORIGINAL-PATH",
    "%PATH%",
    "%PATH(WQ",
    "%REQUESTED_PATH",
    "REFERER",
    "%REQUEST_HEADERS%",
];

fn files(folder: &Path) -> Vec<std::path::PathBuf> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    entries.flat_map(|path| if path.is_dir() { files(&path) } else { vec![path] }).collect()
}

/// Where a log is not said, a mesh writes one of its own, which has the query.
#[tokio::test]
async fn no_file_of_a_deployment_logs_a_query_and_no_mesh_is_left_to_its_own_log() {
    let root = workspace::root();
    let deployed = files(&workspace::envoy_folder())
        .into_iter()
        .chain([root.join("docker-compose.yml"), root.join("filter/Dockerfile")])
        .filter(|file| file.extension().is_none_or(|ext| ext != "md"));
    let mut read = 0;
    for file in deployed {
        let Ok(text) = fs::read_to_string(&file) else { continue };
        for operator in WITH_QUERY {
            assert!(!text.contains(operator), "{} logs {operator}", file.display());
        }
        read += 1;
    }
    assert!(read > 40, "{read}");
    for installation in ["istio/gateway", "istio/waypoint"] {
        let objects = rendered(installation).await;
        let telemetry = of(&objects, "Telemetry", "connections");
        assert!(
            telemetry["spec"].get("selector").is_none(),
            "{installation}: some log as they like"
        );
        let spec = &telemetry["spec"];
        assert_eq!(spec["accessLogging"][0]["providers"][0]["name"], "connections-edge");
        assert_eq!(spec["tracing"][0]["disableSpanReporting"], true);
    }
    let objects = rendered("gateway").await;
    let proxy = of(&objects, "EnvoyProxy", "edge");
    assert!(proxy["spec"]["telemetry"]["accessLog"]["settings"].is_array());
}
