//! Looks at one connection at the vault, because somebody asked or the sweep did not see it.

use super::{Outbox, listed::refresh};
use crate::{
    domain::{
        connection::{Connection, Doubts, Status},
        event::Event,
    },
    nango::{Listed, LookUp, NangoError},
    store::{As, Begin, ClaimedJob, LookFor, StoreError},
};
use chrono::{DateTime, TimeDelta, Utc};

/// What is in doubt is looked at again after this: nothing bad is believed that was seen once.
const LOOK_AGAIN_AFTER: TimeDelta = TimeDelta::seconds(61);

/// A doubt that lasts longer is the sweep's, which looks without being asked.
const DOUBT_FOR: TimeDelta = TimeDelta::minutes(10);

/// Why a check has no result.
pub(super) enum Unchecked {
    Nango(NangoError),
    Store(StoreError),
}

impl From<NangoError> for Unchecked {
    fn from(error: NangoError) -> Self {
        Self::Nango(error)
    }
}

impl From<StoreError> for Unchecked {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

impl Outbox {
    /// Looks, if it is time, and says when to look again.
    pub(super) async fn check(
        &self,
        job: &ClaimedJob,
        connection: &Connection,
    ) -> Result<Option<DateTime<Utc>>, Unchecked> {
        let whose = (&job.tenant, job.connection);
        let wish = (LookFor::Check, job.created_at);
        let look = match self.store.begin_look(whose, wish, self.clock.now()).await? {
            Begin::Now(look) => look,
            Begin::Wait(until) => return Ok(Some(until)),
            // Nobody else's look is an answer, and a foreign key holds that there is a connection.
            Begin::Answered { .. } | Begin::NotFound => return Ok(None),
        };
        match self.look_and_probe(job, connection).await {
            Ok((found, again_at)) => {
                self.store.end_look(&look, found).await?;
                Ok(again_at)
            }
            Err(error) => {
                self.store.undo_look(&look).await?;
                Err(error)
            }
        }
    }

    /// Asks the provider about a credential as it is now that what the vault lists was applied.
    async fn probe_listed(&self, before: &Connection, row: &Listed) -> Result<(), StoreError> {
        let now = self.store.connection(As::Worker, &row.tenant, before.id).await?;
        // A foreign key holds that there is one.
        let Some(now) = now else { return Ok(()) };
        if let Some(event) = self.probe(&now, row).await? {
            self.apply_answer(&now, event).await?;
        }
        Ok(())
    }

    /// Whether the vault listed it, and when to look again.
    async fn look_and_probe(
        &self,
        job: &ClaimedJob,
        connection: &Connection,
    ) -> Result<(bool, Option<DateTime<Utc>>), Unchecked> {
        let listed = self.nango.look_up(LookUp::Ours(connection.id)).await?;
        let listed: Vec<_> = listed.iter().filter(|row| row.tenant == job.tenant).collect();
        for row in &listed {
            self.apply_listed(row, refresh(row), None).await?;
        }
        let bound = connection.vault.as_ref();
        let is_live = matches!(connection.status, Status::Active | Status::NeedsReauth);
        if let Some(bound) = bound.filter(|_bound| is_live) {
            let event = match listed.iter().find(|row| row.id == *bound) {
                Some(row) => {
                    self.probe_listed(connection, row).await?;
                    None
                }
                // What a list does not show may be there; only its own "not found" says that it is not.
                None if self.nango.has(&connection.integration, bound).await? => None,
                None if self.is_absence_believed().await? => Some(Event::Missing),
                // Too many are missing for each to have been deleted. The walk sees when they are there again.
                None => return Ok((!listed.is_empty(), None)),
            };
            if let Some(event) = event {
                self.apply(connection, event, None).await?;
            }
        }
        let at = self.clock.now();
        self.store.note_checked(&job.tenant, job.connection, at).await?;
        let now = self.store.connection(As::Worker, &job.tenant, job.connection).await?;
        let doubts = now.map_or(Doubts::NONE, |connection| connection.doubts);
        let is_doubted = doubts.missing_since.is_some() || doubts.rejected_since.is_some();
        let is_young = at.signed_duration_since(job.created_at) < DOUBT_FOR;
        let again_at = at.checked_add_signed(LOOK_AGAIN_AFTER).filter(|_| is_doubted && is_young);
        Ok((!listed.is_empty(), again_at))
    }
}
