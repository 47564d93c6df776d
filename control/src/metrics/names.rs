//! Every metric there is: its name, its help, and its labels. A name that is not here does not exist.
//!
//! Units are base units and part of the name; a counter's `_total` is added when it is written.

use super::{
    labels::{
        Build, Call, CallEnd, CallRefusal, Class, Kind, Outcome, Refusal, RequestLabels, State,
        Status, Try, Which, Why, Work,
    },
    process::Process,
};
use chrono::{DateTime, Utc};
use prometheus_client::{
    metrics::{counter::Counter, family::Family, gauge::Gauge, histogram::Histogram},
    registry::{Metric, Registry},
};
use std::sync::atomic::AtomicU64;

type Seconds = Gauge<f64, AtomicU64>;
type Histograms<L> = Family<L, Histogram, fn() -> Histogram>;

/// From what a database takes to what a user gives up at.
const REQUEST_BUCKETS: [f64; 12] =
    [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0];
/// A call over the network, up to the 15 s that a receiver has.
const CALL_BUCKETS: [f64; 10] = [0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 15.0];
/// A connection of the pool is there at once, or somebody waits for it; after 3 s nobody does.
const ACQUIRE_BUCKETS: [f64; 7] = [0.0005, 0.002, 0.01, 0.05, 0.25, 1.0, 3.0];

/// All of them.
#[derive(Debug)]
pub(super) struct Recorded {
    pub(super) request_seconds: Histograms<RequestLabels>,
    pub(super) requests_in_flight: Gauge,
    pub(super) refusals: Family<Refusal, Counter>,
    pub(super) nango_calls: Family<CallEnd, Counter>,
    pub(super) nango_call_seconds: Histograms<Call>,
    pub(super) nango_retries: Family<Call, Counter>,
    pub(super) nango_not_asked: Family<CallRefusal, Counter>,
    pub(super) nango_breaker_open: Gauge,
    pub(super) budget_left: Family<Class, Gauge>,
    pub(super) budget_max: Family<Class, Gauge>,
    pub(super) backlog_age: Seconds,
    pub(super) backlog_oldest: Family<Kind, Seconds>,
    pub(super) outbox_work: Family<Work, Counter>,
    pub(super) delivery_tries: Family<Try, Counter>,
    pub(super) delivery_try_seconds: Histogram,
    pub(super) deliveries_given_up: Family<Why, Counter>,
    pub(super) deliveries_unfinished: Family<Status, Gauge>,
    pub(super) destinations: Family<Status, Gauge>,
    pub(super) by_status: Family<Status, Gauge>,
    pub(super) changes: Family<Status, Counter>,
    pub(super) receipts: Family<Outcome, Counter>,
    pub(super) sweep_rows: Counter,
    pub(super) sweep_drift: Family<Kind, Counter>,
    pub(super) sweep_age: Seconds,
    pub(super) deletions_held: Gauge,
    pub(super) orphaned_credentials: Gauge,
    pub(super) sealer_lag: Seconds,
    pub(super) clock_skew: Seconds,
    pub(super) certificate_not_after: Family<Which, Gauge>,
    pub(super) certificate_files_unusable: Gauge,
    pub(super) pool_connections: Family<State, Gauge>,
    pub(super) pool_max: Gauge,
    pub(super) pool_waiting: Gauge,
    pub(super) pool_acquire_seconds: Histogram,
    pub(super) pool_timeouts: Counter,
    pub(super) waiters: Gauge,
    pub(super) waiters_max: Gauge,
    pub(super) ready: Gauge,
    pub(super) sample_failures: Counter,
}

/// Makes metrics and registers each under its name.
struct Names<'a>(&'a mut Registry);

impl Names<'_> {
    fn add<M: Metric + Clone>(&mut self, name: &str, help: &str, metric: M) -> M {
        self.0.register(name, help, metric.clone());
        metric
    }

    fn make<M: Metric + Clone + Default>(&mut self, name: &str, help: &str) -> M {
        self.add(name, help, M::default())
    }
}

impl Recorded {
    #[expect(clippy::too_many_lines, reason = "a table reads best in one piece")]
    pub(super) fn register(registry: &mut Registry, started_at: DateTime<Utc>) -> Self {
        let mut names = Names(registry);
        let names = &mut names;
        let build: Family<Build, Gauge> =
            names.make("connections_build_info", "The version that runs; always 1");
        build.get_or_create(&Build { version: env!("CARGO_PKG_VERSION") }).set(1);
        names.0.register_collector(Box::new(Process::new(started_at)));
        let request_seconds: fn() -> Histogram = || Histogram::new(REQUEST_BUCKETS);
        let call_seconds: fn() -> Histogram = || Histogram::new(CALL_BUCKETS);
        Self {
            request_seconds: names.add(
                "connections_http_request_seconds",
                "Requests of the edge by route, method and class of status; ?wait is a route of its own",
                Family::new_with_constructor(request_seconds),
            ),
            requests_in_flight: names.make("connections_http_requests_in_flight", "Requests that have no answer yet"),
            refusals: names.make("connections_http_refusals", "Requests that were refused or failed, by the code that they were told"),
            nango_calls: names.make("connections_nango_calls", "Calls to Nango by what they ask and how they ended"),
            nango_call_seconds: names.add(
                "connections_nango_call_seconds",
                "How long a call to Nango took, by what it asks",
                Family::new_with_constructor(call_seconds),
            ),
            nango_retries: names.make("connections_nango_retries", "Calls to Nango that were made again"),
            nango_not_asked: names.make(
                "connections_nango_not_asked",
                "Calls that were not made: the budget is used up (or unknown), or Nango is left alone",
            ),
            nango_breaker_open: names.make("connections_nango_breaker_open", "1 while Nango is left alone after failures"),
            budget_left: names.make("connections_nango_budget_calls_left", "Calls of a class that may be made at once, all replicas together"),
            budget_max: names.make("connections_nango_budget_calls_max", "The most calls of a class that may be left"),
            backlog_age: names.make("connections_backlog_age_seconds", "How long the oldest piece of work is due that nobody has claimed; 0 if none is"),
            backlog_oldest: names.make("connections_backlog_oldest_seconds", "The same by kind of work"),
            outbox_work: names.make("connections_outbox_work", "Pieces of work that were done, or failed"),
            delivery_tries: names.make("connections_delivery_tries", "Tries to notify by outcome, and whose fault a failure is"),
            delivery_try_seconds: names.add("connections_delivery_try_seconds", "How long a try to notify took", call_seconds()),
            deliveries_given_up: names.make("connections_deliveries_given_up", "Deliveries that ended though nobody took them, by why"),
            deliveries_unfinished: names.make("connections_deliveries_unfinished", "Deliveries that are ready, or blocked by one before them"),
            destinations: names.make("connections_destinations", "Destinations that are paused or stopped"),
            by_status: names.make("connections_by_status", "Connections by status, counted every minute or less often"),
            changes: names.make("connections_changes", "Changes of connections by the status that they led to"),
            receipts: names.make("connections_receipts", "Webhooks by what became of them"),
            sweep_rows: names.make("connections_sweep_rows", "Rows of the vault's list that were looked at"),
            sweep_drift: names.make("connections_sweep_drift", "Rows that were found otherwise than believed: changed, or missing"),
            sweep_age: names.make("connections_sweep_age_seconds", "Since when the last whole walk through the vault's list began"),
            deletions_held: names.make(
                "connections_deletions_held",
                "Connections that are missing at Nango and are not deleted until an operator decides; 0 while nothing is held",
            ),
            orphaned_credentials: names.make(
                "connections_orphaned_credentials",
                "Credentials at Nango with our tags that no connection here has, as the last whole walk found them",
            ),
            sealer_lag: names.make("connections_sealer_lag_seconds", "How old the oldest event without a place in the feed is"),
            clock_skew: names.make("connections_clock_skew_seconds", "How far our clock is ahead of the database's; below zero, behind"),
            certificate_not_after: names.make("connections_certificate_not_after_timestamp_seconds", "When the first certificate that is in use ends"),
            certificate_files_unusable: names.make(
                "connections_certificate_files_unusable",
                "1 while our certificate files cannot be used, and what was read before serves on",
            ),
            pool_connections: names.make("connections_database_pool_connections", "Connections to the database by state"),
            pool_max: names.make("connections_database_pool_connections_max", "The most connections to the database"),
            pool_waiting: names.make("connections_database_pool_waiting", "Transactions that wait for a connection"),
            pool_acquire_seconds: names.add(
                "connections_database_acquire_seconds",
                "How long a transaction waited for its connection",
                Histogram::new(ACQUIRE_BUCKETS),
            ),
            pool_timeouts: names.make("connections_database_acquire_timeouts", "Transactions that got no connection in time"),
            waiters: names.make("connections_waiters", "Calls that wait for a connection to change"),
            waiters_max: names.make("connections_waiters_max", "How many may wait"),
            ready: names.make("connections_ready", "1 while the database serves and has every migration"),
            sample_failures: names.make("connections_sample_failures", "Samples of the database that failed"),
        }
    }
}
