//! A real Prometheus beside a running sandbox.

use super::folder;
use crate::support::World;
use sandbox::{ports, process::Process, tools::Prometheus};
use serde_json::Value;
use std::{
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::Command as Blocking,
    time::Duration,
};
use tempfile::TempDir;
use tokio::process::Command;

const READY_WITHIN: Duration = Duration::from_secs(30);

pub struct Server {
    _process: Process,
    address: SocketAddr,
    http: reqwest::Client,
    _folder: TempDir,
}

impl Server {
    /// Starts it on the configuration that is shipped.
    pub async fn start(world: &World) -> Self {
        let rules = fs::read_to_string(folder().join("rules.yml")).unwrap();
        Self::with_rules(world, &rules).await
    }

    /// Starts it with other rules.
    pub async fn with_rules(world: &World, rules: &str) -> Self {
        let programs = Prometheus::find().await.unwrap();
        let scratch = tempfile::tempdir().unwrap();
        let path = |name: &str| scratch.path().join(name);
        fs::write(path("rules.yml"), rules).unwrap();
        fs::write(path("prometheus.yml"), configuration(world, &path("rules.yml"))).unwrap();
        check_configuration(&programs.promtool, &path("prometheus.yml"));
        let [port] = ports::free().unwrap();
        let address = SocketAddr::from(([127, 0, 0, 1], port));
        let mut command = Command::new(&programs.server);
        command
            .arg(format!("--config.file={}", path("prometheus.yml").display()))
            .arg(format!("--storage.tsdb.path={}", path("data").display()))
            .arg(format!("--web.listen-address={address}"));
        let mut process = Process::start("Prometheus", command, &path("log")).unwrap();
        process.wait_until_well(&format!("http://{address}/-/ready"), READY_WITHIN).await.unwrap();
        let http = reqwest::Client::new();
        Self { _process: process, address, http, _folder: scratch }
    }

    pub async fn ask(&self, path: &str, query: &[(&str, &str)]) -> Value {
        let url = format!("http://{}/api/v1/{path}", self.address);
        let answer = self.http.get(url).query(query).send().await.unwrap();
        let answer: Value = answer.json().await.unwrap();
        assert_eq!(answer["status"], "success", "{path} {query:?}: {answer}");
        answer["data"].clone()
    }

    /// The series that an expression has now, each with its value.
    pub async fn result(&self, expression: &str) -> Vec<Value> {
        let answered = self.ask("query", &[("query", expression)]).await;
        answered["result"].as_array().unwrap().clone()
    }

    /// How many series an expression has now.
    pub async fn series(&self, expression: &str) -> usize {
        self.result(&expression.replace("$__rate_interval", "1m")).await.len()
    }
}

/// The shipped configuration, but for where everything is and how often it is asked.
fn configuration(world: &World, rules: &Path) -> String {
    let mut text = fs::read_to_string(folder().join("prometheus.yml")).unwrap();
    let control = world.stack.control_settings.admin.to_string();
    let envoy = world.stack.envoy.addresses.admin.to_string();
    let rules = rules.to_str().unwrap();
    for (shipped, here) in [
        ("control:3005", &*control),
        ("127.0.0.1:9901", &envoy),
        ("5s", "1s"),
        ("rules.yml", rules),
    ] {
        assert!(text.contains(shipped), "{shipped}");
        text = text.replace(shipped, here);
    }
    text
}

fn check_configuration(promtool: &Path, file: &PathBuf) {
    let ran = Blocking::new(promtool).args(["check", "config"]).arg(file).output().unwrap();
    let said = [ran.stdout, ran.stderr].concat();
    assert!(ran.status.success(), "{}", String::from_utf8_lossy(&said));
}
