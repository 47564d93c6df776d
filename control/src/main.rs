//! `control`: reads the environment, and serves, migrates, or looks at how it is set up.

use clap::{Parser, Subcommand};
use contract::id::TenantId;
use control::{
    app, audit,
    budget::Budget,
    cause::chain,
    clock::Clock,
    config::{self, Config, Environment},
    doctor, http,
    metrics::Metrics,
    mint::Mint,
    missing,
    nango::NangoClient,
    orphans::{self, Wanted},
    startup,
    store::Store,
    telemetry,
};
use std::{error::Error, process::ExitCode, sync::Arc};
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// The control service of Connections.
#[derive(Debug, Parser)]
#[command(version)]
struct Arguments {
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, Clone, Subcommand)]
enum Command {
    /// Serve; what happens without a command.
    Serve,
    /// Bring the database up to date.
    Migrate,
    /// Look at settings, certificates, database and Nango, and say how to mend what is wrong. It ends with 1
    /// when something does not work.
    Doctor {
        /// Tell it to a machine.
        #[arg(long)]
        json: bool,
    },
    /// Look at the audit trail.
    Audit {
        #[command(subcommand)]
        command: AuditCommand,
    },
    /// Show connections that are missing at Nango and are not deleted here, because they are too many; and decide.
    Missing {
        #[command(subcommand)]
        command: Option<MissingCommand>,
    },
    /// List credentials at Nango with our tags that no connection here has; it changes nothing.
    Orphans {
        #[command(subcommand)]
        command: Option<OrphansCommand>,
    },
    /// Print the `OpenAPI` document of what the edge lets through.
    Openapi,
}

#[derive(Debug, Clone, Subcommand)]
enum AuditCommand {
    /// Compute every hash of a tenant's trail again. It ends with 1 when a line was changed or is missing, and
    /// names it.
    Verify {
        #[arg(long)]
        tenant: TenantId,
    },
}

#[derive(Debug, Clone, Copy, Subcommand)]
enum MissingCommand {
    /// They were deleted at Nango: delete those that are missing now here, too.
    Confirm {
        /// How many are missing, as `control missing` said. If there are more or fewer by now, nothing is changed.
        #[arg(long)]
        count: u64,
    },
    /// They were not: keep them, and look again.
    Dismiss,
}

#[derive(Debug, Clone, Copy, Subcommand)]
enum OrphansCommand {
    /// Delete them at Nango; without `--count` it only lists them.
    Remove {
        /// How many there are, as the list said. If there are more or fewer by now, none is deleted.
        #[arg(long)]
        count: Option<usize>,
        /// Even if they are so many of all credentials with our tags that the database may be another environment's, or an
        /// old backup.
        #[arg(long)]
        allow_many: bool,
    },
}

#[tokio::main]
async fn main() -> ExitCode {
    let Arguments { command } = Arguments::parse();
    // A name that is not text is none of our settings. A value that is not is refused where it is read: to drop it would
    // make a secret that is damaged one that is not set.
    let environment: Environment = std::env::vars_os()
        .filter_map(|(name, value)| {
            Some((name.into_string().ok()?, value.to_string_lossy().into_owned()))
        })
        .collect();
    let ended = match command.unwrap_or(Command::Serve) {
        Command::Serve => Box::pin(serve(&environment)).await,
        Command::Migrate => migrate(&environment).await,
        Command::Audit { command: AuditCommand::Verify { tenant } } => {
            verify(&environment, &tenant).await
        }
        Command::Missing { command } => decide(&environment, command).await,
        Command::Orphans { command } => Box::pin(tidy_up(&environment, command)).await,
        Command::Openapi => return describe(),
        Command::Doctor { json } => return Box::pin(diagnose(&environment, json)).await,
    };
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tell(error.as_ref());
            ExitCode::FAILURE
        }
    }
}

async fn serve(environment: &Environment) -> Result<(), Box<dyn Error>> {
    let config = Config::read(environment, &|path| std::fs::read(path))?;
    let telemetry = telemetry::init(config.log, config.traces.clone())?;
    let ignored = doctor::ignored(environment);
    if !ignored.is_empty() {
        tracing::warn!(
            variables = ignored.join(", "),
            "proxies of the environment are not used; NANGO_PROXY_URL names one for calls to Nango"
        );
    }
    let stop = CancellationToken::new();
    let mut terminated = signal(SignalKind::terminate())?;
    let asked = stop.clone();
    tokio::spawn(async move {
        tokio::select! {
            _ = terminated.recv() => {}
            _ = tokio::signal::ctrl_c() => {}
        }
        asked.cancel();
    });
    let ran = Box::pin(app::run(config, stop)).await;
    // It blocks, and what it waits for needs this runtime.
    tokio::task::spawn_blocking(|| telemetry.end()).await?;
    Ok(ran?)
}

async fn migrate(environment: &Environment) -> Result<(), Box<dyn Error>> {
    let (log, database) = config::read_for_migration(environment)?;
    let telemetry = telemetry::init(log, None)?;
    let store = Store::for_migration(database.0, Mint::new(Clock::system()));
    // The lock that keeps two migrations apart is a session's.
    if let Some(unfit) = startup::judge_pooling(store.pooling().await?) {
        return Err(unfit.into());
    }
    store.migrate().await?;
    tracing::info!("the database is up to date");
    telemetry.end();
    Ok(())
}

#[expect(clippy::print_stdout, reason = "whoever asks reads the answer")]
async fn verify(environment: &Environment, tenant: &TenantId) -> Result<(), Box<dyn Error>> {
    let (_, database) = config::read_for_migration(environment)?;
    let store = Store::new(database.0, Mint::new(Clock::system()));
    let (lines, hash) = audit::verify_trail(&store, tenant).await?;
    println!("the trail of {tenant} holds: {lines} lines, the last hash is {hash}");
    Ok(())
}

#[expect(clippy::print_stdout, reason = "the operator reads the answer")]
async fn decide(
    environment: &Environment,
    command: Option<MissingCommand>,
) -> Result<(), Box<dyn Error>> {
    let (_, database) = config::read_for_migration(environment)?;
    let clock = Clock::database();
    let store = Store::new(database.0, Mint::new(clock.clone()));
    store.compare_clocks().await?;
    let told = match command {
        None => missing::show(&store).await?,
        Some(MissingCommand::Confirm { count }) => missing::confirm(&store, &clock, count).await?,
        Some(MissingCommand::Dismiss) => missing::dismiss(&store, &clock).await?,
    };
    print!("{told}");
    Ok(())
}

#[expect(clippy::print_stdout, reason = "the operator reads the answer")]
async fn tidy_up(
    environment: &Environment,
    command: Option<OrphansCommand>,
) -> Result<(), Box<dyn Error>> {
    let config = Config::read(environment, &|path| std::fs::read(path))?;
    let clock = Clock::database();
    let mint = Mint::new(clock.clone());
    let store = Store::new(config.database.0, mint.clone());
    store.compare_clocks().await?;
    let limit = config.nango.calls_per_minute;
    let budget = Budget::new(store.clone(), limit, clock.clone(), mint.clone());
    let parts = (clock.clone(), mint);
    let budget = Some(Arc::new(budget));
    let nango = NangoClient::new(config.nango, budget, parts, Metrics::default())?;
    match command {
        None | Some(OrphansCommand::Remove { count: None, .. }) => {
            print!("{}", orphans::describe(&orphans::find(&store, &nango).await?));
        }
        Some(OrphansCommand::Remove { count: Some(count), allow_many: allows_many }) => {
            let removed =
                orphans::remove(&store, &nango, &clock, Wanted { count, allows_many }).await?;
            println!("{removed} credentials were deleted at Nango");
        }
    }
    Ok(())
}

#[expect(clippy::print_stdout, reason = "whoever asks for the document reads it")]
fn describe() -> ExitCode {
    println!("{:#}", http::document());
    ExitCode::SUCCESS
}

#[expect(clippy::print_stdout, reason = "whoever asks the doctor reads the answer")]
async fn diagnose(environment: &Environment, json: bool) -> ExitCode {
    let clock = Clock::system();
    let report = doctor::examine(environment, &|path| std::fs::read(path), &clock).await;
    if json {
        println!("{}", report.to_json());
    } else {
        print!("{report}");
    }
    if report.has_failed() { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

#[expect(clippy::print_stderr, reason = "whoever starts the service reads why it does not start")]
fn tell(error: &(dyn Error + 'static)) {
    eprintln!("control cannot go on: {}", chain(error));
}
