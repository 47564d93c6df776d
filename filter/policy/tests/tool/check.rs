//! Which files load, which do not, and what is said of each.

use crate::attempt::*;
use std::fs;

/// A file of one problem.
#[track_caller]
fn check_refused(file: (&str, &str), because: &str) {
    let said = call_on(file, &["check"]);
    assert_eq!((said.code, said.out.as_str()), (1, ""), "{}", said.err);
    let problem = said.err.strip_prefix(&format!("{}: ", file.0));
    assert!(problem.is_some_and(|problem| problem.contains(because)), "{}", said.err);
    assert_eq!(said.err.lines().count(), 1, "{}", said.err);
}

#[track_caller]
fn check_json_refused(from: &str, to: &str, because: &str) {
    assert!(CLIENTS.contains(from), "{from}");
    check_refused(("policy.json", &CLIENTS.replace(from, to)), because);
}

#[track_caller]
fn check_yaml_refused(from: &str, to: &str, because: &str) {
    let yaml = fs::read_to_string(shipped("edge-clients.yaml")).unwrap();
    assert!(yaml.contains(from), "{from}");
    check_refused(("edge.yaml", &yaml.replace(from, to)), because);
}

/// The warnings about a file that loads.
fn warnings(file: (&str, &str)) -> Vec<String> {
    let said = call_on(file, &["check"]);
    assert_eq!((said.code, said.err.as_str()), (0, ""), "{}", said.out);
    let warnings = said.out.lines().filter_map(|line| line.trim().strip_prefix("warning"));
    warnings.map(|warning| warning.trim().to_owned()).collect()
}

#[test]
fn what_is_shipped_loads_without_a_warning() {
    let [clients, public] = ["edge-clients.yaml", "edge-public.yaml"].map(shipped);
    let said = call(&["check", &clients, &public]);
    let expected = format!(
        "{clients}: loads
  listener        clients
  version         1
  identity        the certificate's URI name, else its DNS name
  grants          2
  assertion keys  filter state edge.assertion_keys
{public}: loads
  listener        public
  version         1
  webhooks        at most 262144 bytes
  webhook keys    filter state edge.webhook_keys
  assertion keys  filter state edge.assertion_keys
"
    );
    assert_eq!(said, Said { code: 0, out: expected, err: String::new() });
}

#[test]
fn every_source_of_identity_and_of_keys_is_named() {
    let forwarded =
        with_identity(r#"{"forwardedCertificate":{"hop":"spiffe://acme.example/gateway"}}"#);
    for (text, row) in [
        (CLIENTS, "identity        the certificate's URI name, else its DNS name\n"),
        (&forwarded, "the certificate's URI name, as spiffe://acme.example/gateway forwards it\n"),
        (&with_identity(r#"{"istioPeer":{}}"#), "identity        Istio's peer principal\n"),
        (PUBLIC, "assertion keys  environment variable A\n"),
    ] {
        let said = call_on(("policy.json", text), &["check"]);
        assert_eq!(said.code, 0, "{}", said.err);
        assert!(said.out.contains(row), "{}", said.out);
    }
}

#[test]
fn a_policy_that_the_filter_refuses_is_refused_for_the_filters_reason() {
    check_json_refused("\"grants\"", "\"grant\"", "unknown field `grant`");
    check_json_refused("\"version\":\"7\",", "", "missing field `version`");
    check_json_refused("\"audit\"", "\"adit\"", "unknown variant `adit`");
    check_json_refused("acme-*", "acme*", "grants[0].tenants: \"acme*\": a prefix ends with");
    check_json_refused("acme-*", "*", "grants[0].tenants: \"*\": a prefix ends with");
    check_json_refused("\"notify\"", "\"read\"", "grants[1]: grants read where grant 0 does");
    check_json_refused("{tenant}", "{id}", "grants[2].principal: a template has {tenant}");
    check_json_refused("dns:app", "app", "grants[3].principal: a principal is written spiffe://");
    check_json_refused("\"clients\"", "\"clients\",\"webhook\":null,\"x\":1", "unknown field `x`");
    check_refused(("policy.json", ""), "EOF");
    check_refused(("policy.json", &PUBLIC.replace("64", "0")), "maxBodyBytes of at least 1");
}

#[test]
fn a_policy_in_an_ecds_file_is_refused_at_its_place() {
    let at = |problem: &str| format!("edge.yaml: configuration.value: {problem}");
    let yaml = fs::read_to_string(shipped("edge-clients.yaml")).unwrap();
    let yaml = yaml.replace("\"acme\"", "\"acme*\"").replace("\"1\"", "\"\"");
    let said = call_on(("edge.yaml", &yaml), &["check"]);
    let problems: Vec<_> = said.err.lines().collect();
    assert_eq!(said.code, 1);
    assert!(problems[0].starts_with(&at("grants[0].tenants: \"acme*\": a prefix")), "{problems:?}");
    assert_eq!(problems[1..], [at("version: 1 to 64 letters, digits, '.', '_' and '-'")]);
}

#[test]
fn a_file_without_one_policy_for_the_filter_is_refused() {
    check_yaml_refused("resources:", "resource:", "resources: must be one");
    check_yaml_refused("typed_config:", "config:", "typed_config.config: missing");
    check_yaml_refused("StringValue", "Struct", "must be a type.googleapis.com");
    check_yaml_refused("          value: |", "          text: |", "value: must be a text");
    check_yaml_refused("        root_id:", "        name:", "no YAML: error: line");
    check_refused(("edge.yml", "resources: []"), "resources: must be one");
    check_refused(("edge.yaml", "resources: [{}, {}]"), "resources: must be one");
    check_refused(("edge.yaml", "resources: [1\nb: 2"), "no YAML: error: line 2");
    check_refused(("edge.yaml", CLIENTS), "resources: must be one");
}

#[test]
fn what_is_seldom_meant_is_warned_of() {
    assert_eq!(warnings(("policy.json", CLIENTS)), [""; 0]);
    assert_eq!(warnings(("policy.json", PUBLIC)), [""; 0]);
    // Null is nothing, to the filter too.
    let null = PUBLIC.replace("\"webhook\"", "\"grants\":null,\"dryRun\":null,\"webhook\"");
    assert_eq!(warnings(("policy.json", &null)), [""; 0]);
    let (before, _) = CLIENTS.split_once("\"grants\"").unwrap();
    assert_eq!(
        warnings(("policy.json", &format!("{before}\"grants\":[],\"dryRun\":{{\"grants\":[]}}}}"))),
        [
            "no grants: every route that needs one is closed to everybody",
            "dryRun is on: its grants (0) decide nothing"
        ]
    );
    let yaml = fs::read_to_string(shipped("edge-public.yaml")).unwrap();
    let yaml =
        yaml.replace("FAIL_RELOAD", "FAIL_OPEN").replace("iteration: true", "iteration: false");
    assert_eq!(
        warnings(("edge.yaml", &yaml)),
        [
            "allow_on_headers_stop_iteration is not true: a request that waits for its body hangs",
            "failure_policy is FAIL_OPEN: after a crash requests pass by the filter"
        ]
    );
}

#[test]
fn one_bad_file_fails_the_check_and_hides_no_other() {
    let public = shipped("edge-public.yaml");
    for files in [["nowhere.json", &public], [&public, "nowhere.json"]] {
        let said = call(&[&["check"], files.as_slice()].concat());
        assert_eq!(said.code, 1);
        assert!(said.err.starts_with("nowhere.json: No such file"), "{}", said.err);
        assert!(said.out.contains("edge-public.yaml: loads"), "{}", said.out);
    }
}
