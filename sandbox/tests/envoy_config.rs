//! The sandbox changes addresses and file paths in `envoy.yaml`, by name, and nothing else; the limits
//! too, where a load is to reach the filter.

use sandbox::{
    envoy::{
        Addresses,
        configuration::{localize, raise_limits, read_configuration},
    },
    workspace,
};
use serde_json::Value;
use std::{collections::BTreeSet, path::Path};

/// The places where two documents differ.
fn differences(one: &Value, other: &Value, place: &str, found: &mut BTreeSet<String>) {
    match (one, other) {
        (Value::Object(ours), Value::Object(theirs)) => {
            let names: BTreeSet<&String> = ours.keys().chain(theirs.keys()).collect();
            for name in names {
                let member = |document: &serde_json::Map<String, Value>| {
                    document.get(name).cloned().unwrap_or_default()
                };
                differences(&member(ours), &member(theirs), &format!("{place}/{name}"), found);
            }
        }
        (Value::Array(ours), Value::Array(theirs)) if ours.len() == theirs.len() => {
            for (index, (ours, theirs)) in ours.iter().zip(theirs).enumerate() {
                differences(ours, theirs, &format!("{place}/{index}"), found);
            }
        }
        _ if one == other => {}
        _ => drop(found.insert(place.to_owned())),
    }
}

#[test]
fn only_addresses_and_file_paths_are_changed() {
    let original = read_configuration().unwrap();
    let address = |port| ([127, 0, 0, 2], port).into();
    let addresses = Addresses {
        clients: address(1),
        public: address(2),
        admin: address(3),
        control: address(4),
    };
    let localized = localize(original.clone(), Path::new("/elsewhere"), addresses).unwrap();
    let mut found = BTreeSet::new();
    differences(&original, &localized, "", &mut found);
    let (paths, addresses): (Vec<_>, Vec<_>) =
        found.into_iter().partition(|place| place.ends_with("/path"));
    let mut expected: Vec<String> = [
        "/admin/address",
        "/static_resources/listeners/0/address",
        "/static_resources/listeners/1/address",
        "/static_resources/clusters/0/load_assignment/endpoints/0/lb_endpoints/0/endpoint/address",
    ]
    .iter()
    .flat_map(|place| {
        ["address", "port_value"].map(|field| format!("{place}/socket_address/{field}"))
    })
    .collect();
    expected.sort();
    assert_eq!(addresses, expected);
    for place in &paths {
        let at =
            |document: &Value| document.pointer(place).and_then(Value::as_str).map(str::to_owned);
        let moved = at(&original).unwrap().replace("/etc/envoy", "/elsewhere");
        assert_eq!(at(&localized), Some(moved), "{place}");
    }
    assert!(paths.len() > 10, "the configuration has files: {paths:?}");
}

#[test]
fn raised_limits_are_the_limits_and_nothing_else() {
    let original = read_configuration().unwrap();
    let mut raised = original.clone();
    raise_limits(&mut raised).unwrap();
    let mut found = BTreeSet::new();
    differences(&original, &raised, "", &mut found);
    let chain =
        |listener| format!("/static_resources/listeners/{listener}/filter_chains/0/filters");
    let bucket = |place: &str| {
        ["max_tokens", "tokens_per_fill"]
            .map(|field| format!("{place}/descriptors/0/token_bucket/{field}"))
    };
    let [clients, public] = [chain(0), chain(1)];
    let webhook = "route_config/virtual_hosts/0/routes/0/typed_per_filter_config/per-address";
    let mut expected = vec![
        "/overload_manager/resource_monitors/0/typed_config/max_active_downstream_connections"
            .to_owned(),
        format!("{clients}/0/typed_config/max_connections"),
        format!("{public}/0/typed_config/max_connections"),
    ];
    expected.extend(bucket(&format!("{clients}/1/typed_config/http_filters/1/typed_config")));
    expected.extend(bucket(&format!("{clients}/1/typed_config/http_filters/4/typed_config")));
    expected.extend(bucket(&format!("{public}/1/typed_config/http_filters/1/typed_config")));
    expected.extend(bucket(&format!("{public}/1/typed_config/{webhook}")));
    assert_eq!(found, BTreeSet::from_iter(expected));
}

/// The operator's page says what ships: each row of its table that names a setting with a plain value.
#[test]
fn the_operators_page_has_the_values_that_ship() {
    let page = workspace::envoy_folder().join("README.md");
    let page = std::fs::read_to_string(page).unwrap();
    let configuration = read_configuration().unwrap();
    let mut compared = 0;
    for line in page.lines() {
        let cells: Vec<&str> = line.split('|').map(str::trim).collect();
        let [_, setting, clients, public, ..] = cells.as_slice() else { continue };
        let Some(setting) = setting.strip_prefix('`').and_then(|it| it.strip_suffix('`')) else {
            continue;
        };
        for (index, told) in [clients, public].into_iter().enumerate() {
            let mut found = BTreeSet::new();
            values_of(&configuration["static_resources"]["listeners"][index], setting, &mut found);
            let told = if *told == "yes" { "true" } else { told };
            let is_plain = told.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
            if is_plain && !found.is_empty() {
                assert!(found.contains(told), "{setting} is {found:?} and not {told:?}");
                compared += 1;
            }
        }
    }
    assert!(compared > 30, "only {compared} values were compared");
}

/// Every value that a field of this name has, as text.
fn values_of(within: &Value, field: &str, found: &mut BTreeSet<String>) {
    match within {
        Value::Object(members) => {
            for (name, value) in members {
                if name == field && !value.is_object() && !value.is_array() {
                    found.insert(value.as_str().map_or_else(|| value.to_string(), str::to_owned));
                } else {
                    values_of(value, field, found);
                }
            }
        }
        Value::Array(items) => items.iter().for_each(|item| values_of(item, field, found)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}
