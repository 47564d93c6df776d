//! `docker-compose.yml` and `.env.example`.

use crate::{
    schema,
    settings::{is_read, is_secret, told_to_operators},
};
use sandbox::{
    envoy::configuration::read_configuration,
    verbs::part::{EDGE_URL, PORTS, YOURS},
    workspace,
};
use serde_json::{Value, json};
use std::{collections::BTreeSet, fs};

fn text(file: &str) -> String {
    fs::read_to_string(workspace::root().join(file)).unwrap()
}

fn compose() -> Value {
    serde_saphyr::from_str(&text("docker-compose.yml")).unwrap()
}

fn services() -> Vec<(String, Value)> {
    let compose = compose();
    let services = compose["services"].as_object().unwrap().clone();
    assert!(services.len() > 6, "{services:?}");
    services.into_iter().collect()
}

fn texts(list: &Value) -> Vec<&str> {
    list.as_array().into_iter().flatten().filter_map(Value::as_str).collect()
}

/// A service that does one thing and ends.
fn is_one_shot(service: &Value) -> bool {
    service["restart"] == json!("no")
}

#[test]
fn it_is_what_the_compose_specification_says() {
    let schema = schema::of_compose();
    assert_eq!(schema::complaints(&schema, &compose()), Vec::<String>::new());
    let mut misspelt = compose();
    misspelt["services"]["control"]["healthchek"] = json!({});
    assert!(!schema::complaints(&schema, &misspelt).is_empty());
}

#[test]
fn every_service_is_pinned_restarted_hardened_and_looked_at() {
    for (name, service) in services() {
        let (_, tag) = service["image"].as_str().unwrap().rsplit_once(':').unwrap();
        assert!(tag.bytes().any(|byte| byte.is_ascii_digit()), "{name} runs {tag}");
        if is_one_shot(&service) {
            continue;
        }
        assert_eq!(service["restart"], json!("unless-stopped"), "{name}");
        assert!(!texts(&service["healthcheck"]["test"]).is_empty(), "{name} has no healthcheck");
        // PostgreSQL's own image must begin as root, and writes.
        if name != "postgres" {
            assert_eq!(service["read_only"], json!(true), "{name}");
            assert_eq!(service["cap_drop"], json!(["ALL"]), "{name}");
        }
    }
}

#[test]
fn what_is_waited_for_can_happen() {
    let services = services();
    for (name, service) in &services {
        for (other, waited) in service["depends_on"].as_object().into_iter().flatten() {
            let found = services.iter().find(|(name, _)| name == other);
            let (_, found) = found.unwrap_or_else(|| panic!("{name} waits for {other}"));
            let ends = waited["condition"] == json!("service_completed_successfully");
            assert_eq!(ends, is_one_shot(found), "{name} waits for {other}: {waited}");
        }
    }
}

#[test]
fn every_path_and_volume_exists() {
    let root = workspace::root();
    let volumes = compose()["volumes"].as_object().unwrap().clone();
    let mut used = BTreeSet::new();
    for (name, service) in services() {
        if let Some(build) = service.get("build") {
            let dockerfile = text(build["dockerfile"].as_str().unwrap());
            if let Some(target) = build["target"].as_str() {
                assert!(dockerfile.contains(&format!(" AS {target}\n")), "{name}: {target}");
            }
        }
        for volume in texts(&service["volumes"]) {
            let source = volume.split(':').next().unwrap();
            match source.strip_prefix("./") {
                Some(path) => assert!(root.join(path).exists(), "{name} mounts {path}"),
                None => {
                    assert!(volumes.contains_key(source), "{name} mounts {source}");
                    used.insert(source.to_owned());
                }
            }
        }
    }
    assert_eq!(used, volumes.keys().cloned().collect(), "every volume is used");
    let files = compose()["services"]["files"]["volumes"].clone();
    assert!(texts(&files).contains(&format!("./{YOURS}:/files/you").as_str()), "{files}");
}

/// What is not there is made by the engine, as root, and who cloned this cannot write into it.
#[test]
fn every_folder_of_this_machine_is_in_git_and_no_key_in_it_is_in_an_image() {
    let kept = text(&format!("{YOURS}/.gitignore"));
    let kept: Vec<&str> = kept.lines().filter(|line| !line.starts_with('#')).collect();
    assert_eq!(kept, ["*", "!.gitignore"], "the folder is there, and nothing that is put into it");
    assert!(text(".dockerignore").lines().any(|line| line == YOURS), "{YOURS} is no source");
    for (name, service) in services() {
        let sources = texts(&service["volumes"]).into_iter().filter(|it| it.starts_with("./"));
        for source in sources {
            assert!(!source.starts_with("./target"), "{name} mounts {source}");
        }
    }
}

fn published(service: &Value) -> Vec<u64> {
    let ports = texts(&service["ports"]).into_iter().map(|port| {
        let [host, outside, inside]: [&str; 3] =
            port.split(':').collect::<Vec<_>>().try_into().unwrap();
        assert_eq!(host, "127.0.0.1", "{port} is open to this machine only");
        assert_eq!(outside, inside, "a URL means the same port inside and outside");
        inside.parse().unwrap()
    });
    ports.collect()
}

#[test]
fn every_port_is_one_that_somebody_listens_on() {
    let compose = compose();
    let envoy = read_configuration().unwrap();
    let service = |name: &str| &compose["services"][name];
    let listeners = envoy["static_resources"]["listeners"].as_array().unwrap().iter();
    let port = |at: &Value| at["address"]["socket_address"]["port_value"].as_u64().unwrap();
    assert_eq!(published(service("edge")), listeners.map(port).collect::<Vec<_>>());
    assert_eq!(EDGE_URL, format!("https://localhost:{}", published(service("edge"))[0]));
    let [nango, provider, client_app] = PORTS.map(u64::from);
    assert_eq!(published(service("nango")), [nango, provider]);
    let endpoint = "/static_resources/clusters/0/load_assignment/endpoints/0/lb_endpoints/0/endpoint/address/socket_address";
    let endpoint = envoy.pointer(endpoint).unwrap();
    let control = &service("control")["environment"];
    assert!(compose["services"].get(endpoint["address"].as_str().unwrap()).is_some());
    assert_eq!(control["PORT"], json!(endpoint["port_value"].to_string()));
    let has = |text: &Value, port: u64| text.as_str().unwrap().contains(&format!(":{port}"));
    assert!(has(&control["NANGO_API_URL"], nango) && has(&control["NANGO_PUBLIC_URL"], nango));
    assert!(has(&control["CLIENT_API_URL"], client_app));
    let admin: u64 = control["ADMIN_PORT"].as_str().unwrap().parse().unwrap();
    assert!(
        texts(&service("control")["healthcheck"]["test"])
            .iter()
            .any(|at| at.contains(&format!(":{admin}/readyz")))
    );
    let envoys_admin = envoy["admin"]["address"]["socket_address"]["port_value"].as_u64().unwrap();
    assert!(
        texts(&service("edge")["healthcheck"]["test"])
            .iter()
            .any(|at| at.contains(&format!("/{envoys_admin} ")))
    );
    let scraped = text("envoy/observability/prometheus.yml");
    for target in [format!("control:{admin}"), format!("127.0.0.1:{envoys_admin}")] {
        assert!(scraped.contains(&target), "Prometheus does not scrape {target}");
    }
}

#[test]
fn every_variable_is_one_that_is_read_and_no_secret_is_written_down() {
    for (name, service) in services() {
        for (variable, value) in service["environment"].as_object().into_iter().flatten() {
            let value = value.as_str().unwrap_or_else(|| panic!("{name}: {variable} is no text"));
            let is_others = ["POSTGRES_", "GF_"].iter().any(|owner| variable.starts_with(owner));
            // The edge's and the stand-in's own.
            let is_key = variable == "NANGO_WEBHOOK_SECRET";
            assert!(is_others || is_key || is_read(variable), "{name}: nobody reads {variable}");
            if is_secret(variable) && !is_others || variable == "POSTGRES_PASSWORD" {
                let is_asked =
                    value.starts_with("${") && (value.contains(":?") || value.ends_with(":-}"));
                assert!(is_asked, "{name}: {variable} is written down");
            }
        }
    }
}

/// The names in `${NAME:-…}`.
fn substituted() -> BTreeSet<String> {
    let compose = text("docker-compose.yml");
    let names = compose.split("${").skip(1);
    names.map(|rest| rest.split([':', '}']).next().unwrap().to_owned()).collect()
}

#[test]
fn the_example_has_every_setting_and_a_word_on_each() {
    let example = text(".env.example");
    let named = |line: &str| {
        let (name, value) = line.split_once('=')?;
        let name = name.trim_start_matches("# ");
        let is_name = name.bytes().all(|byte| byte.is_ascii_uppercase() || byte == b'_');
        is_name.then(|| (name.to_owned(), value.to_owned(), line.starts_with('#')))
    };
    let settings: Vec<_> = example.lines().filter_map(named).collect();
    let names: BTreeSet<String> = settings.iter().map(|(name, ..)| name.clone()).collect();
    let substituted = substituted();
    for name in told_to_operators().union(&substituted) {
        assert!(names.contains(name), ".env.example lacks {name}");
    }
    for (name, value, is_comment) in settings {
        // Nobody's example ends up as somebody's secret.
        assert!(is_comment || value.is_empty(), "{name} has a value");
        assert!(is_comment || substituted.contains(&name), "{name} is not used");
    }
}

/// There is no engine here: that images build and containers start is for whoever has one.
#[test]
fn what_only_an_engine_can_show_is_said() {
    sandbox::say::doing(
        "not run: docker compose up (needs a container engine and its registry); checked by schema and against the code",
    );
}
