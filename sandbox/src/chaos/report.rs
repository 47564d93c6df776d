//! What a run has to say, as a table for people and READMEs, or as JSON.

use super::{
    client::Counted,
    oracle::{Recording, Violation},
    timeline::{Dose, Wire},
    world::Done,
};
use serde_json::{Map, Value, json};
use std::{collections::HashSet, thread, time::Duration};

/// Everything that is told of a run.
#[derive(Debug)]
pub struct Report {
    pub seed: u64,
    pub done: Done,
    pub counted: Counted,
    /// Calls of the puller that failed.
    pub pull_retries: usize,
    pub recording: Recording,
    pub violations: Vec<Violation>,
    pub dose: Dose,
    /// How long it took until all was settled after the faults.
    pub took: Duration,
}

/// What is told even when there is none of it, in one line.
const NEVER: [&str; 5] = ["lost", "out of order", "other bytes", "wrong states", "feed: gaps"];

impl Report {
    /// The lines of the table.
    fn lines(&self) -> Vec<(&'static str, String)> {
        let Recording { events, connections, ledger, arrivals, pulled, feed_ended: _ } =
            &self.recording;
        let ids: HashSet<&str> = arrivals.iter().map(|arrival| arrival.id.as_str()).collect();
        let repeats = arrivals.len().saturating_sub(ids.len());
        let Done { kills, restarts, cuts: _ } = self.done;
        let Counted { calls, retries, begun_again } = self.counted;
        let accepted = ledger.iter().filter(|entry| entry.connection.is_some()).count();
        let told = NEVER.map(|kind| format!("{} {kind}", self.count(kind)));
        let [took, faults] = [self.took, self.dose.period].map(|time| time.as_secs());
        let cores = thread::available_parallelism().map_or(1, usize::from);
        let mut lines = vec![
            (
                "connections",
                format!(
                    "{} of {} starts; {calls} calls, repeated {retries} times; \
                     {begun_again} users asked once more",
                    connections.len().min(accepted),
                    ledger.len()
                ),
            ),
            (
                "went wrong",
                format!("{kills} × `kill -9` of a replica, {restarts} restarts of PostgreSQL"),
            ),
            (
                "was cut",
                [Wire::ToDatabase, Wire::ToReceiver].map(|wire| self.cuts(wire)).join("; "),
            ),
            (
                "events",
                format!(
                    "{}; {} tries arrived, {repeats} of them repeats; {} in the feed, {} pulls repeated",
                    events.len(),
                    arrivals.len(),
                    pulled.len(),
                    self.pull_retries
                ),
            ),
            ("violations", told.join(", ")),
        ];
        lines.extend(self.others().into_iter().map(|(kind, count)| (kind, count.to_string())));
        let seed = self.seed;
        let run = format!("seed {seed}, {took} s (faults for {faults} s), {cores} cores");
        lines.push(("the run", run));
        lines
    }

    fn cuts(&self, wire: Wire) -> String {
        let of_it = self.dose.cuts.iter().filter(|(cut, ..)| *cut == wire);
        let of_it =
            of_it.map(|(_, cut, lasts)| format!("{} for {} s", cut.as_str(), lasts.as_secs()));
        format!("{}: {}", wire.as_str(), of_it.collect::<Vec<_>>().join(", "))
    }

    fn count(&self, kind: &str) -> usize {
        self.violations.iter().filter(|violation| violation.kind() == kind).count()
    }

    /// How many violations there are of each further kind.
    fn others(&self) -> Vec<(&'static str, usize)> {
        let mut kinds: Vec<&str> = self.violations.iter().map(Violation::kind).collect();
        let mut told = HashSet::from(NEVER);
        kinds.retain(|kind| told.insert(*kind));
        kinds.into_iter().map(|kind| (kind, self.count(kind))).collect()
    }

    /// A table in Markdown.
    pub fn table(&self) -> String {
        table(&self.lines())
    }

    pub fn json(&self) -> Value {
        let lines = self.lines();
        let lines: Map<String, Value> =
            lines.into_iter().map(|(name, value)| (name.to_owned(), json!(value))).collect();
        let violations = self.violations.iter().map(ToString::to_string);
        json!({"seed": self.seed, "seconds": self.took.as_secs(), "table": lines,
            "violations": violations.collect::<Vec<_>>()})
    }
}

/// A table in Markdown, of names and figures.
pub fn table(lines: &[(&str, String)]) -> String {
    let lines: Vec<String> =
        lines.iter().map(|(name, value)| format!("| {name} | {value} |\n")).collect();
    format!("| | |\n| --- | --- |\n{}", lines.concat())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(violations: Vec<Violation>) -> Report {
        Report {
            seed: 7,
            done: Done { kills: 50, restarts: 5, cuts: 6 },
            counted: Counted { calls: 10, retries: 3, begun_again: 1 },
            pull_retries: 0,
            recording: Recording::default(),
            violations,
            dose: Dose::full(),
            took: Duration::from_millis(412_345),
        }
    }

    #[test]
    fn what_never_may_be_is_told_when_there_is_none_of_it() {
        let table = report(Vec::new()).table();
        let none =
            "| violations | 0 lost, 0 out of order, 0 other bytes, 0 wrong states, 0 feed: gaps |";
        assert!(table.contains(none), "{table}");
        assert!(table.contains("| the run | seed 7, 412 s (faults for 300 s), "), "{table}");
    }

    #[test]
    fn each_cut_is_told_with_its_wire_and_how_long_it_was() {
        let table = report(Vec::new()).table();
        for line in [
            "control to PostgreSQL: stalls for 30 s, refuses for 8 s, resets for 8 s, vanishes for 8 s; ",
            "control to the receiver: stalls for 8 s, refuses for 30 s, resets for 8 s |",
        ] {
            assert!(table.contains(line), "{line}: {table}");
        }
    }

    #[test]
    fn each_kind_of_violation_is_counted() {
        let lost = |id: &str| Violation::Lost { id: id.to_owned() };
        let unsigned = Violation::Unsigned { id: "c".to_owned() };
        let report = report(vec![lost("a"), lost("b"), unsigned]);
        let table = report.table();
        assert!(
            table.contains("| violations | 2 lost, ") && table.contains("| not signed | 1 |"),
            "{table}"
        );
        assert_eq!(report.json()["violations"].as_array().unwrap().len(), 3);
    }
}
