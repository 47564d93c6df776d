//! Records tries that ended: while one transaction commits, the next tries gather for the one after it.

use super::{Outbox, Seat, Unrecorded, say};
use crate::{
    cause::chain,
    domain::{delivery::NextStep, due::POLL, outcome::Fault},
    metrics::GivenUp,
    store::{Finished, StoreError},
};
use tokio::sync::mpsc;

/// How many are recorded in one transaction at most.
const TOGETHER_MAX: usize = 64;

/// How often a database that is away for a moment is asked again. What is not recorded by then is sent
/// again when its lease ends.
const ASKED_AGAIN: usize = 8;

impl Outbox {
    /// Records until nobody sends any more.
    pub(super) async fn record_what_is_finished(&self, mut unrecorded: mpsc::Receiver<Unrecorded>) {
        let mut together = Vec::with_capacity(TOGETHER_MAX);
        while unrecorded.recv_many(&mut together, TOGETHER_MAX).await > 0 {
            let ended = together.drain(..).map(|it| (it.finished, it.seat));
            let (finished, seats): (Vec<Finished>, Vec<Seat>) = ended.unzip();
            self.record_patiently(finished).await;
            drop(seats);
        }
    }

    async fn record_patiently(&self, finished: Vec<Finished>) {
        for _ in 0..ASKED_AGAIN {
            match self.record(finished.clone()).await {
                Ok(()) => return,
                Err(error) if error.is_of_a_held_row() => break,
                // It was committed, perhaps; then the leases are gone, and nothing is written twice.
                Err(StoreError::Unavailable(error) | StoreError::Unprepared(error)) => {
                    tracing::warn!(error = chain(&error), "tries are recorded later");
                    tokio::time::sleep(POLL).await;
                }
                Err(StoreError::Refused(_) | StoreError::Corrupt(_)) => break,
            }
        }
        // One that the database does not take must not keep the others from being recorded.
        for finished in finished {
            let id = finished.delivery.id;
            if let Err(error) = self.record(vec![finished]).await {
                let error = chain(&error);
                tracing::error!(delivery.id = %id, error, "delivery `{id}` was not recorded");
            }
        }
    }

    pub(super) async fn record(&self, finished: Vec<Finished>) -> Result<(), StoreError> {
        if finished.is_empty() {
            return Ok(());
        }
        let recorded = self.store.record_tries(&finished, self.mint.jitter()).await?;
        // Those that failed are due again some time, and so is a probe.
        if finished.iter().any(|finished| finished.next != NextStep::Done) {
            self.wakeups.plan_again();
        }
        for finished in &finished {
            if recorded.deliveries.contains(&finished.delivery.id) {
                say::tried(finished);
                if finished.next == NextStep::GiveUp {
                    let is_ours = finished.attempt.outcome.fault() == Some(Fault::Ours);
                    let why = if is_ours { GivenUp::OurFault } else { GivenUp::Tries };
                    self.metrics.given_up(why, 1);
                }
            }
        }
        for (tenant, turn, reason) in recorded.turns {
            say::turned(&tenant, turn, reason.as_deref());
        }
        Ok(())
    }
}
