//! What is counted is counted once, in the right place, and never backwards.

use super::*;
use chrono::TimeDelta;

fn value(metrics: &Metrics, series: &str) -> Option<f64> {
    let text = metrics.text();
    let line = text.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '))?;
    Some(line.parse().unwrap())
}

#[test]
fn what_takes_time_is_measured_by_the_clock_and_never_negative() {
    let clock = Clock::manual(DateTime::UNIX_EPOCH);
    let metrics = Metrics::new(clock.clone());
    let labels = RequestLabels { route: "/health".to_owned(), method: "GET", status: "2xx" };
    let begun = metrics.begin();
    clock.advance(TimeDelta::milliseconds(300));
    metrics.answered(&labels, &begun);
    clock.advance(TimeDelta::seconds(-5));
    metrics.answered(&labels, &begun);
    let of = r#"{route="/health",method="GET",status="2xx"}"#;
    let sum = format!("connections_http_request_seconds_sum{of}");
    assert_eq!(value(&metrics, &sum), Some(0.3));
    assert_eq!(value(&metrics, &format!("connections_http_request_seconds_count{of}")), Some(2.0));
}

#[test]
fn what_is_under_way_is_counted_until_it_ends() {
    let metrics = Metrics::default();
    let in_flight = "connections_http_requests_in_flight";
    let (one, two) = (metrics.request(), metrics.request());
    assert_eq!(value(&metrics, in_flight), Some(2.0));
    drop(one);
    assert_eq!(value(&metrics, in_flight), Some(1.0));
    drop(two);
    assert_eq!(value(&metrics, in_flight), Some(0.0));
}

#[test]
fn a_status_that_nobody_knows_makes_no_series() {
    let metrics = Metrics::default();
    let counted = [("active".to_owned(), 7), ("made up".to_owned(), 9)];
    metrics.connections(&counted);
    assert_eq!(value(&metrics, r#"connections_by_status{status="active"}"#), Some(7.0));
    assert_eq!(value(&metrics, r#"connections_by_status{status="failed"}"#), Some(0.0));
    assert!(!metrics.text().contains("made up"));
}

#[test]
fn each_kind_waits_by_itself_and_the_oldest_counts() {
    let metrics = Metrics::default();
    let seconds = |seconds| Some(Duration::from_secs(seconds));
    metrics.backlog([("receipts", None), ("jobs", seconds(4)), ("deliveries", seconds(9))]);
    let of = |kind: &str| {
        value(&metrics, &format!(r#"connections_backlog_oldest_seconds{{kind="{kind}"}}"#))
    };
    assert_eq!(["receipts", "jobs", "deliveries"].map(of), [Some(0.0), Some(4.0), Some(9.0)]);
    assert_eq!(value(&metrics, "connections_backlog_age_seconds"), Some(9.0));
}

#[test]
fn each_failure_is_somebodys_fault_and_a_success_nobodys() {
    let metrics = Metrics::default();
    let took = Duration::from_millis(20);
    metrics.delivered(TryOutcome::Delivered { status: 204 }, took);
    metrics.delivered(TryOutcome::Refused { status: 410, retry_after: None }, took);
    metrics.delivered(TryOutcome::NoAnswer(NoAnswer::OurLimits), took);
    let of = |outcome: &str, fault: &str| {
        value(
            &metrics,
            &format!(r#"connections_delivery_tries_total{{outcome="{outcome}",fault="{fault}"}}"#),
        )
    };
    assert_eq!(of("delivered", "none"), Some(1.0));
    assert_eq!(of("refused", "theirs"), Some(1.0));
    assert_eq!(of("our_limits", "ours"), Some(1.0));
    assert_eq!(of("timeout", "network"), Some(0.0));
    assert_eq!(value(&metrics, "connections_delivery_try_seconds_count"), Some(3.0));
}
