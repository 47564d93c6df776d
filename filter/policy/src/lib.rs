//! A policy of the edge, checked and asked before it is deployed: the filter's own code, without an Envoy.
//!
//! No rule is written here. `check` loads a policy as the filter does, and `explain` sends a made-up
//! request through the filter's pipeline; what is added is words.

mod caller;
mod check;
mod explain;
mod file;
mod words;

pub use self::explain::Question;

use self::file::Unusable;
use clap::{Parser, Subcommand};
use std::{
    io::{self, Write},
    path::{Path, PathBuf},
};

/// The edge's policy, checked and asked offline.
#[derive(Debug, Parser)]
#[command(name = "policy")]
pub struct Arguments {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Say what each policy is, or why it does not load (exit 1).
    Check {
        /// A policy as JSON, or an ECDS file (.yaml) with one inside.
        #[arg(required = true)]
        files: Vec<PathBuf>,
    },
    /// Say what the filter decides on one request: permitted (exit 0) or refused (exit 3).
    ///
    /// The policy decides, and nothing else is looked at: the request is taken to have what its route
    /// reads, and the secrets to be there. Envoy's own limits come before, control's answer after.
    Explain(Question),
}

/// How the tool ended. clap ends it with 2 when it is called wrongly.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// Every policy loads; the request may pass, or is answered.
    Well,
    /// A policy does not load.
    Unusable,
    /// The edge would refuse the request.
    Refused,
}

impl Ended {
    /// The code for the shell.
    pub const fn code(self) -> u8 {
        match self {
            Self::Well => 0,
            Self::Unusable => 1,
            Self::Refused => 3,
        }
    }
}

/// Does what `arguments` ask; answers go to `out`, and why a policy does not load to `err`.
pub fn run(arguments: &Arguments, out: &mut dyn Write, err: &mut dyn Write) -> io::Result<Ended> {
    match &arguments.verb {
        Verb::Check { files } => {
            let mut ended = Ended::Well;
            for path in files {
                match file::load(path) {
                    Ok(loaded) => check::say(path, &loaded, out)?,
                    Err(unusable) => ended = say_unusable(path, &unusable, err)?,
                }
            }
            Ok(ended)
        }
        Verb::Explain(question) => match file::load(&question.file) {
            Ok(loaded) => explain::say(question, &loaded, out),
            Err(unusable) => say_unusable(&question.file, &unusable, err),
        },
    }
}

/// One line for each problem, each with the file's name, because CI's log may show one line only.
fn say_unusable(path: &Path, unusable: &Unusable, err: &mut dyn Write) -> io::Result<Ended> {
    let Unusable(problems) = unusable;
    for problem in problems {
        writeln!(err, "{}: {problem}", path.display())?;
    }
    Ok(Ended::Unusable)
}
