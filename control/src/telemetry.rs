//! Where log lines go: JSON for machines, or words for a developer.

use crate::config::LogConfig;
use tracing_subscriber::{EnvFilter, util::SubscriberInitExt};

/// Starts the log. Lines of libraries are told only when they warn: at lower levels an HTTP client
/// may print what is secret.
pub fn init(config: LogConfig) {
    let LogConfig { level, is_json } = config;
    let filter = EnvFilter::new(format!("warn,control={level}"));
    let lines = tracing_subscriber::fmt().with_env_filter(filter).with_target(false);
    let started = if is_json {
        lines.json().flatten_event(true).with_current_span(false).finish().try_init()
    } else {
        lines.finish().try_init()
    };
    if let Err(error) = started {
        tracing::warn!(%error, "the log was started already");
    }
}
