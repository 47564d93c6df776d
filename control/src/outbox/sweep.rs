//! Walks through the vault's list, and finds what no webhook told: failures, recoveries, successes of
//! attempts, and what is not there any more.

use super::{Outbox, VAULT_LEASE, ask_again_at};
use crate::{
    cause::chain,
    domain::sweep::next_walk,
    metrics::Drift,
    nango::Listed,
    store::{As, Bound, ClaimedSweep, StoreError},
    trace,
};
use contract::id::NangoConnectionId;
use std::collections::HashSet;
use tracing::field::Empty;

/// How many connections of ours are held against the list at a time.
const CHUNK: i64 = 5000;
/// How many of those that the list does not show are asked for after one walk. A list that lost more is
/// not believed so fast.
const MISSING_MAX: usize = 200;

/// What one walk saw. It is kept in memory: whoever takes a walk over from a worker that died does not
/// know what that one saw, and says nothing of what is missing.
#[derive(Debug, Default)]
struct Seen {
    names: HashSet<NangoConnectionId>,
    is_whole: bool,
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
        let mut seen = Seen { names: HashSet::new(), is_whole: sweep.page == 0 };
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
            self.ask_for_missing(&sweep, &seen.names).await?;
        }
        self.queue_probes().await?;
        let pages = sweep.page.saturating_add(1);
        let due_at = next_walk(sweep.began_at, pages);
        self.store.end_sweep(&sweep, seen.is_whole, due_at).await?;
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
        let changed = self.apply_rows(rows, refresh).await?;
        self.metrics.swept(rows.len());
        self.metrics.drifted(Drift::Changed, changed);
        Ok(())
    }

    /// Leaves a check behind for each connection that should have been listed and was not.
    async fn ask_for_missing(
        &self,
        sweep: &ClaimedSweep,
        names: &HashSet<NangoConnectionId>,
    ) -> Result<(), StoreError> {
        let (mut after, mut missing) = (None, 0_usize);
        loop {
            let times = (sweep.began_at, self.clock.now());
            let bound = self.store.bound_before(times, after, CHUNK).await?;
            let Some(last) = bound.last() else { return Ok(()) };
            after = Some(last.connection);
            for Bound { tenant, connection, vault } in &bound {
                if names.contains(vault) {
                    continue;
                }
                missing = missing.saturating_add(1);
                if missing > MISSING_MAX {
                    tracing::warn!(
                        "more than {MISSING_MAX} connections are not listed; the rest wait"
                    );
                    return Ok(());
                }
                let at = self.clock.now();
                self.store.ask_check(As::Worker, tenant, *connection, at).await?;
                self.metrics.drifted(Drift::Missing, 1);
            }
        }
    }
}
