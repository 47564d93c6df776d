//! `restart`: control once more, with other settings, as an operator does who rotates something. What it is
//! started with is in a file that a shell can read, too.

use crate::{
    process::wait_for,
    say,
    stack::Stack,
    verbs::{
        down::{self, State},
        settings,
    },
    workspace,
};
use anyhow::{Context as _, bail};
use clap::Args;
use nix::sys::signal::Signal;
use std::{collections::BTreeMap, fs, path::PathBuf, time::Duration};
use tokio::signal::unix::SignalKind;

/// Asks `up` to do it. It is not SIGHUP, by which a terminal that is closed ends what ran in it.
pub const SIGNAL: SignalKind = SignalKind::user_defined1();

/// What control says before the reason for which it ends.
const REASON: &str = "control cannot go on: ";

const WITHIN: Duration = Duration::from_mins(2);

/// Settings that hold secrets. A command line is for every process of the machine to read, so that these are taken
/// from the environment.
const SECRETS: [&str; 7] = [
    "DATABASE_URL",
    "DATA_ENCRYPTION_KEY",
    "DB_PASSWORD",
    "EDGE_ASSERTION_KEY",
    "NANGO_PROFILE_KEY",
    "NANGO_SECRET_KEY",
    "NOTIFICATION_SIGNING_SECRET",
];

#[derive(Debug, Clone, Args)]
pub struct Options {
    /// Settings of control that change, as `NAME=value`; an empty value removes the setting. `NAME` alone takes the
    /// value from the environment, as every setting must that holds a secret.
    settings: Vec<String>,
}

/// What a setting on the command line changes: its name and its new value.
fn change(
    setting: &str,
    environment: impl Fn(&str) -> Option<String>,
) -> anyhow::Result<(String, String)> {
    let (name, value) = match setting.split_once('=') {
        Some((name, value)) if !SECRETS.contains(&name) || value.is_empty() => {
            (name, value.to_owned())
        }
        Some((name, _secret)) => bail!(
            "every process of this machine can read a secret on a command line: \
             `{name}=… cargo sandbox restart {name}`, or export {name} first"
        ),
        None => {
            let value = environment(setting);
            (setting, value.with_context(|| format!("{setting} is not in the environment"))?)
        }
    };
    Ok((name.to_owned(), value))
}

type Environment = BTreeMap<String, String>;

/// What control is started with: `set -a; . target/sandbox/control.env` makes a shell's `control` the same.
fn settings_file() -> PathBuf {
    workspace::sandbox_folder().join("control.env")
}

/// How it went, said by `up` to whoever asked; empty, if it went well.
fn answer_file() -> PathBuf {
    workspace::sandbox_folder().join("restarted")
}

pub async fn run(options: &Options) -> anyhow::Result<()> {
    let state =
        down::running().context("no sandbox runs; `cargo sandbox up --detach` starts it")?;
    let mut environment = read_settings()?;
    for setting in &options.settings {
        let (name, value) = change(setting, |name| {
            std::env::vars().find(|(known, _)| known == name).map(|(_, value)| value)
        })?;
        if !environment.contains_key(&name) {
            settings::check(&name)?;
        }
        environment.insert(name, value);
    }
    environment.retain(|_, value| !value.is_empty());
    write_settings(&environment)?;
    if answer_file().exists() {
        fs::remove_file(answer_file())?;
    }
    down::signal(state.supervisor, Signal::SIGUSR1)?;
    let answer = wait_for("control is not ready again", WITHIN, || async {
        Ok(fs::read_to_string(answer_file()).ok())
    })
    .await?;
    if !answer.is_empty() {
        bail!("control does not start with that, and runs as before: {}", reason_first(&answer));
    }
    say::line("control runs again, and is ready");
    Ok(())
}

/// Control says last why it ends; whoever asked reads that first.
fn reason_first(answer: &str) -> String {
    match answer.split_once(REASON) {
        Some((before, reason)) => format!("{}\n{before}", reason.trim_end()),
        None => answer.to_owned(),
    }
}

/// What `up` does when it is asked; `tell` writes down what others read, before the answer.
pub async fn carry_out(
    stack: &mut Stack,
    tell: impl FnOnce(&Stack) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let before = stack.control_settings.environment.clone();
    let restarted = match read_settings() {
        Ok(environment) => again(stack, environment).await,
        Err(error) => Err(error),
    };
    if restarted.is_err() && stack.control.is_none() {
        write_settings(&before)?;
        again(stack, before).await?;
    }
    State::of(stack).write()?;
    tell(stack)?;
    let answer = restarted.map_or_else(|error| format!("{error:#}"), |()| String::new());
    let scratch = answer_file().with_extension("new");
    fs::write(&scratch, answer)?;
    Ok(fs::rename(scratch, answer_file())?)
}

async fn again(stack: &mut Stack, environment: Environment) -> anyhow::Result<()> {
    if let Some(control) = stack.control.take() {
        control.stop().await?;
    }
    // The application is told what its notifications are signed with.
    if let (Some(app), Some(secrets)) =
        (&stack.client_app, environment.get("NOTIFICATION_SIGNING_SECRET"))
    {
        let secrets: Vec<&str> = secrets
            .split(',')
            .map(|secret| secret.split_once(':').map_or(secret, |(_, secret)| secret).trim())
            .collect();
        app.trust(&secrets)?;
    }
    stack.control_settings.environment = environment;
    stack.start_control().await
}

/// In one piece, quoted for a shell.
pub fn write_settings(environment: &Environment) -> anyhow::Result<()> {
    let lines: Vec<String> = environment
        .iter()
        .map(|(name, value)| format!("{name}='{}'\n", value.replace('\'', r"'\''")))
        .collect();
    let scratch = settings_file().with_extension("env.new");
    fs::write(&scratch, lines.concat())?;
    fs::rename(&scratch, settings_file()).context("cannot write control.env")
}

fn read_settings() -> anyhow::Result<Environment> {
    let text = fs::read_to_string(settings_file()).context("cannot read control.env")?;
    let mut environment = Environment::new();
    for line in text.lines() {
        let (name, value) =
            line.split_once('=').with_context(|| format!("no setting in control.env: {line}"))?;
        let value = value.trim_matches('\'').replace(r"'\''", "'");
        environment.insert(name.to_owned(), value);
    }
    Ok(environment)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_comes_from_the_environment_and_never_from_the_command_line() {
        let environment = |name: &str| (name == "NANGO_SECRET_KEY").then(|| "s3cret".to_owned());
        let changed = |setting: &str| change(setting, environment).map_err(|it| it.to_string());
        let set = |name: &str, value: &str| Ok((name.to_owned(), value.to_owned()));
        assert_eq!(changed("LOG_LEVEL=debug"), set("LOG_LEVEL", "debug"));
        assert_eq!(changed("NANGO_SECRET_KEY"), set("NANGO_SECRET_KEY", "s3cret"));
        assert_eq!(changed("NANGO_PROFILE_KEY="), set("NANGO_PROFILE_KEY", ""));
        assert!(changed("LOG_LEVEL").is_err());
        for name in SECRETS {
            let refused = changed(&format!("{name}=whatever")).unwrap_err();
            assert!(refused.contains(name) && !refused.contains("whatever"), "{refused}");
        }
    }

    #[test]
    fn the_reason_stands_before_all_else_that_control_said() {
        let answer = "control ended with exit status: 1; its last words:\nINFO begins\ncontrol cannot go on: \
            1 settings need attention:\n  PORT is malformed\n";
        assert_eq!(
            reason_first(answer),
            "1 settings need attention:\n  PORT is malformed\ncontrol ended with exit status: 1; its last words:\nINFO begins\n"
        );
        assert_eq!(reason_first("cannot read control.env"), "cannot read control.env");
    }
}
