//! Secrets that cannot be used: nothing passes, and their name is told, whichever way they come.

use crate::{
    load::call,
    support::{Answer, Edge, Http, Prepared},
    wire::Wire,
};
use sandbox::{
    envoy::configuration::{self, replace},
    pki::{APP, Name},
    process::wait_for,
};
use serde_json::json;
use std::{fs, time::Duration};

const SOON: Duration = Duration::from_secs(10);

const UNUSABLE: [&str; 7] = ["", " \n\t", "-", "short", "whsec_", "whsec_0123456789", "\u{feff}"];

#[tokio::test]
async fn without_a_usable_assertion_key_nothing_passes_on_either_listener() {
    let edge = Edge::start().await;
    let file = edge.envoy.folder.join("secrets/assertion-keys");
    let app = edge.pki.clients.issue("app", &[Name::Uri(APP)]).unwrap();
    let clients = edge.envoy.addresses.clients;
    let told = async || {
        let mut wire = Wire::connect(&edge.pki, clients, Http::Two, Some(&app)).await?;
        let client = wire.send(&call()).await?;
        let public = edge.anybody().get(edge.public("/health")).send().await?.status().as_u16();
        anyhow::Ok((client.status, public))
    };
    let byte_order_mark = format!("\u{feff}{}", edge.assertion_keys);
    for text in UNUSABLE.into_iter().chain([byte_order_mark.as_str()]) {
        for (text, expected) in [(text, (503, 503)), (&edge.assertion_keys, (200, 200))] {
            replace(&file, text).unwrap();
            wait_for("the secret is not taken", SOON, || async {
                Ok((told().await? == expected).then_some(()))
            })
            .await
            .unwrap_or_else(|error| panic!("{text:?}: {error}"));
        }
    }
    let log = edge.envoy.access_log().unwrap();
    for line in log.iter().filter(|line| line["status"] == 503) {
        assert_eq!(line["reason"], "edge_no_assertion_key");
    }
}

/// A variable stays what it is, so that the policy that names it does not load.
#[tokio::test]
async fn a_variable_that_is_no_usable_key_is_named_at_the_start_and_opens_nothing() {
    for text in UNUSABLE.into_iter().filter(|text| !text.is_empty()) {
        let mut prepared = Prepared::new().await;
        prepared.environment = vec![("WEBHOOK_KEYS", text.to_owned())];
        configuration::adjust_filter(&prepared.envoy_folder(), "public", |filter| {
            let vm = filter.pointer_mut("/resources/0/typed_config/config/vm_config").unwrap();
            vm["environment_variables"] = json!({ "host_env_keys": ["WEBHOOK_KEYS"] });
            Ok(())
        })
        .unwrap();
        prepared.policy(
            "public",
            &json!({ "version": "1", "listener": "public",
                "assertionKeys": { "filterState": "edge.assertion_keys" },
                "webhook": { "keys": { "environment": "WEBHOOK_KEYS" }, "maxBodyBytes": 262_144 } }),
        );
        let edge = prepared.start().await;
        let answer = edge.anybody().get(edge.public("/health")).send().await.unwrap();
        assert_eq!(Answer::of(answer).await.status, 500, "{text:?}");
        assert!(edge.counted("http_filter_edge_public_update_rejected").await > 0, "{text:?}");
        let log = fs::read_to_string(edge.envoy.process().log()).unwrap();
        assert!(log.contains("the environment's WEBHOOK_KEYS: "), "{text:?}: {log}");
        assert_eq!(edge.recorder.records(), []);
        edge.envoy.stop().await.unwrap();
    }
}
