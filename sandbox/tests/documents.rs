//! What documents say is there: files, tests, and places in other pages.
#![expect(clippy::unwrap_used, reason = "a test may stop at the first surprise")]

use sandbox::workspace;
use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

/// All pages but the change log's, which tells of what was.
fn documents() -> Vec<PathBuf> {
    let root = workspace::root();
    let mut found = Vec::new();
    let mut folders = vec![root];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            if path.is_dir() {
                if !name.starts_with('.') && !matches!(name.as_str(), "target" | "node_modules") {
                    folders.push(path);
                }
            } else if path.extension().is_some_and(|end| end == "md") && name != "CHANGELOG.md" {
                found.push(path);
            }
        }
    }
    assert!(found.len() > 5, "there are hardly any documents");
    found.sort();
    found
}

fn rust_files(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() && !path.ends_with("target") {
            rust_files(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

/// The names of all tests that there are.
fn tests() -> BTreeSet<String> {
    let mut files = Vec::new();
    for member in ["contract", "filter", "control", "sandbox"] {
        rust_files(&workspace::root().join(member), &mut files);
    }
    let mut names = BTreeSet::new();
    for file in files {
        let text = fs::read_to_string(file).unwrap();
        let mut is_test = false;
        for line in text.lines().map(str::trim) {
            let is_attribute = line.starts_with("#[");
            is_test |= is_attribute && line.contains("test") && !line.contains("cfg(test)");
            let name = line.strip_prefix("async ").unwrap_or(line).strip_prefix("fn ");
            match name.and_then(|rest| rest.split(['(', '<']).next()) {
                Some(name) if is_test => {
                    names.insert(name.to_owned());
                    is_test = false;
                }
                Some(_) => is_test = false,
                None => {}
            }
        }
    }
    names
}

fn text(path: &Path) -> String {
    fs::read_to_string(path).unwrap()
}

/// What stands in backquotes, outside of blocks of code.
fn quoted(text: &str) -> Vec<&str> {
    let prose = text.split("```").step_by(2);
    prose.flat_map(|prose| prose.split('`').skip(1).step_by(2)).collect()
}

#[test]
fn every_line_of_the_threat_model_is_held_by_a_test_that_is_there() {
    let page = text(&workspace::root().join("docs/threat-model.md"));
    let tests = tests();
    let mut lines = 0;
    for row in page.lines().filter(|line| line.starts_with("| ") && !line.starts_with("| ---")) {
        let cells: Vec<&str> = row.trim_matches('|').split(" | ").map(str::trim).collect();
        let [what, how, named] = cells.as_slice() else { panic!("not three cells: {row}") };
        if *named == "test" {
            continue;
        }
        lines += 1;
        let is_open = *named == "–" && how.contains("**not held**");
        assert!(is_open || !quoted(named).is_empty(), "nothing holds: {what}");
        for name in quoted(named) {
            assert!(tests.contains(name), "there is no test {name}, which holds: {what}");
        }
    }
    assert!(lines > 20, "the threat model lost its tables");
}

#[test]
fn every_test_that_the_architecture_names_is_there() {
    let tests = tests();
    let page = text(&workspace::root().join("ARCHITECTURE.md"));
    // Nothing else on it has so many words but settings of Envoy's.
    let is_name = |name: &&str| {
        name.matches('_').count() >= 4
            && *name != "allow_on_headers_stop_iteration"
            && name.chars().all(|c| c.is_ascii_lowercase() || matches!(c, '_' | '0'..='9'))
    };
    let named: Vec<&str> = quoted(&page).into_iter().filter(is_name).collect();
    assert!(named.len() > 3, "the architecture names hardly a test");
    for name in named {
        assert!(tests.contains(name), "there is no test {name}");
    }
}

#[test]
fn every_file_that_a_document_names_is_there() {
    let root = workspace::root();
    let mut named = 0;
    for document in documents() {
        let text = text(&document);
        let is_path = |text: &&str| {
            let ends = [".rs", ".md", ".yaml", ".yml", ".json", ".toml", ".sql", ".py"];
            let is_file = ends.iter().any(|end| text.ends_with(end));
            is_file
                && text.contains('/') && !text.contains([' ', '*', '<', '{', '$', ':'])
                // Of others' packages, not of ours.
                && !document.ends_with("sandbox/tests/deploy/schemas/README.md")
        };
        for path in quoted(&text).into_iter().filter(is_path).filter(|path| !path.starts_with('/'))
        {
            let beside = document.with_file_name(path);
            let is_there = root.join(path).exists() || beside.exists();
            assert!(is_there, "{} names {path}", document.display());
            named += 1;
        }
    }
    assert!(named > 40, "documents name hardly a file");
}

/// The operations in the first column of the table of `docs/api.md`, with nothing inside the braces of a path.
fn calls(page: &str) -> BTreeSet<(String, String)> {
    let mut calls = BTreeSet::new();
    for row in page.lines().filter_map(|line| line.strip_prefix("| ")) {
        let cell = row.split(" | ").next().unwrap();
        // `GET`, `PUT`, `DELETE /path`: methods without a path are of the next one.
        let mut methods = Vec::new();
        for code in quoted(cell) {
            let (method, path) = code.split_once(' ').unwrap_or((code, ""));
            if !["GET", "PUT", "POST", "DELETE", "PATCH"].contains(&method) {
                continue;
            }
            methods.push(method.to_owned());
            if !path.is_empty() {
                let path = path.replace('…', "/tenants/{}/connections");
                let path = without_names(&path);
                calls.extend(methods.drain(..).map(|method| (method, path.clone())));
            }
        }
        assert!(methods.is_empty(), "methods without a path: {row}");
    }
    calls
}

/// A path whose parameters have no names.
fn without_names(path: &str) -> String {
    let segments = path.split('/').map(|part| if part.starts_with('{') { "{}" } else { part });
    segments.collect::<Vec<_>>().join("/")
}

#[test]
fn the_page_of_the_api_has_every_operation_and_no_other() {
    let root = workspace::root();
    let document: serde_json::Value =
        serde_json::from_str(&text(&root.join("control/openapi.json"))).unwrap();
    let mut operations = BTreeSet::new();
    for (path, item) in document["paths"].as_object().unwrap() {
        for method in item.as_object().unwrap().keys() {
            operations.insert((method.to_uppercase(), without_names(path)));
        }
    }
    assert!(operations.len() > 10, "the document lost its operations");
    assert_eq!(calls(&text(&root.join("docs/api.md"))), operations);
    let page = "| `GET`, `PUT /a/{x}/b` | c |\n| `POST …/{y}/z` `{sub}` | `GET /not/this` |\n";
    let call = |method: &str, path: &str| (method.to_owned(), path.to_owned());
    let expected = [
        call("GET", "/a/{}/b"),
        call("PUT", "/a/{}/b"),
        call("POST", "/tenants/{}/connections/{}/z"),
    ];
    assert_eq!(calls(page), BTreeSet::from(expected));
}

#[test]
fn every_link_within_the_documents_leads_somewhere() {
    for document in documents() {
        let text = text(&document);
        for link in text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            if link.contains("://") || link.starts_with("mailto:") {
                continue;
            }
            let (file, place) = link.split_once('#').unwrap_or((link, ""));
            let target = if file.is_empty() {
                document.clone()
            } else {
                document.with_file_name("").join(file)
            };
            assert!(target.exists(), "{} links to {link}", document.display());
            if !place.is_empty() {
                let page = fs::read_to_string(&target).unwrap();
                let is_there = headings(&page).any(|heading| heading == place);
                assert!(is_there, "{} links to {link}", document.display());
            }
        }
    }
}

/// The places of a page, as they are linked to.
fn headings(page: &str) -> impl Iterator<Item = String> {
    page.lines().filter_map(|line| {
        let heading = line.trim_start_matches('#');
        (heading.len() < line.len()).then(|| {
            let kept = |c: char| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_');
            heading
                .trim()
                .to_lowercase()
                .chars()
                .filter(|c| kept(*c))
                .collect::<String>()
                .replace(' ', "-")
        })
    })
}
