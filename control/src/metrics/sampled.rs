//! What is not counted but looked at: gauges, set whole by whoever looked.

use super::{
    Metrics,
    labels::{Class, Kind, State, Status, Which},
};
use crate::domain::{budget::CallClass, connection::Status as ConnectionStatus};
use chrono::{DateTime, TimeDelta, Utc};
use prometheus_client::metrics::{family::Family, gauge::Gauge};
use std::time::Duration;

const UNFINISHED: [&str; 2] = ["ready", "blocked"];
const DESTINATIONS: [&str; 2] = ["paused", "stopped"];

impl Metrics {
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

    pub fn sweep_age(&self, age: Duration) {
        self.0.recorded.sweep_age.set(age.as_secs_f64());
    }

    /// Connections that Nango has not and that are kept, and credentials at Nango that have no connection.
    pub fn missing_at_nango(&self, deletions_held: i64, orphans: i64) {
        self.0.recorded.deletions_held.set(deletions_held);
        self.0.recorded.orphaned_credentials.set(orphans);
    }

    pub fn sealer_lag(&self, lag: Duration) {
        self.0.recorded.sealer_lag.set(lag.as_secs_f64());
    }

    pub fn clock_skew(&self, skew: TimeDelta) {
        self.0.recorded.clock_skew.set(skew.as_seconds_f64());
    }

    pub fn certificate(&self, certificate: &'static str, not_after: DateTime<Utc>) {
        let which = Which { certificate };
        self.0.recorded.certificate_not_after.get_or_create(&which).set(not_after.timestamp());
    }

    pub fn certificate_files(&self, are_usable: bool) {
        self.0.recorded.certificate_files_unusable.set(i64::from(!are_usable));
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
}

/// Sets the gauge of each status of a closed list.
fn set_all<const N: usize>(
    gauges: &Family<Status, Gauge>,
    statuses: [&'static str; N],
    counts: &[(String, i64)],
) {
    for status in statuses {
        let count = counts.iter().find(|(counted, _)| counted == status);
        gauges.get_or_create(&Status { status }).set(count.map_or(0, |(_, count)| *count));
    }
}
