//! The sandbox's parts, as `docker-compose.yml` starts them.

use sandbox::verbs::part::PORTS;
use std::{
    collections::BTreeMap,
    fs,
    path::Path,
    process::{Command, Output, Stdio},
};

fn part(arguments: &[&str], settings: &[(&str, &str)]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_sandbox"))
        .arg("part")
        .args(arguments)
        .env_clear()
        .envs(settings.iter().copied())
        .stdin(Stdio::null())
        .output()
        .unwrap()
}

/// Every file below a folder, with what is in it.
fn files(folder: &Path) -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    for reader in fs::read_dir(folder).unwrap() {
        let reader = reader.unwrap();
        for file in fs::read_dir(reader.path()).unwrap() {
            let path = file.unwrap().path();
            let name = path.strip_prefix(folder).unwrap().to_string_lossy().into_owned();
            found.insert(name, fs::read_to_string(path).unwrap());
        }
    }
    found
}

#[test]
fn everybody_gets_his_own_files_and_keeps_them_at_the_next_start() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path().to_str().unwrap();
    let with =
        |key| [("NANGO_WEBHOOK_SECRET", "webhook-key-of-nango"), ("EDGE_ASSERTION_KEY", key)];
    assert!(part(&["files", at], &with("assertion-key-one")).status.success());
    let first = files(folder.path());
    let keys: Vec<&str> =
        first.keys().map(String::as_str).filter(|name| name.contains(".key")).collect();
    assert_eq!(
        keys,
        [
            "client-app/receiver.key",
            "control/control.key",
            "edge-tls/edge.key",
            "edge-tls/server.key",
            "you/app.key"
        ]
    );
    assert_eq!(first["edge-secrets/assertion-keys"], "assertion-key-one");
    assert_eq!(first["edge-secrets/webhook-keys"], "webhook-key-of-nango");
    assert!(part(&["files", at], &with("assertion-key-two")).status.success());
    let mut expected = first;
    expected.insert("edge-secrets/assertion-keys".to_owned(), "assertion-key-two".to_owned());
    assert_eq!(files(folder.path()), expected, "keys are renewed, and certificates stay");
}

#[test]
fn a_missing_setting_is_named_and_a_check_of_nobody_fails() {
    let folder = tempfile::tempdir().unwrap();
    let refused = part(&["files", folder.path().to_str().unwrap()], &[]);
    assert!(!refused.status.success());
    let said = String::from_utf8(refused.stderr).unwrap();
    assert!(said.contains("NANGO_WEBHOOK_SECRET is missing; see .env.example"), "{said}");
    let [nobody] = sandbox::ports::free().unwrap();
    assert!(!PORTS.contains(&nobody));
    for target in [format!("127.0.0.1:{nobody}"), format!("http://127.0.0.1:{nobody}/health")] {
        assert!(!part(&["check", &target], &[]).status.success(), "{target}");
    }
}
