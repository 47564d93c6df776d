//! What an operator is given to watch the service with: rules, their runbook, and a dashboard. Each is held
//! against what the running sandbox really shows.

mod dashboard;
mod faults;
mod prometheus;
mod server;

use sandbox::workspace;
use serde_json::Value;
use std::{collections::BTreeSet, fs, path::PathBuf};

fn folder() -> PathBuf {
    workspace::envoy_folder().join("observability")
}

/// An alert, as `rules.yml` has it.
struct Alert {
    name: String,
    expression: String,
    severity: String,
    runbook: String,
}

fn alerts() -> Vec<Alert> {
    let text = fs::read_to_string(folder().join("rules.yml")).unwrap();
    let rules: Value = serde_saphyr::from_str(&text).unwrap();
    let groups = rules["groups"].as_array().unwrap();
    let rules = groups.iter().flat_map(|group| group["rules"].as_array().unwrap());
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    rules
        .map(|rule| Alert {
            name: text(&rule["alert"]),
            expression: text(&rule["expr"]),
            severity: text(&rule["labels"]["severity"]),
            runbook: text(&rule["annotations"]["runbook_url"]),
        })
        .collect()
}

/// How a heading is linked to.
fn anchor(heading: &str) -> String {
    let words = heading.to_lowercase();
    let kept =
        words.chars().filter(|letter| letter.is_alphanumeric() || matches!(letter, ' ' | '-'));
    kept.collect::<String>().replace(' ', "-")
}

#[test]
fn every_alert_leads_to_a_section_that_says_what_to_do() {
    let page = fs::read_to_string(workspace::root().join("docs/runbook.md")).unwrap();
    let sections: Vec<&str> = page.split("\n## ").skip(1).collect();
    let mut led_to = BTreeSet::new();
    let alerts = alerts();
    let names: BTreeSet<&str> = alerts.iter().map(|alert| alert.name.as_str()).collect();
    assert_eq!(names.len(), alerts.len(), "two alerts of one name");
    for Alert { name, severity, runbook, .. } in &alerts {
        assert!(["page", "ticket"].contains(&severity.as_str()), "{name}: {severity}");
        let wanted = runbook.strip_prefix("docs/runbook.md#").unwrap();
        let is_it = |section: &&&str| anchor(section.lines().next().unwrap()) == wanted;
        let section = sections.iter().find(is_it);
        let section = section.unwrap_or_else(|| panic!("{name} leads to no section: {runbook}"));
        for part in ["**Means**", "**Do**"] {
            assert!(section.contains(part), "{name}: its section has no {part}");
        }
        led_to.insert(wanted.to_owned());
    }
    for section in sections {
        let heading = section.lines().next().unwrap();
        assert!(led_to.contains(&anchor(heading)), "no alert leads to {heading:?}");
    }
}
