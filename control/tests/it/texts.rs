//! Every text of every request, with what PostgreSQL does not keep (NUL) and what some parsers pass over: an answer says
//! how to mend it, or takes it, and none is a fault of ours.

use crate::support::{Answer, TestApp, caller, nobody};
use axum::body::Body;
use contract::{action::Action, assertion::Vouched};
use control::http::document;
use serde_json::{Value, json};
use sqlx::PgPool;
use std::collections::BTreeSet;

/// One call that is answered well, by its name in the document.
struct Call {
    operation: &'static str,
    method: &'static str,
    path: String,
    action: Option<Action>,
    body: Value,
    query: &'static [(&'static str, &'static str)],
}

fn call(operation: &'static str, method: &'static str, path: &str, action: Action) -> Call {
    let path = format!("/tenants/acme{path}");
    Call { operation, method, path, action: Some(action), body: Value::Null, query: &[] }
}

/// Every operation that takes a body or a query.
fn calls(id: &str) -> Vec<Call> {
    [with_bodies(id), with_queries(id), public(id)].into_iter().flatten().collect()
}

/// Every operation of tenants that takes a body, with all that it takes.
fn with_bodies(id: &str) -> Vec<Call> {
    let since = "2020-01-01T00:00:00Z";
    let to = |path: &str| format!("/connections/{id}{path}");
    vec![
        Call {
            body: json!({"sub": "user-1", "provider": "github", "scopes": ["repo"], "metadata": {"a": "b"},
                "returnUrl": "https://app.example/done"}),
            ..call("start", "POST", "/connections", Action::Connect)
        },
        Call {
            body: json!({"scopes": ["repo"], "returnUrl": "https://app.example/done", "forceConsent": false}),
            ..call("reconnect", "POST", &to("/reconnect"), Action::Connect)
        },
        Call {
            body: json!({"ticket": "t"}),
            ..call("complete", "POST", &to("/complete"), Action::Connect)
        },
        Call {
            body: json!({"url": "https://receiver.example/hook", "eventTypes": ["connection.activated"],
                "returnOrigins": ["https://app.example"], "ca": "-----BEGIN CERTIFICATE-----", "serverName": "receiver.example",
                "secrets": ["whsec_MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY="], "version": 0}),
            ..call("destination_put", "PUT", "/destination", Action::Notify)
        },
        call("destination_test", "POST", "/destination/test", Action::Notify),
        Call {
            body: json!({"since": since, "until": "2021-01-01T00:00:00Z", "status": "exhausted",
                "types": ["connection.activated"], "dryRun": true}),
            ..call("redeliver_since", "POST", "/deliveries/redeliver", Action::Notify)
        },
        call("redeliver", "POST", &format!("/deliveries/{id}/redeliver"), Action::Notify),
    ]
}

/// Every operation of tenants that takes a query, with all that it takes.
fn with_queries(id: &str) -> Vec<Call> {
    let to = |path: &str| format!("/connections/{id}{path}");
    vec![
        Call {
            query: &[("after", "x"), ("limit", "1"), ("connectionId", "x"), ("sub", "user-1")],
            ..call("audit", "GET", "/audit", Action::Audit)
        },
        Call {
            query: &[
                ("sub", "user-1"),
                ("provider", "github"),
                ("status", "active"),
                ("providerAccountId", "7"),
                ("limit", "1"),
                ("cursor", "x"),
            ],
            ..call("list", "GET", "/connections", Action::Read)
        },
        Call {
            query: &[("wait", "1"), ("version", "0")],
            ..call("get", "GET", &to(""), Action::Read)
        },
        Call {
            query: &[("limit", "1"), ("cursor", "x")],
            ..call("deliveries", "GET", &to("/deliveries"), Action::Notify)
        },
        Call {
            query: &[
                ("after", "x"),
                ("limit", "1"),
                ("types", "connection.activated"),
                ("wait", "1"),
            ],
            ..call("events", "GET", "/events", Action::Read)
        },
    ]
}

/// What browsers and Nango send.
fn public(id: &str) -> Vec<Call> {
    let public = |operation, method, path: &str| Call {
        action: None,
        path: path.to_owned(),
        ..call(operation, method, "", Action::Read)
    };
    vec![
        Call {
            query: &[
                ("state", "x"),
                ("code", "x"),
                ("error", "access_denied"),
                ("iss", "https://issuer.example"),
                ("setup_action", "request"),
                ("scope", "repo"),
                ("error_description", "x"),
                ("installation_id", "1"),
            ],
            ..public("callback", "GET", "/oauth/callback")
        },
        Call {
            body: json!({"type": "auth", "from": "nango", "operation": "creation", "success": true, "connectionId": "n-1",
                "providerConfigKey": "github-dev", "authMode": "OAUTH2", "provider": "github", "environment": "dev",
                "error": {"type": "x", "description": "x"}, "tags": {"connection_ref": id, "tenant_id": "acme",
                "attempt": id, "end_user_id": "user-1", "instance": "test"}}),
            ..public("webhook", "POST", "/webhooks/nango")
        },
    ]
}

/// What a text becomes.
fn spoiled(text: &str) -> Vec<String> {
    ["\u{0}", "\t", "\n", " ", "\u{7f}", "\u{85}", "\u{feff}"]
        .iter()
        .flat_map(|odd| [format!("{odd}{text}"), format!("{text}{odd}"), (*odd).to_owned()])
        .collect()
}

/// The document once for each text in it, and each name, spoiled in each way.
fn variants(value: &Value) -> Vec<Value> {
    match value {
        Value::String(text) => spoiled(text).into_iter().map(Value::String).collect(),
        Value::Array(items) => {
            let with = |index: usize, item| {
                let mut items = items.clone();
                items[index] = item;
                Value::Array(items)
            };
            let each = items.iter().enumerate();
            each.flat_map(|(index, item)| variants(item).into_iter().map(move |it| with(index, it)))
                .collect()
        }
        Value::Object(members) => members
            .iter()
            .flat_map(|(name, member)| {
                let values = variants(member).into_iter().map(|it| (name.clone(), it));
                let names = spoiled(name).into_iter().map(|name| (name, member.clone()));
                values.chain(names).map(|(as_name, it)| {
                    let mut members = members.clone();
                    members.remove(name);
                    members.insert(as_name, it);
                    Value::Object(members)
                })
            })
            .collect(),
        Value::Number(_) | Value::Bool(_) => {
            spoiled(&value.to_string()).into_iter().map(Value::String).collect()
        }
        Value::Null => Vec::new(),
    }
}

fn query(pairs: &[(&str, &str)]) -> String {
    url::form_urlencoded::Serializer::new(String::new()).extend_pairs(pairs).finish()
}

async fn send(app: &TestApp, call: &Call, path: &str, body: &Value) -> Answer {
    let vouched = match call.action {
        Some(action) => caller("acme", action),
        None if call.operation == "webhook" => {
            Vouched { webhook_key: Some("k".parse().unwrap()), ..nobody() }
        }
        None => nobody(),
    };
    let body = if body.is_null() { Body::empty() } else { Body::from(body.to_string()) };
    app.send(call.method, path, &vouched, body).await
}

#[track_caller]
fn is_no_fault_of_ours(answer: &Answer, what: &str) {
    assert!(!answer.status.is_server_error(), "{}: {what}: {:?}", answer.status, answer.body);
}

async fn bodies(app: &TestApp, call: &Call) {
    for body in variants(&call.body) {
        let answer = send(app, call, &call.path, &body).await;
        is_no_fault_of_ours(&answer, &format!("{}: {body}", call.operation));
    }
}

async fn queries(app: &TestApp, call: &Call) {
    for (name, value) in call.query {
        for spoiled in spoiled(value) {
            // Alone, and beside the others: what is looked at first must not hide it.
            let all: Vec<(&str, &str)> =
                call.query.iter().filter(|(it, _)| it != name).copied().collect();
            for others in [Vec::new(), all] {
                let pairs = [&[(*name, spoiled.as_str())], others.as_slice()].concat();
                let path = format!("{}?{}", call.path, query(&pairs));
                let answer = send(app, call, &path, &call.body).await;
                is_no_fault_of_ours(&answer, &path);
            }
        }
    }
}

/// The names of the document's operations that take a body of members, or a query, each with those names.
fn documented() -> BTreeSet<(String, String)> {
    let document = serde_json::to_value(document()).unwrap();
    let mut found = BTreeSet::new();
    for item in document["paths"].as_object().unwrap().values() {
        for operation in item.as_object().unwrap().values() {
            let name = operation["operationId"].as_str().unwrap().to_owned();
            for parameter in operation["parameters"].as_array().into_iter().flatten() {
                if parameter["in"] == "query" {
                    found.insert((name.clone(), parameter["name"].as_str().unwrap().to_owned()));
                }
            }
            let schema = &operation["requestBody"]["content"]["application/json"]["schema"];
            let one_of = schema["oneOf"].as_array().cloned().unwrap_or_default();
            for schema in one_of.iter().chain([schema]) {
                let Some(reference) = schema["$ref"].as_str() else { continue };
                let schema = document.pointer(reference.trim_start_matches('#')).unwrap();
                for member in schema["properties"].as_object().into_iter().flatten() {
                    found.insert((name.clone(), member.0.clone()));
                }
            }
        }
    }
    found
}

#[test]
fn every_member_and_parameter_of_the_document_is_in_the_table() {
    let mut known = BTreeSet::new();
    for call in calls("x") {
        for (name, _) in call.query {
            known.insert((call.operation.to_owned(), (*name).to_owned()));
        }
        for (name, _) in call.body.as_object().into_iter().flatten() {
            known.insert((call.operation.to_owned(), name.clone()));
        }
    }
    let documented = documented();
    assert!(documented.len() > 30, "{documented:?}");
    let missing: Vec<_> = documented.difference(&known).collect();
    assert!(missing.is_empty(), "{missing:?}");
}

#[sqlx::test(migrator = "control::store::MIGRATIONS")]
async fn no_text_in_a_body_or_a_query_is_a_fault_of_ours(pool: PgPool) {
    let app = TestApp::completing(pool).await;
    let started = app.start_connection().await;
    let id = started["connectionId"].as_str().unwrap();
    for call in calls(id) {
        bodies(&app, &call).await;
        queries(&app, &call).await;
    }
    app.abandon();
}

#[sqlx::test(migrator = "control::store::MIGRATIONS")]
async fn no_text_of_a_callback_is_a_fault_of_ours(pool: PgPool) {
    let app = TestApp::completing(pool).await;
    for (name, value) in [("scope", "repo"), ("code", "x"), ("iss", "https://issuer.example")] {
        for odd in spoiled(value) {
            let started = app.start_connection().await;
            let given = app.decide(&started, "allow").await;
            let pairs = url::form_urlencoded::parse(given.as_bytes());
            let pairs: Vec<(String, String)> =
                pairs.into_owned().filter(|(it, _)| it != name).collect();
            let mut pairs: Vec<(&str, &str)> =
                pairs.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
            pairs.push((name, &odd));
            let answer = app.callback(&query(&pairs)).await;
            is_no_fault_of_ours(&answer, &format!("{name}={odd:?}"));
        }
    }
    app.abandon();
}

#[sqlx::test(migrator = "control::store::MIGRATIONS")]
async fn no_text_in_a_path_is_a_fault_of_ours(pool: PgPool) {
    let app = TestApp::completing(pool).await;
    for (method, path, action) in [
        ("GET", "/connections/%00", Action::Read),
        ("DELETE", "/connections/%00", Action::Delete),
        ("POST", "/connections/%00/check", Action::Read),
        ("POST", "/connections/%00/complete", Action::Connect),
        ("POST", "/connections/%00/reconnect", Action::Connect),
        ("GET", "/connections/%00/deliveries", Action::Notify),
        ("GET", "/deliveries/redeliveries/%00", Action::Notify),
        ("POST", "/deliveries/%00/redeliver", Action::Notify),
    ] {
        let path = format!("/tenants/acme{path}");
        let body = if path.ends_with("complete") { r#"{"ticket": "t"}"# } else { "" };
        let answer = app.send(method, &path, &caller("acme", action), Body::from(body)).await;
        assert_eq!(answer.status, 404, "{method} {path}");
    }
    let read = caller("acme", Action::Read);
    let answer = app.send("GET", "/tenants/%00/connections", &read, Body::empty()).await;
    assert_eq!(answer.status, 403);
    app.abandon();
}

/// A header's value cannot hold a NUL; what it can hold is a key or is refused.
#[sqlx::test(migrator = "control::store::MIGRATIONS")]
async fn no_idempotency_key_is_a_fault_of_ours(pool: PgPool) {
    let app = TestApp::completing(pool).await;
    let body = json!({"sub": "user-1", "provider": "github"}).to_string();
    let path = "/tenants/acme/connections";
    for (key, status) in [
        (&b"k"[..], 201),
        (b"\"q\\\\\"", 201),
        (b"\t", 400),
        (b"a\tb", 400),
        (b"\xff", 400),
        (b"\"a", 400),
    ] {
        let request = app.request("POST", path, &caller("acme", Action::Connect));
        let request =
            request.header("idempotency-key", key).body(Body::from(body.clone())).unwrap();
        let answer = app.send_raw(request).await;
        assert_eq!(answer.status, status, "{:?}", String::from_utf8_lossy(key));
    }
    app.abandon();
}

/// As browsers read addresses: what stands around one, or breaks its line, is no part of it.
#[sqlx::test(migrator = "control::store::MIGRATIONS")]
async fn a_return_url_is_kept_as_browsers_read_it(pool: PgPool) {
    let app = TestApp::completing(pool).await;
    for url in [
        "https://app.example/done",
        "https://app.example/done\u{0}",
        "\u{0}https://app.example/done",
        " https://app.example/done\n",
        "https://app.example/do\tne",
        "https://app.example/do\r\nne",
    ] {
        let body = json!({"sub": "user-1", "provider": "github", "returnUrl": url});
        let started = app.call("acme", "POST", "/connections", &body).await;
        assert_eq!(started.status, 201, "{url:?}: {:?}", started.body);
        let path =
            format!("/connections/{}/reconnect", started.json()["connectionId"].as_str().unwrap());
        let again = app.call("acme", "POST", &path, &json!({ "returnUrl": url })).await;
        assert_eq!(again.status, 200, "{url:?}: {:?}", again.body);
    }
    let kept = "SELECT count(*) FROM attempts WHERE return_url = 'https://app.example/done'";
    assert_eq!(app.count(kept).await, 12);
    for url in ["https://app.example/done\u{0}#x", "https://app.\u{0}example/done", "\u{0}", ""] {
        let body = json!({"sub": "user-1", "provider": "github", "returnUrl": url});
        let refused = app.call("acme", "POST", "/connections", &body).await;
        assert_eq!(refused.status, 400, "{url:?}");
    }
    app.abandon();
}
