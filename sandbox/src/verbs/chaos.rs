//! `chaos`: kills, restarts and cuts everything while connections come and go, and compares what everybody
//! saw.

use crate::{
    chaos::{
        fairness,
        report::Report,
        run::{Size, run as run_once},
        timeline::Dose,
    },
    say,
    tools::{Preferences, Tools},
    workspace,
};
use anyhow::ensure;
use clap::Args;
use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

/// Within which the whole of it has ended, whatever happens.
const BOUND: Duration = Duration::from_mins(10);

/// How many violations are shown; all of them are in a file.
const SHOWN: usize = 20;

#[derive(Debug, Clone, Args)]
pub struct Options {
    /// Which faults come when, and what the clients do; without it `SANDBOX_SEED`, else another each time.
    #[arg(long)]
    seed: Option<u64>,
    /// How many connections are started.
    #[arg(long, default_value_t = 2000)]
    connections: usize,
    /// Print JSON instead of a table.
    #[arg(long)]
    json: bool,
    /// Instead of all that: how much slower are notifications of eighteen tenants while the receiver of one
    /// is dead and that of another hangs?
    #[arg(long)]
    fairness: bool,
}

impl Options {
    fn seed(&self) -> anyhow::Result<u64> {
        match (self.seed, std::env::var_os("SANDBOX_SEED")) {
            (Some(seed), _) => Ok(seed),
            (None, Some(seed)) => Ok(seed.to_string_lossy().parse()?),
            (None, None) => Ok(u64::from(rand::random::<u16>())),
        }
    }
}

pub async fn run(preferences: &Preferences, options: Options) -> anyhow::Result<()> {
    let seed = options.seed()?;
    let tools = Tools::ready(preferences).await?;
    let folder = empty_folder(if options.fairness { "fairness" } else { "chaos" })?;
    if options.fairness {
        let figures = Box::pin(fairness::measure(&tools, &folder)).await?;
        show(options.json, &figures.table(), &figures.json());
        return figures.check();
    }
    say::doing(&format!("the seed is {seed}"));
    let size = Size { seed, connections: options.connections, dose: Dose::full(), bound: BOUND };
    let report = Box::pin(run_once(&tools, &folder, &size)).await?;
    show(options.json, &report.table(), &report.json());
    judge(&report, &folder)
}

fn show(as_json: bool, table: &str, json: &serde_json::Value) {
    if as_json { say::line(&json.to_string()) } else { say::line(table) }
}

/// The folder of the last run is gone, and that of this one stays.
fn empty_folder(name: &str) -> anyhow::Result<PathBuf> {
    let folder = workspace::sandbox_folder().join(name);
    if folder.exists() {
        fs::remove_dir_all(&folder)?;
    }
    fs::create_dir_all(&folder)?;
    Ok(folder)
}

fn judge(report: &Report, folder: &Path) -> anyhow::Result<()> {
    let found: Vec<String> = report.violations.iter().map(ToString::to_string).collect();
    let file = folder.join("violations.txt");
    fs::write(&file, found.join("\n"))?;
    for violation in found.iter().take(SHOWN) {
        say::doing(violation);
    }
    ensure!(
        found.is_empty(),
        "{} violations; all are in {}, beside the logs; the same again: --seed {}",
        found.len(),
        file.display(),
        report.seed
    );
    Ok(())
}
