//! Carries out what must still happen at the vault.

use super::{Outbox, STEP_LEASE, backoff};
use crate::{
    domain::{
        audit::Actor,
        connection::Connection,
        transition::{Effect, Event},
    },
    nango::{LookUp, NangoError},
    store::{As, Change, ClaimedJob, JobKind, Settled, StoreError},
};
use contract::id::{IntegrationId, NangoConnectionId};

impl Outbox {
    pub(super) async fn do_next_job(&self) -> Result<bool, StoreError> {
        let now = self.clock.now();
        let Some(job) = self.store.claim_job(now, STEP_LEASE).await? else { return Ok(false) };
        let Some(connection) =
            self.store.connection(As::Worker, &job.tenant, job.connection).await?
        else {
            // A foreign key holds that there is one.
            return Err(StoreError::Corrupt(format!("job {} without its connection", job.id)));
        };
        let (done, event) = match &job.kind {
            JobKind::DeleteConnection => {
                let bound = connection.vault.as_ref();
                let done = self.empty_vault(&job, &connection.integration, bound).await;
                (done, Some(Event::VaultEmptied))
            }
            JobKind::DeleteExtra(extra) => {
                (self.nango.delete(&connection.integration, extra).await, None)
            }
        };
        match done {
            Ok(()) => self.end_job(&job, event).await?,
            Err(error) => self.do_again(&job, &error).await?,
        }
        Ok(true)
    }

    /// Deletes what the vault lists for the connection, and what is bound to it though not listed.
    async fn empty_vault(
        &self,
        job: &ClaimedJob,
        integration: &IntegrationId,
        bound: Option<&NangoConnectionId>,
    ) -> Result<(), NangoError> {
        let listed = self.nango.look_up(LookUp::Ours(job.connection)).await?;
        for row in listed.iter().filter(|row| row.tenant == job.tenant) {
            self.nango.delete(&row.integration, &row.id).await?;
        }
        match bound {
            Some(bound) if listed.iter().all(|row| row.id != *bound) => {
                self.nango.delete(integration, bound).await
            }
            Some(_) | None => Ok(()),
        }
    }

    async fn end_job(&self, job: &ClaimedJob, event: Option<Event>) -> Result<(), StoreError> {
        let change = Change {
            tenant: &job.tenant,
            connection: job.connection,
            actor: Actor::Service,
            request_id: None,
            at: self.clock.now(),
            settles: Some(Settled::Job { id: job.id, lease: job.lease }),
        };
        let decide = |connection: &Connection| {
            event.map_or(Effect::Unchanged, |event| connection.apply(event))
        };
        self.store.change(As::Worker, change, decide).await?;
        Ok(())
    }

    async fn do_again(&self, job: &ClaimedJob, error: &NangoError) -> Result<(), StoreError> {
        let wait = backoff(job.tries);
        let id = job.id;
        let error = error as &dyn std::error::Error;
        tracing::warn!(job.id = %id, error, "job `{id}` waits {} s", wait.num_seconds());
        let now = self.clock.now();
        self.store.postpone_job(job, now.checked_add_signed(wait).unwrap_or(now)).await
    }
}
