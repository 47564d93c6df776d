//! Whether connections that Nango lists no more are believed to be deleted there.
//!
//! One by one, a wrong key and a restored Nango look as if somebody had deleted each connection. So an absence is
//! held against all others: beyond a threshold, none is believed until an operator decides.

use chrono::TimeDelta;

/// For so long a believed deletion counts against the next: a few after a few are many.
pub const GONE_WITHIN: TimeDelta = TimeDelta::hours(24);

/// From so many on, more than one in twenty are many.
const SOME: u64 = 5;
const MANY_IN: u64 = 20;
/// From so many on, more than half are many: a deployment of three connections has a wrong key, too.
const FEW: u64 = 2;
const HALF_IN: u64 = 2;

/// How many connections there are, of an integration or of all. What an operator confirmed to be deleted at Nango is in
/// none of the numbers.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Census {
    /// Those that Nango should have, the missing ones included.
    pub live: u64,
    /// Those of them that Nango has not.
    pub missing: u64,
    /// Those that were believed to be deleted at Nango within [`GONE_WITHIN`].
    pub gone: u64,
}

impl Census {
    /// All integrations together.
    pub fn all(by_integration: &[Self]) -> Self {
        by_integration.iter().fold(Self::default(), |all, of| Self {
            live: all.live.saturating_add(of.live),
            missing: all.missing.saturating_add(of.missing),
            gone: all.gone.saturating_add(of.gone),
        })
    }

    /// Whether too many are missing for each to have been deleted.
    pub const fn is_mass(self) -> bool {
        let suspicious = self.missing.saturating_add(self.gone);
        let all = self.live.saturating_add(self.gone);
        let are_many = suspicious >= SOME && suspicious.saturating_mul(MANY_IN) > all;
        let are_most = suspicious >= FEW && suspicious.saturating_mul(HALF_IN) > all;
        self.missing > 0 && (are_many || are_most)
    }
}

/// Whether they are too many, of all or of one integration.
fn are_mass(by_integration: &[Census]) -> bool {
    Census::all(by_integration).is_mass() || by_integration.iter().any(|it| it.is_mass())
}

/// What a whole walk says of deletions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Each of the missing ones is looked for by its name, and believed.
    Believe,
    /// None is.
    Hold,
    /// All are there again: what was held is over.
    Release,
}

/// Judges a whole walk. What is held stays held until an operator decides, or until nothing at all is missing.
pub fn judge(is_held: bool, by_integration: &[Census]) -> Verdict {
    match (is_held, are_mass(by_integration)) {
        (true, _) if Census::all(by_integration).missing == 0 => Verdict::Release,
        (true, _) | (false, true) => Verdict::Hold,
        (false, false) => Verdict::Believe,
    }
}

/// Whether so many credentials at Nango have no connection here that the database may be the wrong one.
///
/// `live` counts those that Nango lists, and `missing` those of them without a connection. They are too many by the rule for
/// missing connections, or when they are all that there are.
pub fn is_database_doubtful(by_integration: &[Census]) -> bool {
    let all = Census::all(by_integration);
    are_mass(by_integration) || (all.missing > 0 && all.missing == all.live)
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn census(live: u64, missing: u64, gone: u64) -> Census {
        Census { live, missing, gone }
    }

    #[test]
    fn more_than_one_in_twenty_or_more_than_half_are_a_mass() {
        for (live, missing, gone, is_mass) in [
            // One is one, even if it is all there are.
            (1, 1, 0, false),
            (2, 1, 0, false),
            // More than half, from two on.
            (2, 2, 0, true),
            (3, 2, 0, true),
            (4, 2, 0, false),
            (5, 3, 0, true),
            (8, 4, 0, false),
            // More than one in twenty, from five on.
            (99, 5, 0, true),
            (100, 5, 0, false),
            (100, 6, 0, true),
            (534, 26, 0, false),
            (534, 27, 0, true),
            (534, 534, 0, true),
            // A few after a few.
            (95, 1, 4, true),
            (96, 1, 4, false),
            (97, 1, 3, false),
            (2, 1, 2, true),
            // What is gone holds nothing up by itself.
            (50, 0, 50, false),
            (0, 0, 0, false),
        ] {
            assert_eq!(census(live, missing, gone).is_mass(), is_mass, "{live} {missing} {gone}");
        }
    }

    #[test]
    fn what_is_held_stays_held_until_nothing_is_missing() {
        let [well, one, most] = [census(100, 0, 0), census(100, 1, 0), census(100, 90, 0)];
        for (is_held, all, expected) in [
            (false, well, Verdict::Believe),
            (false, one, Verdict::Believe),
            (false, most, Verdict::Hold),
            (true, well, Verdict::Release),
            (true, one, Verdict::Hold),
            (true, most, Verdict::Hold),
        ] {
            assert_eq!(judge(is_held, &[all]), expected, "{is_held} {all:?}");
        }
        assert_eq!(judge(false, &[]), Verdict::Believe, "there are none");
        assert_eq!(judge(true, &[]), Verdict::Release, "all that were missing were confirmed");
    }

    #[test]
    fn a_mass_of_one_integration_or_of_all_together_is_one() {
        for (by_integration, expected) in [
            // All of one integration are missing, which are few of all.
            ([census(97, 0, 0), census(3, 3, 0)], Verdict::Hold),
            // Few of each are many of all.
            ([census(3, 1, 0), census(1, 1, 0)], Verdict::Believe),
            ([census(1, 1, 0), census(1, 1, 0)], Verdict::Hold),
            ([census(40, 2, 0), census(40, 3, 0)], Verdict::Hold),
            ([census(40, 2, 0), census(40, 2, 0)], Verdict::Believe),
            // What is gone of one counts for what is missing of the other.
            ([census(40, 0, 4), census(40, 1, 0)], Verdict::Hold),
        ] {
            assert_eq!(judge(false, &by_integration), expected, "{by_integration:?}");
        }
    }

    #[test]
    fn a_database_that_lacks_a_mass_or_all_of_what_nango_lists_may_be_the_wrong_one() {
        for (listed, orphans, is_doubtful) in [
            (0, 0, false),
            (24, 0, false),
            (24, 1, false),
            (24, 4, false),
            (24, 5, true),
            (100, 5, false),
            (100, 6, true),
            (3, 2, true),
            (2, 1, false),
            // One is one, unless there is no other.
            (1, 1, true),
            (24, 24, true),
        ] {
            let found = [census(listed, orphans, 0)];
            assert_eq!(is_database_doubtful(&found), is_doubtful, "{listed} {orphans}");
        }
        assert!(is_database_doubtful(&[census(97, 0, 0), census(3, 3, 0)]), "all of one");
        assert!(!is_database_doubtful(&[census(97, 0, 0), census(1, 1, 0)]), "one is one");
        assert!(!is_database_doubtful(&[]));
    }
}
