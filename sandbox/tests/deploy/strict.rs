//! Every start of Envoy that an operator is given refuses fields that it does not know, and every copy of the filter's
//! configuration is restricted to the same capabilities, where each version of Envoy reads them.

use crate::manifests::{kind, name, rendered};
use sandbox::{
    envoy::configuration::{listener, manager, read_configuration},
    workspace,
};
use serde_json::Value;
use std::{collections::BTreeSet, fs};

const FLAG: &str = "--reject-unknown-dynamic-fields";

fn text(file: &str) -> String {
    fs::read_to_string(workspace::root().join(file)).unwrap()
}

fn has_flag(list: &Value) -> bool {
    list.as_array().unwrap().iter().any(|argument| argument == FLAG)
}

#[tokio::test]
async fn every_start_of_envoy_refuses_fields_that_it_does_not_know() {
    let compose: Value = serde_saphyr::from_str(&text("docker-compose.yml")).unwrap();
    assert!(has_flag(&compose["services"]["edge"]["command"]), "docker-compose.yml");
    let of = |objects: &[Value], wanted: &str, called: &str| {
        objects.iter().find(|it| kind(it) == wanted && name(it) == called).unwrap()["spec"].clone()
    };
    let kubernetes = of(&rendered("kubernetes/overlays/example").await, "Deployment", "edge");
    let container = &kubernetes["template"]["spec"]["containers"][0];
    assert!(has_flag(&container["args"]), "kubernetes");
    let gateway = of(&rendered("gateway").await, "EnvoyProxy", "edge");
    assert!(has_flag(&gateway["extraArgs"]), "gateway");
    let image = text("filter/Dockerfile");
    let stage = image.split(" AS edge\n").nth(1).unwrap().split("\nFROM ").next().unwrap();
    assert!(stage.split("\nCMD ").nth(1).unwrap().contains(FLAG), "filter/Dockerfile");
    // Whoever starts it himself is told.
    assert!(text("envoy/README.md").contains(FLAG));
}

/// Every object with a list of capabilities, and whether it stands where all versions of Envoy read it.
fn restricted(value: &Value, found: &mut Vec<BTreeSet<String>>) {
    match value {
        Value::Object(fields) => {
            if let Some(vm) = fields.get("vm_config") {
                assert!(vm.get("capability_restriction_config").is_none(), "{vm}");
                let list = &fields["capability_restriction_config"]["allowed_capabilities"];
                found.push(list.as_object().unwrap().keys().cloned().collect());
            }
            fields.values().for_each(|field| restricted(field, found));
        }
        Value::Array(items) => items.iter().for_each(|item| restricted(item, found)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

#[tokio::test]
async fn every_copy_of_the_filter_is_restricted_to_the_same_capabilities() {
    let mut found = Vec::new();
    for listener in ["clients", "public"] {
        let file = text(&format!("envoy/ecds/edge-{listener}.yaml"));
        restricted(&serde_saphyr::from_str(&file).unwrap(), &mut found);
    }
    for object in rendered("istio/gateway").await {
        if kind(&object) == "EnvoyFilter" {
            restricted(&object, &mut found);
        }
    }
    for object in rendered("gateway").await {
        if kind(&object) == "EnvoyPatchPolicy" {
            let patches = object["spec"]["jsonPatches"].as_array().unwrap();
            let paths = patches.iter().map(|it| &it["operation"]);
            let lists = paths.filter(|it| it["path"] == "/capability_restriction_config");
            found.extend(lists.map(|it| {
                let list = it["value"]["allowed_capabilities"].as_object().unwrap();
                list.keys().cloned().collect()
            }));
        }
    }
    assert_eq!(found.len(), 6);
    let allowed = contract::capability::ALLOWED.map(str::to_owned);
    assert!(found.iter().all(|list| *list == allowed.clone().into()), "{found:?}");
}

/// Every place that hands the filter the names of a certificate hands it the end of its validity, and has the filter
/// that restores statuses first.
#[tokio::test]
async fn every_copy_of_the_filter_chain_has_what_ships() {
    let one = read_configuration().unwrap().to_string();
    let script = |of: &str| of.matches("x-edge-status\\\")\\n").count();
    let mut all = vec![(one, 1, 2)];
    for (installation, facts, statuses) in
        [("istio/gateway", 1, 2), ("gateway", 1, 2), ("istio/waypoint", 0, 1)]
    {
        let objects = rendered(installation).await;
        let objects =
            objects.iter().filter(|it| ["EnvoyFilter", "EnvoyPatchPolicy"].contains(&kind(it)));
        all.push((objects.map(ToString::to_string).collect(), facts, statuses));
    }
    for (text, facts, statuses) in all {
        for object in ["edge.peer_uri_names", "edge.peer_dns_names", "edge.peer_certificate_end"] {
            assert_eq!(text.matches(object).count(), facts, "{object}: {text}");
        }
        assert_eq!(text.matches("function envoy_on_response").count(), statuses, "{text}");
        assert_eq!(script(&text), statuses * 2, "{text}");
    }
}

/// Authority and revocation list are asked when a connection begins: none that a certificate opened lasts.
#[tokio::test]
async fn a_connection_that_a_certificate_opened_lasts_ten_minutes_everywhere() {
    let mut edge = read_configuration().unwrap();
    let clients = listener(&mut edge, "clients").unwrap();
    let options = &manager(clients).unwrap()["common_http_protocol_options"];
    assert_eq!(options["max_connection_duration"], "600s");
    let objects = rendered("istio/gateway").await;
    let filter = objects.iter().find(|it| kind(it) == "EnvoyFilter").unwrap();
    let patches = filter["spec"]["configPatches"].as_array().unwrap();
    let merged = patches.iter().filter(|it| it["applyTo"] == "NETWORK_FILTER");
    for patch in merged {
        let manager = &patch["patch"]["value"]["typed_config"];
        assert_eq!(
            manager["common_http_protocol_options"]["max_connection_duration"], "600s",
            "{manager}"
        );
    }
    let objects = rendered("gateway").await;
    let is_clients = |it: &&Value| kind(it) == "ClientTrafficPolicy" && name(it) == "clients";
    let policy = &objects.iter().find(is_clients).unwrap()["spec"];
    assert_eq!(policy["connection"]["connectionLimit"]["maxConnectionDuration"], "600s");
}
