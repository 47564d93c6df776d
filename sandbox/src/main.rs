//! `cargo sandbox <verb>`: the only tool a newcomer needs after cloning.

use clap::{Parser, Subcommand};
use sandbox::{
    say,
    tools::Preferences,
    verbs::{chaos, demo, down, part, reproduce, restart, test, up},
};
use std::process::ExitCode;

/// The whole service on this machine: real Envoy, real PostgreSQL, a stand-in Nango.
#[derive(Debug, Parser)]
#[command(bin_name = "cargo sandbox")]
struct Arguments {
    #[command(flatten)]
    preferences: Preferences,
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Run one complete OAuth connection through the real Envoy, and print each step.
    Demo,
    /// Start everything, and keep it running.
    Up(up::Options),
    /// Start control of what `up` started once more, with settings changed.
    Restart(restart::Options),
    /// Stop what `up` started.
    Down,
    /// Everything that CI runs.
    Test,
    /// Kill, restart and cut everything under load, and compare what everybody saw.
    Chaos(chaos::Options),
    /// Build the filter a second time elsewhere, and say whether the bytes are the same.
    Reproduce,
    /// One part of it alone, for docker-compose.yml.
    #[command(subcommand)]
    Part(part::Part),
}

#[tokio::main]
async fn main() -> ExitCode {
    let Arguments { preferences, verb } = Arguments::parse();
    say::start_log();
    let ended = match verb {
        Verb::Demo => Box::pin(demo::run(&preferences)).await,
        Verb::Up(options) => Box::pin(up::run(&preferences, options)).await,
        Verb::Restart(options) => restart::run(&options).await,
        Verb::Down => down::run(),
        Verb::Test => test::run(&preferences).await,
        Verb::Chaos(options) => Box::pin(chaos::run(&preferences, options)).await,
        Verb::Reproduce => reproduce::run(&preferences).await,
        Verb::Part(part) => Box::pin(part::run(part)).await,
    };
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            say::failure(&error);
            ExitCode::FAILURE
        }
    }
}
