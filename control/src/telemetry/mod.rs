//! Where log lines and spans go: lines as JSON for machines, or as words for a developer; spans by OTLP, where
//! a collector is named, and nowhere else.

mod export;

use crate::config::{LogConfig, TraceConfig};
use opentelemetry::trace::TracerProvider as _;
use opentelemetry_sdk::trace::SdkTracerProvider;
use tracing::Metadata;
use tracing_subscriber::{
    EnvFilter, Layer, Registry, filter::FilterFn, layer::SubscriberExt as _, registry::LookupSpan,
    util::SubscriberInitExt as _,
};

pub use export::CannotExport;

/// What must be told before the process ends.
#[derive(Debug, Default)]
#[must_use]
pub struct Telemetry(Option<SdkTracerProvider>);

impl Telemetry {
    /// Exports what was not exported yet. It blocks, for as long as the collector takes: five seconds at most.
    pub fn end(self) {
        if let Self(Some(provider)) = self
            && let Err(error) = provider.shutdown()
        {
            tracing::warn!(%error, "the last spans were not exported");
        }
    }
}

/// Starts the log, and the export of spans where one is set up. Lines of libraries are told only when they
/// warn: at lower levels an HTTP client may print what is secret.
pub fn init(log: LogConfig, traces: Option<TraceConfig>) -> Result<Telemetry, CannotExport> {
    let provider = traces.map(export::provider).transpose()?;
    let spans = provider.as_ref().map(spans);
    if let Err(error) = Registry::default().with(spans).with(lines(log)).try_init() {
        tracing::warn!(%error, "the log was started already");
    }
    Ok(Telemetry(provider))
}

fn lines<S>(config: LogConfig) -> Box<dyn Layer<S> + Send + Sync>
where
    S: tracing::Subscriber + for<'a> LookupSpan<'a>,
{
    let LogConfig { level, is_json } = config;
    let filter = EnvFilter::new(format!("warn,control={level}"));
    let lines = tracing_subscriber::fmt::layer().with_target(false);
    if is_json {
        // `span` has the ids of the work that a line is about, its trace's among them.
        let lines = lines.json().flatten_event(true).with_current_span(true).with_span_list(false);
        lines.with_filter(filter).boxed()
    } else {
        lines.with_filter(filter).boxed()
    }
}

/// Our own spans and nothing else: a library's may hold a URL, and a line may hold words of others.
fn spans<S>(provider: &SdkTracerProvider) -> impl Layer<S> + use<S>
where
    S: tracing::Subscriber + for<'a> LookupSpan<'a>,
{
    let is_ours = |metadata: &Metadata<'_>| {
        metadata.is_span() && metadata.target().split("::").next() == Some("control")
    };
    tracing_opentelemetry::layer()
        .with_tracer(provider.tracer("control"))
        .with_location(false)
        .with_threads(false)
        .with_target(false)
        .with_tracked_inactivity(false)
        .with_filter(FilterFn::new(is_ours))
}
