//! `policy check` and `policy explain`; see the library beside it.

use clap::Parser as _;
use policy::{Arguments, run};
use std::{
    io::{stderr, stdout},
    process::ExitCode,
};

fn main() -> ExitCode {
    // Whoever closes the pipe early has seen enough, and no complete answer.
    run(&Arguments::parse(), &mut stdout().lock(), &mut stderr().lock())
        .map_or(ExitCode::FAILURE, |ended| ExitCode::from(ended.code()))
}
