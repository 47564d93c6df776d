//! What the `OpenAPI` document says, and what is answered: schemathesis asks for everything that the document
//! allows and for much that it does not, through the real edge, and compares.
//!
//! `SANDBOX_SEED=7 cargo test -p sandbox --test e2e openapi` repeats a run, or makes another.

use crate::{flow::start, support::World};
use sandbox::{
    process::wait_for,
    secrets,
    stack::{Choices, Stack, TENANT},
    tools::pip,
};
use serde_json::{Value, json};
use std::{process::Stdio, time::Duration};
use tokio::process::Command;

const VERSION: &str = "4.32.5";

/// Of each operation, beside the cases that the document itself names and those at its limits.
const EXAMPLES: &str = "10";

/// What no answer may fail.
const CHECKS: &str = "not_a_server_error,status_code_conformance,content_type_conformance,\
    response_schema_conformance,response_headers_conformance,negative_data_rejection,\
    positive_data_acceptance,unsupported_method,allow_header_conformance,missing_required_header";

/// The routes of which schemathesis must have seen a success, or it asked for nothing that is there. A ticket
/// and a state are nothing to guess.
const SUCCEEDING: [&str; 20] = [
    "start",
    "list",
    "get",
    "delete",
    "reconnect",
    "check",
    "deliveries",
    "redeliver",
    "redeliver_since",
    "redelivery",
    "events",
    "audit",
    "destination_get",
    "destination_put",
    "destination_delete",
    "destination_test",
    "providers",
    "health",
    "errors",
    "webhook",
];

#[expect(
    clippy::print_stdout,
    reason = "the seed and the count of cases are of use to whoever runs it"
)]
#[tokio::test]
async fn every_answer_is_documented_and_nothing_that_is_asked_breaks_the_service() {
    // A `returnUrl` and a ticket are of use in this mode only.
    // The database may be shared with other runs, and an id stands for one key for ever.
    let key = secrets::hex();
    let settings = [
        ("OAUTH_CALLBACK", "complete".to_owned()),
        ("DATA_ENCRYPTION_KEY", format!("{}:{key}", key.get(..16).unwrap())),
        ("ALLOWED_ORIGINS", "https://app.example".to_owned()),
        // Tenants' destinations are here, or nowhere.
        ("NOTIFICATION_ALLOWED_NETWORKS", "127.0.0.0/8".to_owned()),
    ];
    let choices = Choices {
        integrations: settings.map(|(name, value)| (name.to_owned(), value)).into(),
        is_kind: true,
        is_unlimited: true,
        nango_calls_per_minute: Some(100_000),
        ..Choices::default()
    };
    let world = World::with(choices).await;
    #[expect(clippy::disallowed_methods, reason = "whoever runs the test is its main function")]
    let seed = std::env::var("SANDBOX_SEED").unwrap_or_else(|_| "1".to_owned());
    println!("SANDBOX_SEED={seed} repeats this run");
    for listener in ["clients", "public"] {
        let said = schemathesis(&world.stack, listener, &seed).await;
        assert!(said.0, "{listener}:\n{}\n{:#?}", said.1, failed(&world.stack));
        println!("{}", said.1);
    }
    succeeded(&world.stack).await;
    world.finish().await;
}

/// What the edge logged of answers that say it was not the caller's fault.
fn failed(stack: &Stack) -> Vec<Value> {
    let mut log = stack.envoy.access_log().unwrap_or_default();
    log.retain(|line| line["status"].as_u64().is_some_and(|status| status >= 500));
    log
}

/// Waits for a success of each route in the edge's log.
async fn succeeded(stack: &Stack) {
    wait_for("not every route was reached", Duration::from_secs(15), || async {
        Ok(missed(stack).is_empty().then_some(()))
    })
    .await
    .unwrap_or_else(|late| panic!("{late}: {:?}", missed(stack)));
}

/// The routes without a success so far.
fn missed(stack: &Stack) -> Vec<&'static str> {
    let log = stack.envoy.access_log().unwrap_or_default();
    let is_success = |line: &&Value| line["status"].as_u64().is_some_and(|status| status < 300);
    let routes: Vec<&str> =
        log.iter().filter(is_success).filter_map(|line| line["route"].as_str()).collect();
    SUCCEEDING.into_iter().filter(|route| !routes.contains(route)).collect()
}

/// The id of a delivery that is there: that of a connection which was deleted again.
async fn delivery(stack: &Stack) -> String {
    let started = start(stack).await;
    let id = started["connectionId"].as_str().unwrap();
    let connection = stack.edge(&format!("/tenants/{TENANT}/connections/{id}"));
    let deleted = stack.http.delete(&connection).send().await.unwrap();
    assert!(deleted.status().is_success(), "{deleted:?}");
    wait_for("nothing was sent", Duration::from_secs(15), || async {
        let page = stack.http.get(format!("{connection}/deliveries")).send().await?;
        let page: Value = page.json().await?;
        Ok(page["deliveries"][0]["deliveryId"].as_str().map(str::to_owned))
    })
    .await
    .unwrap()
}

/// The id of a redelivery that is there. One at a time is carried out.
async fn redelivery(stack: &Stack) -> String {
    let url = stack.edge(&format!("/tenants/{TENANT}/deliveries/redeliver"));
    wait_for("nothing was sent again", Duration::from_secs(15), || async {
        let asked = json!({"since": "2026-01-01T00:00:00Z"});
        let answer: Value = stack.http.post(&url).json(&asked).send().await?.json().await?;
        Ok(answer["jobId"].as_str().map(str::to_owned))
    })
    .await
    .unwrap()
}

/// Whether nothing was found at a listener, and all that was said.
async fn schemathesis(stack: &Stack, listener: &str, seed: &str) -> (bool, String) {
    let installed = pip::install("schemathesis", VERSION).await.unwrap();
    let path = |file: &str| stack.pki.path(file).to_string_lossy().into_owned();
    let document = format!("http://{}/openapi.json", stack.control_settings.admin);
    let url = match listener {
        "clients" => &stack.coordinates.edge_url,
        _ => &stack.coordinates.public_url,
    };
    let here = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/e2e/openapi");
    // One that is there, for whoever knows its id.
    let known = start(stack).await;
    let config = include_str!("schemathesis.toml").replace("TENANT", TENANT);
    let config = config.replace("CONNECTION", known["connectionId"].as_str().unwrap());
    let config_file = stack.pki.path("schemathesis.toml");
    let config = config.replace("DELIVERY", &delivery(stack).await);
    let config = config.replace("AGAIN", &redelivery(stack).await);
    let authority = std::fs::read_to_string(stack.pki.path("service-ca.crt")).unwrap();
    let config = config.replace("AUTHORITY", &authority);
    std::fs::write(&config_file, config).unwrap();
    let mut command = Command::new("python3");
    // One worker: Hypothesis' caches are not made for several, which now and then end with a KeyError; and with
    // several no seed repeats a run.
    command
        .args(["-m", "schemathesis.cli", "--config-file"])
        .arg(config_file)
        .args(["run", document.as_str(), "--url", url, "--include-tag", listener])
        .args(["--checks", CHECKS, "--max-examples", EXAMPLES, "--seed", seed])
        .args(["--mode", "all", "--workers", "1", "--continue-on-failure", "--no-color"])
        .args(["--generation-database", "none", "--tls-verify", &path("service-ca.crt")])
        .env("PYTHONPATH", &installed)
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .env("SCHEMATHESIS_HOOKS", format!("{here}/hooks.py"))
        .env("RECEIVER", format!("{}/webhooks/connections", stack.coordinates.client_app_url))
        .env("WEBHOOK_KEY", &stack.coordinates.webhook_secret)
        .current_dir(stack.pki.path(""))
        .stdin(Stdio::null());
    if listener == "clients" {
        command.args(["--request-cert", &path("app.crt"), "--request-cert-key", &path("app.key")]);
    }
    let ran = command.output().await.unwrap();
    let said = [ran.stdout, ran.stderr].concat();
    (ran.status.success(), String::from_utf8_lossy(&said).into_owned())
}
