//! What must still happen, done: receipts are confirmed, jobs are carried out, deliveries are sent, feeds are
//! sealed.
//!
//! Everything is claimed in one short transaction, done with none open, and recorded in another. A
//! worker that dies in between loses its lease, and another one does it again.

mod attempts;
mod bulk;
mod checks;
mod deliveries;
mod future;
mod jobs;
mod listed;
mod missing;
mod probes;
mod receipts;
mod reseal;
mod retention;
mod seal;
mod sweep;
mod targets;
mod wakeups;

use crate::{
    cause::chain,
    clock::Clock,
    domain::{
        delivery::Schedule,
        due::{Lane, POLL},
        probing::ProbeInterval,
        provider::Catalogue,
        retention::Retention,
        sealing::Sealer,
    },
    metrics::{Metrics, WorkResult},
    mint::Mint,
    nango::{NangoClient, NangoError},
    notifier::Notifier,
    store::{Postponed, Store, StoreError},
};
use chrono::{DateTime, TimeDelta, Utc};
use futures::{FutureExt as _, future::join_all};
use std::{mem, panic::AssertUnwindSafe, sync::Arc, time::Duration};
use tokio_util::sync::CancellationToken;

pub use bulk::LastPage;
pub use deliveries::Seats;
pub use wakeups::Wakeups;

/// Longer than a receipt or a job takes as a rule: a few calls to Nango. One that takes longer is done
/// twice, and the second time changes nothing.
const VAULT_LEASE: Duration = Duration::from_secs(45);

/// How many receipts and how many jobs are looked at together; each costs Nango a call or two.
const VAULT_LANES: usize = 4;

/// The workers' half of the service.
#[derive(Debug, Clone)]
pub struct Outbox {
    pub store: Store,
    pub nango: Arc<NangoClient>,
    pub catalogue: Arc<Catalogue>,
    pub notifier: Arc<Notifier>,
    pub clock: Clock,
    pub mint: Mint,
    /// Whether a reconnect may bring another upstream account.
    pub may_change_account: bool,
    /// How old the last probe of an active connection may be.
    pub probe_interval: ProbeInterval,
    pub last_page: Arc<LastPage>,
    pub retention: Retention,
    /// The waits between the tries of a delivery.
    pub schedule: Schedule,
    pub seats: Arc<Seats>,
    pub wakeups: Arc<Wakeups>,
    /// Seals tenants' secrets, where a key is set.
    pub sealer: Option<Sealer>,
    pub metrics: Metrics,
}

/// What must be asked of the vault.
#[derive(Debug, Clone, Copy)]
enum VaultWork {
    Receipts,
    Attempts,
    Jobs,
    Sweep,
}

impl VaultWork {
    /// What comes due by itself, connection by connection.
    const EACH: [Self; 3] = [Self::Receipts, Self::Attempts, Self::Jobs];

    const fn as_str(self) -> &'static str {
        match self {
            Self::Receipts => "receipts",
            Self::Attempts => "attempts",
            Self::Jobs => "jobs",
            Self::Sweep => "sweep",
        }
    }

    const fn lane(self) -> Lane {
        match self {
            Self::Receipts => Lane::Receipts,
            Self::Attempts => Lane::Attempts,
            Self::Jobs => Lane::Jobs,
            Self::Sweep => Lane::Reconciliation,
        }
    }
}

impl Outbox {
    /// Works until `stop` is cancelled, and then finishes what is under way.
    pub async fn run(&self, stop: CancellationToken) {
        let mut lanes = VaultWork::EACH.repeat(VAULT_LANES);
        lanes.push(VaultWork::Sweep);
        let lanes = lanes.into_iter().map(|work| self.ask_vault(work, stop.clone()));
        tokio::join!(
            join_all(lanes),
            self.deliver(stop.clone()),
            self.seal(stop.clone()),
            self.wake_workers(&stop),
            self.forget(stop.clone()),
            self.reseal(stop.clone()),
            self.mend_future(stop.clone()),
        );
    }

    /// Does everything that is due now, and says how many pieces of work that was. For tests, which move
    /// the clock.
    pub async fn run_once(&self) -> Result<usize, StoreError> {
        let mut done = 0_usize;
        for work in VaultWork::EACH {
            while self.step(work).await? {
                done = done.saturating_add(1);
            }
        }
        while self.store.hasten_deliveries(self.clock.now()).await? {}
        while self.store.redeliver_batch(self.clock.now()).await? {
            done = done.saturating_add(1);
        }
        Ok(done.saturating_add(self.send_all_due().await?))
    }

    async fn ask_vault(&self, work: VaultWork, stop: CancellationToken) {
        let mut has_worked = false;
        while !stop.is_cancelled() {
            // One piece of work that panics must not end all the others.
            match AssertUnwindSafe(self.step(work)).catch_unwind().await {
                Ok(Ok(true)) => {
                    self.metrics.worked(work.as_str(), WorkResult::Done);
                    has_worked = true;
                    continue;
                }
                Ok(Ok(false)) => {
                    if mem::take(&mut has_worked) {
                        // Some of it may be due again.
                        self.wakeups.plan_again();
                    }
                    self.until_woken(work.lane(), &stop).await;
                    continue;
                }
                Ok(Err(error)) => {
                    self.metrics.worked(work.as_str(), WorkResult::Failed);
                    tracing::error!(error = chain(&error), "{work:?} wait: the store failed");
                }
                Err(_panic) => {
                    self.metrics.worked(work.as_str(), WorkResult::Panicked);
                    tracing::error!("{work:?}: one piece of work panicked");
                }
            }
            pause(&stop).await;
        }
    }

    /// One piece of work; `false`, if none is due.
    async fn step(&self, work: VaultWork) -> Result<bool, StoreError> {
        match work {
            VaultWork::Receipts => {
                self.confirm_in_bulk().await?;
                self.confirm_next().await
            }
            VaultWork::Attempts => self.look_up_next_attempt().await,
            VaultWork::Jobs => self.do_next_job().await,
            VaultWork::Sweep => self.sweep().await,
        }
    }
}

/// Waits after a failure, until it is time to try again, or for the end.
async fn pause(stop: &CancellationToken) {
    tokio::select! {
        () = stop.cancelled() => {}
        () = tokio::time::sleep(POLL) => {}
    }
}

/// When a lease that is taken now runs out.
fn later(now: DateTime<Utc>, lease: Duration) -> DateTime<Utc> {
    TimeDelta::from_std(lease).ok().and_then(|lease| now.checked_add_signed(lease)).unwrap_or(now)
}

/// When to ask the vault again after it failed so often: the wait doubles from a second to five minutes. A
/// vault that was not asked did not fail, and says itself when.
fn ask_again_at(
    now: DateTime<Utc>,
    failures: usize,
    error: &NangoError,
) -> (DateTime<Utc>, Postponed) {
    let (wait, why) = match error {
        NangoError::Busy { retry_after, .. } => {
            (TimeDelta::from_std(*retry_after).unwrap_or_default(), Postponed::Busy)
        }
        NangoError::Unreachable(_) | NangoError::Refused { .. } | NangoError::Malformed(_) => {
            (backoff(failures), Postponed::NotAsked)
        }
    };
    (now.checked_add_signed(wait).unwrap_or(now), why)
}

fn backoff(failures: usize) -> TimeDelta {
    let doublings = u32::try_from(failures.min(9)).unwrap_or(9);
    TimeDelta::seconds(2_i64.saturating_pow(doublings).min(300))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_wait_doubles_up_to_five_minutes() {
        let waits: Vec<i64> = (0..12).map(|failures| backoff(failures).num_seconds()).collect();
        assert_eq!(waits, [1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300, 300]);
    }
}
