//! What the sandbox prints: its work is to show.
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "showing is this crate's work")]

use std::time::Instant;

/// One line.
pub fn line(text: &str) {
    println!("{text}");
}

/// What is being done now, before it is done.
pub fn doing(text: &str) {
    eprintln!("· {text}");
}

/// A step of a story: what happened, and what each side saw.
pub fn step(number: usize, name: &str, seen: &[String]) {
    println!("\n{number}. {name}");
    for line in seen {
        println!("   {line}");
    }
}

/// Why it ends here, with every cause.
pub fn failure(error: &anyhow::Error) {
    eprintln!("\nfailed: {error}");
    for cause in error.chain().skip(1) {
        eprintln!("  because {cause}");
    }
}

/// Says what is done before and how long it took after.
pub async fn timed<T>(
    text: &str,
    work: impl Future<Output = anyhow::Result<T>>,
) -> anyhow::Result<T> {
    doing(text);
    let started = Instant::now();
    let done = work.await;
    let seconds = started.elapsed().as_secs_f64();
    if done.is_ok() && seconds >= 1.0 {
        eprintln!("  done in {seconds:.1} s");
    }
    done
}

/// The stand-ins' own log lines, for whoever sets `RUST_LOG`.
pub fn start_log() {
    let filter = tracing_subscriber::EnvFilter::from_default_env();
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).init();
}
