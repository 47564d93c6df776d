//! The `OpenAPI` document and the page of errors say what is true, and all of it.

use crate::support::{TestApp, caller, nobody};
use axum::{body::Body, http::StatusCode};
use contract::{action::Action, assertion::Vouched, problem::Problem};
use control::{
    domain::{connection::Status, notification::EventType},
    http::{Code, document},
};
use filter::{
    denial::Denial,
    policy::ListenerKind,
    route::{Requirement, Route},
};
use serde_json::{Value, json};
use sqlx::PgPool;
use std::collections::BTreeSet;

const COMMITTED: &str = include_str!("../../openapi.json");
const ERRORS: &str = include_str!("../../../docs/errors.md");
const ENVOY: &str = include_str!("../../../envoy/envoy.yaml");

/// Every operation, by method and path.
fn operations(document: &Value) -> Vec<(String, &str, &Value)> {
    let paths = document["paths"].as_object().unwrap().iter();
    paths
        .flat_map(|(path, item)| {
            let methods = item.as_object().unwrap().iter();
            methods.map(move |(method, what)| (method.to_uppercase(), path.as_str(), what))
        })
        .collect()
}

/// What Envoy itself may answer: the codes of its local replies, with the statuses that they are for.
fn of_envoy() -> BTreeSet<(Option<u16>, &'static str)> {
    let mut status = None;
    let mut found = BTreeSet::new();
    for line in ENVOY.lines().map(str::trim) {
        let number = |text: &str| text.split([',', ' ']).next().unwrap().parse().ok();
        if let Some((_, rest)) = line.split_once("op: EQ, value: { default_value: ") {
            status = number(rest);
        } else if let Some(rest) = line.strip_prefix("status_code: ") {
            status = number(rest).or(status);
        } else if let Some(code) = line.strip_prefix("type: \"/errors#") {
            let code = code.strip_suffix('"').unwrap();
            found.insert((status.filter(|_| code != "gateway"), code));
        } else if let Some(code) = line.strip_prefix("code: ") {
            assert!(found.iter().any(|(_, found)| *found == code), "the type is not {code}'s");
        }
    }
    found
}

#[test]
fn the_committed_document_is_what_the_code_says() {
    let committed: Value = serde_json::from_str(COMMITTED).unwrap();
    assert!(
        committed == document(),
        "control/openapi.json is old; `cargo run -p control -- openapi > control/openapi.json` makes it anew"
    );
}

#[sqlx::test(migrator = "control::store::MIGRATIONS")]
async fn whatever_the_edge_lets_through_and_this_service_answers_is_in_the_document(pool: PgPool) {
    let app = TestApp::start(pool).await;
    let document = document();
    let documented: BTreeSet<(String, &str)> =
        operations(&document).into_iter().map(|(method, path, _)| (method, path)).collect();
    let mut routed = BTreeSet::new();
    for route in [ListenerKind::Clients, ListenerKind::Public].into_iter().flat_map(Route::table) {
        let method = *route.methods.first().unwrap();
        let path = route.path.replace("{tenant}", "acme");
        let path = path.replace("{id}", "0195f2a1-0000-7000-8000-000000000001");
        let vouched = match route.requirement {
            Requirement::Grant(action) => caller("acme", action),
            Requirement::AnyGrant => Vouched {
                principal: Some("spiffe://acme.example/app".parse().unwrap()),
                ..nobody()
            },
            Requirement::Signature => {
                Vouched { webhook_key: Some("k".parse().unwrap()), ..nobody() }
            }
            Requirement::Nothing => nobody(),
        };
        let answer = app.send(method, &path, &vouched, Body::empty()).await;
        let problem: Option<Problem> = serde_json::from_slice(&answer.body).ok();
        let code = problem.map(|problem| problem.code).unwrap_or_default();
        let is_built = !matches!(code.as_str(), "no_route" | "method_not_allowed");
        assert!(is_built, "{method} {} is not answered", route.path);
        let operation = &document["paths"][route.path][method.to_lowercase()];
        assert_eq!(operation["operationId"], route.name, "{method} {}", route.path);
        routed.insert((method.to_owned(), route.path));
    }
    assert_eq!(documented, routed);
    // The empty webhook was taken.
    app.outbox.run_once().await.unwrap();
    app.finish().await;
}

#[test]
fn every_code_has_a_section_and_every_section_a_code() {
    let control = Code::ALL.iter().map(|code| code.as_str());
    let edge = Denial::EVERY.iter().map(Denial::code);
    let envoy = of_envoy().into_iter().map(|(_, code)| code);
    let emitted: BTreeSet<&str> = control.chain(edge).chain(envoy).collect();
    let sections: Vec<&str> = ERRORS.lines().filter_map(|line| line.strip_prefix("## ")).collect();
    assert!(sections.is_sorted(), "the sections are in the order of the alphabet");
    assert_eq!(sections.iter().copied().collect::<BTreeSet<_>>(), emitted);
    assert_eq!(sections.len(), emitted.len(), "a section is there twice");
}

#[test]
fn a_code_is_documented_under_the_status_that_it_has() {
    let document = document();
    let control = Code::ALL.iter().map(|code| (Some(code.status().as_u16()), code.as_str()));
    let edge = Denial::EVERY.iter().map(|denial| (Some(denial.status()), denial.code()));
    let emitted: BTreeSet<(Option<u16>, &str)> = control.chain(edge).chain(of_envoy()).collect();
    let mut documented = BTreeSet::new();
    for (method, path, operation) in operations(&document) {
        for (status, response) in operation["responses"].as_object().unwrap() {
            for code in response["x-codes"].as_array().into_iter().flatten() {
                let code = code.as_str().unwrap();
                let status: u16 = status.parse().unwrap();
                let is_emitted =
                    [Some(status), None].iter().any(|status| emitted.contains(&(*status, code)));
                assert!(is_emitted, "{method} {path}: nobody says {code} with {status}");
                documented.insert(code);
            }
        }
    }
    // Of requests that are no operation: past the edge, or with another method.
    let elsewhere = ["method_not_allowed", "not_vouched"];
    for (_, code) in emitted {
        assert_ne!(documented.contains(code), elsewhere.contains(&code), "{code}");
    }
}

#[test]
fn a_problem_and_a_status_are_described_as_they_are() {
    let document = document();
    let schemas = &document["components"]["schemas"];
    let problem = Problem::new(404, "not_found", "Not found", "No such connection.".to_owned())
        .with_request_id(Some("r-1".to_owned()));
    let problem = json!(problem);
    let members =
        |value: &Value| value.as_object().unwrap().keys().cloned().collect::<BTreeSet<_>>();
    assert_eq!(members(&schemas["Problem"]["properties"]), members(&problem));
    assert_eq!(schemas["Status"]["enum"], json!(Status::ALL.map(Status::as_str)));
    assert_eq!(schemas["EventType"]["enum"], json!(EventType::ALL.map(EventType::as_str)));
}

#[sqlx::test(migrator = "control::store::MIGRATIONS")]
async fn what_a_receiver_is_sent_is_described_to_the_last_member_and_header(pool: PgPool) {
    let app = TestApp::start(pool).await;
    app.activate().await;
    let test = caller("acme", Action::Notify);
    let tested = app.send("POST", "/tenants/acme/destination/test", &test, Body::empty()).await;
    assert_eq!(tested.status, StatusCode::OK);
    let document = document();
    let members =
        |value: &Value| value.as_object().unwrap().keys().cloned().collect::<BTreeSet<_>>();
    let sent = app.notified();
    for (name, sent) in [("event", &sent[0]), ("destinationTest", &sent[1])] {
        let operation = &document["webhooks"][name]["post"];
        let schema = &operation["requestBody"]["content"]["application/json"]["schema"]["$ref"];
        let schema = document.pointer(schema.as_str().unwrap().trim_start_matches('#')).unwrap();
        assert_eq!(members(&schema["properties"]), members(&sent.body), "{name}");
        let required: BTreeSet<String> =
            serde_json::from_value(schema["required"].clone()).unwrap();
        assert_eq!(required, members(&sent.body), "{name}");
        let headers = operation["parameters"].as_array().unwrap().iter();
        let required = headers.filter(|header| header["required"] == true);
        let required: Vec<&str> = required.map(|header| header["name"].as_str().unwrap()).collect();
        assert_eq!(required, ["webhook-id", "webhook-timestamp", "webhook-signature"], "{name}");
    }
    let events = &document["components"]["schemas"]["Events"]["properties"]["events"];
    assert_eq!(events["items"]["$ref"], "#/components/schemas/Event");
    app.finish().await;
}

#[test]
fn a_body_with_an_unknown_field_is_outside_of_its_schema() {
    let document = document();
    for (method, path, operation) in operations(&document) {
        let schema = &operation["requestBody"]["content"]["application/json"]["schema"];
        let named = |schema: &Value| schema["$ref"].as_str().map(str::to_owned);
        let alternatives = schema["oneOf"].as_array().into_iter().flatten().filter_map(named);
        for name in named(schema).into_iter().chain(alternatives) {
            let schema = document.pointer(name.trim_start_matches('#')).unwrap();
            assert_eq!(schema["additionalProperties"], json!(false), "{method} {path}");
        }
    }
}
