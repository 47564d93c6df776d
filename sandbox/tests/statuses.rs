//! Every status, reason, outcome, label and setting that the code has is explained on a page, and the page explains no
//! other.
#![expect(clippy::unwrap_used, clippy::panic, reason = "a test may stop at the first surprise")]

use sandbox::workspace;
use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
};

type Words = BTreeSet<String>;

/// Where the words of each type are explained: a section of `docs/statuses.md` whose first column has them and no other.
const SECTIONS: &[(&str, &str)] = &[
    ("Status", "Status of a connection"),
    ("Reason", "Reason of a connection"),
    ("AttemptEnd", "Outcome of an authorization"),
    ("Outcome", "Outcome of an attempt to deliver"),
    ("Fault", "Fault"),
    ("Standing", "Status of a destination"),
    ("Ended", "Status that a redelivery asks for"),
    ("AuditAction", "Actions in the audit trail"),
    ("ReceiptOutcome", "What became of a webhook"),
];

/// Types whose words are labels of metrics.
const LABELS: &[&str] = &[
    "CallClass",
    "CallName",
    "CallOutcome",
    "Drift",
    "GivenUp",
    "Numbered",
    "VaultWork",
    "WorkResult",
];

/// Types whose words another page explains, and another test compares: `docs/errors.md`, `docs/events.md`.
const ELSEWHERE: &[&str] = &["Code", "EventType"];

fn text(file: &str) -> String {
    fs::read_to_string(workspace::root().join(file)).unwrap()
}

/// Every type of a folder that has names, by its own, with those.
fn named_types(folder: &Path, found: &mut BTreeMap<String, Words>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            named_types(&path, found);
            continue;
        }
        let text = fs::read_to_string(&path).unwrap();
        for block in text.split("\nimpl ").skip(1) {
            let name = block.split([' ', '<']).next().unwrap();
            let body = block.split("\n}\n").next().unwrap();
            let Some((_, names)) = body.split_once("fn as_str(self) -> &'static str {") else {
                continue;
            };
            let names = names.split("\n    }\n").next().unwrap();
            let words = quoted(names, '"');
            assert!(found.insert(name.to_owned(), words).is_none(), "two types are {name}");
        }
    }
}

/// What stands between quotes.
fn quoted(text: &str, quote: char) -> Words {
    text.split(quote).skip(1).step_by(2).map(str::to_owned).collect()
}

/// The rows of a section's table, cell by cell, without its head.
fn rows<'a>(page: &'a str, section: &str) -> Vec<Vec<&'a str>> {
    let (_, rest) = page
        .split_once(&format!("\n## {section}\n"))
        .unwrap_or_else(|| panic!("docs/statuses.md has no section {section}"));
    let section = rest.split("\n## ").next().unwrap();
    let rows = section.lines().filter(|line| line.starts_with("| ")).skip(2);
    rows.map(|row| row.trim_matches('|').split(" | ").map(str::trim).collect()).collect()
}

/// The words of a section's first column, each of which has its meaning beside it.
fn explained(page: &str, section: &str) -> Words {
    let mut words = Words::new();
    for row in rows(page, section) {
        let [word, meaning @ ..] = row.as_slice() else { panic!("an empty row in {section}") };
        assert!(meaning.iter().all(|cell| cell.len() > 3), "{section}: {word} lacks a cell");
        let word = quoted(word, '`').pop_first().unwrap_or_else(|| panic!("{section}: {word}"));
        assert!(words.insert(word.clone()), "{section} explains {word} twice");
    }
    words
}

#[test]
fn every_status_and_reason_of_the_code_is_explained_and_no_other() {
    let page = text("docs/statuses.md");
    let mut types = BTreeMap::new();
    named_types(&workspace::root().join("control/src"), &mut types);
    assert!(types.len() > 15, "the code lost its names: {types:?}");
    let mut labels = Words::new();
    for (name, words) in &types {
        let section = SECTIONS.iter().find(|(known, _)| known == name);
        if let Some((_, section)) = section {
            assert_eq!(&explained(&page, section), words, "{section}, which is {name}");
        } else if LABELS.contains(&name.as_str()) {
            labels.extend(words.iter().cloned());
        } else {
            assert!(
                ELSEWHERE.contains(&name.as_str()),
                "{name} is explained on no page: {words:?}"
            );
        }
    }
    for (name, _) in SECTIONS {
        assert!(types.contains_key(*name), "there is no {name}");
    }
    let told = rows(&page, "Labels of metrics").into_iter().flat_map(|row| quoted(row[1], '`'));
    assert_eq!(told.collect::<Words>(), labels, "the labels of metrics");
}

#[test]
fn statuses_that_are_no_type_with_names_are_explained_too() {
    let page = text("docs/statuses.md");
    let connection = text("control/src/domain/connection.rs");
    let (_, next) = connection.split_once("fn next_action").unwrap();
    let next = quoted(next.split("\n    }\n").next().unwrap(), '"');
    assert_eq!(explained(&page, "Next action"), next);
    let deliveries = text("migrations/0006_deliveries.sql");
    let (_, list) = deliveries.split_once("CHECK (status IN (").unwrap();
    let list = quoted(list.split(')').next().unwrap(), '\'');
    assert_eq!(explained(&page, "Status of a delivery"), list);
    let health = text("control/src/domain/health.rs");
    let (_, variants) = health.split_once("pub enum Status {").unwrap();
    let variants = variants.split("\n}").next().unwrap().lines().map(str::trim);
    let variants = variants.filter(|line| line.starts_with(char::is_uppercase));
    let variants: Words = variants.map(|line| line.trim_end_matches(',').to_lowercase()).collect();
    assert_eq!(explained(&page, "Health"), variants);
}

#[test]
fn every_type_of_event_is_explained_where_events_are() {
    let page = text("docs/events.md");
    let mut types = BTreeMap::new();
    named_types(&workspace::root().join("control/src"), &mut types);
    let told = page.lines().filter_map(|line| line.strip_prefix("| `"));
    let told: Words = told.map(|rest| rest.split('`').next().unwrap().to_owned()).collect();
    for word in &types["EventType"] {
        assert!(told.contains(word), "docs/events.md lacks {word}");
    }
}

/// Names that the code reads and that are no settings of an operator's.
const NO_SETTINGS: &[&str] = &["HOSTNAME"];

#[test]
fn every_setting_that_the_code_reads_is_explained_to_operators() {
    let page = text("control/README.md");
    // Those of OpenTelemetry's own stand below the table.
    let told: Words = quoted(&page, '`');
    let is_name = |word: &String| {
        let is_letter =
            |byte: u8| byte.is_ascii_uppercase() || byte.is_ascii_digit() || byte == b'_';
        word.len() > 3 && word.bytes().all(is_letter) && word.starts_with(char::is_uppercase)
    };
    let mut read = Words::new();
    for entry in fs::read_dir(workspace::root().join("control/src/config")).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() || path.ends_with("tests.rs") {
            continue;
        }
        let code = fs::read_to_string(path).unwrap();
        let code = code.split("#[cfg(test)]").next().unwrap();
        // Each provider has a setting of its own name.
        let is_setting = |name: &String| is_name(name) && !name.ends_with("_INTEGRATION_KEY");
        read.extend(quoted(code, '"').into_iter().filter(is_setting));
    }
    assert!(read.len() > 25, "the code reads hardly a setting: {read:?}");
    for name in read {
        let is_told = told.iter().any(|cell| cell.split([',', ' ']).any(|it| it == name));
        assert!(is_told || NO_SETTINGS.contains(&name.as_str()), "control/README.md lacks {name}");
    }
}

/// Words of an earlier release, or of nobody's, that pages must not use for something that is.
const NOT_SAID: &[&str] = &["`freshness`", "--nango-secret-key", "--webhook-secret"];

#[test]
fn no_page_tells_of_what_is_not_there() {
    let folder = workspace::root().join("docs");
    let pages = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    for page in pages.filter(|page| page.is_file()) {
        let text = fs::read_to_string(&page).unwrap();
        for word in NOT_SAID {
            assert!(!text.contains(word), "{} tells of {word}", page.display());
        }
    }
}
