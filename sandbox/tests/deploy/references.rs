//! Whatever an object names is there: in the same installation, in the list of Secrets that its operator makes,
//! or in the code.

use crate::{
    manifests::{INSTALLATIONS, kind, name, rendered},
    settings::{is_read, is_secret},
};
use sandbox::workspace;
use serde_json::{Map, Value};
use std::fs;

/// What Envoy Gateway labels the pods of our Gateway with (`internal/infrastructure/kubernetes/proxy/resource.go` and
/// `internal/gatewayapi/translator.go` of v1.9.0). Its Deployment selects the pods by these, and labels of the
/// Gateway would replace them on the pods.
const ENVOY_GATEWAYS: [(&str, &str); 6] = [
    ("app.kubernetes.io/name", "envoy"),
    ("app.kubernetes.io/component", "proxy"),
    ("app.kubernetes.io/managed-by", "envoy-gateway"),
    ("gateway.networking.k8s.io/gateway-name", "edge"),
    ("gateway.envoyproxy.io/owning-gateway-name", "edge"),
    ("gateway.envoyproxy.io/owning-gateway-namespace", "connections"),
];

/// An installation, with a word for what is wrong in it.
struct Installed {
    at: &'static str,
    objects: Vec<Value>,
}

impl Installed {
    async fn all() -> Vec<Self> {
        let mut all = Vec::new();
        for at in INSTALLATIONS {
            all.push(Self { at, objects: rendered(at).await });
        }
        all
    }

    fn of<'a>(&'a self, wanted: &'a str) -> impl Iterator<Item = &'a Value> {
        self.objects.iter().filter(move |object| kind(object) == wanted)
    }

    #[track_caller]
    fn get<'a>(&'a self, wanted: &str, called: &Value) -> &'a Value {
        let called = called.as_str().unwrap_or_default();
        let is_it = |object: &&Value| kind(object) == wanted && name(object) == called;
        let found = self.objects.iter().find(is_it);
        found.unwrap_or_else(|| panic!("{}: there is no {wanted} {called:?}", self.at))
    }

    /// Deployments and Jobs.
    fn workloads(&self) -> impl Iterator<Item = &Value> {
        self.of("Deployment").chain(self.of("Job"))
    }

    /// The labels of pods, and of those that Envoy Gateway makes.
    fn pods(&self) -> Vec<Map<String, Value>> {
        let made = self.of("Gateway").filter(|it| it["spec"]["gatewayClassName"] == "eg");
        let made = made.map(|it| {
            let added = it["spec"]["infrastructure"]["labels"].as_object().cloned();
            let own = ENVOY_GATEWAYS.map(|(key, value)| (key.to_owned(), Value::from(value)));
            own.into_iter().chain(added.unwrap_or_default()).collect()
        });
        let templates = self.workloads();
        let labels =
            templates.map(|it| it["spec"]["template"]["metadata"]["labels"].as_object().unwrap());
        labels.cloned().chain(made).collect()
    }

    /// What the roles of an account let it do with a resource.
    fn verbs(&self, account: &Value, resource: &str) -> Vec<&str> {
        let is_bound = |it: &&Value| {
            list(&it["subjects"])
                .any(|subject| subject["kind"] == "ServiceAccount" && &subject["name"] == account)
        };
        let bound = self.of("RoleBinding").filter(is_bound);
        let roles = bound.map(|it| self.get("Role", &it["roleRef"]["name"]));
        let rules = roles.flat_map(|role| list(&role["rules"]));
        let rules = rules.filter(|rule| list(&rule["resources"]).any(|it| it == resource));
        rules.flat_map(|rule| list(&rule["verbs"])).filter_map(Value::as_str).collect()
    }

    #[track_caller]
    fn selects(&self, what: &str, selector: &Value) {
        let wanted =
            selector.as_object().unwrap_or_else(|| panic!("{}: {what} selects nothing", self.at));
        let matches = |labels: &Map<String, Value>| {
            wanted.iter().all(|(key, value)| labels.get(key) == Some(value))
        };
        assert!(self.pods().iter().any(matches), "{}: {what} selects no pod: {selector}", self.at);
    }
}

fn list(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

/// Every object below `value` that has a member of this name.
fn members<'a>(value: &'a Value, wanted: &str, found: &mut Vec<&'a Value>) {
    match value {
        Value::Object(fields) => {
            for (field, value) in fields {
                if field == wanted {
                    found.push(value);
                }
                members(value, wanted, found);
            }
        }
        Value::Array(items) => items.iter().for_each(|item| members(item, wanted, found)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

fn all<'a>(value: &'a Value, wanted: &str) -> Vec<&'a Value> {
    let mut found = Vec::new();
    members(value, wanted, &mut found);
    found
}

#[tokio::test]
async fn every_name_of_a_workload_is_there() {
    for installed in Installed::all().await {
        for workload in installed.workloads() {
            let called = name(workload);
            let pod = &workload["spec"]["template"]["spec"];
            installed.get("ServiceAccount", &pod["serviceAccountName"]);
            if kind(workload) == "Deployment" {
                let labels =
                    workload["spec"]["template"]["metadata"]["labels"].as_object().unwrap();
                for (key, value) in workload["spec"]["selector"]["matchLabels"].as_object().unwrap()
                {
                    assert_eq!(labels.get(key), Some(value), "{called}");
                }
            }
            for map in all(pod, "configMapRef").into_iter().chain(all(pod, "configMap")) {
                installed.get("ConfigMap", &map["name"]);
            }
            for entry in all(pod, "configMapKeyRef") {
                let map = installed.get("ConfigMap", &entry["name"]);
                assert!(map["data"].get(entry["key"].as_str().unwrap()).is_some(), "{entry}");
            }
            let volumes: Vec<&Value> =
                list(&pod["volumes"]).map(|volume| &volume["name"]).collect();
            for container in list(&pod["containers"]) {
                for mount in list(&container["volumeMounts"]) {
                    assert!(volumes.contains(&&mount["name"]), "{called} mounts {mount}");
                }
                let ports: Vec<&Value> =
                    list(&container["ports"]).map(|port| &port["name"]).collect();
                for probe in all(container, "httpGet") {
                    assert!(ports.contains(&&probe["port"]), "{called} is probed at {probe}");
                }
            }
        }
    }
}

#[tokio::test]
async fn every_selector_selects_and_every_port_is_open() {
    for installed in Installed::all().await {
        for service in installed.of("Service") {
            let selector = &service["spec"]["selector"];
            installed.selects(name(service), selector);
            let target = installed.of("Deployment").find(|it| {
                let labels = &it["spec"]["template"]["metadata"]["labels"];
                selector.as_object().unwrap().iter().all(|(key, value)| &labels[key] == value)
            });
            let open = all(target.unwrap(), "containerPort").len();
            assert!(open >= 2, "{} opens {open} ports", name(service));
            let names: Vec<&Value> = all(target.unwrap(), "ports")
                .into_iter()
                .flat_map(list)
                .map(|port| &port["name"])
                .collect();
            for port in list(&service["spec"]["ports"]) {
                assert!(names.contains(&&port["targetPort"]), "{} has no {port}", name(service));
            }
        }
        for guarded in ["NetworkPolicy", "PodDisruptionBudget", "AuthorizationPolicy", "Telemetry"]
        {
            for object in installed.of(guarded) {
                for selector in
                    all(object, "podSelector").into_iter().chain(all(object, "selector"))
                {
                    // The edge of the waypoint's installation is another one's.
                    let is_elsewhere = installed.at == "istio/waypoint"
                        && selector["matchLabels"]["app.kubernetes.io/name"] == "edge";
                    if !is_elsewhere {
                        installed.selects(name(object), &selector["matchLabels"]);
                    }
                }
            }
        }
        for scaler in installed.of("HorizontalPodAutoscaler") {
            installed.get("Deployment", &scaler["spec"]["scaleTargetRef"]["name"]);
        }
    }
}

#[tokio::test]
async fn no_label_of_a_gateway_replaces_one_that_its_pods_are_selected_by() {
    let mut seen = 0;
    for installed in Installed::all().await {
        for gateway in
            installed.of("Gateway").filter(|it| it["spec"].get("gatewayClassName").is_some())
        {
            seen += 1;
            for label in
                gateway["spec"]["infrastructure"]["labels"].as_object().into_iter().flatten()
            {
                let is_taken = ENVOY_GATEWAYS.iter().any(|(key, _)| key == label.0);
                assert!(!is_taken, "{}: {label:?} is Envoy Gateway's own", installed.at);
            }
        }
    }
    assert_eq!(seen, 2, "Envoy Gateway's and the waypoint");
}

#[tokio::test]
async fn secrets_are_named_and_never_written_down() {
    let page = fs::read_to_string(workspace::envoy_folder().join("kubernetes/README.md")).unwrap();
    let is_told = |secret: &str, key: &str| {
        let mut rows = page.lines().filter(|line| line.starts_with(&format!("| `{secret}`")));
        rows.any(|row| row.contains(&format!("`{key}`")))
    };
    let mut seen = 0;
    for installed in Installed::all().await {
        assert_eq!(installed.of("Secret").count(), 0, "{}", installed.at);
        for object in &installed.objects {
            let mut named: Vec<(&Value, &Value)> = Vec::new();
            named.extend(
                all(object, "secretKeyRef").into_iter().map(|it| (&it["name"], &it["key"])),
            );
            for source in all(object, "sources").into_iter().flat_map(list).map(|it| &it["secret"])
            {
                named.extend(list(&source["items"]).map(|item| (&source["name"], &item["key"])));
            }
            for (secret, key) in named {
                let (secret, key) = (secret.as_str().unwrap(), key.as_str().unwrap());
                assert!(is_told(secret, key), "{}: nobody is told of {secret} {key}", installed.at);
                seen += 1;
            }
            for (variable, value) in object["data"].as_object().into_iter().flatten() {
                assert!(!is_secret(variable), "{}: {variable} is {value}", installed.at);
            }
            for variable in all(object, "env").into_iter().flat_map(list) {
                let is_plain = variable.get("value").is_some();
                assert!(!(is_plain && is_secret(variable["name"].as_str().unwrap())), "{variable}");
            }
        }
    }
    assert!(seen > 20, "only {seen} references were seen");
}

/// istiod hands a certificate out to an account that may list secrets itself, and to no other.
#[tokio::test]
async fn who_serves_a_certificate_by_name_may_read_secrets() {
    let mut seen = 0;
    for installed in Installed::all().await {
        for gateway in installed.of("Gateway") {
            if all(gateway, "credentialName").is_empty() {
                continue;
            }
            let selector = gateway["spec"]["selector"].as_object().unwrap();
            let pods = installed.of("Deployment").map(|it| &it["spec"]["template"]);
            let is_served = |pod: &&Value| {
                selector
                    .iter()
                    .all(|(key, value)| pod["metadata"]["labels"].get(key) == Some(value))
            };
            for pod in pods.filter(is_served) {
                let account = &pod["spec"]["serviceAccountName"];
                let allowed = installed.verbs(account, "secrets");
                assert_eq!(allowed, ["get", "list", "watch"], "{account} may read secrets");
                seen += 1;
            }
        }
        // Who serves none has no business with them.
        assert!(installed.verbs(&Value::from("control"), "secrets").is_empty());
    }
    assert_eq!(seen, 2, "Istio's two gateways");
}

#[tokio::test]
async fn control_is_given_settings_that_it_reads_and_images_that_are_built() {
    let version = env!("CARGO_PKG_VERSION");
    for installed in Installed::all().await {
        let control = installed.get("Deployment", &Value::from("control"));
        let container = &control["spec"]["template"]["spec"]["containers"][0];
        let map = installed.get("ConfigMap", &container["envFrom"][0]["configMapRef"]["name"]);
        let literal = map["data"].as_object().unwrap().keys().cloned();
        let given = list(&container["env"]).map(|it| it["name"].as_str().unwrap().to_owned());
        let mut count = 0;
        for variable in literal.chain(given) {
            assert!(is_read(&variable), "{}: nobody reads {variable}", installed.at);
            count += 1;
        }
        assert!(count > 12, "{}: only {count} settings", installed.at);
        let mut images = installed.workloads().flat_map(|it| all(&it["spec"]["template"], "image"));
        assert!(images.all(|image| {
            let image = image.as_str().unwrap();
            let ours = ["control", "edge"]
                .map(|part| format!("registry.acme.example/connections-{part}:{version}"));
            // Istio's injector replaces it.
            image == "auto" || ours.iter().any(|known| known == image)
        }));
        let args = |workload: &str, of: &str| {
            installed.get(of, &Value::from(workload))["spec"]["template"]["spec"]["containers"][0]["args"].clone()
        };
        assert_eq!(args("control", "Deployment"), serde_json::json!(["serve"]));
        assert_eq!(args("migrate", "Job"), serde_json::json!(["migrate"]));
    }
}

#[tokio::test]
async fn the_mesh_routes_to_what_is_there_and_trusts_who_is_there() {
    for installed in Installed::all().await {
        for route in installed.of("VirtualService") {
            for gateway in list(&route["spec"]["gateways"]) {
                installed.get("Gateway", gateway);
            }
        }
        let hosts =
            all_of(&installed, "VirtualService", "destination").into_iter().map(|it| &it["host"]);
        let hosts: Vec<&Value> =
            hosts.chain(installed.of("DestinationRule").map(|it| &it["spec"]["host"])).collect();
        let refs = all_of(&installed, "HTTPRoute", "backendRefs")
            .into_iter()
            .flat_map(list)
            .map(|it| &it["name"]);
        for host in hosts.into_iter().chain(refs) {
            let service = installed.get("Service", host);
            assert_eq!(service["spec"]["ports"][0]["port"], 3004);
        }
        for principal in
            all_of(&installed, "AuthorizationPolicy", "principals").into_iter().flat_map(list)
        {
            let account = principal
                .as_str()
                .unwrap()
                .strip_prefix("cluster.local/ns/connections/sa/")
                .unwrap();
            // A waypoint's account is made with it.
            let is_made = installed.at == "istio/waypoint";
            let known = installed.of("ServiceAccount").any(|it| name(it) == account);
            assert!(known || is_made && ["waypoint", "edge"].contains(&account), "{principal}");
        }
        for attached in ["targetRefs", "parametersRef"] {
            for object in &installed.objects {
                for reference in all(&object["spec"], attached) {
                    let references =
                        reference.as_array().cloned().unwrap_or_else(|| vec![reference.clone()]);
                    for reference in references {
                        installed.get(reference["kind"].as_str().unwrap(), &reference["name"]);
                    }
                }
            }
        }
    }
}

fn all_of<'a>(installed: &'a Installed, of: &'a str, wanted: &str) -> Vec<&'a Value> {
    installed.of(of).flat_map(|object| all(object, wanted)).collect()
}
