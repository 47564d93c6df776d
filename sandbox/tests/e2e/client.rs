//! The client in the documents, as a stranger would run it: it connects, takes notifications, and pulls the feed.

use crate::{flow::authorize, support::World};
use base64::{Engine as _, prelude::BASE64_STANDARD as BASE64};
use hmac::{Hmac, KeyInit as _, Mac as _};
use sandbox::{
    browser::Decision, ports, process::wait_for, stack::Choices, tools::standard_webhooks,
    verbs::up::for_a_shell, workspace,
};
use serde_json::{Value, json};
use sha2::Sha256;
use std::{fs, path::Path, process::Stdio, time::Duration};
use tokio::{
    io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader, Lines},
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

/// A restart ends no reader of the feed, however long it takes.
#[tokio::test]
async fn a_pull_outlasts_a_control_that_is_away() {
    let mut world = World::start().await;
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("sandbox.env"), for_a_shell(&world.stack)).unwrap();
    world.stack.kill_control().await.unwrap();
    let mut puller = Client::run(folder.path(), &["pull"]).await;
    // More refusals than one call takes.
    wait_for("the client asks no more", SOON, || async {
        let refused = world
            .stack
            .envoy
            .access_log()?
            .into_iter()
            .filter(|line| line["path"] == "/tenants/acme/events" && line["status"] == 503);
        Ok((refused.count() > 5).then_some(()))
    })
    .await
    .unwrap();
    world.stack.start_control().await.unwrap();
    let started = crate::flow::start(&world.stack).await;
    assert_eq!(authorize(&world.stack, &started, Decision::Allow).await, 200);
    let id = started["connectionId"].as_str().unwrap();
    // Whatever else a database that is shared has in its feed comes first.
    while !puller.line().await.contains(&format!(" connection.activated {id} ")) {}
    world.finish().await;
}

#[tokio::test]
async fn what_the_sandbox_says_of_its_secrets_follows_their_rotation() {
    let mut world = World::start().await;
    let said = |world: &World, name: &str| {
        let text = for_a_shell(&world.stack);
        let line = text.lines().find_map(|line| line.strip_prefix(&format!("{name}=")));
        line.unwrap().trim_matches('\'').to_owned()
    };
    let before = said(&world, "NANGO_WEBHOOK_SECRET");
    assert_eq!(before, world.stack.coordinates.webhook_secret);
    let secrets = world.stack.envoy.folder.join("secrets");
    fs::write(secrets.join("webhook-keys"), format!("new:webhook-key-of-nango,old:{before}\n"))
        .unwrap();
    fs::write(secrets.join("assertion-keys"), "2:0123456789abcdef0123\n").unwrap();
    let settings = &mut world.stack.control_settings.environment;
    for (name, value) in [
        ("NOTIFICATION_SIGNING_SECRET", "2:whsec_bmV3,1:whsec_b2xk"),
        ("NANGO_SECRET_KEY", "another-key"),
        ("DATABASE_URL", "postgres://restored"),
    ] {
        settings.insert(name.to_owned(), value.to_owned());
    }
    for (name, value) in [
        ("NANGO_WEBHOOK_SECRET", "webhook-key-of-nango"),
        ("EDGE_ASSERTION_KEY", "0123456789abcdef0123"),
        ("NOTIFICATION_SIGNING_SECRET", "whsec_bmV3"),
        ("NANGO_SECRET_KEY", "another-key"),
        ("DATABASE_URL", "postgres://restored"),
    ] {
        assert_eq!(said(&world, name), value, "{name}");
    }
    world.finish().await;
}

/// A notification as control signs it, with these headers and this body instead of its own.
struct Sent<'a> {
    length: Option<String>,
    id: &'a [u8],
    timestamp: String,
    signature: Vec<u8>,
    more: &'a [u8],
    body: Vec<u8>,
}

impl Sent<'_> {
    fn of(secret: &str, body: &[u8]) -> Self {
        let now = std::process::Command::new("date").arg("+%s").output().unwrap().stdout;
        let timestamp = String::from_utf8(now).unwrap().trim().to_owned();
        let secret = BASE64.decode(secret.strip_prefix("whsec_").unwrap()).unwrap();
        let mut hmac = Hmac::<Sha256>::new_from_slice(&secret).unwrap();
        hmac.update(format!("event-1.{timestamp}.").as_bytes());
        hmac.update(body);
        let signature = format!("v1,{}", BASE64.encode(hmac.finalize().into_bytes()));
        Self {
            length: Some(body.len().to_string()),
            id: b"event-1",
            timestamp,
            signature: signature.into_bytes(),
            more: b"",
            body: body.to_vec(),
        }
    }

    fn bytes(&self) -> Vec<u8> {
        let length = self.length.as_ref().map(|it| format!("content-length: {it}\r\n"));
        let pieces: [&[u8]; 11] = [
            b"POST /webhooks/connections HTTP/1.1\r\nhost: receiver\r\n",
            length.as_ref().map_or(b"", String::as_bytes),
            self.more,
            b"webhook-id: ",
            self.id,
            b"\r\nwebhook-timestamp: ",
            self.timestamp.as_bytes(),
            b"\r\nwebhook-signature: ",
            &self.signature,
            b"\r\n\r\n",
            &self.body,
        ];
        pieces.concat()
    }
}

/// The status of the answer; `None`, if the connection ended without one.
async fn answer(port: u16, request: &[u8]) -> Option<u16> {
    let mut socket = tokio::net::TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    drop(socket.write_all(request).await);
    let mut answer = Vec::new();
    drop(timeout(SOON, socket.read_to_end(&mut answer)).await.unwrap());
    let text = String::from_utf8_lossy(&answer);
    text.split(' ').nth(1).and_then(|status| status.parse().ok())
}

/// Everything that can be wrong with one, one thing at a time.
fn malformed<'a>(secret: &str, event: &str) -> Vec<Sent<'a>> {
    let good = || Sent::of(secret, event.as_bytes());
    let long = vec![b'x'; 3 << 20];
    let mut refused = Vec::new();
    for signature in [
        "",
        ",",
        "v1",
        "v1,",
        "v1,not base64!",
        "v1,AAA",
        "v1,====",
        "v2,AAAA",
        "v1,AAAA,AAAA",
        "v1a,AAAA v1",
    ] {
        refused.push(Sent { signature: signature.into(), ..good() });
    }
    refused.push(Sent { signature: vec![b'v', b'1', b',', 0xff, 0xfe], ..good() });
    for timestamp in ["", "soon", "-1", "1e400", "nan", "inf", "99999999999999999999", "1700000000"]
    {
        refused.push(Sent { timestamp: timestamp.to_owned(), ..good() });
    }
    for id in [&b""[..], b"\xff\xfe", b"another"] {
        refused.push(Sent { id, ..good() });
    }
    for length in ["", "-1", "ten", "1e3", "0x10", "99999999999999999999", "1, 1", "5"] {
        refused.push(Sent { length: Some(length.to_owned()), ..good() });
    }
    refused.push(Sent { length: None, ..good() });
    refused.push(Sent { more: b"content-length: 7\r\n", ..good() });
    refused.push(Sent { more: b"transfer-encoding: chunked\r\n", ..good() });
    // Less than it says, and more than is read.
    refused.push(Sent { length: Some("100000".to_owned()), ..good() });
    refused.push(Sent::of(secret, &long));
    // Rightly signed, and no event.
    for body in [
        "",
        "{",
        "[]",
        "7",
        "null",
        "\"text\"",
        "\u{feff}{}",
        "{}",
        r#"{"id": 7, "type": "t"}"#,
        r#"{"id": [], "type": {}}"#,
        r#"{"id": "i", "type": "t", "sequence": "1"}"#,
        r#"{"id": "i", "type": "t", "sequence": 1, "connectionId": []}"#,
    ] {
        refused.push(Sent::of(secret, body.as_bytes()));
    }
    refused.push(Sent::of(secret, b"\xff\xfe\x00"));
    refused
}

#[tokio::test]
async fn the_receiver_of_the_documents_answers_4xx_to_whatever_is_malformed() {
    let [port] = ports::free().unwrap();
    let secret = sandbox::secrets::signing_secret();
    let folder = tempfile::tempdir().unwrap();
    let env = format!("NOTIFICATION_SIGNING_SECRET='{secret}'\n");
    fs::write(folder.path().join("sandbox.env"), env).unwrap();
    let mut listener = Client::run(folder.path(), &["listen", "--port", &port.to_string()]).await;
    assert_eq!(listener.line().await, format!("listening on port {port}"));
    let event = json!({"id": "event-1", "type": "connection.activated", "sequence": 1,
        "connectionId": "connection-1"})
    .to_string();
    let answers = malformed(&secret, &event).into_iter().map(|sent| async move {
        let bytes = sent.bytes();
        (answer(port, &bytes).await, bytes)
    });
    for (status, bytes) in futures::future::join_all(answers).await {
        let shown = String::from_utf8_lossy(bytes.get(..300).unwrap_or(&bytes)).into_owned();
        assert!(status.is_some_and(|status| (400..500).contains(&status)), "{status:?}: {shown}");
    }
    assert_eq!(answer(port, &Sent::of(&secret, event.as_bytes()).bytes()).await, Some(204));
    assert_eq!(listener.line().await, "connection.activated connection-1 1");
}
