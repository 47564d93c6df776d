//! The sandbox's parts, as `docker-compose.yml` starts them.

use sandbox::{
    verbs::part::{PORTS, YOURS},
    workspace,
};
use std::{
    collections::BTreeMap,
    fs,
    path::Path,
    process::{Command, Output, Stdio},
};

fn part(arguments: &[&str], settings: &[(&str, &str)]) -> Output {
    Command::new(workspace::program("sandbox"))
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
    let with = |key| {
        [
            ("NANGO_WEBHOOK_SECRET", "webhook-key-of-nango"),
            ("EDGE_ASSERTION_KEY", key),
            ("PUBLIC_URL", "https://localhost:8444"),
        ]
    };
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

/// A container is root, and who cloned the repository is not.
#[test]
fn whoever_tries_it_owns_his_files_and_a_shell_can_read_where_everything_is() {
    use std::os::unix::fs::{MetadataExt as _, chown};
    let folder = tempfile::tempdir().unwrap();
    let you = folder.path().join("you");
    fs::create_dir(&you).unwrap();
    let is_root = fs::metadata(&you).unwrap().uid() == 0;
    let owner = if is_root { 12345 } else { fs::metadata(&you).unwrap().uid() };
    chown(&you, Some(owner), None).unwrap();
    let settings = [
        ("NANGO_WEBHOOK_SECRET", "webhook-key-of-nango"),
        ("EDGE_ASSERTION_KEY", "assertion-key"),
        ("PUBLIC_URL", "https://localhost:8444"),
    ];
    let written = part(&["files", folder.path().to_str().unwrap()], &settings);
    assert!(written.status.success());
    let said = String::from_utf8(written.stdout).unwrap();
    assert!(said.contains(&format!("SANDBOX_ENV={YOURS}/sandbox.env . docs/shell.sh")), "{said}");
    for file in ["app.crt", "app.key", "service-ca.crt", "sandbox.env"] {
        assert_eq!(fs::metadata(you.join(file)).unwrap().uid(), owner, "{file}");
    }
    // As it is sourced: in the folder of the repository.
    let root = tempfile::tempdir().unwrap();
    fs::create_dir_all(root.path().join("sandbox")).unwrap();
    std::os::unix::fs::symlink(&you, root.path().join(YOURS)).unwrap();
    std::os::unix::fs::symlink(workspace::root().join("docs"), root.path().join("docs")).unwrap();
    let script = format!(
        r#"SANDBOX_ENV={YOURS}/sandbox.env . docs/shell.sh; ls "$CA_CERT" "$CLIENT_CERT" "$CLIENT_KEY"; echo "$EDGE_URL/tenants/$TENANT $PUBLIC_URL""#
    );
    let read =
        Command::new("sh").args(["-ceu", &script]).current_dir(root.path()).output().unwrap();
    let read = String::from_utf8(read.stdout).unwrap();
    let lines: Vec<&str> = read.lines().collect();
    assert_eq!(lines.len(), 4, "{read}");
    assert_eq!(lines[3], "https://localhost:8443/tenants/acme https://localhost:8444");
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
