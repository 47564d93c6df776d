//! What an operator sees of this process in Prometheus: counted where it happens, shown on `ADMIN_PORT`.
//!
//! `names` has every metric, [`labels`] the closed lists of what may tell two series apart. Counting takes
//! a lock for no longer than a look-up, decides nothing, and cannot fail.

mod labels;
mod names;
mod process;
mod sampled;

use crate::{
    clock::Clock,
    domain::{
        connection::Status as ConnectionStatus,
        outcome::{NoAnswer, Outcome as TryOutcome},
    },
};
use chrono::{DateTime, Utc};
use labels::{Call, CallEnd, CallRefusal, Kind, Outcome, Refusal, Status, Try, Why, Work};
use names::Recorded;
use prometheus_client::{metrics::gauge::Gauge, registry::Registry};
use std::{sync::Arc, time::Duration};

pub use labels::{CallName, CallOutcome, Drift, GivenUp, RequestLabels, WorkResult};

/// Why Nango was not asked.
const WHYS: [&str; 3] = ["budget", "budget_unknown", "left_alone"];
/// How a receipt ends.
const RECEIPTS: [&str; 6] =
    ["confirmed", "ignored", "no_match", "unconfirmed", "nothing_new", "check_queued"];
/// The workers' kinds of work. Those after the first four, which ask the vault, count panics alone.
const WORK: [&str; 6] = ["receipts", "attempts", "jobs", "sweep", "deliveries", "feed"];
/// Kinds of work that may be overdue.
const BACKLOG: [&str; 3] = ["receipts", "jobs", "deliveries"];

/// All metrics of a process.
#[derive(Debug, Clone)]
pub struct Metrics(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    registry: Registry,
    recorded: Recorded,
    clock: Clock,
    started_at: DateTime<Utc>,
}

impl Default for Metrics {
    /// Metrics that nobody looks at.
    fn default() -> Self {
        Self::new(Clock::system())
    }
}

impl Metrics {
    pub fn new(clock: Clock) -> Self {
        let mut registry = Registry::default();
        let started_at = clock.now();
        let recorded = Recorded::register(&mut registry, started_at);
        let metrics = Self(Arc::new(Inner { registry, recorded, clock, started_at }));
        metrics.begin_at_zero();
        metrics
    }

    /// Everything, as Prometheus reads it (`OpenMetrics` text).
    pub fn text(&self) -> String {
        let mut text = String::new();
        // There is always room in a text.
        let _is_written =
            prometheus_client::encoding::text::encode(&mut text, &self.0.registry).is_ok();
        text
    }

    /// Since when these are counted.
    pub fn started_at(&self) -> DateTime<Utc> {
        self.0.started_at
    }

    /// Something that takes time begins.
    pub fn begin(&self) -> Begun {
        Begun { clock: self.0.clock.clone(), at: self.0.clock.now() }
    }

    /// A request begins; it ends when this is dropped.
    pub fn request(&self) -> InFlight {
        InFlight::of(&self.0.recorded.requests_in_flight)
    }

    pub fn answered(&self, labels: &RequestLabels, begun: &Begun) {
        self.0.recorded.request_seconds.get_or_create(labels).observe(begun.seconds());
    }

    /// The codes that a request may be refused with; each is counted from zero.
    pub fn may_refuse(&self, codes: impl Iterator<Item = &'static str>) {
        codes.for_each(|code| drop(self.0.recorded.refusals.get_or_create(&Refusal { code })));
    }

    pub fn refused(&self, code: &'static str) {
        self.0.recorded.refusals.get_or_create(&Refusal { code }).inc();
    }

    pub fn nango_called(&self, call: CallName, outcome: CallOutcome, begun: &Begun) {
        let (call, outcome) = (call.as_str(), outcome.as_str());
        self.0.recorded.nango_calls.get_or_create(&CallEnd { call, outcome }).inc();
        self.0.recorded.nango_call_seconds.get_or_create(&Call { call }).observe(begun.seconds());
    }

    pub fn nango_retried(&self, call: CallName) {
        self.0.recorded.nango_retries.get_or_create(&Call { call: call.as_str() }).inc();
    }

    /// `why` is one of `budget`, `budget_unknown`, `left_alone`.
    pub fn nango_not_asked(&self, call: CallName, why: &'static str) {
        let labels = CallRefusal { call: call.as_str(), why };
        self.0.recorded.nango_not_asked.get_or_create(&labels).inc();
    }

    pub fn breaker(&self, is_closed: bool) {
        self.0.recorded.nango_breaker_open.set(i64::from(!is_closed));
    }

    pub fn worked(&self, kind: &'static str, result: WorkResult) {
        let result = result.as_str();
        self.0.recorded.outbox_work.get_or_create(&Work { kind, result }).inc();
    }

    /// A try to notify ended.
    pub fn delivered(&self, outcome: TryOutcome, took: Duration) {
        self.0.recorded.delivery_tries.get_or_create(&try_labels(outcome)).inc();
        self.0.recorded.delivery_try_seconds.observe(took.as_secs_f64());
    }

    pub fn given_up(&self, why: GivenUp, deliveries: usize) {
        let deliveries = u64::try_from(deliveries).unwrap_or_default();
        let why = Why { why: why.as_str() };
        self.0.recorded.deliveries_given_up.get_or_create(&why).inc_by(deliveries);
    }

    pub fn changed(&self, to: ConnectionStatus) {
        self.0.recorded.changes.get_or_create(&Status { status: to.as_str() }).inc();
    }

    pub fn receipt(&self, outcome: &'static str) {
        self.0.recorded.receipts.get_or_create(&Outcome { outcome }).inc();
    }

    pub fn swept(&self, rows: usize) {
        self.0.recorded.sweep_rows.inc_by(u64::try_from(rows).unwrap_or_default());
    }

    pub fn drifted(&self, drift: Drift, rows: usize) {
        let rows = u64::try_from(rows).unwrap_or_default();
        self.0.recorded.sweep_drift.get_or_create(&Kind { kind: drift.as_str() }).inc_by(rows);
    }

    /// A transaction wants a connection to the database; it waits until this is dropped.
    pub fn acquires(&self) -> InFlight {
        InFlight::of(&self.0.recorded.pool_waiting)
    }

    pub fn acquired(&self, begun: &Begun, is_in_time: bool) {
        self.0.recorded.pool_acquire_seconds.observe(begun.seconds());
        if !is_in_time {
            self.0.recorded.pool_timeouts.inc();
        }
    }

    /// A counter that begins with its first event hides that event from `increase()`, and an alert with it.
    fn begin_at_zero(&self) {
        for call in CallName::ALL {
            for outcome in CallOutcome::ALL {
                let end = CallEnd { call: call.as_str(), outcome: outcome.as_str() };
                drop(self.0.recorded.nango_calls.get_or_create(&end));
            }
            for why in WHYS {
                let refusal = CallRefusal { call: call.as_str(), why };
                drop(self.0.recorded.nango_not_asked.get_or_create(&refusal));
            }
            drop(self.0.recorded.nango_retries.get_or_create(&Call { call: call.as_str() }));
        }
        for kind in WORK {
            for result in WorkResult::ALL {
                let work = Work { kind, result: result.as_str() };
                drop(self.0.recorded.outbox_work.get_or_create(&work));
            }
        }
        let answered = [
            TryOutcome::Delivered { status: 200 },
            TryOutcome::Refused { status: 500, retry_after: None },
        ];
        for outcome in NoAnswer::ALL.map(TryOutcome::NoAnswer).into_iter().chain(answered) {
            drop(self.0.recorded.delivery_tries.get_or_create(&try_labels(outcome)));
        }
        for why in GivenUp::ALL {
            self.given_up(why, 0);
        }
        for outcome in RECEIPTS {
            drop(self.0.recorded.receipts.get_or_create(&Outcome { outcome }));
        }
        for drift in Drift::ALL {
            self.drifted(drift, 0);
        }
        for status in ConnectionStatus::ALL {
            drop(self.0.recorded.changes.get_or_create(&Status { status: status.as_str() }));
        }
        self.backlog(BACKLOG.map(|kind| (kind, None)));
        self.deliveries_unfinished(&[]);
        self.destinations(&[]);
    }
}

fn try_labels(outcome: TryOutcome) -> Try {
    let fault = outcome.fault().map_or("none", |fault| fault.as_str());
    Try { outcome: outcome.as_str(), fault }
}

/// Something that began.
#[derive(Debug)]
pub struct Begun {
    clock: Clock,
    at: DateTime<Utc>,
}

impl Begun {
    /// How long ago that was. A clock that was set back says no time.
    fn seconds(&self) -> f64 {
        let took = self.clock.now().signed_duration_since(self.at);
        took.to_std().unwrap_or_default().as_secs_f64()
    }
}

/// One more, until it is dropped.
#[derive(Debug)]
pub struct InFlight(Gauge);

impl InFlight {
    fn of(gauge: &Gauge) -> Self {
        gauge.inc();
        Self(gauge.clone())
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.dec();
    }
}

#[cfg(test)]
mod tests;
