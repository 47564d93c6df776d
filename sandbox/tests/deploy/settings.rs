//! The settings that control reads, by the code, and those that an operator is told of.

use sandbox::workspace;
use std::{collections::BTreeSet, fs};

/// Every setting's name in the code that reads settings.
pub(crate) fn read_by_control() -> BTreeSet<String> {
    let folder = workspace::root().join("control/src/config");
    let files = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    files.flat_map(|file| names(&fs::read_to_string(file).unwrap(), '"')).collect()
}

/// Every setting's name in the operator's table.
pub(crate) fn told_to_operators() -> BTreeSet<String> {
    let page = fs::read_to_string(workspace::root().join("control/README.md")).unwrap();
    let (_, table) = page.split_once("| setting | |").unwrap();
    let (table, _) = table.split_once("\n\n").unwrap();
    let cells = table.lines().filter_map(|line| line.split('|').nth(1));
    cells.flat_map(|cell| names(&cell.replace(", ", "`, `"), '`')).collect()
}

/// Words in upper case between quotes.
fn names(text: &str, quote: char) -> BTreeSet<String> {
    let is_name = |text: &&str| {
        let is_letter =
            |byte: u8| byte.is_ascii_uppercase() || byte == b'_' || byte.is_ascii_digit();
        text.len() > 3 && text.bytes().all(is_letter) && !text.starts_with('_')
    };
    text.split(quote).filter(is_name).map(str::to_owned).collect()
}

/// Whether control reads it, by its own name or by its ending.
pub(crate) fn is_read(name: &str) -> bool {
    name.ends_with("_INTEGRATION_KEY") || read_by_control().contains(name)
}

pub(crate) fn is_secret(name: &str) -> bool {
    let is_public = name.ends_with("_INTEGRATION_KEY") || name.ends_with("_PATH");
    let ends = ["KEY", "SECRET", "PASSWORD", "DATABASE_URL"];
    !is_public && ends.iter().any(|end| name.ends_with(end))
}

#[test]
fn every_setting_is_found_in_the_code_and_on_the_page() {
    let told = told_to_operators();
    let read = read_by_control();
    for name in ["DATABASE_URL", "DB_HOST", "NANGO_SECRET_KEY", "MTLS_CA_PATH", "INSTANCE"] {
        assert!(told.contains(name) && read.contains(name), "{name} is in {told:?}, {read:?}");
    }
    for name in told {
        assert!(is_read(&name), "control/README.md tells of {name}, which nobody reads");
    }
}
