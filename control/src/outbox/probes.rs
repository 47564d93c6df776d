//! Asks providers, through Nango's proxy, who the users of their tokens are and whether they take the tokens still.

use super::{Outbox, checks::Unchecked};
use crate::{
    domain::{
        connection::Connection,
        event::{Event, Token},
        probing::per_minute,
        profile::Me,
    },
    nango::NangoError,
    store::{As, ClaimedJob, StoreError},
};
use chrono::{DateTime, Utc};

/// How often a walk through Nango's list, which queues the oldest connections, begins: every two minutes.
const MINUTES_OF_A_WALK: u32 = 2;

impl Outbox {
    /// Asks once, and says when to ask again; nothing, once the answer is known or there is nobody to ask.
    pub(super) async fn probe_as_asked(
        &self,
        job: &ClaimedJob,
        connection: &Connection,
    ) -> Result<Option<DateTime<Utc>>, Unchecked> {
        let Some(mapping) = self.catalogue.mapping(&connection.provider) else { return Ok(None) };
        let vault = connection.vault.as_ref().filter(|_bound| connection.can_be_probed());
        let Some(vault) = vault.filter(|_bound| self.nango.reads_profiles()) else {
            return Ok(None);
        };
        let probed = match self.nango.profile(mapping, &connection.integration, vault).await {
            Ok(Me::Is(profile)) => Some(Event::Probed { token: Token::Accepted, profile }),
            Ok(Me::TokenRejected) => Some(self.rejected(connection).await?),
            Err(error) if error.is_rejected_token() => Some(self.rejected(connection).await?),
            // The provider said something else to this token. It may be asked again later.
            Ok(Me::Unsaid)
            | Err(NangoError::Refused { status: 400..=499, .. } | NangoError::Malformed(_)) => None,
            Err(error) => return Err(error.into()),
        };
        if let Some(event) = probed {
            self.apply_answer(connection, event).await?;
        }
        let now = self.clock.now();
        let after = self.store.connection(As::Worker, &job.tenant, job.connection).await?;
        let age = now.signed_duration_since(job.created_at);
        let wait = after.and_then(|after| after.probe_again_after(age));
        Ok(wait.and_then(|wait| now.checked_add_signed(wait)))
    }

    /// Queues a probe of those active connections whose last one is oldest, as many as there are calls for.
    pub(super) async fn queue_probes(&self) -> Result<(), StoreError> {
        if !self.nango.reads_profiles() {
            return Ok(());
        }
        let now = self.clock.now();
        let Some(before) = now.checked_sub_signed(self.probe_interval.get()) else { return Ok(()) };
        let most = per_minute(self.nango.calls_per_minute()).saturating_mul(MINUTES_OF_A_WALK);
        let queued = self.store.queue_probes(now, before, i64::from(most)).await?;
        if queued > 0 {
            tracing::debug!("probes queued for {queued} connections");
        }
        Ok(())
    }
}
