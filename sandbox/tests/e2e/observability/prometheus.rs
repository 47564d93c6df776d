//! A real Prometheus scrapes the running sandbox by the configuration that is shipped, and answers everything
//! that rules and dashboard ask.

use super::{alerts, dashboard, folder, server::Server};
use crate::{
    flow::{authorize, notified, start},
    support::World,
};
use sandbox::{browser::Decision, process::wait_for, tools::Prometheus};
use serde_json::Value;
use std::{collections::BTreeSet, process::Command as Blocking, time::Duration};

/// Envoy merges histograms and flushes counters every five seconds; a rate needs two scrapes.
const DATA_WITHIN: Duration = Duration::from_secs(90);

/// What is in an expression and no metric of ours: functions, labels and their values.
fn metrics_of(expression: &str) -> BTreeSet<String> {
    // Envoy's own name of the two; `sandbox/tests/deploy/labels.rs` looks for the one that Istio makes of it.
    let either = r#"{__name__=~"envoy_http_downstream_rq(_xx)?","#;
    let expression = expression.replace(either, "envoy_http_downstream_rq_xx{");
    let is_name = |letter: char| letter == '_' || letter.is_ascii_alphanumeric();
    // What stands in braces and in quotes are labels.
    let mut outside = String::new();
    let mut depth = 0;
    for letter in expression.chars() {
        depth += i32::from(letter == '{') - i32::from(letter == '}');
        outside.push(if depth == 0 && letter != '}' { letter } else { ' ' });
    }
    let words = outside.split(|letter| !is_name(letter));
    let starts = ["connections_", "process_", "envoy_"];
    // Labels that are grouped by begin as Envoy's metrics do.
    let labels = ["envoy_http_conn_manager_prefix", "envoy_response_code_class"];
    words
        .filter(|word| *word == "up" || starts.iter().any(|start| word.starts_with(start)))
        .filter(|word| !labels.contains(word))
        .map(str::to_owned)
        .collect()
}

#[test]
fn the_names_in_an_expression_are_told_from_its_labels() {
    let expression =
        r#"sum by (envoy_response_code_class) (rate(envoy_rq{a="connections_x"}[5m])) / up"#;
    assert_eq!(metrics_of(expression).into_iter().collect::<Vec<_>>(), ["envoy_rq", "up"]);
}

#[tokio::test]
async fn the_rules_are_well_formed_and_fire_when_they_should_and_not_else() {
    let promtool = Prometheus::find().await.unwrap().promtool;
    for arguments in [["check", "rules", "rules.yml"], ["test", "rules", "rules_test.yml"]] {
        let ran = Blocking::new(&promtool).args(arguments).current_dir(folder()).output().unwrap();
        let said = [ran.stdout, ran.stderr].concat();
        assert!(ran.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&said));
    }
}

/// A little of everything that can happen.
async fn live(world: &World) {
    let stack = &world.stack;
    let started = start(stack).await;
    authorize(stack, &started, Decision::Allow).await;
    notified(stack, 1).await;
    let refused = stack.http.get(stack.edge("/tenants/rival/connections")).send().await.unwrap();
    assert_eq!(refused.status(), 403);
    assert_eq!(stack.http.get(stack.edge("/health")).send().await.unwrap().status(), 200);
}

#[tokio::test]
async fn prometheus_answers_every_panel_and_every_alert_from_the_running_sandbox() {
    let world = World::start().await;
    let server = Server::start(&world).await;
    live(&world).await;
    let panels = dashboard::panels();
    assert!(panels.len() > 20, "{}", panels.len());
    let expressions: Vec<(&str, &str)> = panels
        .iter()
        .flat_map(|(title, all)| all.iter().map(move |one| (title.as_str(), one.as_str())))
        .collect();
    // What has none by the end is named by the last look.
    let _in_time = wait_for("panels without data", DATA_WITHIN, || async {
        Ok(silent(&server, &expressions).await.is_empty().then_some(()))
    })
    .await;
    assert_eq!(silent(&server, &expressions).await, [], "panels without data");
    let alerts = alerts();
    let rules = alerts.iter().map(|alert| alert.expression.as_str());
    check_names(&server, expressions.into_iter().map(|(_, expression)| expression).chain(rules))
        .await;
    check_alerts(&server).await;
    world.finish().await;
}

/// The expressions that have no data, with the panels that they are of.
async fn silent<'a>(
    server: &Server,
    expressions: &[(&'a str, &'a str)],
) -> Vec<(&'a str, &'a str)> {
    let mut silent = Vec::new();
    for (title, expression) in expressions {
        if server.series(expression).await == 0 {
            silent.push((*title, *expression));
        }
    }
    silent
}

/// Every metric that a panel or a rule names is one that was scraped.
async fn check_names(server: &Server, expressions: impl Iterator<Item = &str>) {
    let scraped = server.ask("label/__name__/values", &[]).await;
    let scraped: BTreeSet<&str> =
        scraped.as_array().unwrap().iter().filter_map(Value::as_str).collect();
    for expression in expressions {
        let named = metrics_of(expression);
        assert!(!named.is_empty(), "{expression} names no metric");
        for name in named {
            assert!(scraped.contains(name.as_str()), "nobody has {name}, of {expression}");
        }
    }
}

/// Every rule was evaluated without an error, and nothing is wrong with a world where nothing is wrong.
async fn check_alerts(server: &Server) {
    let answered = server.ask("rules", &[]).await;
    let groups = answered["groups"].as_array().unwrap();
    let rules: Vec<&Value> =
        groups.iter().flat_map(|group| group["rules"].as_array().unwrap()).collect();
    assert_eq!(rules.len(), alerts().len());
    for rule in rules {
        assert_eq!(rule["health"], "ok", "{rule}");
        assert_ne!(rule["state"], "firing", "{rule}");
    }
}
