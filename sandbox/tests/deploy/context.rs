//! What the build stages of our images are given: everything that the sources take in while they are compiled.

use sandbox::workspace;
use std::{
    fs,
    path::{Component, Path, PathBuf},
};

/// The build stages, and what each is given, by the last line of `.dockerignore` that names it.
const DOCKERFILES: [&str; 3] = ["control/Dockerfile", "filter/Dockerfile", "sandbox/Dockerfile"];

fn text(file: &str) -> String {
    fs::read_to_string(workspace::root().join(file)).unwrap()
}

/// Whether `path` is below `pattern`; of wildcards there is one, which is everything.
fn names(pattern: &str, path: &str) -> bool {
    assert!(pattern == "*" || !pattern.contains(['*', '?', '[']), "{pattern} is not read here");
    pattern == "*" || Path::new(path).starts_with(pattern)
}

fn is_given(ignored: &str, path: &str) -> bool {
    let lines = ignored.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
    lines.fold(true, |is_given, line| match line.strip_prefix('!') {
        Some(kept) => is_given || names(kept, path),
        None => is_given && !names(line, path),
    })
}

/// Whether the stage `build` has it: a `COPY` of its folder, or of everything.
fn is_copied(dockerfile: &str, path: &str) -> bool {
    let (_, stage) = dockerfile.split_once(" AS build\n").unwrap();
    let stage = stage.split("\nFROM ").next().unwrap();
    let copied = stage.lines().filter_map(|line| line.strip_prefix("COPY "));
    copied.filter(|line| !line.starts_with("--from")).any(|line| {
        let mut words: Vec<&str> = line.split_whitespace().collect();
        let _into = words.pop();
        words.iter().any(|source| *source == "." || Path::new(path).starts_with(source))
    })
}

fn sources(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let is_ours = |path: &PathBuf| !["target", "fuzz", "tests"].iter().any(|it| path.ends_with(it));
    let files = entries.filter(is_ours);
    let files = files.flat_map(|path| if path.is_dir() { sources(&path) } else { vec![path] });
    files.filter(|path| path.extension().is_some_and(|ext| ext == "rs")).collect()
}

/// A path without `..`, below the root.
fn plain(path: &Path) -> String {
    let mut parts = PathBuf::new();
    for part in path.components() {
        if part == Component::ParentDir {
            parts.pop();
        } else {
            parts.push(part);
        }
    }
    parts.strip_prefix(workspace::root()).unwrap().to_string_lossy().into_owned()
}

/// What a file takes in. `migrate!` starts at the crate's folder, the others at the file's.
fn taken_in(crate_folder: &Path, file: &Path) -> Vec<String> {
    let source = fs::read_to_string(file).unwrap();
    let beside = file.parent().unwrap();
    let macros =
        [("include_str!(\"", beside), ("include_bytes!(\"", beside), ("migrate!(\"", crate_folder)];
    let targets = macros.iter().flat_map(|(opened, from)| {
        let calls = source.split(opened).skip(1);
        calls.map(|rest| plain(&from.join(rest.split('"').next().unwrap())))
    });
    targets.collect()
}

#[test]
fn what_the_sources_take_in_reaches_every_build_stage() {
    let ignored = text(".dockerignore");
    let mut seen = Vec::new();
    for folder in ["contract", "control", "filter", "sandbox"] {
        let folder = workspace::root().join(folder);
        for file in sources(&folder) {
            for target in taken_in(&folder, &file) {
                assert!(workspace::root().join(&target).exists(), "{target}");
                seen.push(target);
            }
        }
    }
    for known in ["docs/errors.md", "migrations", "control/providers.json"] {
        assert!(seen.iter().any(|it| it == known), "{known} is not among {seen:?}");
    }
    for fixed in ["Cargo.toml", "Cargo.lock", ".cargo/config.toml", "control/image.sh"] {
        seen.push(fixed.to_owned());
    }
    for target in seen {
        assert!(is_given(&ignored, &target), ".dockerignore leaves out {target}");
        for dockerfile in DOCKERFILES {
            assert!(is_copied(&text(dockerfile), &target), "{dockerfile} does not copy {target}");
        }
    }
}

#[test]
fn the_last_line_that_names_a_file_decides() {
    let ignored = "# A word.\n*\n!docs/errors.md\n!filter\nfilter/fuzz\n";
    for (path, expected) in [
        ("docs/errors.md", true),
        ("docs/api.md", false),
        ("filter/src/lib.rs", true),
        ("filter/fuzz/Cargo.toml", false),
        ("README.md", false),
    ] {
        assert_eq!(is_given(ignored, path), expected, "{path}");
    }
    let dockerfile =
        "FROM x AS build\nCOPY Cargo.toml docs ./\nCOPY --from=y . .\n\nFROM scratch\nCOPY . .\n";
    assert!(is_copied(dockerfile, "docs/errors.md"));
    assert!(!is_copied(dockerfile, "control/src/main.rs"));
}
