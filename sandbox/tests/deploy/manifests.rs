//! What kustomize makes of each installation, against the schemas of Kubernetes, Istio and Gateway API.

use crate::schema;
use sandbox::{tools::kubectl, workspace};
use serde_json::{Value, json};
use std::{
    fs,
    path::{Path, PathBuf},
};
use tokio::process::Command;

/// Folders below `envoy/` that an operator applies.
pub(crate) const INSTALLATIONS: [&str; 4] =
    ["kubernetes/overlays/example", "istio/gateway", "istio/waypoint", "gateway"];

/// Every object of an installation, made by the real kustomize.
pub(crate) async fn rendered(installation: &str) -> Vec<Value> {
    let made = Command::new(kubectl::find().await.unwrap())
        .args(["kustomize", "--load-restrictor", "LoadRestrictionsNone"])
        .arg(workspace::envoy_folder().join(installation))
        .output()
        .await
        .unwrap();
    let said = String::from_utf8_lossy(&made.stderr);
    assert!(made.status.success() && said.is_empty(), "{installation}: {said}");
    documents(&String::from_utf8(made.stdout).unwrap())
}

fn documents(text: &str) -> Vec<Value> {
    serde_saphyr::from_multiple(text).unwrap()
}

pub(crate) fn kind(object: &Value) -> &str {
    object["kind"].as_str().unwrap()
}

pub(crate) fn name(object: &Value) -> &str {
    object["metadata"]["name"].as_str().unwrap()
}

#[tokio::test]
async fn every_object_is_what_its_schema_says_and_no_more() {
    for installation in INSTALLATIONS {
        let objects = rendered(installation).await;
        assert!(objects.len() > 10, "{installation} is {objects:?}");
        for object in objects {
            let of = format!("{}/{}", object["apiVersion"].as_str().unwrap(), kind(&object));
            let schema = schema::of_kind(&of).unwrap_or_else(|| panic!("no schema of {of}"));
            let complaints = schema::complaints(&schema, &object);
            assert!(complaints.is_empty(), "{installation} {of} {}: {complaints:?}", name(&object));
        }
    }
}

/// A check that takes everything would be none.
#[tokio::test]
async fn a_misspelt_field_and_a_wrong_type_are_found_at_any_depth() {
    let mut checked = 0;
    for installation in INSTALLATIONS {
        for object in rendered(installation).await {
            let of = format!("{}/{}", object["apiVersion"].as_str().unwrap(), kind(&object));
            let schema = schema::of_kind(&of).unwrap();
            let is_refused = |change: &dyn Fn(&mut Value)| {
                let mut changed = object.clone();
                change(&mut changed);
                !schema::complaints(&schema, &changed).is_empty()
            };
            if object.get("spec").is_some_and(Value::is_object) {
                assert!(is_refused(&|object| object["spec"]["nobodyKnows"] = json!(1)), "{of}");
                assert!(is_refused(&|object| object["spec"] = json!("text")), "{of}");
            }
            if kind(&object) == "Deployment" {
                let at = "/spec/template/spec/containers/0";
                assert!(is_refused(&|it| it.pointer_mut(at).unwrap()["readinesProbe"] = json!({})));
                assert!(is_refused(
                    &|it| it.pointer_mut(at).unwrap()["ports"][0]["containerPort"] = json!("x")
                ));
            }
            if kind(&object) == "EnvoyFilter" {
                assert!(is_refused(
                    &|it| it["spec"]["configPatches"][0]["applyTo"] = json!("HTTP_FILTERS")
                ));
            }
            checked += 1;
        }
    }
    assert!(checked > 50, "only {checked} objects were checked");
}

fn yaml_files(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let files = entries.flat_map(|path| if path.is_dir() { yaml_files(&path) } else { vec![path] });
    files.filter(|path| path.extension().is_some_and(|ext| ext == "yaml" || ext == "yml")).collect()
}

#[test]
fn every_file_is_yaml_and_belongs_to_a_kustomization() {
    let folder = workspace::envoy_folder();
    let files = yaml_files(&folder);
    assert!(files.len() > 30, "{files:?}");
    for file in files {
        let text = fs::read_to_string(&file).unwrap();
        assert!(!documents(&text).is_empty(), "{}", file.display());
        let beside = file.with_file_name("kustomization.yaml");
        if !beside.exists() || beside == file {
            continue;
        }
        let listed = fs::read_to_string(beside).unwrap();
        let file = file.file_name().unwrap().to_string_lossy().into_owned();
        assert!(listed.contains(&file), "no kustomization beside it names {file}");
    }
}
