//! Looks up what became of attempts: nothing here needs a webhook.

use super::{Outbox, VAULT_LEASE, ask_again_at, listed::refresh};
use crate::{
    cause::chain,
    domain::{
        attempt::{Next, after_a_look_for_approval},
        due::Lane,
        event::Event,
    },
    nango::LookUp,
    store::{As, ClaimedAttempt, Postponed, StoreError},
    trace,
};
use tracing::field::Empty;

impl Outbox {
    pub(super) async fn look_up_next_attempt(&self) -> Result<bool, StoreError> {
        let now = self.clock.now();
        let Some(attempt) = self.store.claim_attempt(now, VAULT_LEASE).await? else {
            return Ok(false);
        };
        self.wakeups.wake(Lane::Attempts);
        let span = tracing::info_span!("attempt", attempt.id = %attempt.id, trace.id = Empty);
        trace::within(None, span, Box::pin(self.look_up_attempt(&attempt))).await?;
        Ok(true)
    }

    async fn look_up_attempt(&self, attempt: &ClaimedAttempt) -> Result<(), StoreError> {
        let now = self.clock.now();
        match self.nango.look_up(LookUp::Ours(attempt.connection)).await {
            Ok(listed) => {
                for row in listed.iter().filter(|row| row.tenant == attempt.tenant) {
                    self.apply_listed(row, refresh(row), None).await?;
                }
                self.look_again_or_end(attempt).await?;
                let found = listed.iter().any(|row| row.tenant == attempt.tenant);
                let whose = (&attempt.tenant, attempt.connection);
                self.store.note_look(whose, now, found).await?;
            }
            Err(error) => {
                let id = attempt.id;
                let (due_at, why) = ask_again_at(self.clock.now(), attempt.failures, &error);
                tracing::warn!(attempt.id = %id, error = chain(&error), "attempt `{id}` waits until {due_at}");
                self.store.postpone_attempt(attempt, why, due_at).await?;
            }
        }
        Ok(())
    }

    /// Of an attempt that ended with what was listed, neither has an effect.
    async fn look_again_or_end(&self, attempt: &ClaimedAttempt) -> Result<(), StoreError> {
        let now = self.clock.now();
        let is_refused = attempt.waiting.vault_said.is_some();
        let next = match attempt.approval_awaited_at.filter(|_since| !is_refused) {
            Some(since) => after_a_look_for_approval(since, now),
            None => attempt.waiting.after_a_look(now),
        };
        match next {
            Next::LookAt(due_at) => {
                self.store.postpone_attempt(attempt, Postponed::NotListed, due_at).await
            }
            Next::Believe(reason) => {
                self.end(attempt, Event::CallbackFailed { attempt: attempt.id, reason }).await
            }
            Next::GiveUp => {
                let was_called_back = attempt.waiting.called_back_at.is_some();
                let waits = if was_called_back { self.waits_for_decision().await? } else { None };
                if let Some(due_at) = waits {
                    // Its success may be among those that are out of sight.
                    let why = Postponed::NotListed;
                    return self.store.postpone_attempt(attempt, why, due_at).await;
                }
                self.end(attempt, Event::DeadlinePassed { attempt: attempt.id, was_called_back })
                    .await
            }
        }
    }

    async fn end(&self, attempt: &ClaimedAttempt, event: Event) -> Result<(), StoreError> {
        let tenant = &attempt.tenant;
        let known = self.store.connection(As::Worker, tenant, attempt.connection).await?;
        // A foreign key holds that there is one.
        let Some(known) = known else { return Ok(()) };
        self.apply(&known, event, None).await
    }
}
