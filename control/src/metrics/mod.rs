//! What an operator sees of this process in Prometheus: counted where it happens, shown on `ADMIN_PORT`.
//!
//! `names` has every metric, [`labels`] the closed lists of what may tell two series apart. Counting takes
//! a lock for no longer than a look-up, decides nothing, and cannot fail.

mod labels;
mod names;
mod process;

use crate::{
    clock::Clock,
    domain::{
        budget::CallClass,
        connection::Status as ConnectionStatus,
        outcome::{NoAnswer, Outcome as TryOutcome},
    },
};
use chrono::{DateTime, Utc};
use labels::{Call, CallEnd, CallRefusal, Class, Kind, Outcome, State, Status, Try, Which, Work};
use names::Recorded;
use prometheus_client::{metrics::gauge::Gauge, registry::Registry};
use std::{sync::Arc, time::Duration};

pub use labels::{CallName, CallOutcome, Drift, RequestLabels, WorkResult};

/// Why Nango was not asked.
const WHYS: [&str; 3] = ["budget", "budget_unknown", "left_alone"];
/// How a receipt ends.
const RECEIPTS: [&str; 5] = ["confirmed", "ignored", "no_match", "unconfirmed", "nothing_new"];
/// The outbox's kinds of work that ask the vault.
const WORK: [&str; 4] = ["receipts", "attempts", "jobs", "sweep"];
/// Kinds of work that may be overdue.
const BACKLOG: [&str; 3] = ["receipts", "jobs", "deliveries"];
const UNFINISHED: [&str; 2] = ["ready", "blocked"];
const DESTINATIONS: [&str; 2] = ["paused", "stopped"];

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

    pub fn budget(&self, class: CallClass, left: u32, max: u32) {
        let class = Class { class: class.as_str() };
        self.0.recorded.budget_left.get_or_create(&class).set(left.into());
        self.0.recorded.budget_max.get_or_create(&class).set(max.into());
    }

    /// How long the oldest of each kind waits; nothing, where none does.
    pub fn backlog(&self, waits: [(&'static str, Option<Duration>); 3]) {
        let mut oldest = 0.0_f64;
        for (kind, wait) in waits {
            let seconds = wait.unwrap_or_default().as_secs_f64();
            oldest = oldest.max(seconds);
            self.0.recorded.backlog_oldest.get_or_create(&Kind { kind }).set(seconds);
        }
        self.0.recorded.backlog_age.set(oldest);
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

    /// What was counted is told whole: a status that is not named has none.
    pub fn deliveries_unfinished(&self, counts: &[(String, i64)]) {
        set_all(&self.0.recorded.deliveries_unfinished, UNFINISHED, counts);
    }

    pub fn destinations(&self, counts: &[(String, i64)]) {
        set_all(&self.0.recorded.destinations, DESTINATIONS, counts);
    }

    pub fn connections(&self, counts: &[(String, i64)]) {
        let statuses = ConnectionStatus::ALL.map(ConnectionStatus::as_str);
        set_all(&self.0.recorded.by_status, statuses, counts);
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

    pub fn sweep_age(&self, age: Duration) {
        self.0.recorded.sweep_age.set(age.as_secs_f64());
    }

    pub fn sealer_lag(&self, lag: Duration) {
        self.0.recorded.sealer_lag.set(lag.as_secs_f64());
    }

    pub fn certificate(&self, certificate: &'static str, not_after: DateTime<Utc>) {
        let which = Which { certificate };
        self.0.recorded.certificate_not_after.get_or_create(&which).set(not_after.timestamp());
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

    pub fn pool(&self, idle: usize, used: usize, max: u32) {
        for (state, connections) in [("idle", idle), ("used", used)] {
            let connections = i64::try_from(connections).unwrap_or(i64::MAX);
            self.0.recorded.pool_connections.get_or_create(&State { state }).set(connections);
        }
        self.0.recorded.pool_max.set(max.into());
    }

    pub fn waiters(&self, waiters: usize, max: usize) {
        self.0.recorded.waiters.set(i64::try_from(waiters).unwrap_or(i64::MAX));
        self.0.recorded.waiters_max.set(i64::try_from(max).unwrap_or(i64::MAX));
    }

    /// Whether the database serves, as the last sample showed.
    pub fn ready(&self, is_ready: bool) {
        self.0.recorded.ready.set(i64::from(is_ready));
    }

    pub fn sample_failed(&self) {
        self.0.recorded.sample_failures.inc();
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

/// Sets the gauge of each status of a closed list.
fn set_all<const N: usize>(
    gauges: &prometheus_client::metrics::family::Family<Status, Gauge>,
    statuses: [&'static str; N],
    counts: &[(String, i64)],
) {
    for status in statuses {
        let count = counts.iter().find(|(counted, _)| counted == status);
        gauges.get_or_create(&Status { status }).set(count.map_or(0, |(_, count)| *count));
    }
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
mod tests {
    use super::*;
    use chrono::TimeDelta;

    fn value(metrics: &Metrics, series: &str) -> Option<f64> {
        let text = metrics.text();
        let line = text.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '))?;
        Some(line.parse().unwrap())
    }

    #[test]
    fn what_takes_time_is_measured_by_the_clock_and_never_negative() {
        let clock = Clock::manual(DateTime::UNIX_EPOCH);
        let metrics = Metrics::new(clock.clone());
        let labels = RequestLabels { route: "/health".to_owned(), method: "GET", status: "2xx" };
        let begun = metrics.begin();
        clock.advance(TimeDelta::milliseconds(300));
        metrics.answered(&labels, &begun);
        clock.advance(TimeDelta::seconds(-5));
        metrics.answered(&labels, &begun);
        let of = r#"{route="/health",method="GET",status="2xx"}"#;
        let sum = format!("connections_http_request_seconds_sum{of}");
        assert_eq!(value(&metrics, &sum), Some(0.3));
        assert_eq!(
            value(&metrics, &format!("connections_http_request_seconds_count{of}")),
            Some(2.0)
        );
    }

    #[test]
    fn what_is_under_way_is_counted_until_it_ends() {
        let metrics = Metrics::default();
        let in_flight = "connections_http_requests_in_flight";
        let (one, two) = (metrics.request(), metrics.request());
        assert_eq!(value(&metrics, in_flight), Some(2.0));
        drop(one);
        assert_eq!(value(&metrics, in_flight), Some(1.0));
        drop(two);
        assert_eq!(value(&metrics, in_flight), Some(0.0));
    }

    #[test]
    fn a_status_that_nobody_knows_makes_no_series() {
        let metrics = Metrics::default();
        let counted = [("active".to_owned(), 7), ("made up".to_owned(), 9)];
        metrics.connections(&counted);
        assert_eq!(value(&metrics, r#"connections_by_status{status="active"}"#), Some(7.0));
        assert_eq!(value(&metrics, r#"connections_by_status{status="failed"}"#), Some(0.0));
        assert!(!metrics.text().contains("made up"));
    }

    #[test]
    fn each_kind_waits_by_itself_and_the_oldest_counts() {
        let metrics = Metrics::default();
        let seconds = |seconds| Some(Duration::from_secs(seconds));
        metrics.backlog([("receipts", None), ("jobs", seconds(4)), ("deliveries", seconds(9))]);
        let of = |kind: &str| {
            value(&metrics, &format!(r#"connections_backlog_oldest_seconds{{kind="{kind}"}}"#))
        };
        assert_eq!(["receipts", "jobs", "deliveries"].map(of), [Some(0.0), Some(4.0), Some(9.0)]);
        assert_eq!(value(&metrics, "connections_backlog_age_seconds"), Some(9.0));
    }

    #[test]
    fn each_failure_is_somebodys_fault_and_a_success_nobodys() {
        let metrics = Metrics::default();
        let took = Duration::from_millis(20);
        metrics.delivered(TryOutcome::Delivered { status: 204 }, took);
        metrics.delivered(TryOutcome::Refused { status: 410, retry_after: None }, took);
        metrics.delivered(TryOutcome::NoAnswer(NoAnswer::OurLimits), took);
        let of = |outcome: &str, fault: &str| {
            value(
                &metrics,
                &format!(
                    r#"connections_delivery_tries_total{{outcome="{outcome}",fault="{fault}"}}"#
                ),
            )
        };
        assert_eq!(of("delivered", "none"), Some(1.0));
        assert_eq!(of("refused", "theirs"), Some(1.0));
        assert_eq!(of("our_limits", "ours"), Some(1.0));
        assert_eq!(of("timeout", "network"), Some(0.0));
        assert_eq!(value(&metrics, "connections_delivery_try_seconds_count"), Some(3.0));
    }
}
