//! Walks through the vault's list, and finds what no webhook told: failures, recoveries, successes of
//! attempts, and what is not there any more.

use super::{Outbox, VAULT_LEASE, ask_again_at};
use crate::{
    cause::chain,
    domain::sweep::next_walk,
    metrics::Drift,
    nango::Listed,
    store::{ClaimedSweep, Orphan, Orphans, StoreError},
    trace,
};
use contract::id::NangoConnectionId;
use std::collections::HashSet;
use tracing::field::Empty;

/// How many credentials without a connection are named.
const ORPHANS_SHOWN: usize = 20;

/// What one walk saw. It is kept in memory: whoever takes a walk over from a worker that died does not
/// know what that one saw, and says nothing of what is missing.
#[derive(Debug, Default)]
struct Seen {
    names: HashSet<NangoConnectionId>,
    is_whole: bool,
    orphans: Orphans,
}

impl Outbox {
    /// Walks once, if it is time.
    pub async fn sweep(&self) -> Result<bool, StoreError> {
        let now = self.clock.now();
        let Some(sweep) = self.store.claim_sweep(now, VAULT_LEASE).await? else {
            return Ok(false);
        };
        let span = tracing::info_span!("sweep", trace.id = Empty);
        trace::within(None, span, Box::pin(self.walk(sweep))).await
    }

    async fn walk(&self, mut sweep: ClaimedSweep) -> Result<bool, StoreError> {
        let mut seen = Seen { is_whole: sweep.page == 0, ..Seen::default() };
        loop {
            let page = match self.nango.page(sweep.page).await {
                Ok(page) => page,
                Err(error) => {
                    let (due_at, why) = ask_again_at(self.clock.now(), sweep.failures, &error);
                    tracing::warn!(error = chain(&error), "the sweep waits until {due_at}");
                    self.store.postpone_sweep(&sweep, why, due_at).await?;
                    return Ok(true);
                }
            };
            self.apply_page(&page.ours, &mut sweep, &mut seen).await?;
            if page.is_last {
                break;
            }
            sweep.page = sweep.page.saturating_add(1);
            let due_at = super::later(self.clock.now(), VAULT_LEASE);
            if !self.store.keep_sweep(&sweep, due_at).await? {
                // Another worker walks.
                return Ok(true);
            }
        }
        if seen.is_whole {
            self.judge_missing(&sweep, &seen.names).await?;
        }
        self.queue_probes().await?;
        let pages = sweep.page.saturating_add(1);
        let due_at = next_walk(sweep.began_at, pages);
        let whole = seen.is_whole.then_some(&seen.orphans);
        self.store.end_sweep(&sweep, whole, due_at).await?;
        Ok(true)
    }

    async fn apply_page(
        &self,
        rows: &[Listed],
        sweep: &mut ClaimedSweep,
        seen: &mut Seen,
    ) -> Result<(), StoreError> {
        for row in rows {
            seen.names.insert(row.id.clone());
            sweep.counts.add(&row.integration, row.has_errors);
        }
        let refresh = |row: &Listed| sweep.before.refresh(&row.integration, row.has_errors);
        let applied = self.apply_rows(rows, refresh).await?;
        self.metrics.swept(rows.len());
        self.metrics.drifted(Drift::Changed, applied.news);
        for row in applied.orphans {
            seen.orphans.count = seen.orphans.count.saturating_add(1);
            if seen.orphans.sample.len() < ORPHANS_SHOWN {
                let Listed { tenant, connection, integration, .. } = row.clone();
                seen.orphans.sample.push(Orphan { tenant, connection, integration });
            }
        }
        Ok(())
    }
}
