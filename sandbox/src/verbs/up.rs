//! `up`: everything, until it is stopped.

use crate::{
    process::wait_for,
    say,
    stack::{Choices, RemoteNango, Stack, TENANT, WhichDatabase},
    tools::{Preferences, Tools},
    verbs::{
        down::{self, State},
        restart,
    },
    workspace,
};
use anyhow::{Context as _, bail, ensure};
use clap::Args;
use std::{
    fs,
    os::unix::process::CommandExt as _,
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};
use tokio::signal::unix::{SignalKind, signal};

/// What the first start of everything may take, after the builds.
const READY_WITHIN: Duration = Duration::from_mins(2);

/// Between two comparisons of `sandbox.env` with the keys in use.
const ROTATED_EVERY: Duration = Duration::from_millis(500);

#[derive(Debug, Clone, Args)]
pub struct Options {
    /// Return once everything runs; `cargo sandbox down` stops it.
    #[arg(long)]
    detach: bool,
    /// Another Nango than the stand-in. The environment holds its keys: `NANGO_SECRET_KEY`, its API key;
    /// `NANGO_WEBHOOK_SECRET`, its webhook signing key; `NANGO_PROFILE_KEY`, a key for its proxy, without which no
    /// profile is read. `<PROVIDER>_INTEGRATION_KEY` variables name its integrations; without them there is `github`.
    #[arg(long)]
    nango_url: Option<String>,
    /// Where browsers and Nango reach the public listener, if not at its own address.
    #[arg(long)]
    public_url: Option<String>,
    /// Another receiver of notifications than the demo client application.
    #[arg(long)]
    client_api_url: Option<String>,
    /// The port of the clients listener; a free one without it.
    #[arg(long)]
    edge_port: Option<u16>,
    /// The port of the public listener; a free one without it.
    #[arg(long)]
    public_port: Option<u16>,
    /// The stand-in Nango sends each webhook once and at once.
    #[arg(long)]
    kind: bool,
}

/// Where the coordinates of what runs are written; others build on it.
fn env_file() -> PathBuf {
    workspace::sandbox_folder().join("sandbox.env")
}

pub async fn run(preferences: &Preferences, options: Options) -> anyhow::Result<()> {
    if let Some(state) = down::running() {
        bail!(
            "a sandbox runs already, as process {}; `cargo sandbox down` stops it",
            state.supervisor
        );
    }
    let tools = Tools::ready(preferences).await?;
    if options.detach { detach().await } else { Box::pin(stay(&tools, options)).await }
}

/// Runs the same again without `--detach`, behind us, and waits until it is ready.
async fn detach() -> anyhow::Result<()> {
    let folder = workspace::sandbox_folder();
    fs::create_dir_all(&folder)?;
    if env_file().exists() {
        fs::remove_file(env_file())?;
    }
    let log = folder.join("up.log");
    let out = fs::File::create(&log)?;
    let arguments = std::env::args_os().skip(1).filter(|argument| argument != "--detach");
    let mut supervisor = std::process::Command::new(std::env::current_exe()?)
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(out.try_clone()?)
        .stderr(out)
        // A group of its own: Ctrl-C in this terminal is not meant for it.
        .process_group(0)
        .spawn()?;
    wait_for("the sandbox is not ready", READY_WITHIN, || {
        let ended = supervisor.try_wait();
        async {
            if let Some(status) = ended? {
                bail!("it ended with {status}:\n{}", fs::read_to_string(&log)?);
            }
            Ok(env_file().exists().then_some(()))
        }
    })
    .await?;
    say::line(&fs::read_to_string(&log)?);
    say::line("It runs behind you; `cargo sandbox down` stops it.");
    Ok(())
}

async fn stay(tools: &Tools, options: Options) -> anyhow::Result<()> {
    let folder = workspace::sandbox_folder();
    let run = folder.join("up");
    if run.exists() {
        fs::remove_dir_all(&run)?;
    }
    let mut terminated = signal(SignalKind::terminate())?;
    let choices = choices(options)?;
    let is_remote = choices.nango.is_some();
    let mut asked_to_restart = signal(restart::SIGNAL)?;
    let mut stack = say::timed("starting everything", Stack::start(tools, &run, choices)).await?;
    State::of(&stack).write()?;
    restart::write_settings(&stack.control_settings.environment)?;
    show(&stack, is_remote);
    let mut written = String::new();
    write_env(&stack, &mut written)?;
    let mut rotated = tokio::time::interval(ROTATED_EVERY);
    loop {
        tokio::select! {
            _ = terminated.recv() => break,
            _ = tokio::signal::ctrl_c() => break,
            _ = asked_to_restart.recv() => {
                Box::pin(restart::carry_out(&mut stack, |stack| write_env(stack, &mut written))).await?;
            }
            _ = rotated.tick() => write_env(&stack, &mut written)?,
        }
    }
    say::doing("stopping everything");
    fs::remove_file(env_file())?;
    stack.stop().await?;
    State::remove()
}

fn choices(options: Options) -> anyhow::Result<Choices> {
    let Options { detach: _, nango_url, public_url, client_api_url, edge_port, public_port, kind } =
        options;
    let nango = nango_url.map(|url| remote_nango(url, variable)).transpose()?;
    if let Some(url) = &public_url {
        ensure!(!url.ends_with('/'), "--public-url has no path; leave the last / away");
    }
    let integrations =
        std::env::vars().filter(|(name, _)| name.ends_with("_INTEGRATION_KEY")).collect();
    Ok(Choices {
        integrations,
        nango,
        client_api_url,
        public_url,
        edge_port,
        public_port,
        otlp_endpoint: variable("OTEL_EXPORTER_OTLP_ENDPOINT"),
        is_kind: kind,
        database: WhichDatabase::Any,
        is_unlimited: false,
        nango_calls_per_minute: None,
    })
}

/// A variable of the environment; one that is empty is not set.
fn variable(name: &str) -> Option<String> {
    let found = std::env::vars().find(|(known, value)| known == name && !value.is_empty());
    found.map(|(_, value)| value)
}

/// A Nango with the keys that the environment holds: a command line is for every process of the machine to read.
fn remote_nango(
    url: String,
    variable: impl Fn(&str) -> Option<String>,
) -> anyhow::Result<RemoteNango> {
    let needed = |name: &str| {
        variable(name).with_context(|| {
            format!("--nango-url needs {name} in the environment: export it, or write `{name}=… cargo sandbox up …`")
        })
    };
    Ok(RemoteNango {
        url,
        secret_key: needed("NANGO_SECRET_KEY")?,
        webhook_secret: needed("NANGO_WEBHOOK_SECRET")?,
        profile_key: variable("NANGO_PROFILE_KEY"),
    })
}

/// Whether the public listener is reached at this machine's own address, where it shows the sandbox's certificate. A
/// tunnel has another name, and a certificate that the system knows.
pub(super) fn is_here(public_url: &str) -> bool {
    let url = url::Url::parse(public_url).ok();
    url.is_none_or(|url| match url.host() {
        Some(url::Host::Domain(name)) => name == "localhost",
        Some(url::Host::Ipv4(address)) => address.is_loopback(),
        Some(url::Host::Ipv6(address)) => address.is_loopback(),
        None => true,
    })
}

/// The key that signs, of a list of keys `id:value,id:value`.
fn first_key(keys: &str) -> &str {
    let first = keys.split(',').next().unwrap_or(keys).trim();
    first.split_once(':').map_or(first, |(_, value)| value)
}

fn variables(stack: &Stack) -> Vec<(&'static str, String)> {
    let at = &stack.coordinates;
    let path = |file: &str| stack.pki.path(file).to_string_lossy().into_owned();
    // What a rotation changes is read where it is in use: in control's settings, and in the edge's files.
    let setting =
        |name: &str| stack.control_settings.environment.get(name).cloned().unwrap_or_default();
    let at_edge = |file: &str, otherwise: &str| {
        let keys = fs::read_to_string(stack.envoy.folder.join("secrets").join(file));
        let key = keys.ok().map(|keys| first_key(&keys).to_owned());
        key.filter(|key| !key.is_empty()).unwrap_or_else(|| otherwise.to_owned())
    };
    let public_ca = if is_here(&at.public_url) { path("service-ca.crt") } else { String::new() };
    let programs = stack.database.programs().unwrap_or(Path::new("/usr/bin"));
    vec![
        ("EDGE_URL", at.edge_url.clone()),
        ("PUBLIC_URL", at.public_url.clone()),
        ("CONTROL_URL", at.control_url.clone()),
        ("ENVOY_ADMIN_URL", at.envoy_admin_url.clone()),
        ("CONTROL_ADMIN_URL", format!("http://{}", stack.control_settings.admin)),
        ("DATABASE_URL", setting("DATABASE_URL")),
        ("NANGO_URL", at.nango_url.clone()),
        ("NANGO_SECRET_KEY", setting("NANGO_SECRET_KEY")),
        ("NANGO_WEBHOOK_SECRET", at_edge("webhook-keys", &at.webhook_secret)),
        ("EDGE_ASSERTION_KEY", at_edge("assertion-keys", &at.assertion_key)),
        ("EDGE_FOLDER", stack.envoy.folder.to_string_lossy().into_owned()),
        ("PKI_FOLDER", stack.pki.path("").to_string_lossy().trim_end_matches('/').to_owned()),
        ("POSTGRES_PROGRAMS", programs.to_string_lossy().into_owned()),
        ("CLIENT_APP_URL", at.client_app_url.clone()),
        (
            "NOTIFICATION_SIGNING_SECRET",
            first_key(&setting("NOTIFICATION_SIGNING_SECRET")).to_owned(),
        ),
        ("CA_CERT", path("service-ca.crt")),
        ("PUBLIC_CA_CERT", public_ca),
        ("CLIENT_CERT", path("app.crt")),
        ("CLIENT_KEY", path("app.key")),
        ("TENANT", TENANT.to_owned()),
        ("SANDBOX_ROOT", workspace::root().to_string_lossy().into_owned()),
    ]
}

/// What `sandbox.env` holds: all that a client application needs, as a shell reads it.
pub fn for_a_shell(stack: &Stack) -> String {
    let lines = variables(stack).into_iter().map(|(name, value)| format!("{name}='{value}'\n"));
    lines.collect::<Vec<_>>().concat()
}

/// Written last and in one piece: whoever finds it finds everything ready. It is written again when a rotation
/// changed what it says.
fn write_env(stack: &Stack, written: &mut String) -> anyhow::Result<()> {
    let text = for_a_shell(stack);
    if text == *written {
        return Ok(());
    }
    let scratch = env_file().with_extension("env.new");
    fs::write(&scratch, &text)?;
    fs::rename(&scratch, env_file()).context("cannot write sandbox.env")?;
    *written = text;
    Ok(())
}

fn show(stack: &Stack, is_remote: bool) {
    let at = &stack.coordinates;
    let logs = stack.logs();
    let log = |path: &Path| path.display().to_string();
    say::line("\nEverything runs:\n");
    for (what, address) in [
        ("client applications (mTLS)", at.edge_url.clone()),
        ("browsers and Nango", at.public_url.clone()),
        ("Nango", at.nango_url.clone()),
        ("Envoy's admin page", at.envoy_admin_url.clone()),
        ("control's probes", format!("http://{}/readyz", stack.control_settings.admin)),
        ("its metrics", format!("http://{}/metrics", stack.control_settings.admin)),
        ("its API, as OpenAPI", format!("http://{}/openapi.json", stack.control_settings.admin)),
        ("the edge's metrics", format!("{}/stats/prometheus", at.envoy_admin_url)),
        ("dashboard and alerts", log(&workspace::root().join("envoy/observability"))),
        ("PostgreSQL", stack.database.url.clone()),
        ("certificates", log(&stack.pki.path(""))),
        ("log of control", log(&logs[0].1)),
        ("log of Envoy", log(&logs[1].1)),
        ("everything for a shell", log(&env_file())),
    ] {
        say::line(&format!("  {what:<28}{address}"));
    }
    if is_remote {
        say::line(&format!(
            "\nIn Nango's dashboard, set the callback URL to {0}/oauth/callback and the webhook URL to {0}/webhooks/nango.",
            at.public_url
        ));
    }
    say::line(if is_remote { TRY_BY_BROWSER } else { TRY });
}

/// A test runs these three, and those after them.
const TRY: &str = r#"
Three commands to try, in this folder:

  . docs/shell.sh
  started=$(api "$EDGE_URL/tenants/$TENANT/connections" -d '{"sub":"user-1","provider":"github"}'); echo "$started"
  allow "$(echo "$started" | field authorizationUrl)"

The second starts a connection. The third is its user, who presses Allow; or open the authorizationUrl in a browser, and go
on where it warns of this sandbox's own certificate. Then see what became of it, and what the application was told:

  api "$EDGE_URL/tenants/$TENANT/connections"
  api "$EDGE_URL/tenants/$TENANT/events"
"#;

/// With a real provider nobody else can press the button.
const TRY_BY_BROWSER: &str = r#"
To try it, in this folder:

  . docs/shell.sh
  api "$EDGE_URL/tenants/$TENANT/connections" -d '{"sub":"user-1","provider":"github"}'

Open the authorizationUrl of the answer in a browser, and go on where it warns of this sandbox's own certificate. Then see
what became of it, and what the application was told:

  api "$EDGE_URL/tenants/$TENANT/connections"
  api "$EDGE_URL/tenants/$TENANT/events"
"#;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_keys_of_another_nango_come_from_the_environment() {
        let with = |names: &[&str]| {
            let names: Vec<String> = names.iter().map(|&name| name.to_owned()).collect();
            let variable = move |name: &str| {
                names.iter().any(|known| known == name).then(|| format!("of {name}"))
            };
            remote_nango("https://api.nango.dev".to_owned(), variable)
        };
        let nango = with(&["NANGO_SECRET_KEY", "NANGO_WEBHOOK_SECRET"]).unwrap();
        assert_eq!(nango.secret_key, "of NANGO_SECRET_KEY");
        assert_eq!(nango.webhook_secret, "of NANGO_WEBHOOK_SECRET");
        assert_eq!(nango.profile_key, None);
        let all = ["NANGO_SECRET_KEY", "NANGO_WEBHOOK_SECRET", "NANGO_PROFILE_KEY"];
        assert_eq!(with(&all).unwrap().profile_key.as_deref(), Some("of NANGO_PROFILE_KEY"));
        for missing in ["NANGO_SECRET_KEY", "NANGO_WEBHOOK_SECRET"] {
            let others: Vec<&str> = all.into_iter().filter(|name| *name != missing).collect();
            let refused = with(&others).unwrap_err().to_string();
            assert!(refused.contains(missing), "{refused}");
        }
    }

    #[test]
    fn a_public_url_that_is_not_this_machines_is_a_tunnels() {
        for url in ["https://127.0.0.1:8444", "https://localhost:8444", "https://[::1]:8444"] {
            assert!(is_here(url), "{url}");
        }
        for url in
            ["https://a.tunnel.example", "https://10.0.0.1:8444", "https://localhost.example"]
        {
            assert!(!is_here(url), "{url}");
        }
    }

    #[test]
    fn the_first_key_of_a_list_is_the_one_that_signs() {
        for (keys, first) in
            [("a", "a"), ("1:a", "a"), ("2:b,1:a\n", "b"), ("whsec_a+/=", "whsec_a+/=")]
        {
            assert_eq!(first_key(keys), first);
        }
    }
}
