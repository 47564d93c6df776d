//! What a run has to say, as a table for people and READMEs, or as JSON.

use super::{
    client::Counted,
    kept::Rows,
    oracle::{Recording, Violation},
    world::Done,
};
use serde_json::{Map, Value, json};
use std::{collections::HashSet, time::Duration};

/// Everything that is told of a run.
#[derive(Debug)]
pub struct Report {
    pub seed: u64,
    pub done: Done,
    pub counted: Counted,
    pub rows: Rows,
    /// Calls of the puller that failed.
    pub pull_retries: usize,
    pub recording: Recording,
    pub violations: Vec<Violation>,
    /// How long there were faults, and how long it took until all was settled after them.
    pub period: Duration,
    pub took: Duration,
}

/// What is told even when there is none of it.
const NEVER: [&str; 5] = ["lost", "out of order", "other bytes", "wrong states", "feed: gaps"];

impl Report {
    /// The lines of the table.
    fn lines(&self) -> Vec<(&'static str, String)> {
        let Recording { events, connections, ledger, arrivals, pulled, feed_ended: _ } =
            &self.recording;
        let taken = arrivals.iter().filter(|arrival| arrival.was_taken).count();
        let ids: HashSet<&str> = arrivals.iter().map(|arrival| arrival.id.as_str()).collect();
        let repeats = arrivals.len().saturating_sub(ids.len());
        let Done { kills, restarts, cuts } = self.done;
        let Counted { calls, retries, begun_again } = self.counted;
        let accepted = ledger.iter().filter(|entry| entry.connection.is_some()).count();
        let fed = pulled.as_ref().map_or_else(
            || "not served".to_owned(),
            |pulled| format!("{} ({} calls made again)", pulled.len(), self.pull_retries),
        );
        let mut lines = vec![
            ("connections", connections.len().to_string()),
            ("`kill -9` of a replica", kills.to_string()),
            ("restarts of PostgreSQL", restarts.to_string()),
            ("cuts of the network", cuts.to_string()),
            ("starts accepted", format!("{accepted} of {}", ledger.len())),
            ("calls of clients", format!("{calls}, made again {retries} times")),
            ("users sent to the provider again", begun_again.to_string()),
            ("events", events.len().to_string()),
            ("deliveries", self.rows.deliveries.to_string()),
            ("tries that arrived", format!("{} (taken {taken})", arrivals.len())),
            ("of them repeats", repeats.to_string()),
            ("events in the feed", fed),
        ];
        lines.extend(self.kinds().into_iter().map(|(kind, count)| (kind, count.to_string())));
        let seconds = |time: Duration| time.as_secs();
        let took = format!("{} s (faults for {} s)", seconds(self.took), seconds(self.period));
        lines.extend([("time", took), ("seed", self.seed.to_string())]);
        lines
    }

    /// How many violations there are of each kind.
    fn kinds(&self) -> Vec<(&'static str, usize)> {
        let mut kinds: Vec<&str> = NEVER.to_vec();
        kinds.extend(self.violations.iter().map(Violation::kind));
        let mut told = HashSet::new();
        kinds.retain(|kind| told.insert(*kind));
        // A feed that is not there has no gaps to count.
        kinds.retain(|kind| self.recording.pulled.is_some() || *kind != "feed: gaps");
        let count =
            |kind| self.violations.iter().filter(|violation| violation.kind() == kind).count();
        kinds.into_iter().map(|kind| (kind, count(kind))).collect()
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
            rows: Rows { events: 2, deliveries: 2, attempts: 4 },
            pull_retries: 0,
            recording: Recording::default(),
            violations,
            period: Duration::from_mins(5),
            took: Duration::from_millis(412_345),
        }
    }

    #[test]
    fn what_never_may_be_is_told_when_there_is_none_of_it() {
        let table = report(Vec::new()).table();
        for line in ["| lost | 0 |", "| out of order | 0 |", "| time | 412 s (faults for 300 s) |"]
        {
            assert!(table.contains(line), "{line}: {table}");
        }
        assert!(table.contains("| events in the feed | not served |"), "{table}");
        assert!(!table.contains("feed: gaps"), "{table}");
    }

    #[test]
    fn each_kind_of_violation_is_counted() {
        let lost = |id: &str| Violation::Lost { id: id.to_owned() };
        let unsigned = Violation::Unsigned { id: "c".to_owned() };
        let report = report(vec![lost("a"), lost("b"), unsigned]);
        let table = report.table();
        assert!(table.contains("| lost | 2 |") && table.contains("| not signed | 1 |"), "{table}");
        assert_eq!(report.json()["violations"].as_array().unwrap().len(), 3);
    }
}
