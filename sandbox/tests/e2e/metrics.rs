//! What an operator sees of the edge in Prometheus, under the names that `envoy/README.md` explains.

use crate::{
    load::{call, webhook},
    support::{Edge, Http, Prepared},
    wire::{Message, Wire},
};
use sandbox::{
    pki::{APP, Name},
    process::wait_for,
    workspace,
};
use serde_json::{Value, json};
use std::{collections::BTreeSet, fs, time::Duration};

async fn prometheus(edge: &Edge) -> String {
    let url = format!("http://{}/stats/prometheus", edge.envoy.addresses.admin);
    reqwest::get(url).await.unwrap().text().await.unwrap()
}

/// The value of one series, by its name and its labels in any order.
fn value(text: &str, name: &str, labels: &[(&str, &str)]) -> Option<u64> {
    let labels: Vec<String> =
        labels.iter().map(|(label, value)| format!(r#"{label}="{value}""#)).collect();
    let mut lines = text.lines().filter(|line| {
        line.starts_with(&format!("{name}{{")) && labels.iter().all(|label| line.contains(label))
    });
    let value = lines.next()?.rsplit(' ').next()?.parse().ok();
    assert_eq!(lines.next(), None, "several of {name} with {labels:?}");
    value
}

#[tokio::test]
async fn every_decision_is_counted_with_its_route_and_its_reason() {
    let edge = Edge::start().await;
    let app = edge.pki.clients.issue("app", &[Name::Uri(APP)]).unwrap();
    let addresses = edge.envoy.addresses;
    let clients = Wire::connect(&edge.pki, addresses.clients, Http::Two, Some(&app));
    let mut clients = clients.await.unwrap();
    let mut public = Wire::connect(&edge.pki, addresses.public, Http::One, None).await.unwrap();
    let get = |path| Message::new("GET", path);
    for message in [call(), call(), get("/tenants/rival/connections/1"), get("/nowhere")] {
        clients.send(&message).await.unwrap();
    }
    clients.send(&Message::new("OPTIONS", "/health")).await.unwrap();
    for key in [&edge.webhook_keys, "another-key-of-somebody"] {
        public.send(&webhook(key)).await.unwrap();
    }
    let expected = [
        (2, ["clients", "get", "forwarded", "none"]),
        (1, ["clients", "get", "refused", "edge_no_grant"]),
        (1, ["clients", "none", "refused", "edge_no_route"]),
        (1, ["clients", "none", "answered", "edge_options"]),
        (1, ["public", "webhook", "forwarded", "none"]),
        (1, ["public", "webhook", "refused", "edge_signature_mismatch"]),
    ];
    let text = wait_for("not all is counted", Duration::from_secs(20), || async {
        let text = prometheus(&edge).await;
        let all = expected.iter().all(|(count, [listener, route, decision, reason])| {
            let labels = [
                ("listener", *listener),
                ("route", route),
                ("decision", decision),
                ("reason", reason),
            ];
            value(&text, "connections_edge_requests", &labels) == Some(*count)
        });
        // A histogram is merged every few seconds.
        let name = "connections_edge_verification_microseconds_count";
        let verified = value(&text, name, &[]) == Some(2);
        Ok((all && verified).then_some(text))
    })
    .await
    .unwrap();
    for listener in ["clients", "public"] {
        let labels = [("listener", listener), ("version", "1")];
        let loaded = value(&text, "connections_edge_policy_loaded_seconds", &labels);
        assert!(loaded.is_some_and(|loaded| loaded > 1_700_000_000), "{loaded:?}");
    }
}

/// The words of a source file that begin like this.
fn words(file: &str, start: &str) -> BTreeSet<String> {
    let text = fs::read_to_string(workspace::root().join(file)).unwrap();
    let is_name = |character: char| character == '_' || character.is_ascii_alphabetic();
    let words = text.split(|character| !is_name(character));
    words
        .filter(|word| word.strip_prefix(start).is_some_and(|rest| !rest.is_empty()))
        .map(str::to_owned)
        .collect()
}

#[tokio::test]
async fn what_new_grants_would_do_is_counted_and_logged_and_not_done() {
    let prepared = Prepared::new().await;
    let grant =
        |tenant: &str| json!({ "principal": APP, "tenants": [tenant], "actions": ["read"] });
    let policy = json!({
        "version": "2", "listener": "clients", "grants": [grant("acme")],
        "dryRun": { "grants": [grant("beta")] },
        "assertionKeys": { "filterState": "edge.assertion_keys" },
        "identity": { "certificate": { "names": ["uri", "dns"] } },
    });
    prepared.policy("clients", &policy);
    let edge = prepared.start().await;
    let app = edge.pki.clients.issue("app", &[Name::Uri(APP)]).unwrap();
    let clients = Wire::connect(&edge.pki, edge.envoy.addresses.clients, Http::Two, Some(&app));
    let mut clients = clients.await.unwrap();
    assert_eq!(clients.send(&call()).await.unwrap().status, 200);
    let of_beta = Message::new("GET", "/tenants/beta/connections/1");
    assert_eq!(clients.send(&of_beta).await.unwrap().status, 403);
    let log = edge.access_log(2).await;
    let would: Vec<&Value> = log.iter().map(|line| &line["dryRun"]).collect();
    assert_eq!(would, ["refuse", "forward"]);
    wait_for("not all is counted", Duration::from_secs(20), || async {
        let text = prometheus(&edge).await;
        let would =
            |would| value(&text, "connections_edge_dry_run", &[("route", "get"), ("would", would)]);
        Ok(([would("refuse"), would("forward")] == [Some(1), Some(1)]).then_some(()))
    })
    .await
    .unwrap();
}

#[tokio::test]
async fn the_metrics_of_envoy_that_an_alert_stands_on_exist() {
    let edge = Edge::start().await;
    let text = prometheus(&edge).await;
    let page = fs::read_to_string(workspace::envoy_folder().join("README.md")).unwrap();
    for listener in ["clients", "public"] {
        let reloads = ["success", "failure", "backoff"]
            .map(|end| format!("envoy_wasm_edge_{listener}_vm_reload_{end}"));
        let rejected =
            format!("envoy_extension_config_discovery_http_filter_edge_{listener}_update_rejected");
        let loaded = rejected.replace("rejected", "success");
        assert_eq!(value(&text, &loaded, &[]), Some(1), "{loaded}");
        for name in [&reloads[0], &rejected] {
            assert!(page.contains(&format!("`{name}`")), "{name} is not explained");
        }
        for name in reloads.into_iter().chain([rejected]) {
            assert_eq!(value(&text, &name, &[]), Some(0), "{name}");
        }
    }
    let server = [("envoy_xds_resource_name", "server")];
    assert_eq!(value(&text, "envoy_sds_update_rejected", &server), Some(0));
    let public = ("envoy_http_conn_manager_prefix", "public");
    let webhooks = ("envoy_local_http_ratelimit_prefix", "per_address_webhook");
    for (name, label) in [
        ("envoy_http_downstream_rq_header_timeout", public),
        ("envoy_http_downstream_rq_timeout", public),
        ("envoy_http_local_rate_limit_enforced", webhooks),
    ] {
        assert!(page.contains(&format!("`{name}`")), "{name} is not explained");
        assert_eq!(value(&text, name, &[label]), Some(0), "{name}");
    }
    let addresses = edge.envoy.addresses;
    let [clients, public] =
        [addresses.clients, addresses.public].map(|it| it.to_string().replace(':', "_"));
    let (address, cluster) = ("envoy_listener_address", "envoy_cluster_name");
    for (of, owner, certificate) in [
        ("listener", (address, clients.as_str()), "server"),
        ("listener", (address, clients.as_str()), "clients-ca"),
        ("listener", (address, public.as_str()), "server"),
        ("cluster", (cluster, "control"), "edge"),
        ("cluster", (cluster, "control"), "service-ca"),
    ] {
        let name = format!("envoy_{of}_ssl_certificate_expiration_unix_time_seconds");
        assert!(page.contains(&format!("`{name}`")), "{name} is not explained");
        let labels = [owner, ("envoy_tls_certificate", certificate)];
        assert!(value(&text, &name, &labels).is_some(), "{labels:?}");
    }
}

#[test]
fn the_operators_page_explains_every_metric_and_every_reason() {
    let page = fs::read_to_string(workspace::envoy_folder().join("README.md")).unwrap();
    let reasons = words("filter/src/denial.rs", "edge_");
    let metrics = words("filter/src/observe.rs", "connections_edge_");
    assert!(reasons.len() > 20 && metrics.len() > 3, "{reasons:?} {metrics:?}");
    for name in reasons.iter().chain(&metrics) {
        assert!(page.contains(&format!("`{name}`")), "{name} is not explained");
    }
}
