//! Configuration that Envoy does not know is refused, and never passed over; and what restricts the filter does so
//! in every version of Envoy.

use crate::{
    load::call,
    support::{Answer, Http, Prepared},
    wire::Wire,
};
use sandbox::{
    envoy::configuration,
    pki::{APP, Name},
    process::wait_for,
    tools::envoy::{TRIED, of_version},
};
use serde_json::Value;
use std::time::Duration;

const CONFIG: &str = "/resources/0/typed_config/config";

/// Renames one field of a filter's configuration.
fn misspell(prepared: &Prepared, listener: &str, place: &str, misspelt: &str) {
    configuration::adjust_filter(&prepared.envoy_folder(), listener, |filter| {
        let (parent, name) = place.rsplit_once('/').unwrap();
        let parent = filter.pointer_mut(&format!("{CONFIG}{parent}")).unwrap();
        let fields = parent.as_object_mut().unwrap();
        let value = fields.remove(name).unwrap();
        fields.insert(misspelt.to_owned(), value);
        Ok(())
    })
    .unwrap();
}

#[tokio::test]
async fn a_misspelt_field_of_a_filter_is_refused_and_counted() {
    for (place, misspelt) in [
        ("/allow_on_headers_stop_iteration", "allow_on_header_stop_iteration"),
        ("/capability_restriction_config", "capability_restriction"),
        ("/capability_restriction_config/allowed_capabilities", "allowed_capability"),
        ("/failure_policy", "failure_policies"),
    ] {
        let prepared = Prepared::new().await;
        misspell(&prepared, "public", place, misspelt);
        let edge = prepared.start().await;
        wait_for("the refusal is not counted", Duration::from_secs(10), || async {
            let rejected = edge.counted("http_filter_edge_public_update_rejected").await;
            Ok((rejected > 0).then_some(()))
        })
        .await
        .unwrap_or_else(|_| panic!("{misspelt} is passed over"));
        let answer = edge.anybody().get(edge.public("/health")).send().await.unwrap();
        assert_eq!(Answer::of(answer).await.status, 500, "{misspelt}");
        assert_eq!(edge.recorder.records(), [], "{misspelt}");
        edge.envoy.stop().await.unwrap();
    }
}

#[tokio::test]
async fn a_call_that_the_list_does_not_allow_fails_in_every_version_of_envoy() {
    for version in TRIED {
        let mut prepared = Prepared::new().await;
        prepared.tools.envoy = of_version(version).await.unwrap();
        configuration::adjust_filter(&prepared.envoy_folder(), "clients", |filter| {
            let list = format!("{CONFIG}/capability_restriction_config/allowed_capabilities");
            let list = filter.pointer_mut(&list).and_then(Value::as_object_mut).unwrap();
            assert!(list.remove("proxy_get_header_map_pairs").is_some());
            Ok(())
        })
        .unwrap();
        let edge = prepared.start().await;
        let app = edge.pki.clients.issue("app", &[Name::Uri(APP)]).unwrap();
        let clients = edge.envoy.addresses.clients;
        for http in Http::BOTH {
            let mut wire = Wire::connect(&edge.pki, clients, http, Some(&app)).await.unwrap();
            let answer = wire.send(&call()).await.unwrap();
            let told = (answer.status, answer.problem_code());
            assert_eq!(told, (503, "edge_unavailable".to_owned()), "{version} over {http:?}");
        }
        assert_eq!(edge.recorder.records(), [], "{version}");
        let log = edge.access_log(2).await;
        assert!(log.iter().all(|line| line["reason"] == "edge_host_failed"), "{version}: {log:?}");
        edge.envoy.stop().await.unwrap();
    }
}
