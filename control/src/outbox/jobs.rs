//! Carries out what must still happen at the vault.

use super::{Outbox, VAULT_LEASE, ask_again_at, checks::Unchecked};
use crate::{
    cause::chain,
    domain::{
        audit::Actor,
        budget::CallClass,
        connection::Connection,
        due::Lane,
        event::{Event, Rules},
        transition::Effect,
    },
    nango::{Deletion, LookUp, NangoError},
    store::{As, Change, ClaimedJob, JobKind, Settled, StoreError},
    trace,
};
use chrono::{DateTime, Utc};
use contract::id::{IntegrationId, NangoConnectionId};
use tracing::field::Empty;

/// A list may lag behind a deletion; one that lags longer is asked again later.
const ROUNDS_MAX: usize = 3;

impl Outbox {
    pub(super) async fn do_next_job(&self) -> Result<bool, StoreError> {
        let now = self.clock.now();
        let Some(job) = self.store.claim_job(now, VAULT_LEASE).await? else { return Ok(false) };
        self.wakeups.wake(Lane::Jobs);
        let span = tracing::info_span!("job", job.id = %job.id, trace.id = Empty);
        trace::within(None, span, Box::pin(self.do_job(&job))).await?;
        Ok(true)
    }

    async fn do_job(&self, job: &ClaimedJob) -> Result<(), StoreError> {
        let Some(connection) =
            self.store.connection(As::Worker, &job.tenant, job.connection).await?
        else {
            // A foreign key holds that there is one.
            return Err(StoreError::Corrupt(format!("job {} without its connection", job.id)));
        };
        let (done, event) = match &job.kind {
            JobKind::Check | JobKind::Probe => match self.ask_as_queued(job, &connection).await {
                Ok(None) => (Ok(Deletion::Deleted), None),
                Ok(Some(due_at)) => {
                    self.store.look_again(job, due_at).await?;
                    return Ok(());
                }
                Err(Unchecked::Nango(error)) => (Err(error), None),
                Err(Unchecked::Store(error)) => return Err(error),
            },
            JobKind::DeleteConnection => {
                let bound = connection.vault.as_ref();
                let done = self.empty_vault(job, &connection.integration, bound).await;
                (done, Some(Event::VaultEmptied))
            }
            JobKind::DeleteExtra(extra) => {
                (self.nango.delete(&connection.integration, extra).await, None)
            }
        };
        match done {
            Ok(deletion) => self.end_or_wait(job, deletion, event).await?,
            Err(error) => self.do_again(job, &error).await?,
        }
        Ok(())
    }

    async fn ask_as_queued(
        &self,
        job: &ClaimedJob,
        connection: &Connection,
    ) -> Result<Option<DateTime<Utc>>, Unchecked> {
        if job.kind == JobKind::Probe {
            self.probe_as_asked(job, connection).await
        } else {
            self.check(job, connection).await
        }
    }

    /// What Nango has not is deleted; but not while it may be out of sight.
    async fn end_or_wait(
        &self,
        job: &ClaimedJob,
        deletion: Deletion,
        event: Option<Event>,
    ) -> Result<(), StoreError> {
        let waits = match deletion {
            Deletion::Deleted => None,
            Deletion::NotThere => self.waits_for_decision().await?,
        };
        match waits {
            Some(due_at) => self.store.look_again(job, due_at).await,
            None => self.end_job(job, event).await,
        }
    }

    /// Deletes what is bound to the connection, and what the vault lists for it until it lists nothing.
    async fn empty_vault(
        &self,
        job: &ClaimedJob,
        integration: &IntegrationId,
        bound: Option<&NangoConnectionId>,
    ) -> Result<Deletion, NangoError> {
        let nango = self.nango.prepay(CallClass::Upkeep).await?;
        let mut deletion = match bound {
            Some(bound) => nango.delete(integration, bound).await?,
            None => Deletion::NotThere,
        };
        for _ in 0..ROUNDS_MAX {
            let listed = nango.look_up(LookUp::Ours(job.connection)).await?;
            let mut ours = listed.iter().filter(|row| row.tenant == job.tenant).peekable();
            if ours.peek().is_none() {
                return Ok(deletion);
            }
            for row in ours {
                nango.delete(&row.integration, &row.id).await?;
                deletion = Deletion::Deleted;
            }
        }
        Err(NangoError::Malformed("a connection that is listed though it was deleted"))
    }

    async fn end_job(&self, job: &ClaimedJob, event: Option<Event>) -> Result<(), StoreError> {
        let at = self.clock.now();
        let change = Change {
            tenant: &job.tenant,
            connection: job.connection,
            actor: Actor::Service,
            request_id: None,
            at,
            opens: None,
            settles: Some(Settled::Job { id: job.id, lease: job.lease }),
        };
        let decide = |connection: &Connection| {
            event.map_or(Effect::Unchanged, |event| connection.apply(event, Rules::at(at)))
        };
        self.store.change(As::Worker, change, decide).await?;
        Ok(())
    }

    async fn do_again(&self, job: &ClaimedJob, error: &NangoError) -> Result<(), StoreError> {
        let id = job.id;
        let (due_at, why) = ask_again_at(self.clock.now(), job.failures, error);
        tracing::warn!(job.id = %id, error = chain(error), "job `{id}` waits until {due_at}");
        self.store.postpone_job(job, why, due_at).await
    }
}
