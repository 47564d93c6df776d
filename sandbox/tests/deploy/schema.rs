//! The schemas in `schemas/`, read strictly: a field that they do not name is a mistake.

use jsonschema::Validator;
use serde_json::{Value, json};
use std::{collections::BTreeSet, fs, path::PathBuf};

/// The schema of compose files.
pub(crate) fn of_compose() -> Validator {
    jsonschema::validator_for(&file("compose-spec.json")).unwrap()
}

fn file(name: &str) -> Value {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/deploy/schemas");
    serde_json::from_str(&fs::read_to_string(folder.join(name)).unwrap()).unwrap()
}

/// The names of the extensions that the proxy of an Istio release is built with.
pub(crate) fn extensions_of_istio(release: &str) -> BTreeSet<String> {
    let list = file("istio-proxy.json")["releases"][release]["extensions"].clone();
    serde_json::from_value(list).unwrap()
}

/// What Istio's proxy is started with, as far as it is kept here.
pub(crate) fn bootstrap_of_istio() -> Value {
    file("istio-bootstrap.json")
}

/// The schema of a kind such as `apps/v1/Deployment`, if there is one here.
pub(crate) fn of_kind(kind: &str) -> Option<Validator> {
    let files = ["kubernetes.json", "istio.json", "gateway-api.json", "envoy-gateway.json"];
    let mut schema = files.iter().find_map(|name| file(name)["kinds"].get(kind).cloned())?;
    // What every object has, and definitions of custom resources leave out.
    for common in ["apiVersion", "kind", "metadata"] {
        let properties = schema["properties"].as_object_mut().unwrap();
        properties.entry(common).or_insert_with(|| json!({}));
    }
    close(&mut schema);
    Some(jsonschema::validator_for(&schema).unwrap())
}

/// Refuses fields without a name, as a server does that validates strictly.
fn close(schema: &mut Value) {
    match schema {
        Value::Object(members) => {
            let takes_any =
                members.get("x-kubernetes-preserve-unknown-fields") == Some(&json!(true));
            // Part of a schema that is closed already.
            let is_whole = members.contains_key("type");
            if members.contains_key("properties") && is_whole && !takes_any {
                members.entry("additionalProperties").or_insert(json!(false));
            }
            members.values_mut().for_each(close);
        }
        Value::Array(items) => items.iter_mut().for_each(close),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// What is wrong with a document.
pub(crate) fn complaints(schema: &Validator, document: &Value) -> Vec<String> {
    let errors = schema.iter_errors(document);
    errors.map(|error| format!("{}: {error}", error.instance_path())).collect()
}
