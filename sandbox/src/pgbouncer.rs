//! A real PgBouncer in front of a database, in one of its modes.

use crate::{database::Owner, ports, process::Process, tools::pgbouncer};
use anyhow::Context as _;
use sqlx::{ConnectOptions as _, Connection as _, postgres::PgConnectOptions};
use std::{fs, path::Path, time::Duration};
use tempfile::TempDir;
use url::Url;

const READY_WITHIN: Duration = Duration::from_secs(30);

/// Running, and gone when it is dropped.
#[derive(Debug)]
pub struct PgBouncer {
    /// The database through it.
    pub url: String,
    process: Process,
    _folder: TempDir,
}

impl PgBouncer {
    /// Starts it in front of `database`; `mode` is what it calls `pool_mode`.
    pub async fn start(database: &str, mode: &str, logs: &Path) -> anyhow::Result<Self> {
        let program = pgbouncer::find().await?;
        let mut url = Url::parse(database)?;
        let [port] = ports::free()?;
        let folder = tempfile::Builder::new().prefix("connections-sandbox-").tempdir()?;
        let file = folder.path().join("pgbouncer.ini");
        fs::write(&file, configuration(&url, port, mode)?)?;
        // It refuses to be root.
        let owner = Owner::choose()?;
        owner.take(folder.path())?;
        owner.take(&file)?;
        let mut command = owner.command(&program, folder.path());
        command.arg(&file);
        url.set_port(Some(port)).ok().context("the database has no port")?;
        let log = logs.join(format!("pgbouncer-{mode}.log"));
        let mut process = Process::start("PgBouncer", command, &log)?;
        let options: PgConnectOptions = url.as_str().parse()?;
        let options = options.extra_float_digits(None);
        process
            .wait_until(READY_WITHIN, || async {
                let Ok(connection) = options.connect().await else { return false };
                connection.close().await.is_ok()
            })
            .await?;
        Ok(Self { url: url.into(), process, _folder: folder })
    }

    pub async fn stop(self) -> anyhow::Result<()> {
        // At once, whoever is connected.
        self.process.stop().await.map(drop)
    }
}

/// What Debian's package has by default, but for where the database is and who is let in: nothing is passed over at the
/// start of a session.
fn configuration(database: &Url, port: u16, mode: &str) -> anyhow::Result<String> {
    let host = database.host_str().context("the database has no host")?;
    let its_port = database.port().unwrap_or(5432);
    let user = database.username();
    let password = database.password().map(|it| format!(" password={it}")).unwrap_or_default();
    Ok(format!(
        "[databases]\n* = host={host} port={its_port} user={user}{password}\n\
         [pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = {port}\nunix_socket_dir =\n\
         auth_type = any\npool_mode = {mode}\n"
    ))
}
