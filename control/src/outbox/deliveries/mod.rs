//! Sends the deliveries that are due, many at a time and every tenant in its turn: a receiver that hangs takes
//! a few places of many.

mod hasten;
mod record;
mod say;

use super::{Outbox, pause, targets::Receiver};
use crate::{
    cause::chain,
    clock::Clock,
    domain::{
        delivery::has_time,
        due::Lane,
        places::{Next, Places},
    },
    metrics::WorkResult,
    notifier::{SEND_TIMEOUT, Sent},
    store::{ClaimedDelivery, Finished, Round, StoreError, Try},
    trace,
};
use contract::id::TenantId;
use futures::future::join_all;
use std::{
    mem,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};
use tokio::{
    sync::{Notify, mpsc},
    task::{JoinError, JoinSet},
};
use tokio_util::sync::CancellationToken;
use tracing::field::Empty;

/// Longer than a try may take, so that a delivery is sent twice only after a crash. What is left is more than the clocks of two
/// replicas may differ by (`domain/skew.rs`).
const LEASE: Duration = SEND_TIMEOUT.saturating_add(Duration::from_secs(10));

/// How long places gather before they are filled: a claim for each of them would be a transaction for each
/// delivery.
const GATHER: Duration = Duration::from_millis(5);

/// How many tries may wait to be recorded.
const UNRECORDED_MAX: usize = 256;

/// How often deliveries are looked for that wait for nobody. There should be none.
const RESCUE_EVERY: Duration = Duration::from_secs(30);

/// Which places of this process are taken, by whom. It is lost with the process, and nothing with it.
#[derive(Debug, Default)]
pub struct Seats {
    places: Mutex<Places>,
    /// Told of every place that is free again.
    freed: Notify,
}

impl Seats {
    fn places(&self) -> MutexGuard<'_, Places> {
        self.places.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A try that ended. Its place is taken until it is recorded, so that no more is sent than can be written down.
struct Unrecorded {
    finished: Finished,
    seat: Seat,
}

impl Outbox {
    /// Keeps sending until `stop` is cancelled, and then finishes what is under way.
    pub(super) async fn deliver(&self, stop: CancellationToken) {
        let (finished, unrecorded) = mpsc::channel(UNRECORDED_MAX);
        tokio::join!(
            self.send_what_comes_due(finished, &stop),
            self.record_what_is_finished(unrecorded),
            self.hasten(&stop),
            self.redeliver(&stop),
            self.rescue(&stop),
        );
    }

    async fn send_what_comes_due(
        &self,
        finished: mpsc::Sender<Unrecorded>,
        stop: &CancellationToken,
    ) {
        // Each on a task of its own, so that one that panics ends no other, and a claim holds up none.
        let mut under_way = JoinSet::new();
        while !stop.is_cancelled() {
            let next = match self.claim_due().await {
                Ok((claimed, next)) => {
                    for claimed in claimed {
                        let finished = finished.clone();
                        under_way.spawn(send_safely(self.clone(), claimed, finished));
                    }
                    next
                }
                Err(error) => {
                    tracing::error!(error = chain(&error), "deliveries wait: the store failed");
                    pause(stop).await;
                    Next::AtOnce
                }
            };
            match next {
                Next::AtOnce => {}
                Next::WithAPlace => tokio::select! {
                    () = self.until_there_is_room() => tokio::time::sleep(GATHER).await,
                    () = self.until_woken(Lane::Deliveries, stop) => {}
                    // A receiver that failed in its last place rests until then.
                    () = pause(stop) => {}
                },
                Next::WhenWoken => self.until_woken(Lane::Deliveries, stop).await,
            }
            while let Some(ended) = under_way.try_join_next() {
                self.count_panic(&ended);
            }
        }
        while let Some(ended) = under_way.join_next().await {
            self.count_panic(&ended);
        }
    }

    /// The delivery's lease runs out, and it is sent again.
    fn count_panic(&self, ended: &Result<(), JoinError>) {
        if let Err(error) = ended {
            self.metrics.worked("deliveries", WorkResult::Panicked);
            tracing::error!(error = chain(error), "a delivery panicked");
        }
    }

    /// Waits until somebody who has more due has a place for it.
    async fn until_there_is_room(&self) {
        loop {
            self.seats.freed.notified().await;
            if self.seats.places().has_room() {
                return;
            }
        }
    }

    /// Sends all that is due, and says how many that were.
    pub(super) async fn send_all_due(&self) -> Result<usize, StoreError> {
        let mut sent = 0_usize;
        loop {
            let (claimed, next) = self.claim_due().await?;
            if claimed.is_empty() && next != Next::AtOnce {
                return Ok(sent);
            }
            sent = sent.saturating_add(claimed.len());
            let ended = join_all(claimed.into_iter().map(|claimed| self.send(claimed))).await;
            let (finished, _seats): (Vec<Finished>, Vec<Seat>) =
                ended.into_iter().flatten().map(|it| (it.finished, it.seat)).unzip();
            self.record(finished).await?;
        }
    }

    /// Claims as many as there are places for.
    async fn claim_due(&self) -> Result<(Vec<Claimed>, Next), StoreError> {
        let after = match self.seats.places().goes_on_after() {
            Some(after) => after.cloned(),
            None => return Ok((Vec::new(), Next::WithAPlace)),
        };
        let round = Round { at: self.clock.now(), lease_for: LEASE, after: after.as_ref() };
        let share = |walk| self.seats.places().share(walk, round.at);
        let (claimed, shares) = self.store.claim_deliveries(round, share).await?;
        let claimed = self.with_targets(claimed).await?;
        let claimed = claimed.into_iter().map(|(delivery, receiver)| {
            let is_operators = receiver.version == 0;
            let seat = Seat::take(self, &delivery.tenant, is_operators);
            Claimed { delivery, receiver, seat }
        });
        Ok((claimed.collect(), shares.next))
    }

    /// Sends a delivery, and decides what follows; nothing, if it may be another worker's before it ends.
    async fn send(&self, claimed: Claimed) -> Option<Unrecorded> {
        let Claimed { delivery, receiver, seat } = claimed;
        let started_at = self.clock.now();
        if !has_time(started_at, SEND_TIMEOUT, delivery.lease_until) {
            tracing::warn!(delivery.id = %delivery.id, "sent later: its lease would end before it did");
            return None;
        }
        let span = tracing::info_span!("delivery", delivery.id = %delivery.id, trace.id = Empty);
        let sending =
            self.notifier.send(&receiver.target, delivery.event, &delivery.body, started_at);
        let sent = trace::within(delivery.traceparent.clone(), span, Box::pin(sending));
        let Sent { outcome, detail, answer } = sent.await;
        let ended_at = self.clock.now();
        self.seats.places().learn(&delivery.tenant, outcome, ended_at);
        let jitter = self.mint.jitter();
        let next = self.schedule.after_try(delivery.progress, outcome, ended_at, jitter);
        let duration = ended_at.signed_duration_since(started_at).to_std().unwrap_or_default();
        self.metrics.delivered(outcome, duration);
        let attempt = Try { started_at, duration, outcome, detail, answer };
        let destination = receiver.version;
        let finished = Finished { delivery, destination, attempt, ended_at, next };
        Some(Unrecorded { finished, seat })
    }

    /// Carries out what tenants asked to be sent again, batch by batch.
    async fn redeliver(&self, stop: &CancellationToken) {
        let mut has_worked = false;
        while !stop.is_cancelled() {
            match self.store.redeliver_batch(self.clock.now()).await {
                Ok(true) => has_worked = true,
                Ok(false) => {
                    if mem::take(&mut has_worked) {
                        self.wakeups.plan_again();
                    }
                    self.until_woken(Lane::Redeliveries, stop).await;
                }
                Err(error) => {
                    tracing::error!(error = chain(&error), "redeliveries wait: the store failed");
                    pause(stop).await;
                }
            }
        }
    }

    async fn rescue(&self, stop: &CancellationToken) {
        let rescuing = async {
            loop {
                tokio::time::sleep(RESCUE_EVERY).await;
                if let Err(error) = self.rescue_once().await {
                    tracing::warn!(error = chain(&error), "no delivery is rescued for now");
                }
            }
        };
        tokio::select! {
            () = stop.cancelled() => {}
            () = rescuing => {}
        }
    }

    /// Walks through all connections once, and says how many deliveries waited for nobody.
    pub async fn rescue_once(&self) -> Result<u64, StoreError> {
        let mut rescued = 0_u64;
        let mut after = None;
        loop {
            let step = self.store.rescue_deliveries(after.as_ref(), self.clock.now()).await?;
            rescued = rescued.saturating_add(step.rescued);
            if step.rescued > 0 {
                let count = step.rescued;
                tracing::error!("{count} deliveries waited for nobody and are ready now");
            }
            match step.came_to {
                Some(came_to) => after = Some(came_to),
                None => return Ok(rescued),
            }
        }
    }
}

/// A delivery that is to be sent, where, and its place.
struct Claimed {
    delivery: ClaimedDelivery,
    receiver: Receiver,
    seat: Seat,
}

/// A place that is taken; whoever drops it gives it back.
struct Seat {
    seats: Arc<Seats>,
    clock: Clock,
    tenant: TenantId,
    is_operators: bool,
}

impl Seat {
    fn take(outbox: &Outbox, tenant: &TenantId, is_operators: bool) -> Self {
        outbox.seats.places().take(tenant, is_operators);
        let (seats, clock) = (Arc::clone(&outbox.seats), outbox.clock.clone());
        Self { seats, clock, tenant: tenant.clone(), is_operators }
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.seats.places().give_back(&self.tenant, self.is_operators, self.clock.now());
        self.seats.freed.notify_one();
    }
}

async fn send_safely(outbox: Outbox, claimed: Claimed, finished: mpsc::Sender<Unrecorded>) {
    let Some(ended) = outbox.send(claimed).await else { return };
    // Whoever records goes on until the last sender is gone.
    if finished.send(ended).await.is_err() {
        tracing::error!("nobody records what was sent; it is sent again when its lease ends");
    }
}
