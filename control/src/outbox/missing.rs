//! What Nango does not have: believed to be deleted there, or held against all others first.

use super::Outbox;
use crate::{
    domain::missing::{Census, Verdict, judge},
    metrics::Drift,
    store::{Absences, As, Bound, ClaimedSweep, Holding, StoreError},
};
use chrono::{DateTime, TimeDelta, Utc};
use contract::id::{ConnectionId, NangoConnectionId, TenantId};
use std::collections::HashSet;

/// How many connections of ours are held against the list at a time.
const CHUNK: i64 = 5000;
/// How many of those that the list does not show are asked for after one walk. The rest have the next.
const MISSING_MAX: usize = 200;
/// When work is looked at again that would rest on an absence while none is believed.
const AGAIN_IN: TimeDelta = TimeDelta::seconds(60);

impl Outbox {
    /// Judges what a whole walk did not see: leaves a check behind for each connection, or believes none of it.
    pub(super) async fn judge_missing(
        &self,
        sweep: &ClaimedSweep,
        names: &HashSet<NangoConnectionId>,
    ) -> Result<(), StoreError> {
        let at = self.clock.now();
        let mut absences = self.store.absences_before(at).await?;
        let missing = self.missing(sweep, names, &mut absences).await?;
        match verdict(&absences) {
            Verdict::Believe => {
                for (tenant, connection) in missing.iter().take(MISSING_MAX) {
                    self.store.ask_check(As::Worker, tenant, *connection, at).await?;
                    self.metrics.drifted(Drift::Missing, 1);
                }
            }
            Verdict::Hold => {
                self.hold(&absences, at).await?;
                for chunk in missing.chunks(usize::try_from(CHUNK).unwrap_or(usize::MAX)) {
                    let chunk: Vec<ConnectionId> = chunk.iter().map(|(_, id)| *id).collect();
                    if !self.store.note_missing(absences.decisions, &chunk, at).await? {
                        break;
                    }
                }
            }
            Verdict::Release => {
                if self.store.release_deletions(absences.decisions).await? {
                    tracing::warn!(
                        "nothing is missing at Nango any more: deletions are believed again"
                    );
                }
            }
        }
        Ok(())
    }

    /// Those that the list should have shown and did not; they and all others are counted.
    async fn missing(
        &self,
        sweep: &ClaimedSweep,
        names: &HashSet<NangoConnectionId>,
        absences: &mut Absences,
    ) -> Result<Vec<(TenantId, ConnectionId)>, StoreError> {
        let (mut after, mut missing) = (None, Vec::new());
        loop {
            let times = (sweep.began_at, self.clock.now());
            let bound = self.store.bound_before(times, after, CHUNK).await?;
            let Some(last) = bound.last() else { return Ok(missing) };
            after = Some(last.connection);
            for Bound { tenant, connection, vault, integration, is_confirmed } in bound {
                let is_missing = !names.contains(&vault);
                // What an operator confirmed is nothing to hold others against.
                if !(is_missing && is_confirmed) {
                    let census = absences.by_integration.entry(integration).or_default();
                    census.live = census.live.saturating_add(1);
                    census.missing = census.missing.saturating_add(u64::from(is_missing));
                }
                if is_missing {
                    missing.push((tenant, connection));
                }
            }
        }
    }

    /// Whether one connection that Nango says it has not is believed to be deleted there.
    pub(super) async fn is_absence_believed(&self) -> Result<bool, StoreError> {
        let at = self.clock.now();
        let absences = self.store.absences(at).await?;
        match verdict(&absences) {
            Verdict::Believe => Ok(true),
            Verdict::Hold if absences.is_held => Ok(false),
            Verdict::Hold => {
                self.hold(&absences, at).await?;
                Ok(false)
            }
            // Nothing was found missing yet; only a whole walk ends what is held.
            Verdict::Release => Ok(false),
        }
    }

    /// When to look again, where work would rest on an absence and none is believed.
    pub(super) async fn waits_for_decision(&self) -> Result<Option<DateTime<Utc>>, StoreError> {
        let held = self.store.deletions_held().await?;
        let now = self.clock.now();
        Ok(held.map(|_held| now.checked_add_signed(AGAIN_IN).unwrap_or(now)))
    }

    async fn hold(&self, absences: &Absences, at: DateTime<Utc>) -> Result<(), StoreError> {
        let all = Census::all(&counted(absences));
        match self.store.hold_deletions(absences.decisions, all, at).await? {
            Holding::Begun => {
                let Census { live, missing, gone } = all;
                tracing::error!(
                    missing,
                    live,
                    gone,
                    "too many connections are missing at Nango: none is deleted until an operator decides; run `control missing`"
                );
            }
            // The next walk judges by what the operator decided.
            Holding::GoesOn | Holding::Overtaken => {}
        }
        Ok(())
    }
}

fn verdict(absences: &Absences) -> Verdict {
    judge(absences.is_held, &counted(absences))
}

fn counted(absences: &Absences) -> Vec<Census> {
    absences.by_integration.values().copied().collect()
}
