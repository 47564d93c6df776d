//! Confirms many at once: one page of the vault's list costs one call, whatever it confirms.

use super::Outbox;
use crate::{cause::chain, domain::event::Refresh, nango::Listed, store::StoreError};
use chrono::{DateTime, TimeDelta, Utc};
use std::sync::{Mutex, PoisonError};

/// From how many look-ups on one page is cheaper than each by itself.
const MANY: i64 = 5;
/// A page is good for those who come just after it, and must not be asked for again at once.
const GOOD_FOR: TimeDelta = TimeDelta::seconds(1);

/// When the last page was asked for.
#[derive(Debug, Default)]
pub struct LastPage(Mutex<Option<DateTime<Utc>>>);

impl LastPage {
    /// Whether it is time for the next; whoever is told so asks.
    fn is_due(&self, now: DateTime<Utc>) -> bool {
        let mut last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let is_due = last.is_none_or(|last| now.signed_duration_since(last) >= GOOD_FOR);
        if is_due {
            *last = Some(now);
        }
        is_due
    }
}

impl Outbox {
    /// Applies the newest page when many look-ups are due. What they were about is known then, and they
    /// end without a call of their own; what the page does not show is looked up as ever.
    pub(super) async fn confirm_in_bulk(&self) -> Result<(), StoreError> {
        let now = self.clock.now();
        if self.store.look_ups_due(now, MANY).await? < MANY || !self.last_page.is_due(now) {
            return Ok(());
        }
        match self.nango.newest().await {
            Ok(page) => {
                // Nobody knows here how many others fail; the sweep does.
                let refresh = |row: &Listed| {
                    if row.has_errors { Refresh::FailsWithMany } else { Refresh::Works }
                };
                self.apply_rows(&page.ours, refresh).await?;
                Ok(())
            }
            Err(error) => {
                tracing::warn!(
                    error = chain(&error),
                    "many look-ups wait: no page of the vault's list"
                );
                Ok(())
            }
        }
    }
}
