//! The client in the documents, as a stranger would run it: it connects, takes notifications, and pulls the feed.

use crate::{flow::authorize, support::World};
use sandbox::{
    browser::Decision, ports, stack::Choices, tools::standard_webhooks, verbs::up::for_a_shell,
    workspace,
};
use serde_json::{Value, json};
use std::{fs, path::Path, process::Stdio, time::Duration};
use tokio::{
    io::{AsyncBufReadExt as _, BufReader, Lines},
    process::{Child, ChildStdout, Command},
    time::timeout,
};

const SOON: Duration = Duration::from_mins(1);

struct Client(Child, Lines<BufReader<ChildStdout>>);

impl Client {
    /// In a folder with the `sandbox.env` of `up`: what it says is all that the client knows.
    async fn run(folder: &Path, arguments: &[&str]) -> Self {
        let mut command = Command::new("sh");
        command
            .args(["-c", r#"set -a; . ./sandbox.env; exec python3 "$@""#, "sh"])
            .arg(workspace::root().join("docs/client/client.py"))
            .args(arguments)
            .current_dir(folder)
            .env_clear()
            .env("PATH", env!("PATH"))
            .env("PYTHONPATH", standard_webhooks::folder().await.unwrap())
            .env("PYTHONDONTWRITEBYTECODE", "1")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .kill_on_drop(true);
        let mut child = command.spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        Self(child, lines)
    }

    async fn line(&mut self) -> String {
        timeout(SOON, self.1.next_line()).await.unwrap().unwrap().unwrap()
    }

    /// What it still says, once it has ended well.
    async fn ends(mut self) -> String {
        let mut rest = String::new();
        let reading = async {
            while let Some(line) = self.1.next_line().await.unwrap() {
                rest.push_str(&line);
                rest.push('\n');
            }
        };
        timeout(SOON, reading).await.unwrap();
        assert!(self.0.wait().await.unwrap().success(), "{rest}");
        rest
    }
}

#[tokio::test]
async fn the_client_of_the_documents_connects_listens_and_pulls() {
    let [port] = ports::free().unwrap();
    let receiver = format!("http://127.0.0.1:{port}");
    let world = World::with(Choices { client_api_url: Some(receiver), ..Choices::default() }).await;
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("sandbox.env"), for_a_shell(&world.stack)).unwrap();
    let port = port.to_string();
    let mut listener = Client::run(folder.path(), &["listen", "--port", &port]).await;
    assert_eq!(listener.line().await, format!("listening on port {port}"));

    let mut connecting = Client::run(folder.path(), &["connect", "--sub", "user-7"]).await;
    let line = connecting.line().await;
    let url = line.strip_prefix("send the user to: ").unwrap();
    let started = json!({ "authorizationUrl": url });
    assert_eq!(authorize(&world.stack, &started, Decision::Allow).await, 200);
    let connection: Value = serde_json::from_str(&connecting.ends().await).unwrap();
    assert_eq!((&connection["status"], &connection["sub"]), (&json!("active"), &json!("user-7")));

    let id = connection["connectionId"].as_str().unwrap();
    assert_eq!(listener.line().await, format!("connection.activated {id} 1"));
    let pulled = Client::run(folder.path(), &["pull", "--once"]).await.ends().await;
    assert!(pulled.contains(&format!(" connection.activated {id} ")), "{pulled}");
    // It goes on where it was.
    let more = Client::run(folder.path(), &["pull", "--once"]).await.ends().await;
    assert_eq!(more, "");
    world.finish().await;
}
