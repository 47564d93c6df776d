//! Every alert fires when its fault is there, and is quiet again when the fault is mended: the fault is caused in the
//! real processes, and a real Prometheus that scrapes them evaluates the expression of `rules.yml`.
//!
//! A test cannot wait for an hour. So it evaluates each expression without its `for:`, and a minute of a range or an
//! offset is a second here (`in_seconds`): the shipped configuration scrapes every 5 s, this one every second, so that
//! `[5m]`, the shortest range, has five samples instead of sixty. Nothing else of an expression is changed. Prometheus
//! evaluates the rules themselves in the same way, for those that go by what fires already (`ALERTS`). Thresholds
//! in seconds stay as they are: the fault lasts as long, or the test makes it older in the database.
//!
//! To add an alert: a row in [`FAULTS`], and its fault in the test of that stack.

mod certificates;
mod database;
mod deliveries;
mod edge;
mod missing;
mod nango;
mod watch;

use super::{alerts, folder};
use serde_json::Value;
use sqlx::PgConnection;
use std::{
    collections::BTreeSet,
    fs,
    time::{Duration, Instant},
};
use watch::Watch;

/// What a world does by itself after a step.
const SOON: Duration = Duration::from_secs(30);

/// A running world in which faults are caused, one test each.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stack {
    Certificates,
    Database,
    Deliveries,
    Edge,
    Missing,
    Nango,
}

/// Each alert, and in which stack its fault is caused. The test of a stack fails unless it has seen each of its alerts
/// begin and end.
const FAULTS: &[(&str, Stack)] = &[
    ("ConnectionsControlDown", Stack::Database),
    ("ConnectionsEdgeDown", Stack::Edge),
    ("ConnectionsNotReady", Stack::Database),
    ("ConnectionsBacklogOld", Stack::Nango),
    ("ConnectionsOutboxPanicked", Stack::Database),
    ("ConnectionsDeliveriesFailing", Stack::Deliveries),
    ("ConnectionsDeliveriesOurFault", Stack::Certificates),
    ("ConnectionsDeliveriesGivenUp", Stack::Deliveries),
    ("ConnectionsDestinationPaused", Stack::Deliveries),
    ("ConnectionsNangoBudgetExhausted", Stack::Nango),
    ("ConnectionsNangoLeftAlone", Stack::Nango),
    ("ConnectionsSweepStale", Stack::Nango),
    ("ConnectionsDeletionsHeld", Stack::Missing),
    ("ConnectionsOrphanedCredentials", Stack::Missing),
    ("ConnectionsSealerLags", Stack::Nango),
    ("ConnectionsClockSkew", Stack::Database),
    ("ConnectionsControlErrors", Stack::Nango),
    ("ConnectionsEdgeErrors", Stack::Nango),
    ("ConnectionsPoolExhausted", Stack::Database),
    ("ConnectionsCertificateEnds", Stack::Certificates),
    ("ConnectionsCertificateFilesUnusable", Stack::Certificates),
    ("ConnectionsEdgeCertificateEnds", Stack::Certificates),
    ("ConnectionsFilterCrashed", Stack::Edge),
    ("ConnectionsPolicyRejected", Stack::Edge),
    ("ConnectionsWebhooksForged", Stack::Edge),
    ("ConnectionsWebhooksAllRefused", Stack::Edge),
];

impl Stack {
    fn alerts(self) -> BTreeSet<&'static str> {
        FAULTS.iter().filter(|(_, stack)| *stack == self).map(|(alert, _)| *alert).collect()
    }
}

#[test]
fn every_alert_has_a_fault_that_raises_it() {
    let tested: BTreeSet<&str> = FAULTS.iter().map(|(alert, _)| *alert).collect();
    assert_eq!(tested.len(), FAULTS.len(), "an alert has two rows");
    let alerts = alerts();
    let shipped: BTreeSet<&str> = alerts.iter().map(|alert| alert.name.as_str()).collect();
    let untested: Vec<_> = shipped.difference(&tested).collect();
    let unknown: Vec<_> = tested.difference(&shipped).collect();
    assert!(
        untested.is_empty() && unknown.is_empty(),
        "rules.yml has alerts without a row in FAULTS: {untested:?}; FAULTS has alerts that are not in rules.yml: {unknown:?}"
    );
}

/// Waits until a statement finds a row.
async fn until_found(connection: &mut PgConnection, statement: &'static str) {
    let deadline = Instant::now() + SOON;
    while sqlx::query(statement).fetch_optional(&mut *connection).await.unwrap().is_none() {
        assert!(Instant::now() < deadline, "no row: {statement}");
        tokio::task::yield_now().await;
    }
}

/// A minute of a range or of an offset becomes a second, and an hour a minute.
fn in_seconds(expression: &str) -> String {
    let mut made = String::new();
    let mut rest = expression;
    while let Some(at) = rest.find(['m', 'h']) {
        let (before, unit) = rest.split_at(at);
        let (unit, after) = unit.split_at(1);
        let number = before.trim_end_matches(|letter: char| letter.is_ascii_digit());
        let is_range =
            number.len() < before.len() && (number.ends_with('[') || number.ends_with("offset "));
        made.push_str(before);
        made.push_str(match (is_range, unit) {
            (true, "m") => "s",
            (true, _) => "m",
            (false, other) => other,
        });
        rest = after;
    }
    made + rest
}

/// The rules as a test evaluates them, for alerts that go by what fires already.
fn rules_in_seconds() -> String {
    let text = fs::read_to_string(folder().join("rules.yml")).unwrap();
    let mut document: Value = serde_saphyr::from_str(&text).unwrap();
    for group in document["groups"].as_array_mut().unwrap() {
        for rule in group["rules"].as_array_mut().unwrap() {
            let rule = rule.as_object_mut().unwrap();
            rule.remove("for");
            rule["expr"] = in_seconds(rule["expr"].as_str().unwrap()).into();
        }
    }
    document.to_string()
}

#[test]
fn only_ranges_and_offsets_become_shorter() {
    let expression =
        r#"sum(increase(a_total{b="5m",c=~"[1h]x"}[15m]) or a_total offset 1h) > 30 or c5m"#;
    let shorter =
        r#"sum(increase(a_total{b="5m",c=~"[1m]x"}[15s]) or a_total offset 1m) > 30 or c5m"#;
    assert_eq!(in_seconds(expression), shorter);
    for alert in alerts() {
        let shorter = in_seconds(&alert.expression);
        for unit in ["m]", "h]", "d]"] {
            let is_left = shorter.contains(unit) && unit != "m]";
            assert!(!is_left, "{}: {shorter}", alert.name);
        }
    }
}
