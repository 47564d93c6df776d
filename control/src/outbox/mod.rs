//! What must still happen, done: receipts are confirmed, jobs are carried out, deliveries are sent.
//!
//! Everything is claimed in one short transaction, done with none open, and recorded in another. A
//! worker that dies in between loses its lease, and another one does it again.

mod deliveries;
mod jobs;
mod receipts;

use crate::{
    clock::Clock,
    mint::Mint,
    nango::NangoClient,
    notifier::Notifier,
    store::{Store, StoreError},
};
use chrono::TimeDelta;
use futures::future::join_all;
use std::{fmt, sync::Arc, time::Duration};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// The poll is the truth; notifications only make it sooner.
const POLL: Duration = Duration::from_secs(1);

/// Longer than any step takes, calls to Nango and the profile included.
const STEP_LEASE: TimeDelta = TimeDelta::seconds(45);

/// How many receipts and jobs are looked at together; each costs Nango a call or two.
const VAULT_LANES: usize = 4;

/// The workers' half of the service.
#[derive(Debug, Clone)]
pub struct Outbox {
    pub store: Store,
    pub nango: Arc<NangoClient>,
    pub notifier: Arc<Notifier>,
    pub clock: Clock,
    pub mint: Mint,
}

/// One kind of work.
#[derive(Debug, Clone, Copy)]
enum Lane {
    Receipts,
    Jobs,
    Deliveries,
}

impl fmt::Display for Lane {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Receipts => "receipts",
            Self::Jobs => "jobs",
            Self::Deliveries => "deliveries",
        })
    }
}

impl Outbox {
    /// Works until `stop` is cancelled, and then finishes what is under way.
    pub async fn run(&self, stop: CancellationToken) {
        let (wake, woken) = watch::channel(());
        let vault_lanes = [Lane::Receipts, Lane::Jobs].repeat(VAULT_LANES);
        let lanes = vault_lanes.into_iter().chain([Lane::Deliveries]);
        let lanes = lanes.map(|lane| self.work(lane, woken.clone(), stop.clone()));
        tokio::join!(join_all(lanes), self.listen(wake, stop.clone()));
    }

    /// Does everything that is due now, and says how many steps that took. For tests, which move the
    /// clock.
    pub async fn run_once(&self) -> Result<usize, StoreError> {
        let mut steps = 0_usize;
        for lane in [Lane::Receipts, Lane::Jobs, Lane::Deliveries] {
            while self.step(lane).await? {
                steps = steps.saturating_add(1);
            }
        }
        Ok(steps)
    }

    async fn work(&self, lane: Lane, mut woken: watch::Receiver<()>, stop: CancellationToken) {
        while !stop.is_cancelled() {
            match self.step(lane).await {
                Ok(true) => continue,
                Ok(false) => {}
                Err(error) => tracing::warn!(
                    error = &error as &dyn std::error::Error,
                    "{lane} wait: the store failed"
                ),
            }
            tokio::select! {
                () = stop.cancelled() => {}
                () = tokio::time::sleep(POLL) => {}
                changed = woken.changed() => if changed.is_err() {
                    // Nobody listens any more; the poll goes on.
                    tokio::time::sleep(POLL).await;
                },
            }
        }
    }

    /// One piece of work; `false`, if none is due.
    async fn step(&self, lane: Lane) -> Result<bool, StoreError> {
        match lane {
            Lane::Receipts => self.confirm_next().await,
            Lane::Jobs => self.do_next_job().await,
            Lane::Deliveries => self.send_due().await,
        }
    }

    /// Passes wake-ups on. While there is no listener, the poll does.
    async fn listen(&self, wake: watch::Sender<()>, stop: CancellationToken) {
        while !stop.is_cancelled() {
            let listening = async {
                let mut listener = self.store.listen().await?;
                loop {
                    listener.recv().await?;
                    wake.send_replace(());
                }
            };
            let ended: Result<(), StoreError> = tokio::select! {
                () = stop.cancelled() => return,
                ended = listening => ended,
            };
            if let Err(error) = ended {
                let error = &error as &dyn std::error::Error;
                tracing::warn!(error, "the outbox is not woken and polls: the listener failed");
            }
            tokio::select! {
                () = stop.cancelled() => {}
                () = tokio::time::sleep(POLL) => {}
            }
        }
    }
}

/// The wait after a failed call to the vault: it doubles from a second to five minutes.
fn backoff(tries: usize) -> TimeDelta {
    let doublings = u32::try_from(tries.min(9)).unwrap_or(9);
    TimeDelta::seconds(2_i64.saturating_pow(doublings).min(300))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_wait_doubles_up_to_five_minutes() {
        let waits: Vec<i64> = (0..12).map(|tries| backoff(tries).num_seconds()).collect();
        assert_eq!(waits, [1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300, 300]);
    }
}
