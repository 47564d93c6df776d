//! What probes and Prometheus see of the edge in Kubernetes: the deployment's own files, in the real Envoy.

use crate::{
    edge::{address, prepare},
    manifests::{kind, name, rendered},
};
use reqwest::{Client, Method, StatusCode};
use sandbox::{
    envoy::configuration,
    ports,
    process::{Process, wait_for},
};
use serde_json::{Value, json};
use std::{fs, time::Duration};
use tempfile::TempDir;
use tokio::process::Command;

const WITHIN: Duration = Duration::from_secs(30);

/// Envoy with the deployment's configuration, and where its probes are.
struct Probed {
    envoy: Process,
    port: u16,
    http: Client,
    _folder: TempDir,
}

/// What the deployment gives Envoy.
async fn files() -> Value {
    let objects = rendered("kubernetes/overlays/example").await;
    let edge = objects.iter().find(|it| {
        kind(it) == "ConfigMap"
            && name(it).starts_with("edge-")
            && it["data"].get("envoy.yaml").is_some()
    });
    edge.unwrap()["data"].clone()
}

impl Probed {
    /// With another heap, if one is given, and what the deployment adds on the command line.
    async fn start(heap: Option<u64>) -> Self {
        let data = files().await;
        let folder = tempfile::tempdir().unwrap();
        let (tools, _pki, addresses) = prepare(folder.path()).await;
        let envoys = folder.path().join("envoy");
        configuration::adjust(&envoys, |document| {
            let monitor = &mut document["overload_manager"]["resource_monitors"][1];
            assert_eq!(monitor["name"], "envoy.resource_monitors.fixed_heap");
            if let Some(bytes) = heap {
                monitor["typed_config"]["max_heap_size_bytes"] = json!(bytes);
            }
            Ok(())
        })
        .unwrap();
        let [port] = ports::free().unwrap();
        let added = data["probes.yaml"].as_str().unwrap();
        let added = added
            .replace("9902", &port.to_string())
            .replace("9901", &addresses.admin.port().to_string());
        let mut command = Command::new(&tools.envoy);
        command.arg("-c").arg(envoys.join("envoy.json")).args(["--config-yaml", &added]);
        command.args([
            "--reject-unknown-dynamic-fields",
            "--disable-hot-restart",
            "--concurrency",
            "1",
            "--log-level",
            "warn",
        ]);
        let envoy = Process::start("Envoy", command, &folder.path().join("envoy.log")).unwrap();
        // Who is not answered is not alive.
        let http = Client::builder().timeout(Duration::from_secs(3)).build().unwrap();
        Self { envoy, port, http, _folder: folder }
    }

    fn at(&self, path: &str) -> String {
        format!("http://{}{path}", address(self.port))
    }

    async fn metrics(&self) -> Option<String> {
        let answer = self.http.get(self.at("/stats/prometheus")).send().await.ok()?;
        answer.error_for_status().ok()?.text().await.ok()
    }
}

#[tokio::test]
async fn kubernetes_runs_the_one_configuration_and_its_probes_show_no_more() {
    let one = fs::read_to_string(sandbox::workspace::envoy_folder().join("envoy.yaml")).unwrap();
    assert_eq!(files().await["envoy.yaml"], json!(one));
    let mut probed = Probed::start(None).await;
    probed.envoy.wait_until_well(&probed.at("/livez"), WITHIN).await.unwrap();
    assert!(probed.metrics().await.unwrap().contains("envoy_server_live"));
    for path in ["/quitquitquit", "/config_dump", "/healthcheck/fail", "/", "/ready", "/stats"] {
        for method in [Method::GET, Method::POST] {
            let answer = probed.http.request(method, probed.at(path)).send().await.unwrap();
            assert_eq!(answer.status(), 404, "{path}");
        }
    }
    let posted = probed.http.post(probed.at("/stats/prometheus")).send().await.unwrap();
    assert_eq!(posted.status(), 404);
    probed.envoy.stop().await.unwrap();
}

/// Whoever sheds load is alive: a kubelet that ended it would hand the load to the next one.
#[tokio::test]
async fn an_envoy_that_turns_clients_away_for_its_heap_is_alive_and_measured() {
    let probed = Probed::start(Some(1)).await;
    // Envoy looks at its heap four times a second, and begins without a look.
    let is_shedding = |metrics: &str| {
        let is_on = |gauge: &str, value: &str| {
            metrics.lines().any(|line| line.starts_with(gauge) && line.ends_with(value))
        };
        is_on("envoy_overload_envoy_overload_actions_stop_accepting_connections_active", " 1")
            && is_on(
                "envoy_overload_envoy_load_shed_points_http_downstream_filter_check_scale_percent",
                " 100",
            )
    };
    wait_for("Envoy to shed load", WITHIN, || async {
        Ok(probed.metrics().await.is_some_and(|metrics| is_shedding(&metrics)).then_some(()))
    })
    .await
    .unwrap();
    let alive = probed.http.get(probed.at("/livez")).send().await.unwrap();
    assert_eq!(alive.status(), StatusCode::OK);
    probed.envoy.stop().await.unwrap();
}
