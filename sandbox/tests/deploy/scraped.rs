//! What Prometheus and the autoscaler's adapter are given: they ask pods that are there, and their files are read
//! by Prometheus' own tool.

use crate::manifests::{kind, rendered};
use sandbox::{say, tools::Prometheus, workspace};
use serde_json::{Value, json};
use std::{fs, path::PathBuf, process::Command};

fn folder() -> PathBuf {
    workspace::envoy_folder().join("observability")
}

fn read(file: PathBuf) -> Value {
    serde_saphyr::from_str(&fs::read_to_string(file).unwrap()).unwrap()
}

/// Each job's name and path, on one machine.
fn jobs(file: &str) -> Vec<Value> {
    read(folder().join(file))["scrape_configs"].as_array().unwrap().clone()
}

async fn promtool(arguments: &[&str]) -> String {
    let promtool = Prometheus::find().await.unwrap().promtool;
    let ran = Command::new(promtool).args(arguments).output().unwrap();
    let said = [ran.stdout.clone(), ran.stderr].concat();
    assert!(ran.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&said));
    String::from_utf8(ran.stdout).unwrap()
}

/// A pod as it is discovered: what it has, and its value.
type Pod = Vec<(&'static str, &'static str)>;

/// What Prometheus makes of pods: for each, by which job it is asked, and where.
async fn asked(pods: &[Pod]) -> Vec<Option<(String, String)>> {
    let discovered = pods.iter().enumerate().map(|(index, pod)| {
        let meta =
            pod.iter().map(|(of, value)| (format!("__meta_kubernetes_pod_{of}"), json!(value)));
        let mut labels: serde_json::Map<String, Value> = meta.collect();
        labels.insert("index".to_owned(), json!(index.to_string()));
        json!({"targets": [format!("{index}:1")], "labels": labels})
    });
    let discovered: Vec<Value> = discovered.collect();
    let mut document = read(folder().join("prometheus-kubernetes.yml"));
    document["rule_files"].take();
    for job in document["scrape_configs"].as_array_mut().unwrap() {
        // Debian's Prometheus is built without Kubernetes' discovery; what it would have found is said here.
        let discovery = job.as_object_mut().unwrap().remove("kubernetes_sd_configs").unwrap();
        assert_eq!(discovery, json!([{"role": "pod", "namespaces": {"names": ["connections"]}}]));
        job["static_configs"] = json!(discovered);
    }
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("prometheus.yml");
    fs::write(&file, document.to_string()).unwrap();
    let file = file.to_str().unwrap();
    promtool(&["check", "config", file]).await;
    let mut asked = vec![None; pods.len()];
    for job in document["scrape_configs"].as_array().unwrap() {
        let job = job["job_name"].as_str().unwrap();
        // It listens for as long as it may.
        let found = promtool(&["check", "service-discovery", "--timeout=1s", file, job]).await;
        let found: Vec<Value> = serde_json::from_str(&found).unwrap();
        assert_eq!(found.len(), pods.len(), "{found:?}");
        for target in found {
            let index = target["discoveredLabels"]["index"].as_str().unwrap();
            let index: usize = index.parse().unwrap();
            let labels = &target["labels"];
            if let Some(address) = labels["__address__"].as_str() {
                let at = format!("{address}{}", labels["__metrics_path__"].as_str().unwrap());
                assert_eq!(asked[index].replace((job.to_owned(), at)), None, "asked twice");
            }
        }
    }
    asked
}

#[tokio::test]
async fn kubernetes_has_the_jobs_that_rules_and_dashboard_ask_for() {
    let names =
        |file| -> Vec<Value> { jobs(file).iter().map(|it| it["job_name"].clone()).collect() };
    assert_eq!(names("prometheus-kubernetes.yml"), names("prometheus.yml"));
    let scrape = ("annotation_prometheus_io_scrape", "true");
    let port = |port| ("annotation_prometheus_io_port", port);
    let path = |path| ("annotation_prometheus_io_path", path);
    let (four, six) = (("ip", "10.0.0.7"), ("ip", "fd00::7"));
    let called = |name| ("label_app_kubernetes_io_name", name);
    let gateway = |name| ("label_gateway_networking_k8s_io_gateway_name", name);
    let owned = ("label_gateway_envoyproxy_io_owning_gateway_name", "edge");
    let envoys = "/stats/prometheus";
    let table = [
        (
            vec![called("control"), scrape, port("3005"), path("/metrics"), four],
            Some(("control", "10.0.0.7:3005/metrics")),
        ),
        (
            vec![called("control"), scrape, port("3005"), path("/metrics"), six],
            Some(("control", "[fd00::7]:3005/metrics")),
        ),
        (
            vec![called("edge"), scrape, port("9902"), path(envoys), four],
            Some(("edge", "10.0.0.7:9902/stats/prometheus")),
        ),
        (
            vec![called("envoy"), owned, scrape, port("19001"), path(envoys), four],
            Some(("edge", "10.0.0.7:19001/stats/prometheus")),
        ),
        (
            vec![gateway("waypoint"), scrape, port("15020"), path(envoys), four],
            Some(("edge", "10.0.0.7:15020/stats/prometheus")),
        ),
        // Not ours, not to be asked, and not a server.
        (vec![called("other"), scrape, port("3005"), path("/metrics"), four], None),
        (vec![called("edge"), port("9902"), path(envoys), four], None),
        (vec![called("migrate"), four], None),
    ];
    let (pods, expected): (Vec<Pod>, Vec<_>) = table.into_iter().unzip();
    let expected: Vec<Option<(String, String)>> = expected
        .into_iter()
        .map(|it| it.map(|(job, at): (&str, &str)| (job.to_owned(), at.to_owned())))
        .collect();
    assert_eq!(asked(&pods).await, expected);
    say::doing("not run: kubernetes_sd_configs (Debian's Prometheus is built without it)");
}

#[tokio::test]
async fn pods_say_where_their_metrics_are() {
    let objects = rendered("kubernetes/overlays/example").await;
    for job in jobs("prometheus.yml") {
        let called = &job["job_name"];
        let is_it = |it: &&Value| {
            kind(it) == "Deployment"
                && it["spec"]["template"]["metadata"]["labels"]["app.kubernetes.io/name"] == *called
        };
        let pod = &objects.iter().find(is_it).unwrap()["spec"]["template"];
        let said =
            |what: &str| pod["metadata"]["annotations"][format!("prometheus.io/{what}")].as_str();
        assert_eq!(said("scrape"), Some("true"), "{called}");
        assert_eq!(said("path"), job["metrics_path"].as_str(), "{called}");
        let port: u64 = said("port").unwrap().parse().unwrap();
        let ports = pod["spec"]["containers"][0]["ports"].as_array().unwrap();
        let port = ports.iter().find(|it| it["containerPort"] == port).unwrap();
        // And the network policy of the same installation lets Prometheus in there.
        let policy = objects.iter().find(|it| {
            kind(it) == "NetworkPolicy"
                && it["spec"]["podSelector"]["matchLabels"]["app.kubernetes.io/name"] == *called
        });
        let rules = policy.unwrap()["spec"]["ingress"].as_array().unwrap();
        let mut rules =
            rules.iter().filter(|rule| rule["from"].to_string().contains("\"monitoring\""));
        assert!(rules.any(|rule| rule["ports"][0]["port"] == port["name"]), "{called}: {rules:?}");
    }
}

/// Two replicas that tell one age must not be twice as old.
#[tokio::test]
async fn the_adapter_offers_one_age_for_all_replicas() {
    let rules = read(workspace::envoy_folder().join("kubernetes/adapter.yaml"));
    let rule = &rules["rules"]["external"][0];
    let query = rule["metricsQuery"].as_str().unwrap();
    let query = query
        .replace("<<.Series>>", "connections_backlog_age_seconds")
        .replace("<<.LabelMatchers>>", r#"namespace="connections""#);
    let world = json!({"evaluation_interval": "1m", "tests": [{
        "interval": "1m",
        "input_series": (["a", "b"]).map(|pod| json!({
            "series": format!(r#"connections_backlog_age_seconds{{job="control",namespace="connections",pod="{pod}"}}"#),
            "values": "7x5"})),
        "promql_expr_test": [{"expr": query, "eval_time": "3m",
            "exp_samples": [{"labels": "{}", "value": 7}]}]}]});
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("test.yml");
    fs::write(&file, world.to_string()).unwrap();
    promtool(&["test", "rules", file.to_str().unwrap()]).await;
    let metric = &rule["name"]["as"];
    for installation in crate::manifests::INSTALLATIONS {
        let objects = rendered(installation).await;
        let scaler = objects.iter().find(|it| {
            kind(it) == "HorizontalPodAutoscaler"
                && it["spec"]["scaleTargetRef"]["name"] == "control"
        });
        let external = &scaler.unwrap()["spec"]["metrics"][0]["external"];
        assert_eq!(&external["metric"]["name"], metric, "{installation}");
    }
}
