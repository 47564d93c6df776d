//! What was measured, and whether it is fair.

use crate::chaos::report;
use anyhow::ensure;
use serde_json::{Value, json};
use std::time::Duration;

/// What the issue promises: the others' 99th percentile at most doubles.
const RATIO_MAX: f64 = 2.0;

/// From event to arrival, shortest first.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Latencies(Vec<Duration>);

impl Latencies {
    /// The latency that this share of all does not exceed: the nearest rank.
    fn percentile(&self, percent: usize) -> Duration {
        let rank = self.0.len().saturating_mul(percent).div_ceil(100);
        self.0.get(rank.saturating_sub(1)).copied().unwrap_or_default()
    }

    fn milliseconds(&self, percent: usize) -> f64 {
        self.percentile(percent).as_secs_f64() * 1000.0
    }
}

impl FromIterator<Duration> for Latencies {
    fn from_iter<I: IntoIterator<Item = Duration>>(latencies: I) -> Self {
        let mut latencies: Vec<Duration> = latencies.into_iter().collect();
        latencies.sort();
        Self(latencies)
    }
}

/// The same load twice, one after the other.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Round {
    /// While every receiver is well.
    pub well: Latencies,
    /// While one is dead and one hangs.
    pub ill: Latencies,
}

impl Round {
    fn ratio(&self, percent: usize) -> f64 {
        let [ill, well] = [&self.ill, &self.well].map(|latencies| latencies.milliseconds(percent));
        ill / well.max(f64::MIN_POSITIVE)
    }
}

/// All rounds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Figures(pub Vec<Round>);

impl Figures {
    /// All rounds as one.
    fn together(&self) -> Round {
        let all = |of: fn(&Round) -> &Latencies| {
            self.0.iter().flat_map(|round| of(round).0.iter().copied()).collect()
        };
        Round { well: all(|round| &round.well), ill: all(|round| &round.ill) }
    }

    /// The ratio of each round, the smallest first.
    fn ratios(&self, percent: usize) -> Vec<f64> {
        let mut ratios: Vec<f64> = self.0.iter().map(|round| round.ratio(percent)).collect();
        ratios.sort_by(f64::total_cmp);
        ratios
    }

    /// That of all rounds together, which one bad moment of the machine may spoil, and the middle one of
    /// the rounds, which it may not.
    fn verdicts(&self, percent: usize) -> [f64; 2] {
        let ratios = self.ratios(percent);
        let middle = ratios.get(ratios.len() / 2).copied().unwrap_or_default();
        [self.together().ratio(percent), middle]
    }

    /// A table in Markdown.
    pub fn table(&self) -> String {
        let together = self.together();
        let line = |percent| {
            let [well, ill] =
                [&together.well, &together.ill].map(|latencies| latencies.milliseconds(percent));
            let [ratio, middle] = self.verdicts(percent);
            let ratios = self.ratios(percent);
            let [least, most] =
                [ratios.first(), ratios.last()].map(|end| end.copied().unwrap_or_default());
            format!(
                "{well:.1} ms; with a dead and a hanging one {ill:.1} ms: ×{ratio:.2} \
                 (rounds: ×{least:.2} to ×{most:.2}, the middle one ×{middle:.2})"
            )
        };
        let count = self.0.len();
        report::table(&[
            ("rounds", format!("{count}, each without and with the two that are ill")),
            (
                "events of the other eighteen",
                format!("{} without, {} with", together.well.0.len(), together.ill.0.len()),
            ),
            ("event to arrival, p50", line(50)),
            ("event to arrival, p99", line(99)),
        ])
    }

    pub fn json(&self) -> Value {
        let latencies = |latencies: &Latencies| {
            json!({"events": latencies.0.len(), "p50Ms": latencies.milliseconds(50),
                "p99Ms": latencies.milliseconds(99), "maxMs": latencies.milliseconds(100)})
        };
        let round = |round: &Round| {
            json!({"well": latencies(&round.well), "ill": latencies(&round.ill),
                "p99Ratio": round.ratio(99)})
        };
        let rounds: Vec<Value> = self.0.iter().map(round).collect();
        json!({"together": round(&self.together()), "rounds": rounds})
    }

    pub fn check(&self) -> anyhow::Result<()> {
        let [together, middle] = self.verdicts(99);
        let ratio = together.max(middle);
        ensure!(ratio <= RATIO_MAX, "the p99 of the others is {ratio:.2} times what it was");
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn latencies(milliseconds: impl IntoIterator<Item = u64>) -> Latencies {
        milliseconds.into_iter().map(Duration::from_millis).collect()
    }

    fn round(well: u64, ill: u64) -> Round {
        Round { well: latencies([well; 100]), ill: latencies([ill; 100]) }
    }

    #[test]
    fn a_percentile_is_the_nearest_rank() {
        let hundred = latencies((1..=100).rev());
        assert_eq!(hundred.percentile(50), Duration::from_millis(50));
        assert_eq!(hundred.percentile(99), Duration::from_millis(99));
        assert_eq!(latencies([7]).percentile(99), Duration::from_millis(7));
    }

    #[test]
    fn twice_as_slow_is_fair_and_more_is_not() {
        assert!(Figures(vec![round(10, 20)]).check().is_ok());
        assert!(Figures(vec![round(10, 21)]).check().is_err());
        // One of a hundred may be late, two may not.
        let late = |count: usize| {
            let ill = latencies((0..100).map(|index| if index < count { 15_000 } else { 10 }));
            Figures(vec![Round { ill, ..round(10, 10) }])
        };
        assert!(late(1).check().is_ok());
        assert!(late(2).check().is_err());
    }

    #[test]
    fn all_rounds_together_and_most_of_them_are_fair() {
        // A slow machine in the first round must not hide that all others are unfair.
        assert!(Figures(vec![round(100, 100), round(10, 30), round(10, 30)]).check().is_err());
        // Nor may one round be so unfair that it is one of a hundred of all events.
        assert!(Figures(vec![round(10, 10), round(10, 10), round(10, 30)]).check().is_err());
        assert!(Figures(vec![round(10, 15), round(100, 100), round(10, 15)]).check().is_ok());
    }
}
