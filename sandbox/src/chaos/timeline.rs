//! Which fault comes when: drawn from a seed before anything starts.

use super::relay::Cut;
use rand::{RngExt as _, rngs::StdRng, seq::SliceRandom as _};
use std::time::Duration;

/// A wire that can be cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Wire {
    ToDatabase,
    ToReceiver,
}

impl Wire {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::ToDatabase => "control to PostgreSQL",
            Self::ToReceiver => "control to the receiver",
        }
    }
}

/// How PostgreSQL is ended before it is started again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shutdown {
    /// Transactions are rolled back, and all is written.
    Fast,
    /// As in a crash: the log is read again at the start.
    Immediate,
}

/// One fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// `kill -9` of one replica, which is started again at once.
    Kill {
        replica: usize,
    },
    RestartPostgres(Shutdown),
    Cut(Wire, Cut),
    Mend(Wire),
}

/// How much of each there is to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dose {
    /// All of it happens within this time.
    pub period: Duration,
    pub replicas: usize,
    pub kills: u32,
    pub restarts: u32,
    pub cuts: Vec<(Wire, Cut, Duration)>,
}

impl Dose {
    /// What `cargo sandbox chaos` gives: each wire is cut for half a minute, and in the other ways for a
    /// while.
    pub fn full() -> Self {
        let (long, short) = (Duration::from_secs(30), Duration::from_secs(8));
        Self {
            period: Duration::from_mins(5),
            replicas: 2,
            kills: 60,
            restarts: 6,
            cuts: vec![
                (Wire::ToDatabase, Cut::Stalls, long),
                (Wire::ToDatabase, Cut::Refuses, short),
                (Wire::ToDatabase, Cut::Resets, short),
                (Wire::ToDatabase, Cut::Vanishes, short),
                (Wire::ToReceiver, Cut::Stalls, short),
                (Wire::ToReceiver, Cut::Refuses, long),
                (Wire::ToReceiver, Cut::Resets, short),
            ],
        }
    }

    /// What the end-to-end tests give: one of each.
    pub fn small() -> Self {
        let short = Duration::from_secs(3);
        Self {
            period: Duration::from_secs(10),
            replicas: 2,
            kills: 4,
            restarts: 1,
            cuts: vec![
                (Wire::ToDatabase, Cut::Stalls, short),
                (Wire::ToDatabase, Cut::Vanishes, short),
                (Wire::ToReceiver, Cut::Refuses, short),
            ],
        }
    }
}

/// The faults in order, each with its time.
pub fn draw(dose: &Dose, rng: &mut StdRng) -> Vec<(Duration, Fault)> {
    let mut timeline = Vec::new();
    // One in each part of the period, so that none is forgotten and no two meet.
    let mut cuts = dose.cuts.clone();
    cuts.shuffle(rng);
    let count = u32::try_from(cuts.len()).unwrap_or(u32::MAX);
    for (index, (wire, cut, lasts)) in (0_u32..).zip(cuts) {
        let part = part(dose.period, count);
        let room = part.saturating_sub(lasts);
        let from = part.saturating_mul(index).saturating_add(room.mul_f64(rng.random()));
        timeline.push((from, Fault::Cut(wire, cut)));
        timeline.push((from.saturating_add(lasts), Fault::Mend(wire)));
    }
    for index in 0..dose.kills {
        let replica = rng.random_range(0..dose.replicas.max(1));
        timeline.push((at_random(dose.period, dose.kills, index, rng), Fault::Kill { replica }));
    }
    for index in 0..dose.restarts {
        let how = if index % 2 == 0 { Shutdown::Immediate } else { Shutdown::Fast };
        let at = at_random(dose.period, dose.restarts, index, rng);
        timeline.push((at, Fault::RestartPostgres(how)));
    }
    timeline.sort_by_key(|(at, _)| *at);
    timeline
}

/// A time in one part of so many of the period.
fn at_random(period: Duration, count: u32, index: u32, rng: &mut StdRng) -> Duration {
    let part = part(period, count);
    part.saturating_mul(index).saturating_add(part.mul_f64(rng.random()))
}

fn part(period: Duration, count: u32) -> Duration {
    period.checked_div(count).unwrap_or(period)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::SeedableRng as _;

    fn drawn(dose: &Dose, seed: u64) -> Vec<(Duration, Fault)> {
        draw(dose, &mut StdRng::seed_from_u64(seed))
    }

    #[test]
    fn a_dose_is_given_whole_and_within_its_period() {
        for (dose, seed) in [(Dose::full(), 1), (Dose::full(), 2), (Dose::small(), 3)] {
            let timeline = drawn(&dose, seed);
            let kills = timeline.iter().filter(|(_, fault)| matches!(fault, Fault::Kill { .. }));
            let restarts =
                timeline.iter().filter(|(_, fault)| matches!(fault, Fault::RestartPostgres(_)));
            assert_eq!(kills.count(), usize::try_from(dose.kills).unwrap());
            assert_eq!(restarts.count(), usize::try_from(dose.restarts).unwrap());
            assert!(timeline.iter().all(|(at, _)| *at <= dose.period), "{timeline:?}");
            assert!(timeline.is_sorted_by_key(|(at, _)| *at));
        }
    }

    #[test]
    fn the_full_dose_is_what_was_promised() {
        let dose = Dose::full();
        assert!(dose.kills >= 50 && dose.restarts >= 5 && dose.replicas == 2);
        for wire in [Wire::ToDatabase, Wire::ToReceiver] {
            let longest = dose.cuts.iter().filter(|(cut, ..)| *cut == wire).map(|(.., long)| *long);
            assert_eq!(longest.max(), Some(Duration::from_secs(30)));
        }
    }

    #[test]
    fn one_wire_is_cut_at_a_time_and_each_for_as_long_as_was_asked() {
        for seed in 0..50 {
            let dose = Dose::full();
            let mut open = None;
            let mut cuts = Vec::new();
            for (at, fault) in drawn(&dose, seed) {
                match fault {
                    Fault::Cut(wire, cut) => {
                        assert_eq!(open, None, "{wire:?} is cut while another is");
                        open = Some((wire, cut, at));
                    }
                    Fault::Mend(wire) => {
                        let (cut_wire, cut, from) = open.take().unwrap();
                        assert_eq!(cut_wire, wire);
                        cuts.push((wire, cut, at.saturating_sub(from)));
                    }
                    Fault::Kill { .. } | Fault::RestartPostgres(_) => {}
                }
            }
            assert_eq!(open, None);
            assert_eq!(cuts.len(), dose.cuts.len());
            assert!(dose.cuts.iter().all(|cut| cuts.contains(cut)), "{cuts:?}");
        }
    }

    #[test]
    fn both_replicas_are_killed_and_postgres_is_ended_in_both_ways() {
        let timeline = drawn(&Dose::full(), 1);
        let has = |wanted| timeline.iter().any(|(_, fault)| *fault == wanted);
        assert!([0, 1].into_iter().all(|replica| has(Fault::Kill { replica })));
        assert!(
            [Shutdown::Fast, Shutdown::Immediate].map(Fault::RestartPostgres).map(has) == [true; 2]
        );
    }

    #[test]
    fn a_seed_says_it_all() {
        assert_eq!(drawn(&Dose::full(), 7), drawn(&Dose::full(), 7));
        assert_ne!(drawn(&Dose::full(), 7), drawn(&Dose::full(), 8));
    }
}
