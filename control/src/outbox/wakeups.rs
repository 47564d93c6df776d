//! Who is woken when: workers sleep until their work is due or announced, and one question to the database serves all of them.

use super::Outbox;
use crate::{
    cause::chain,
    domain::due::{Lane, POLL, rest_after},
    store::StoreError,
};
use std::sync::atomic::{AtomicBool, Ordering};
use tokio::{sync::Notify, time::sleep};
use tokio_util::sync::CancellationToken;

/// Wakes one worker of a lane at a time. A worker that has claimed something wakes the next, so that a crowd is met by all of
/// them, and a single piece of work by two.
#[derive(Debug, Default)]
pub struct Wakeups {
    receipts: Notify,
    attempts: Notify,
    jobs: Notify,
    reconciliation: Notify,
    deliveries: Notify,
    expedited: Notify,
    redeliveries: Notify,
    sequence: Notify,
    /// Something may be due at another time than was planned for.
    plan: Notify,
    is_listening: AtomicBool,
}

impl Wakeups {
    const fn of(&self, lane: Lane) -> &Notify {
        match lane {
            Lane::Receipts => &self.receipts,
            Lane::Attempts => &self.attempts,
            Lane::Jobs => &self.jobs,
            Lane::Reconciliation => &self.reconciliation,
            Lane::Deliveries => &self.deliveries,
            Lane::Expedited => &self.expedited,
            Lane::Redeliveries => &self.redeliveries,
            Lane::Sequence => &self.sequence,
        }
    }

    /// Wakes one worker that sleeps, or the next that would.
    pub(super) fn wake(&self, lane: Lane) {
        self.of(lane).notify_one();
    }

    /// Something was written that is due some time: what is due next is asked for anew.
    pub(super) fn plan_again(&self) {
        self.plan.notify_one();
    }

    /// Something was committed, somewhere: all look, but for the walk through Nango's list, which nobody announces.
    fn announced(&self) {
        for lane in Lane::ALL.into_iter().filter(|lane| *lane != Lane::Reconciliation) {
            self.wake(lane);
        }
        self.plan_again();
    }
}

impl Outbox {
    /// Sleeps until there may be work in this lane, or until the end.
    pub(super) async fn until_woken(&self, lane: Lane, stop: &CancellationToken) {
        tokio::select! {
            () = stop.cancelled() => {}
            () = self.wakeups.of(lane).notified() => {}
        }
    }

    /// Wakes workers until `stop` is cancelled.
    pub(super) async fn wake_workers(&self, stop: &CancellationToken) {
        let waking = async { tokio::join!(self.plan(), self.listen()) };
        tokio::select! {
            () = stop.cancelled() => {}
            ((), ()) = waking => {}
        }
    }

    /// Asks what is due, wakes whoever has work, and sleeps until the next is due.
    async fn plan(&self) {
        loop {
            let now = self.clock.now();
            let is_listening = self.wakeups.is_listening.load(Ordering::SeqCst);
            let (due_at, poll_in) = match self.store.next_due(now).await {
                Ok(next) => {
                    let plan = next.plan(now, is_listening);
                    for lane in plan.wake {
                        self.wakeups.wake(lane);
                    }
                    (plan.due_at, plan.poll_in)
                }
                Err(error) => {
                    tracing::error!(error = chain(&error), "work waits: the store failed");
                    (None, POLL)
                }
            };
            let took = self.clock.now().signed_duration_since(now);
            let due = async {
                match due_at {
                    Some(due_at) => self.clock.sleep_until(due_at).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = due => {}
                // Not by the clock that tests drive: what nobody announced is found all the same.
                () = sleep(poll_in) => {}
                () = async { sleep(rest_after(took)).await; self.wakeups.plan.notified().await } => {}
            }
        }
    }

    /// Passes announcements on. What was announced while nobody listened is asked for as soon as somebody does again.
    async fn listen(&self) {
        loop {
            let listening = async {
                let mut listener = self.store.listen().await?;
                self.wakeups.is_listening.store(true, Ordering::SeqCst);
                self.wakeups.announced();
                loop {
                    listener.heard().await?;
                    self.wakeups.announced();
                }
            };
            let ended: Result<(), StoreError> = listening.await;
            self.wakeups.is_listening.store(false, Ordering::SeqCst);
            self.wakeups.plan_again();
            if let Err(error) = ended {
                let error = chain(&error);
                tracing::warn!(error, "workers are not woken and poll: the listener failed");
            }
            sleep(POLL).await;
        }
    }
}
