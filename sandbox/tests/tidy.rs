//! What ARCHITECTURE.md says of the code, held by reading the code.
#![expect(clippy::unwrap_used, clippy::panic, reason = "a test may stop at the first surprise")]

use sandbox::workspace;
use std::{
    fs,
    path::{Path, PathBuf},
};

/// Who may not use whom: below the first, none of the others may be named.
const ARROWS: &[(&str, &[&str])] = &[
    // Pure: no I/O, clock, environment, randomness.
    (
        "contract/src",
        &["tokio", "async ", "std::env", "std::net", "std::fs", "SystemTime", "Instant", "rand::"],
    ),
    // Pure, and free of what another host could not carry.
    (
        "filter/src",
        &[
            "proxy_wasm",
            "tokio",
            "std::env",
            "std::net",
            "std::fs",
            "SystemTime",
            "Instant",
            "Rc<",
            "RefCell",
            "thread_local",
        ],
    ),
    ("filter/wasm/src/pairs.rs", &["proxy_wasm", "imports", "unsafe"]),
    ("filter/wasm/src/host.rs", &["unsafe"]),
    // Values in, values out.
    (
        "control/src/domain",
        &[
            "sqlx",
            "axum",
            "reqwest",
            "tokio",
            "tracing",
            "crate::app",
            "crate::clock",
            "crate::config",
            "crate::http",
            "crate::metrics",
            "crate::mint",
            "crate::nango",
            "crate::notifier",
            "crate::outbox",
            "crate::store",
            "crate::trace",
        ],
    ),
    (
        "control/src/store",
        &["axum", "reqwest", "crate::http", "crate::nango", "crate::notifier", "crate::outbox"],
    ),
    (
        "control/src/nango",
        &["sqlx", "axum", "crate::http", "crate::notifier", "crate::outbox", "crate::store"],
    ),
    (
        "control/src/budget.rs",
        &["sqlx", "axum", "reqwest", "crate::http", "crate::nango", "crate::outbox"],
    ),
    (
        "control/src/notifier",
        &["sqlx", "axum", "crate::http", "crate::nango", "crate::outbox", "crate::store"],
    ),
    // The one way from a request to a receiver. It keeps nothing, and reads no row.
    (
        "control/src/rehearsal.rs",
        &["sqlx", "axum", "crate::http", "crate::nango", "crate::outbox", "crate::store"],
    ),
    (
        "control/src/tls",
        &["sqlx", "axum", "crate::http", "crate::nango", "crate::outbox", "crate::store"],
    ),
    // It wakes, and shows nothing.
    (
        "control/src/hub.rs",
        &["sqlx", "axum", "crate::http", "crate::nango", "crate::notifier", "crate::outbox"],
    ),
    // The only way to notify is to commit a row.
    ("control/src/http", &["sqlx", "reqwest", "crate::notifier", "crate::outbox"]),
    ("control/src/outbox", &["sqlx", "axum", "reqwest", "crate::http"]),
    // They count, and ask nobody.
    (
        "control/src/metrics",
        &[
            "sqlx",
            "axum",
            "reqwest",
            "crate::http",
            "crate::nango",
            "crate::outbox",
            "crate::store",
        ],
    ),
    ("control/src/sampler.rs", &["sqlx", "axum", "crate::http", "crate::nango", "crate::outbox"]),
    // It looks, and changes nothing.
    (
        "control/src/doctor",
        &["sqlx", "axum", "reqwest", "crate::http", "crate::notifier", "crate::outbox"],
    ),
    // The composition root knows everybody and decides nothing.
    ("control/src/app.rs", &["sqlx::query", "SELECT", "Status::"]),
    // The stand-in stands in for Nango: what it knows of us would make it agree with us.
    ("sandbox/nango/src", &["control::", "filter::", "sandbox::"]),
];

/// What only one place may name.
const ONLY: &[(&str, &[&str])] = &[
    ("proxy_wasm", &["filter/wasm/src/host.rs", "filter/wasm/src/lib.rs"]),
    ("unsafe {", &["filter/wasm/src/imports.rs"]),
    ("sqlx::query", &["control/src/store", "sandbox/src"]),
    // Each transaction that tells by itself waits for all others that do.
    ("pg_notify", &["control/src/store/telling.rs"]),
    ("SystemTime::now", &["control/src/clock.rs"]),
    ("Instant::now", &["control/src/clock.rs", "sandbox/src"]),
    ("rand::rng()", &["control/src/mint.rs"]),
    ("std::env::", &["control/src/main.rs", "filter/wasm/src/gather.rs", "sandbox/src"]),
    ("EDGE_PREFIX", &["contract/src/header.rs", "filter/src/upstream.rs"]),
    ("HeaderChange::Set(", &["filter/src/upstream.rs", "filter/wasm/src/host.rs"]),
    ("Action::Continue", &["filter/wasm/src/host.rs"]),
    // A name that is made elsewhere would be on no list.
    ("prometheus_client", &["control/src/metrics"]),
    ("opentelemetry_otlp", &["control/src/telemetry"]),
    ("StatusCode::INTERNAL_SERVER_ERROR", &["control/src/http/error.rs", "sandbox/nango/src"]),
];

/// Names of files that hold two things.
const VAGUE: &[&str] =
    &["utils", "helpers", "common", "misc", "types", "models", "manager", "service"];

const LINES_MAX: usize = 400;

fn rust_files(below: &Path) -> Vec<PathBuf> {
    if below.is_file() {
        return vec![below.to_owned()];
    }
    let mut files: Vec<PathBuf> = fs::read_dir(below)
        .unwrap_or_else(|_| panic!("there is no {}", below.display()))
        .map(|entry| entry.unwrap().path())
        .filter(|path| !path.ends_with("target"))
        .flat_map(|path| if path.is_dir() { rust_files(&path) } else { vec![path] })
        .filter(|path| path.extension().is_some_and(|extension| extension == "rs"))
        .collect();
    files.sort();
    files
}

fn all_files() -> Vec<PathBuf> {
    ["contract", "filter", "control", "sandbox"]
        .iter()
        .flat_map(|member| rust_files(&workspace::root().join(member)))
        .collect()
}

/// The source without comments and without its tests.
fn code(path: &Path) -> String {
    let text = fs::read_to_string(path).unwrap();
    let text = text.split("#[cfg(test)]").next().unwrap_or_default();
    let is_code = |line: &&str| !line.trim_start().starts_with("//");
    text.lines().filter(is_code).collect::<Vec<_>>().join("\n")
}

fn name(path: &Path) -> String {
    path.strip_prefix(workspace::root()).unwrap().to_string_lossy().into_owned()
}

fn is_test(path: &Path) -> bool {
    name(path).contains("/tests/")
}

#[test]
fn data_flows_one_way() {
    for (place, forbidden) in ARROWS {
        let files = rust_files(&workspace::root().join(place));
        assert!(!files.is_empty(), "{place} has no files");
        for file in files {
            let code = code(&file);
            for word in *forbidden {
                assert!(!code.contains(word), "{} names {word}", name(&file));
            }
        }
    }
}

#[test]
fn some_things_have_one_place() {
    for (word, places) in ONLY {
        let mut is_used = false;
        for file in all_files().into_iter().filter(|file| !is_test(file)) {
            let is_named = code(&file).contains(word);
            let is_place = places.iter().any(|place| name(&file).starts_with(place));
            is_used |= is_named;
            assert!(!is_named || is_place, "{} names {word}", name(&file));
        }
        assert!(is_used, "nobody names {word} any more; take it off the list");
    }
}

#[test]
fn every_file_is_one_idea_that_its_first_line_says() {
    for file in all_files() {
        let text = fs::read_to_string(&file).unwrap();
        let lines = text.lines().count();
        assert!(lines <= LINES_MAX, "{} has {lines} lines", name(&file));
        let is_build_script = file.ends_with("build.rs");
        assert!(
            text.starts_with("//!") || is_build_script,
            "{} does not say what it is",
            name(&file)
        );
        let stem = file.file_stem().unwrap().to_string_lossy().into_owned();
        assert!(!VAGUE.contains(&stem.as_str()), "{} is named after nothing", name(&file));
    }
}

#[test]
fn no_test_sleeps_or_is_left_out() {
    for file in all_files() {
        let text = fs::read_to_string(&file).unwrap();
        let tests = if is_test(&file) {
            text.as_str()
        } else {
            text.split_once("#[cfg(test)]").map_or("", |(_, tests)| tests)
        };
        // In two pieces, so that this file does not name them itself.
        for word in [["#[ign", "ore"], ["#[should", "_panic"], ["slee", "p("], ["todo", "!("]] {
            let word = word.concat();
            assert!(!tests.contains(&word), "{} has {word}", name(&file));
        }
    }
}

#[test]
fn the_readme_is_short_and_its_map_names_what_is_there() {
    let root = workspace::root();
    let readme = fs::read_to_string(root.join("README.md")).unwrap();
    assert!(readme.lines().count() <= 120, "README.md has more than 120 lines");
    for member in ["contract", "filter", "control", "migrations", "envoy", "docs", "sandbox"] {
        assert!(root.join(member).is_dir() && readme.contains(&format!("{member}/")), "{member}");
    }
}
