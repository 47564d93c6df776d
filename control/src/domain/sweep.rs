//! When the vault's list is walked, and what a whole walk says of an integration.

use super::event::Refresh;
use chrono::{DateTime, TimeDelta, Utc};
use contract::id::IntegrationId;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// The least time between the beginnings of two walks.
const EVERY: TimeDelta = TimeDelta::minutes(2);
/// One page costs one call, and a walk may have a tenth of 200 calls a minute.
const FOR_EACH_PAGE: TimeDelta = TimeDelta::seconds(3);

/// When more than one in twenty of an integration fail together, it is the provider, and not its users.
const MANY_IN: u64 = 20;

/// By integration, what was seen of it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Counts(BTreeMap<String, Count>);

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Count {
    seen: u64,
    failing: u64,
}

impl Counts {
    /// Counts one row.
    pub fn add(&mut self, integration: &IntegrationId, fails: bool) {
        let count = self.0.entry(integration.to_string()).or_default();
        count.seen = count.seen.saturating_add(1);
        count.failing = count.failing.saturating_add(u64::from(fails));
    }

    /// What a row that fails, or works, says. One of few is one: an integration with a handful of
    /// connections has no crowd.
    pub fn refresh(&self, integration: &IntegrationId, fails: bool) -> Refresh {
        let Count { seen, failing } = self.0.get(integration.as_str()).copied().unwrap_or_default();
        let many = failing > 1 && failing.saturating_mul(MANY_IN) > seen;
        match (fails, many) {
            (false, _) => Refresh::Works,
            (true, false) => Refresh::Fails,
            (true, true) => Refresh::FailsWithMany,
        }
    }
}

/// When the next walk begins, after one of so many pages.
pub fn next_walk(began_at: DateTime<Utc>, pages: u32) -> DateTime<Utc> {
    let for_pages = FOR_EACH_PAGE.checked_mul(i32::try_from(pages).unwrap_or(i32::MAX));
    let wait = for_pages.unwrap_or(EVERY).max(EVERY);
    began_at.checked_add_signed(wait).unwrap_or(began_at)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_fails_with_more_than_one_in_twenty_is_the_providers_trouble() {
        let github: IntegrationId = "github".parse().unwrap();
        let fails = |failing: u64, seen: u64| {
            let mut counts = Counts::default();
            (0..seen).for_each(|index| counts.add(&github, index < failing));
            counts.refresh(&github, true)
        };
        assert_eq!(fails(1, 1), Refresh::Fails);
        assert_eq!(fails(1, 10), Refresh::Fails);
        assert_eq!(fails(5, 100), Refresh::Fails);
        assert_eq!(fails(6, 100), Refresh::FailsWithMany);
        assert_eq!(fails(2, 2), Refresh::FailsWithMany);
        let other = "google".parse().unwrap();
        assert_eq!(Counts::default().refresh(&other, true), Refresh::Fails);
        assert_eq!(Counts::default().refresh(&other, false), Refresh::Works);
    }

    #[test]
    fn a_walk_takes_no_more_than_its_share_of_calls() {
        let began_at = DateTime::UNIX_EPOCH;
        let wait = |pages| (next_walk(began_at, pages) - began_at).num_seconds();
        // 10 thousand, 100 thousand, a million connections.
        assert_eq!([wait(5), wait(50), wait(500)], [120, 150, 1500]);
    }
}
