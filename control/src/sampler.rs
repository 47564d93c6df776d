//! Looks now and then at what no request shows: backlog, budget, sweep, counts, certificates. A scrape shows
//! the last look, so that scraping often costs the database nothing.

use crate::{
    cause::chain,
    clock::Clock,
    domain::{
        budget::{CallsPerMinute, Share},
        health::Database,
    },
    hub::{Hub, WAITERS_MAX},
    metrics::Metrics,
    readiness::Readiness,
    store::{Store, StoreError},
    tls::Watched,
};
use chrono::{DateTime, TimeDelta, Utc};
use std::{sync::Arc, time::Duration};
use tokio_util::sync::CancellationToken;

/// Between two looks at what is cheap.
const OFTEN: TimeDelta = TimeDelta::seconds(10);

/// Between two counts, which read a whole index.
const SELDOM: TimeDelta = TimeDelta::seconds(60);

/// A count that takes long is taken less often: it may use a fiftieth of one connection's time.
const REST: i32 = 50;

/// What the samples are taken of.
#[derive(Debug, Clone)]
pub struct Sampler {
    pub store: Store,
    pub hub: Hub,
    pub clock: Clock,
    pub metrics: Metrics,
    pub calls_per_minute: CallsPerMinute,
    pub identity: Option<Arc<Watched>>,
    pub readiness: Readiness,
}

impl Sampler {
    /// Samples until `stop` is cancelled.
    pub async fn run(&self, stop: CancellationToken) {
        tokio::select! {
            () = stop.cancelled() => {}
            ((), ()) = async { tokio::join!(self.look_often(), self.count_seldom()) } => {}
        }
    }

    /// What a scrape shows, with what this process knows by itself.
    pub fn scraped(&self) -> String {
        let (idle, used, max) = self.store.pool_state();
        self.metrics.pool(idle, used, max);
        self.metrics.waiters(*self.hub.waiters().borrow(), WAITERS_MAX);
        self.metrics.text()
    }

    /// Looks at what is cheap.
    pub async fn look(&self) {
        let at = self.clock.now();
        self.look_at_certificates();
        let looked = self.try_look(at).await;
        self.metrics.ready(matches!(looked, Ok(true)));
        self.tell(looked.map(|_is_migrated| ()));
    }

    /// Counts what takes a whole index.
    pub async fn count(&self) {
        let counted = async {
            self.metrics.connections(&self.store.count_connections().await?);
            let unfinished = self.store.count_unfinished_deliveries().await?;
            self.metrics.deliveries_unfinished(&unfinished);
            Ok(())
        };
        self.tell(counted.await);
    }

    async fn try_look(&self, at: DateTime<Utc>) -> Result<bool, StoreError> {
        let backlog = match self.readiness.try_look(at).await? {
            Database::Ready(backlog) => backlog,
            Database::Unavailable | Database::NotMigrated | Database::ReadOnly { .. } => {
                return Ok(false);
            }
        };
        let wait = |since: Option<DateTime<Utc>>| since.map(|since| age(since, at));
        self.metrics.backlog([
            ("receipts", wait(backlog.receipts)),
            ("jobs", wait(backlog.jobs)),
            ("deliveries", wait(backlog.deliveries)),
        ]);
        self.metrics.clock_skew(self.store.clock_skew(&self.clock).await?);
        let vitals = self.store.vitals().await?;
        // Where no walk was whole yet, this process waits for one since it started.
        let swept_at = vitals.swept_at.unwrap_or_else(|| self.metrics.started_at());
        self.metrics.sweep_age(age(swept_at, at));
        self.metrics.sealer_lag(wait(vitals.unsealed_since).unwrap_or_default());
        self.metrics.destinations(&vitals.destinations);
        self.metrics.missing_at_nango(vitals.deletions_held, vitals.orphans);
        for (class, bucket) in vitals.buckets {
            let share = Share::of(class, self.calls_per_minute);
            self.metrics.budget(class, bucket.calls(share, at), share.capacity());
        }
        Ok(true)
    }

    /// Of what is in use, not of the files: new ones that cannot be used let the old one end in service.
    fn look_at_certificates(&self) {
        let Some(identity) = &self.identity else { return };
        let ends = identity.current().ends();
        for (name, end) in [("identity", ends.identity), ("ca", ends.ca)] {
            if let Some(until) = end {
                self.metrics.certificate(name, until);
            }
        }
        self.metrics.certificate_files(identity.state().trouble.is_none());
    }

    async fn look_often(&self) {
        loop {
            self.look().await;
            self.rest(OFTEN).await;
        }
    }

    async fn count_seldom(&self) {
        loop {
            let began_at = self.clock.now();
            self.count().await;
            let took = self.clock.now().signed_duration_since(began_at);
            self.rest(SELDOM.max(took.checked_mul(REST).unwrap_or(SELDOM))).await;
        }
    }

    async fn rest(&self, wait: TimeDelta) {
        let now = self.clock.now();
        self.clock.sleep_until(now.checked_add_signed(wait).unwrap_or(now)).await;
    }

    fn tell(&self, sampled: Result<(), StoreError>) {
        if let Err(error) = sampled {
            self.metrics.sample_failed();
            tracing::warn!(error = chain(&error), "a sample for the metrics failed");
        }
    }
}

fn age(since: DateTime<Utc>, at: DateTime<Utc>) -> Duration {
    at.signed_duration_since(since).to_std().unwrap_or_default()
}
