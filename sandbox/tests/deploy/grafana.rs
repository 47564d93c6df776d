//! What Grafana is provisioned with: it ends at a second default datasource, and doubles whatever is named twice.

use sandbox::workspace;
use serde_json::{Value, json};
use std::{collections::BTreeSet, fs};

const PROVISIONED: &str = "/etc/grafana/provisioning";

fn mounted(inside: &str) -> String {
    let text = fs::read_to_string(workspace::root().join("docker-compose.yml")).unwrap();
    let compose: Value = serde_saphyr::from_str(&text).unwrap();
    let volumes = compose["services"]["grafana"]["volumes"].as_array().unwrap();
    let mut volumes = volumes.iter().filter_map(Value::as_str);
    let found = volumes.find_map(|it| it.strip_suffix(&format!(":{inside}:ro"))).unwrap();
    found.strip_prefix("./").unwrap().to_owned()
}

/// All entries of this name, in whatever files Grafana reads below a folder: it takes both endings.
fn provisioned(folder: &str, entries: &str) -> Vec<Value> {
    let folder = workspace::root().join(mounted(PROVISIONED)).join(folder);
    let files = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let files = files.filter(|path| path.extension().is_some_and(|it| it == "yaml" || it == "yml"));
    let read =
        |path| -> Value { serde_saphyr::from_str(&fs::read_to_string(path).unwrap()).unwrap() };
    files.flat_map(|path| read(path)[entries].as_array().unwrap().clone()).collect()
}

#[test]
fn one_datasource_is_the_default_and_no_name_is_taken_twice() {
    for (folder, entries) in [("datasources", "datasources"), ("dashboards", "providers")] {
        let all = provisioned(folder, entries);
        let names: BTreeSet<_> = all.iter().map(|it| it["name"].as_str().unwrap()).collect();
        assert!(!all.is_empty() && names.len() == all.len(), "{folder}: {all:?}");
    }
    let datasources = provisioned("datasources", "datasources");
    let defaults = datasources.iter().filter(|it| it["isDefault"] == json!(true));
    assert_eq!(defaults.count(), 1, "{datasources:?}");
    assert_eq!(datasources[0]["type"], "prometheus", "the dashboard asks for one");
}

#[test]
fn every_folder_of_dashboards_is_read_once_and_is_mounted() {
    let providers = provisioned("dashboards", "providers");
    let paths: Vec<&str> =
        providers.iter().map(|it| it["options"]["path"].as_str().unwrap()).collect();
    assert_eq!(paths, ["/var/lib/grafana/dashboards"]);
    let folder = workspace::root().join(mounted(paths[0]));
    assert!(folder.join("connections.json").is_file());
}
