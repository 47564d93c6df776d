//! The commands that stand in documents work as they are written there.
#![expect(clippy::unwrap_used, reason = "a test may stop at the first surprise")]

use sandbox::{say, workspace};
use std::{
    fs,
    path::Path,
    process::{Command, Stdio},
};

/// The pages that somebody reads to try something. A block that says `no-run` needs what this machine may lack, or
/// values of the reader's.
const PAGES: [&str; 4] = ["README.md", "envoy/README.md", "control/README.md", "CONTRIBUTING.md"];

/// What runs these tests is not run by them.
const OURSELVES: &str = "cargo sandbox test";

/// Notes the status of each call; without it, `curl` ends well whatever the answer is.
const BEFORE: &str = r#"
set -euo pipefail
curl() { command curl --max-time 60 -o "$NOTES/body" -w '%{http_code}' "$@" > "$NOTES/status"; cat "$NOTES/body"; echo; }
answered() {
    [ -e "$NOTES/status" ] || return 0
    local status; status=$(cat "$NOTES/status"); rm "$NOTES/status"
    if [ -n "$2" ]; then [ "$status" = "$2" ] && return 0; else [ "$status" -lt 400 ] && return 0; fi
    echo "answered with $status: $1" >&2; exit 1
}
"#;

/// The blocks of a page that are to be run, one after the other in one shell.
fn commands(page: &str) -> Vec<String> {
    let mut lines = Vec::new();
    let mut is_inside = false;
    for line in page.lines() {
        match (is_inside, line.trim()) {
            (false, "```sh") => is_inside = true,
            (true, "```") => is_inside = false,
            (true, line) if !line.starts_with(OURSELVES) => lines.push(line.to_owned()),
            _ => {}
        }
    }
    lines
}

/// The status that a comment behind a command promises: `# 401: …`.
fn promised(line: &str) -> &str {
    let comment = line.split_once(" # ").map_or("", |(_, comment)| comment.trim());
    let status = comment.get(..3).unwrap_or_default();
    if status.bytes().all(|byte| byte.is_ascii_digit()) { status } else { "" }
}

fn script(commands: &[String]) -> String {
    let mut script = BEFORE.to_owned();
    for line in commands {
        script.push_str(line);
        script.push('\n');
        // A command that goes on in the next line is not over.
        if !line.is_empty() && !line.ends_with('\\') {
            let quoted = line.replace('\'', "'\\''");
            let check = format!("answered '{quoted}' '{}'\n", promised(line));
            script.push_str(&check);
        }
    }
    script
}

fn run(page: &str, script: &str, notes: &Path) {
    say::line(&format!("running the commands of {page}"));
    let status = Command::new("bash")
        .args(["-c", script])
        .current_dir(workspace::root())
        .env("NOTES", notes)
        .env_remove("DATABASE_URL")
        .stdin(Stdio::null())
        .status()
        .unwrap();
    assert!(status.success(), "a command of {page} does not work: {status}");
}

#[test]
fn every_command_of_the_documents_works_as_written() {
    let mut ran = 0;
    for page in PAGES {
        let commands = commands(&fs::read_to_string(workspace::root().join(page)).unwrap());
        if !commands.is_empty() {
            let notes = tempfile::tempdir().unwrap();
            run(page, &script(&commands), notes.path());
            ran += commands.len();
        }
    }
    assert!(ran > 8, "there are hardly any commands to run");
}

#[test]
fn a_command_that_fails_or_is_answered_otherwise_is_found() {
    let ends = |commands: &[&str]| {
        let commands: Vec<String> = commands.iter().map(|&line| line.to_owned()).collect();
        let notes = tempfile::tempdir().unwrap();
        let shell = Command::new("bash")
            .args(["-c", &script(&commands)])
            .env("NOTES", notes.path())
            .stderr(Stdio::null())
            .status();
        shell.unwrap().success()
    };
    let answer = |status: &str| format!("echo {status} > \"$NOTES/status\"");
    assert!(ends(&["true", &answer("200"), &format!("{}  # 401: as promised", answer("401"))]));
    assert!(!ends(&["false"]));
    assert!(!ends(&[&answer("404")]));
    assert!(!ends(&[&format!("{}  # 403: no grant", answer("401"))]));
    let page = "```sh\na\n```\n```sh no-run\nb\n```\n```sh\ncargo sandbox test    # all\nc\n```\n";
    assert_eq!(commands(page), ["a", "c"]);
}
