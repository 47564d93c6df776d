//! The commands that stand in documents, and on the screen of `cargo sandbox up`, work as they are written there.
#![expect(clippy::unwrap_used, reason = "a test may stop at the first surprise")]

use sandbox::{say, workspace};
use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::{Mutex, MutexGuard, PoisonError},
    time::Instant,
};

/// What runs these tests is not run by them.
const OURSELVES: &str = "cargo sandbox test";

/// What a block that says `no-run` has of: each needs what this machine has not, or longer than all tests.
const CANNOT_RUN: [&str; 5] =
    ["docker compose", "kubectl apply", "api.nango.dev", "cargo install", "--profile measure"];

/// There is one sandbox in a checkout.
static SANDBOX: Mutex<()> = Mutex::new(());

/// Notes the status of each call; without it, `curl` ends well whatever the answer is.
const BEFORE: &str = r#"
set -euo pipefail
curl() { command curl --max-time 90 -o "$NOTES/body" -w '%{http_code}' "$@" > "$NOTES/status" || return; cat "$NOTES/body"; echo; }
answered() {
    [ -e "$NOTES/status" ] || return 0
    local status; status=$(cat "$NOTES/status"); rm -f "$NOTES/status" "$NOTES/body"
    if [ -n "$2" ]; then [ "$status" = "$2" ] && return 0; else [ "$status" -lt 400 ] && return 0; fi
    echo "answered with $status: $1" >&2; exit 1
}
"#;

/// Every page, wherever it is.
fn pages() -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![workspace::root()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            if path.is_dir() && !name.starts_with('.') && name != "target" {
                folders.push(path);
            } else if path.extension().is_some_and(|end| end == "md") {
                found.push(path);
            }
        }
    }
    found.sort();
    found
}

/// The lines of all blocks of a page that begin with `fence`, one after the other.
fn commands(page: &str, fence: &str) -> Vec<String> {
    let mut lines = Vec::new();
    let mut is_inside = false;
    for line in page.lines() {
        match (is_inside, line.trim()) {
            (false, line) if line == fence => is_inside = true,
            (true, "```") => is_inside = false,
            (true, line) if !line.starts_with(OURSELVES) => lines.push(line.to_owned()),
            _ => {}
        }
    }
    lines
}

/// What a comment behind a command promises: `# 401: …` is a status, `# fails: …` that nothing comes of it.
fn promised(line: &str) -> &str {
    let comment = line.split_once(" # ").map_or("", |(_, comment)| comment.trim());
    if comment.starts_with("fails:") {
        return "fails";
    }
    let status = comment.get(..3).unwrap_or_default();
    if status.bytes().all(|byte| byte.is_ascii_digit()) { status } else { "" }
}

/// The shell in which a page's commands run one after the other, each with a look at what came of it.
fn script(commands: &[String]) -> String {
    let mut script = vec![BEFORE.to_owned()];
    // The word that ends a text within the commands.
    let mut text_until = None;
    for line in commands {
        let quoted = line.replace('\'', "'\\''");
        let promise = promised(line);
        if promise == "fails" {
            let command = line.split(" # ").next().unwrap();
            script.push(format!("if {command}"));
            script.push(format!("then echo 'works: {quoted}' >&2; exit 1; fi"));
            script.push(r#"rm -f "$NOTES/status""#.to_owned());
            continue;
        }
        script.push(line.clone());
        if text_until.is_some() {
            text_until = text_until.filter(|word| word != line);
        } else if let Some((_, word)) = line.split_once("<<'") {
            text_until = word.split('\'').next().map(str::to_owned);
        } else if !line.is_empty() && !line.ends_with('\\') {
            // A command that goes on in the next line is not over.
            script.push(format!("answered '{quoted}' '{promise}'"));
        }
    }
    script.join("\n")
}

/// Runs it, and stops the sandbox that it may have left.
fn run(what: &str, script: &str) {
    say::line(&format!("running the commands of {what}"));
    let notes = tempfile::tempdir().unwrap();
    let began = Instant::now();
    let shell = |script: &str| {
        Command::new("bash")
            .args(["-c", script])
            .current_dir(workspace::root())
            .env("NOTES", notes.path())
            // Five minutes, in which a real Nango signs with either key, and the stand-in with the new one.
            .env("OVERLAP", "0")
            .env_remove("DATABASE_URL")
            .stdin(Stdio::null())
            .status()
            .unwrap()
    };
    let status = shell(script);
    if workspace::sandbox_folder().join("up.json").exists() {
        shell("cargo sandbox down");
    }
    assert!(status.success(), "a command of {what} does not work: {status}");
    say::line(&format!("the commands of {what} took {:.0?}", began.elapsed()));
}

fn only_one() -> MutexGuard<'static, ()> {
    SANDBOX.lock().unwrap_or_else(PoisonError::into_inner)
}

#[test]
fn every_command_of_the_documents_works_as_written() {
    let _sandbox = only_one();
    let mut ran = Vec::new();
    for page in pages() {
        let commands = commands(&fs::read_to_string(&page).unwrap(), "```sh");
        if !commands.is_empty() {
            let page = page.strip_prefix(workspace::root()).unwrap().display().to_string();
            run(&page, &script(&commands));
            ran.push(page);
        }
    }
    for page in ["README.md", "docs/operating.md", "docs/api.md", "envoy/README.md"] {
        assert!(ran.iter().any(|ran| ran == page), "{page} has no commands any more");
    }
}

#[test]
fn only_what_cannot_run_here_is_not_run() {
    for page in pages() {
        let text = fs::read_to_string(&page).unwrap();
        for block in text.split("```sh no-run\n").skip(1) {
            let block = block.split("```").next().unwrap();
            let cannot = CANNOT_RUN.iter().any(|reason| block.contains(reason));
            assert!(cannot, "{} has a block that could be run:\n{block}", page.display());
        }
        let is_known = |line: &str| ["```sh", "```sh no-run"].contains(&line);
        let shells = ["```sh", "```bash", "```shell", "```console"];
        for line in text.lines().map(str::trim) {
            let is_shell = shells.iter().any(|shell| line.starts_with(shell));
            assert!(!is_shell || is_known(line), "{}: {line} is not run", page.display());
        }
    }
}

/// The commands of the screen: what is indented below the sentence that announces them.
fn of_the_screen(screen: &str) -> Vec<String> {
    let (_, below) = screen.split_once("Three commands to try").unwrap();
    below.lines().filter_map(|line| line.strip_prefix("  ")).map(str::to_owned).collect()
}

#[test]
fn whoever_reads_the_screen_of_up_alone_gets_a_connection_that_works() {
    let _sandbox = only_one();
    let up = Command::new(workspace::program("sandbox"))
        .args(["up", "--detach"])
        .current_dir(workspace::root())
        .env_remove("DATABASE_URL")
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let screen = String::from_utf8(up.stdout).unwrap();
    assert!(up.status.success(), "{screen}{}", String::from_utf8_lossy(&up.stderr));
    for line in screen.lines().filter(|line| line.starts_with("  ")) {
        let last = line.split_whitespace().last().unwrap();
        if last.starts_with('/') {
            assert!(Path::new(last).exists(), "the screen says {last}");
        }
    }
    let mut commands = of_the_screen(&screen);
    assert_eq!(commands.len(), 5, "three, and two to look: {commands:?}");
    let look = commands.split_off(3);
    let finds = |line: &str, what: &str| {
        format!(
            "for _ in $(seq 30); do {line} > \"$NOTES/seen\"; grep -q '{what}' \"$NOTES/seen\" && break; sleep 1; done; grep '{what}' \"$NOTES/seen\""
        )
    };
    commands.push(finds(&look[0], r#""status":"active""#));
    commands.push(finds(&look[1], r#""type":"connection.activated""#));
    run("the screen of `cargo sandbox up`", &script(&commands));
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
    assert!(!ends(&[&format!("{}  # 401: no grant", answer("403"))]));
    assert!(ends(&["false  # fails: as promised", "cat > /dev/null <<'END'", "it's text", "END"]));
    assert!(!ends(&["true  # fails: as promised"]));
    assert!(!ends(&["cat > /dev/null <<'END'", "text", "END", "false"]));
    let page =
        "```sh\na\n```\n```sh no-run\nb\n```\n  ```sh\n  cargo sandbox test    # all\n  c\n  ```\n";
    assert_eq!(commands(page, "```sh"), ["a", "c"]);
    assert_eq!(commands(page, "```sh no-run"), ["b"]);
    let screen = "Here:\n  a/path\nThree commands to try:\n\n  one\n  two\n\nProse.\n\n  three\n";
    assert_eq!(of_the_screen(screen), ["one", "two", "three"]);
}
