//! What `docs/events.md` shows of a receiver, as it stands there, against notifications that control really sent.

use crate::{
    flow::{authorize, notified, start},
    support::World,
};
use sandbox::{
    browser::Decision,
    client_app::Received,
    tools::{node::Node, standard_webhooks},
    workspace,
};
use std::{
    fs,
    path::{Path, PathBuf},
    process::Stdio,
};
use tokio::process::Command;

const NPM: (&str, &str) = ("standardwebhooks", "1.1.1");

/// The placeholder of both snippets.
const SECRET: &str = "\"whsec_…\"";

/// The lines of the one block of a language, with the real secret.
fn snippet(language: &str, secret: &str) -> String {
    let page = fs::read_to_string(workspace::root().join("docs/events.md")).unwrap();
    let fence = format!("```{language}\n");
    let mut blocks = page.split(&fence).skip(1).map(|rest| rest.split("```").next().unwrap());
    let block = blocks.next().unwrap().to_owned();
    assert_eq!(blocks.next(), None, "two snippets in {language}");
    assert!(block.contains(SECRET), "the snippet has no place for the secret:\n{block}");
    block.replace(SECRET, &format!("\"{secret}\""))
}

/// Around the Python snippet: a framework's request.
fn python(snippet: &str) -> String {
    let before = "import json, sys\nclass request: pass\ncase = json.load(sys.stdin)\n\
        request.body, request.headers = case['body'].encode(), case['headers']\n";
    format!("{before}{snippet}\nprint(event['type'])\n")
}

/// Around the TypeScript one, which is JavaScript, too: no types are needed to call it.
fn typescript(snippet: &str) -> String {
    let (imports, body): (Vec<&str>, Vec<&str>) =
        snippet.lines().partition(|line| line.starts_with("import "));
    let before = "import { readFileSync } from \"node:fs\";\n\
        const { body: rawBody, headers } = JSON.parse(readFileSync(0, \"utf8\"));";
    format!("{}\n{before}\n{}\nconsole.log(event.type);\n", imports.join("\n"), body.join("\n"))
}

/// What the snippet makes of a notification: the event's type, or why it is refused.
async fn judge(mut command: Command, received: &Received) -> Result<String, String> {
    let folder = tempfile::tempdir().unwrap();
    let input = folder.path().join("case.json");
    let case = serde_json::json!({"headers": received.headers, "body": received.body});
    fs::write(&input, case.to_string()).unwrap();
    let input = fs::File::open(input).unwrap();
    let ran = command.stdin(Stdio::from(input)).output().await.unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
    if ran.status.success() { Ok(text(&ran.stdout)) } else { Err(text(&ran.stderr)) }
}

/// Each of the good and the bad ones, judged by what `command` starts.
async fn check(language: &str, secret: &str, good: &Received, command: impl Fn() -> Command) {
    let taken = judge(command(), good).await;
    assert_eq!(taken, Ok("connection.activated".to_owned()), "{language}");

    let mut changed = good.clone();
    changed.body = changed.body.replacen("acme", "acmf", 1);
    assert_ne!(changed.body, good.body);
    // Rightly signed, ten minutes ago.
    let mut old = good.clone();
    let timestamp: i64 = good.headers["webhook-timestamp"].parse::<i64>().unwrap() - 600;
    let signature = standardwebhooks::Webhook::new(secret)
        .unwrap()
        .sign(&good.headers["webhook-id"], timestamp, good.body.as_bytes())
        .unwrap();
    old.headers.insert("webhook-timestamp".to_owned(), timestamp.to_string());
    old.headers.insert("webhook-signature".to_owned(), signature);
    let mut unsigned = good.clone();
    unsigned.headers.remove("webhook-signature");
    for (bad, why) in [
        (&changed, "No matching signature found"),
        (&old, "Message timestamp too old"),
        (&unsigned, "Missing required headers"),
    ] {
        let refused = judge(command(), bad).await.unwrap_err();
        assert!(refused.contains(why), "{language} should say {why:?}: {refused}");
    }
}

fn write(folder: &Path, name: &str, program: &str) -> PathBuf {
    let file = folder.join(name);
    fs::write(&file, program).unwrap();
    file
}

#[tokio::test]
async fn the_snippets_of_the_events_page_take_what_we_send_and_nothing_forged_or_old() {
    let world = World::start().await;
    let stack = &world.stack;
    let started = start(stack).await;
    assert_eq!(authorize(stack, &started, Decision::Allow).await, 200);
    notified(stack, 1).await;
    let secret = &stack.control_settings.environment["NOTIFICATION_SIGNING_SECRET"];
    let good = stack.app().unwrap().received().remove(0);

    let wheels = standard_webhooks::folder().await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    let program = write(folder.path(), "snippet.py", &python(&snippet("python", secret)));
    check("Python", secret, &good, || {
        let mut command = Command::new("python3");
        command.arg(&program).env("PYTHONPATH", &wheels);
        command
    })
    .await;

    let (name, version) = NPM;
    let node = Node::find().await.unwrap();
    let modules = node.install(name, version).await.unwrap();
    // Node looks for packages beside the program, whatever folder it is started in.
    let folder = tempfile::tempdir_in(&modules).unwrap();
    let program = write(folder.path(), "snippet.mjs", &typescript(&snippet("ts", secret)));
    check("TypeScript", secret, &good, || {
        let mut command = Command::new(&node.program);
        command.arg(&program);
        command
    })
    .await;
    world.finish().await;
}
