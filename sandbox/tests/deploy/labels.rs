//! What Istio's gateway measures: its proxy keeps few metrics, with labels of its own, unless its pods say more.

use crate::{
    edge::{KEYS, Listener, World, istios_listeners},
    manifests::{kind, name, rendered},
    schema,
};
use sandbox::pki::APP;
use serde_json::{Value, json};

/// What istiod makes of the pods' annotations, in Istio's own bootstrap.
fn stats_config(objects: &[Value]) -> Value {
    let of = |wanted: &str, called: &str| {
        objects.iter().find(|it| kind(it) == wanted && name(it) == called).unwrap()
    };
    let annotations = &of("Deployment", "edge")["spec"]["template"]["metadata"]["annotations"];
    let said = |what: &str| annotations[format!("sidecar.istio.io/{what}")].as_str().unwrap();
    let data = &of("ConfigMap", said("bootstrapOverride"))["data"];
    let added: Value =
        serde_json::from_str(data["custom_bootstrap.json"].as_str().unwrap()).unwrap();
    let mut config = schema::bootstrap_of_istio()["stats_config"].clone();
    let tags = config["stats_tags"].as_array_mut().unwrap();
    tags.extend(added["stats_config"]["stats_tags"].as_array().unwrap().iter().cloned());
    let kept = said("statsInclusionPrefixes").split(',').map(|prefix| json!({ "prefix": prefix }));
    config["stats_matcher"] = json!({"inclusion_list": {"patterns": kept.collect::<Vec<_>>()}});
    config
}

#[tokio::test]
async fn istios_gateway_measures_what_rules_and_dashboard_ask_for() {
    let objects = rendered("istio/gateway").await;
    let listeners: Vec<Listener> = istios_listeners(&objects);
    let environment = ["CONNECTIONS_ASSERTION_KEYS", "CONNECTIONS_WEBHOOK_KEYS"];
    let environment = environment.map(|key| (key, KEYS.to_owned()));
    let world = World::start_with(&listeners, &environment, Some(stats_config(&objects))).await;
    world.serves_clients(APP).await;
    world.serves_strangers().await;
    let at = format!("http://{}/stats/prometheus", world.envoy.addresses.admin);
    let metrics = reqwest::get(at).await.unwrap().text().await.unwrap();
    for (metric, labels) in [
        (
            "connections_edge_requests",
            &[r#"listener="public""#, r#"reason="edge_signature_missing""#][..],
        ),
        (
            "connections_edge_requests",
            &[r#"listener="clients""#, r#"decision="refused""#, r#"route="list""#],
        ),
        (
            "envoy_http_downstream_rq",
            &[r#"envoy_http_conn_manager_prefix="clients""#, r#"envoy_response_code_class="5""#],
        ),
        ("envoy_http_downstream_rq_completed", &[r#"envoy_http_conn_manager_prefix="public""#]),
        ("envoy_wasm_edge_public_vm_reload_success", &[]),
        (
            "envoy_http_downstream_rq_header_timeout",
            &[r#"envoy_http_conn_manager_prefix="public""#],
        ),
        ("envoy_http_downstream_rq_timeout", &[r#"envoy_http_conn_manager_prefix="public""#]),
        (
            "envoy_listener_ssl_certificate_expiration_unix_time_seconds",
            &[r#"envoy_tls_certificate="server""#],
        ),
    ] {
        let is_it = |line: &&str| {
            line.split(['{', ' ']).next() == Some(metric)
                && labels.iter().all(|it| line.contains(it))
        };
        let found = metrics.lines().find(is_it);
        let near: Vec<_> = metrics.lines().filter(|line| line.starts_with(metric)).collect();
        assert!(found.is_some(), "no {metric} with {labels:?} among {near:#?}");
    }
    world.envoy.stop().await.unwrap();
}
