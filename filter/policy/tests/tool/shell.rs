//! The tool as a script has it: its codes, its streams, its JSON.

use crate::attempt::*;
use serde_json::{Value, json};
use std::process::Command;

const PATH: &str = "/tenants/acme/connections";

fn json(policy: &str, arguments: Vec<&str>) -> Value {
    let said = call_on(("policy.json", policy), &[arguments, vec!["--json"]].concat());
    assert_eq!(said.out.lines().count(), 1, "{}", said.out);
    serde_json::from_str(&said.out).unwrap()
}

#[test]
fn an_answer_for_machines_says_the_same() {
    let grant = json!({ "index": 0, "text": {
        "principal": APP, "tenants": ["acme", "acme-*"], "actions": ["connect", "read"] } });
    assert_eq!(
        json(CLIENTS, ask(APP, "GET", PATH)),
        json!({ "listener": "clients", "version": "7", "principal": APP, "route": "list", "action": "read",
            "tenant": "acme", "decision": "permitted", "grant": grant, "needs": [], "dryRun": null })
    );
    assert_eq!(
        json(&with_dry_run("[]"), ask(APP, "GET", "/tenants/rival/connections")),
        json!({ "listener": "clients", "version": "7", "principal": APP, "route": "list", "action": "read",
            "tenant": "rival", "decision": "refused", "reason": "edge_no_grant",
            "because": "no grant of the principal covers this tenant and action",
            "status": 403, "code": "no_grant", "allow": null, "dryRun": "same" })
    );
    assert_eq!(
        json(PUBLIC, ask("", "OPTIONS", "/webhooks/nango")),
        json!({ "listener": "public", "version": "7", "principal": null, "route": null, "action": null,
            "tenant": null, "decision": "answered", "status": 204, "allow": "POST, OPTIONS", "dryRun": null })
    );
}

#[test]
fn wrongly_called_the_tool_says_how_it_is_called() {
    let request = ["--method", "GET", "--path", PATH];
    for (arguments, because) in [
        (vec![], "Usage: policy"),
        (vec!["check"], "Usage: policy check"),
        (vec!["deploy"], "unrecognized subcommand"),
        (vec!["explain", "--method", "GET", "policy.json"], "--path"),
        (vec!["explain", "--path", PATH, "policy.json"], "--method"),
        ([&["explain"], request.as_slice()].concat(), "<FILE>"),
        ([ask("app", "GET", PATH), vec!["policy.json"]].concat(), "a principal is written"),
        ([ask("spiffe://acme.example/a//b", "GET", PATH), vec!["policy.json"]].concat(), "path"),
    ] {
        let said = call(&arguments);
        assert_eq!((said.code, said.out.as_str()), (2, ""), "{arguments:?}");
        assert!(said.err.contains(because), "{}", said.err);
    }
}

#[test]
fn a_policy_that_does_not_load_explains_nothing() {
    let policy = CLIENTS.replace("acme-*", "acme*");
    let said = call_on(("policy.json", &policy), &ask(APP, "GET", PATH));
    assert_eq!((said.code, said.out.as_str()), (1, ""));
    assert!(said.err.starts_with("policy.json: grants[0].tenants: "), "{}", said.err);
}

#[test]
fn the_binary_ends_with_the_code_and_keeps_answers_and_complaints_apart() {
    let [clients, public] = ["edge-clients.yaml", "edge-public.yaml"].map(shipped);
    let principal = "spiffe://sandbox.example/app";
    let rival = "/tenants/rival/connections";
    for (arguments, code, out, err) in [
        (vec!["check", &clients, &public], 0, ": loads\n", ""),
        (vec!["check", "nowhere.yaml"], 1, "", "nowhere.yaml: No such file"),
        (vec!["explain"], 2, "", "Usage: policy explain"),
        ([ask(principal, "GET", PATH), vec![&clients]].concat(), 0, "permitted\n", ""),
        ([ask(principal, "GET", rival), vec![&clients]].concat(), 3, "edge_no_grant\n", ""),
    ] {
        let ended = Command::new(env!("CARGO_BIN_EXE_policy")).args(&arguments).output().unwrap();
        assert_eq!(ended.status.code(), Some(code), "{arguments:?}");
        for (said, expected) in [(ended.stdout, out), (ended.stderr, err)] {
            let said = String::from_utf8(said).unwrap();
            assert_eq!(said.is_empty(), expected.is_empty(), "{said}");
            assert!(said.contains(expected), "{said}");
        }
    }
}
