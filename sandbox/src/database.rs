//! A PostgreSQL of our own on loopback, or a database on one that is there already.

use crate::{
    ports,
    process::Process,
    say, secrets,
    tools::{Postgres, Tools},
};
use anyhow::{Context as _, ensure};
use nix::sys::signal::Signal;
use nix::unistd::{Gid, Uid, User};
use sqlx::{Connection as _, PgConnection, postgres::PgConnectOptions};
use std::{
    fs,
    os::unix::fs::{PermissionsExt as _, chown},
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};
use tempfile::TempDir;
use tokio::process::Command;
use url::Url;

const USER: &str = "connections";
/// How a server of our own asks for the password. A proof by SCRAM costs a client that was built without
/// optimisation a tenth of a second, and who is started again a hundred times proves it a thousand times.
const SCRAM: &str = "scram-sha-256";
const PLAIN: &str = "password";
const READY_WITHIN: Duration = Duration::from_secs(30);

/// A database, and its server if that is ours.
#[derive(Debug)]
pub struct Database {
    pub url: String,
    server: Option<Server>,
}

#[derive(Debug)]
struct Server {
    process: Process,
    installed: Installed,
}

/// What a server is started from.
#[derive(Debug)]
struct Installed {
    owner: Owner,
    programs: PathBuf,
    /// The data, gone when this is dropped.
    folder: TempDir,
    port: u16,
    log: PathBuf,
}

impl Database {
    /// The database of `DATABASE_URL` if that is set, else one on a server of our own.
    pub async fn start(tools: &Tools, logs: &Path) -> anyhow::Result<Self> {
        match std::env::var_os("DATABASE_URL") {
            Some(url) => Ok(Self { url: url.to_string_lossy().into_owned(), server: None }),
            None => Self::start_server(&tools.postgres, logs, SCRAM).await,
        }
    }

    /// An empty database beside the one that [`Database::start`] gives; for tests, which share a server.
    pub async fn start_empty(tools: &Tools, logs: &Path) -> anyhow::Result<Self> {
        let Self { url, server } = Self::start(tools, logs).await?;
        let name = format!("sandbox_{}", uuid::Uuid::from_u128(rand::random()).simple());
        let mut connection = PgConnection::connect(&url).await?;
        sqlx::query(sqlx::AssertSqlSafe(format!("CREATE DATABASE {name}")))
            .execute(&mut connection)
            .await?;
        let mut url = Url::parse(&url)?;
        url.set_path(&name);
        Ok(Self { url: url.into(), server })
    }

    pub async fn connect(&self) -> anyhow::Result<PgConnection> {
        let options: PgConnectOptions = self.url.parse()?;
        PgConnection::connect_with(&options).await.context("cannot connect to the database")
    }

    /// The process of the server, if it is ours.
    pub fn process(&self) -> Option<&Process> {
        self.server.as_ref().map(|server| &server.process)
    }

    /// Where the programs of the server are, if it is ours: `pg_dump` must not be older than it.
    pub fn programs(&self) -> Option<&Path> {
        self.server.as_ref().map(|server| server.installed.programs.as_path())
    }

    pub async fn stop(self) -> anyhow::Result<()> {
        match self.server {
            // At SIGTERM it would wait for everybody who is still connected.
            // The folder is there until it has ended.
            Some(Server { process, installed: _installed }) => {
                process.stop_by(Signal::SIGINT).await.map(|_status| ())
            }
            None => Ok(()),
        }
    }

    /// Starts the server again as a standby that follows nobody, or as what it was: a standby takes no writes.
    pub async fn restart_as_standby(&mut self, is_standby: bool) -> anyhow::Result<()> {
        let installed =
            &self.server.as_ref().context("the database is on another's server")?.installed;
        let signal = installed.folder.path().join("data").join("standby.signal");
        if is_standby {
            fs::write(&signal, "")?;
            installed.owner.take(&signal)?;
        } else {
            fs::remove_file(&signal)?;
        }
        self.restart(Signal::SIGINT).await
    }

    /// Ends the server by a signal, and starts it again on the same data and port.
    pub async fn restart(&mut self, signal: Signal) -> anyhow::Result<()> {
        let server = self.server.take().context("the database is on another's server")?;
        let Server { process, installed } = server;
        process.stop_by(signal).await?;
        let process = installed.start(&self.url).await?;
        self.server = Some(Server { process, installed });
        Ok(())
    }

    /// Ends the server, and starts it again as a standby that nobody promoted: it is read, and takes no writes.
    pub async fn demote(&mut self) -> anyhow::Result<()> {
        let server = self.server.as_ref().context("the database is on another's server")?;
        let Installed { owner, folder, .. } = &server.installed;
        let signal = folder.path().join("data").join("standby.signal");
        fs::write(&signal, "")?;
        owner.take(&signal)?;
        self.restart(Signal::SIGINT).await
    }

    /// Puts this in the place of the server's `pg_hba.conf`, which it reads again.
    pub fn let_in_by(&self, rules: &str) -> anyhow::Result<()> {
        let server = self.server.as_ref().context("the database is on another's server")?;
        let path = server.installed.folder.path().join("data").join("pg_hba.conf");
        fs::write(path, rules)?;
        server.process.signal(Signal::SIGHUP)
    }

    /// A server of our own, whatever `DATABASE_URL` says, so that it can be ended.
    pub async fn start_own(tools: &Tools, logs: &Path) -> anyhow::Result<Self> {
        Self::start_server(&tools.postgres, logs, PLAIN).await
    }

    async fn start_server(
        postgres: &Postgres,
        logs: &Path,
        asks_for: &str,
    ) -> anyhow::Result<Self> {
        let folder = tempfile::Builder::new().prefix("connections-sandbox-").tempdir()?;
        let owner = Owner::choose()?;
        let programs = owner.programs(postgres, folder.path())?;
        let password = secrets::hex();
        let password_file = folder.path().join("password");
        fs::write(&password_file, &password)?;
        owner.take(folder.path())?;
        owner.take(&password_file)?;
        let data = folder.path().join("data");
        initdb(&owner, &programs, (&data, &password_file), asks_for).await?;
        let [port] = ports::free()?;
        let log = logs.join("postgres.log");
        let installed = Installed { owner, programs, folder, port, log };
        let url = format!("postgres://{USER}:{password}@127.0.0.1:{port}/postgres");
        let process = installed.start(&url).await?;
        Ok(Self { url, server: Some(Server { process, installed }) })
    }
}

impl Installed {
    async fn start(&self, url: &str) -> anyhow::Result<Process> {
        let Self { owner, programs, folder, port, log } = self;
        let mut command = owner.command(&programs.join("postgres"), folder.path());
        command.arg("-D").arg(folder.path().join("data")).arg("-p").arg(port.to_string());
        // Loopback only, and no socket file: its path may be too long. What is lost with the machine's
        // power may be lost: the data is for one run.
        for setting in ["listen_addresses=127.0.0.1", "unix_socket_directories=", "fsync=off"] {
            command.arg("-c").arg(setting);
        }
        command.args(["-c", "max_connections=200"]);
        let mut process = Process::start("PostgreSQL", command, log)?;
        process
            .wait_until(READY_WITHIN, || async { PgConnection::connect(url).await.is_ok() })
            .await?;
        Ok(process)
    }
}

async fn initdb(
    owner: &Owner,
    programs: &Path,
    (data, password): (&Path, &Path),
    asks_for: &str,
) -> anyhow::Result<()> {
    say::doing("making a PostgreSQL cluster");
    let folder = data.parent().unwrap_or(data);
    let made = owner
        .command(&programs.join("initdb"), folder)
        .arg("-D")
        .arg(data)
        .args(["-U", USER, "-A", asks_for, "-E", "UTF8", "--locale=C", "--no-sync"])
        .arg("--pwfile")
        .arg(password)
        .stdin(Stdio::null())
        .output()
        .await
        .context("cannot run initdb")?;
    let said = String::from_utf8_lossy(&made.stderr);
    ensure!(made.status.success(), "initdb ended with {}: {}", made.status, said.trim());
    Ok(())
}

/// Whom PostgreSQL runs as: it refuses to be root.
#[derive(Debug)]
pub(crate) struct Owner(Option<(Uid, Gid)>);

impl Owner {
    pub(crate) fn choose() -> anyhow::Result<Self> {
        if !Uid::effective().is_root() {
            return Ok(Self(None));
        }
        for name in ["postgres", "nobody"] {
            if let Some(user) = User::from_name(name)? {
                return Ok(Self(Some((user.uid, user.gid))));
            }
        }
        anyhow::bail!(
            "PostgreSQL refuses root, and there is no user postgres or nobody to run it as"
        )
    }

    pub(crate) fn take(&self, path: &Path) -> anyhow::Result<()> {
        if let Self(Some((uid, gid))) = self {
            chown(path, Some(uid.as_raw()), Some(gid.as_raw()))?;
        }
        Ok(())
    }

    /// The folder of the programs. Another user cannot reach a checkout below root's home, so that the
    /// wheel's are copied for it.
    fn programs(&self, postgres: &Postgres, folder: &Path) -> anyhow::Result<PathBuf> {
        let Postgres { installation, programs } = postgres;
        if self.0.is_none() || programs.as_os_str().is_empty() {
            return Ok(installation.join(programs));
        }
        let copy = folder.join("installation");
        copy_folder(installation, &copy)?;
        Ok(copy.join(programs))
    }

    pub(crate) fn command(&self, program: &Path, folder: &Path) -> Command {
        let mut command = Command::new(program);
        // Not the caller's folder, which may be closed to this user.
        command.current_dir(folder);
        if let Self(Some((uid, gid))) = self {
            command.uid(uid.as_raw()).gid(gid.as_raw());
        }
        command
    }
}

fn copy_folder(from: &Path, to: &Path) -> anyhow::Result<()> {
    fs::create_dir(to)?;
    fs::set_permissions(to, fs::Permissions::from_mode(0o755))?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy_folder(&entry.path(), &target)?;
        } else {
            fs::copy(entry.path(), target)?;
        }
    }
    Ok(())
}
