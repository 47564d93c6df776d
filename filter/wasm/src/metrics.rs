//! The counters of the pipeline, carried to Envoy. A request is never refused because it cannot be
//! counted.

use crate::imports::{self, HostFailed, LogLevel, MetricId, MetricKind};
use filter::{observe::Counter, policy::ListenerKind};
use std::{cell::RefCell, collections::HashMap};

/// The ids of what was counted so far, by one root context: each definition costs a new id.
#[derive(Debug, Default)]
pub(crate) struct Metrics {
    counters: RefCell<HashMap<Counter, MetricId>>,
    verification: RefCell<Option<MetricId>>,
}

impl Metrics {
    pub(crate) fn count(&self, counter: Counter) {
        say_if_lost(self.try_count(counter));
    }

    /// Records what the verification of one body cost.
    pub(crate) fn verified(&self, nanoseconds: u64) {
        say_if_lost(self.try_verified(nanoseconds / 1000));
    }

    fn try_count(&self, counter: Counter) -> Result<(), HostFailed> {
        let mut counters = self.counters.try_borrow_mut().map_err(|_borrowed| HostFailed)?;
        let id = match counters.get(&counter) {
            Some(id) => *id,
            None => {
                let id = imports::define_metric(MetricKind::Counter, &counter.name())?;
                counters.insert(counter, id);
                id
            }
        };
        imports::increment(id)
    }

    fn try_verified(&self, microseconds: u64) -> Result<(), HostFailed> {
        let mut verification =
            self.verification.try_borrow_mut().map_err(|_borrowed| HostFailed)?;
        let id = match *verification {
            Some(id) => id,
            None => {
                let name = filter::observe::VERIFICATION_MICROSECONDS;
                *verification.insert(imports::define_metric(MetricKind::Histogram, name)?)
            }
        };
        imports::record(id, microseconds)
    }
}

/// Says which policy holds from now on.
pub(crate) fn policy_loaded(listener: ListenerKind, version: &str) {
    let name = filter::observe::policy_loaded_seconds(listener, version);
    let set = || {
        let gauge = imports::define_metric(MetricKind::Gauge, &name)?;
        imports::record(gauge, imports::now_ns()? / 1_000_000_000)
    };
    say_if_lost(set());
}

fn say_if_lost(counted: Result<(), HostFailed>) {
    if counted == Err(HostFailed) {
        imports::log(LogLevel::Error, "something was not counted");
    }
}
