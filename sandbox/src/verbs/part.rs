//! `part`: one part of the world alone, as a container of `docker-compose.yml`; its settings are control's, from
//! the environment.

use crate::{
    client_app::ClientApp,
    pki::{Pki, server_tls},
    say,
    stack::TENANT,
    verbs::up,
};
use anyhow::{Context as _, ensure};
use clap::Subcommand;
use contract::keys::KeyRing;
use nango_stand_in::{Manners, Settings, StandIn};
use std::{
    fs,
    net::{Ipv4Addr, TcpListener, TcpStream},
    os::unix::fs::{MetadataExt as _, chown},
    path::{Path, PathBuf},
    time::Duration,
};
use tokio::signal::unix::{SignalKind, signal};

/// Where Nango, its provider and the client application listen; `docker-compose.yml` says the same.
pub const PORTS: [u16; 3] = [3003, 3006, 3007];

/// Where the edge takes client applications; `docker-compose.yml` says the same.
pub const EDGE_URL: &str = "https://localhost:8443";

/// Where whoever tries it finds his files; `docker-compose.yml` says the same.
pub const YOURS: &str = "sandbox/compose";

/// Between two looks at what the client application was told.
const LOOK_AGAIN: Duration = Duration::from_millis(200);

#[derive(Debug, Subcommand)]
pub enum Part {
    /// Make certificates where there are none, and write the edge's keys, each below a folder for its reader.
    Files { folder: PathBuf },
    /// The stand-in Nango with its provider.
    Nango {
        /// Where its webhooks go.
        #[arg(long)]
        webhook_url: String,
        /// A folder with `service-ca.crt`, whom it trusts.
        #[arg(long)]
        trust: PathBuf,
    },
    /// The demo client application, with the certificate in a folder.
    ClientApp { folder: PathBuf },
    /// End with 0 if a URL answers with success, or if `host:port` takes a connection.
    Check { target: String },
}

pub async fn run(part: Part) -> anyhow::Result<()> {
    match part {
        Part::Files { folder } => write_files(&folder),
        Part::Nango { webhook_url, trust } => nango(webhook_url, &trust).await,
        Part::ClientApp { folder } => client_app(&folder).await,
        Part::Check { target } => check(&target).await,
    }
}

/// Which reader gets which files; each is a volume of its own, so that nobody reads another's key.
const READERS: [(&str, &[&str]); 4] = [
    (
        "edge-tls",
        &["server.crt", "server.key", "edge.crt", "edge.key", "clients-ca.crt", "service-ca.crt"],
    ),
    ("control", &["control.crt", "control.key", "service-ca.crt"]),
    ("client-app", &["receiver.crt", "receiver.key", "service-ca.crt"]),
    ("you", &["app.crt", "app.key", "service-ca.crt"]),
];

fn write_files(folder: &Path) -> anyhow::Result<()> {
    let is_there = |(reader, files): &(&str, &[&str])| {
        files.iter().all(|file| folder.join(reader).join(file).exists())
    };
    // Those that run have read what is there: new ones would part them from those that start.
    if !READERS.iter().all(is_there) {
        let scratch = tempfile::tempdir_in(folder)?;
        let pki = Pki::create(scratch.path())?;
        for (reader, files) in READERS {
            fs::create_dir_all(folder.join(reader))?;
            for file in files {
                fs::copy(pki.path(file), folder.join(reader).join(file))?;
            }
        }
    }
    let secrets = folder.join("edge-secrets");
    fs::create_dir_all(&secrets)?;
    fs::write(secrets.join("webhook-keys"), setting("NANGO_WEBHOOK_SECRET")?)?;
    fs::write(secrets.join("assertion-keys"), setting("EDGE_ASSERTION_KEY")?)?;
    let you = folder.join("you");
    fs::write(you.join("sandbox.env"), for_a_shell(&setting("PUBLIC_URL")?))?;
    give_to_its_owner(&you)?;
    say::line(&format!(
        "What you need to call the edge is in {YOURS}: `SANDBOX_ENV={YOURS}/sandbox.env . docs/shell.sh`, then as README.md says.\n\
         With the profile observability, Grafana is at http://127.0.0.1:3000."
    ));
    Ok(())
}

/// The names are those that `up` writes, for a shell in the folder of the repository.
fn for_a_shell(public_url: &str) -> String {
    let is_here = up::is_here(public_url);
    let public_ca = if is_here { format!("{YOURS}/service-ca.crt") } else { String::new() };
    format!(
        "EDGE_URL='{EDGE_URL}'\nPUBLIC_URL='{public_url}'\nCA_CERT='{YOURS}/service-ca.crt'\n\
         PUBLIC_CA_CERT='{public_ca}'\n\
         CLIENT_CERT='{YOURS}/app.crt'\nCLIENT_KEY='{YOURS}/app.key'\nTENANT='{TENANT}'\n"
    )
}

/// A container writes as root; whoever owns the folder is to read, and remove, what is in it.
fn give_to_its_owner(folder: &Path) -> anyhow::Result<()> {
    let owner = fs::metadata(folder)?;
    for file in fs::read_dir(folder)? {
        chown(file?.path(), Some(owner.uid()), Some(owner.gid()))?;
    }
    Ok(())
}

async fn nango(webhook_url: String, trust: &Path) -> anyhow::Result<()> {
    let integrations = std::env::vars().filter(|(name, _)| name.ends_with("_INTEGRATION_KEY"));
    let settings = Settings {
        secret_key: setting("NANGO_SECRET_KEY")?,
        profile_key: setting("NANGO_PROFILE_KEY")?,
        signing_keys: KeyRing::parse(setting("NANGO_WEBHOOK_SECRET")?.as_bytes())?,
        callback_url: format!("{}/oauth/callback", setting("PUBLIC_URL")?),
        integrations: integrations.map(|(_, key)| key).collect(),
        trusted_ca: Some(fs::read(trust.join("service-ca.crt"))?),
        enforces_cookie: false,
        manners: Manners::REAL,
    };
    let [port, provider, _] = PORTS;
    let nango = StandIn::start_on(Ipv4Addr::UNSPECIFIED, [port, provider], settings).await?;
    nango.send_webhooks_to(webhook_url);
    say::line(&format!("the stand-in Nango is at {}", nango.url()));
    asked_to_end().await
}

async fn client_app(folder: &Path) -> anyhow::Result<()> {
    let [.., port] = PORTS;
    let listener = TcpListener::bind((Ipv4Addr::UNSPECIFIED, port))?;
    let tls = server_tls(folder, "receiver")?;
    let app = ClientApp::start_on(listener, tls, &setting("NOTIFICATION_SIGNING_SECRET")?)?;
    say::line(&format!("the client application is at {}", app.url()));
    let telling = async {
        let mut told: usize = 0;
        loop {
            for notified in app.notified().into_iter().skip(told) {
                say::line(&format!("notified: {} {}", notified.id, notified.body));
                told = told.saturating_add(1);
            }
            tokio::time::sleep(LOOK_AGAIN).await;
        }
    };
    tokio::select! {
        ended = asked_to_end() => ended,
        () = telling => Ok(()),
    }
}

async fn check(target: &str) -> anyhow::Result<()> {
    if target.starts_with("http://") {
        let http = reqwest::Client::builder().no_proxy().build()?;
        let status = http.get(target).send().await?.status();
        ensure!(status.is_success(), "{target} answers {status}");
    } else {
        TcpStream::connect(target).with_context(|| format!("nobody is at {target}"))?;
    }
    Ok(())
}

async fn asked_to_end() -> anyhow::Result<()> {
    signal(SignalKind::terminate())?.recv().await;
    Ok(())
}

fn setting(name: &str) -> anyhow::Result<String> {
    let found = std::env::vars().find(|(known, value)| known == name && !value.is_empty());
    let (_, value) = found.with_context(|| format!("{name} is missing; see .env.example"))?;
    Ok(value)
}
