//! What documents state is what the code does: their commands show no secret.
#![expect(clippy::unwrap_used, reason = "a test may stop at the first surprise")]

use sandbox::workspace;
use std::{
    fs,
    path::{Path, PathBuf},
};

/// Every page, and the shell that pages use.
fn pages(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        if path.is_dir() && !name.starts_with('.') && name != "target" {
            pages(&path, found);
        } else if path.extension().is_some_and(|end| end == "md") || name == "shell.sh" {
            found.push(path);
        }
    }
}

/// What starts a process, or hands all that it is given to one.
const PROGRAMS: [&str; 12] = [
    "api",
    "cargo",
    "curl",
    "docker",
    "kubectl",
    "openssl",
    "pg_dump",
    "pg_restore",
    "policy",
    "psql",
    "public",
    "python3",
];

/// Variables and settings that hold secrets.
const SECRETS: [&str; 9] = [
    "DATABASE_URL",
    "DATA_ENCRYPTION_KEY",
    "DB_PASSWORD",
    "EDGE_ASSERTION_KEY",
    "NANGO_ADMIN_KEY",
    "NANGO_PROFILE_KEY",
    "NANGO_SECRET_KEY",
    "NANGO_WEBHOOK_SECRET",
    "NOTIFICATION_SIGNING_SECRET",
];

/// The first secret in what a process is started with.
fn shown(line: &str) -> Option<&'static str> {
    let commands = line.split(['|', ';']).map(str::trim);
    let words = commands.filter_map(|command| {
        // What is assigned before a command is its environment.
        let is_before = |word: &&str| {
            let (name, _) = word.split_once('=').unwrap_or(("-", ""));
            name.bytes().all(|byte| byte.is_ascii_uppercase() || byte == b'_')
        };
        let mut words = command.split(' ').map(|word| word.trim_start_matches("old=$("));
        let words: Vec<&str> = words.by_ref().skip_while(is_before).collect();
        let program = words.first()?.rsplit("$(").next()?;
        PROGRAMS.contains(&program).then_some(words)
    });
    let is_secret = |word: &str| {
        SECRETS.into_iter().find(|name| {
            [format!("${name}"), format!("${{{name}"), format!("{name}=")]
                .iter()
                .any(|shape| word.contains(shape.as_str()))
        })
    };
    let positional = ["-hmac", "--nango-secret-key", "--webhook-secret"];
    words.flatten().find_map(|word| {
        is_secret(word).or_else(|| positional.into_iter().find(|option| word == *option))
    })
}

#[test]
fn what_a_page_says_is_in_a_file_of_code_is_there() {
    let mut found = Vec::new();
    pages(&workspace::root(), &mut found);
    let mut named = 0;
    for page in found {
        let text = fs::read_to_string(&page).unwrap();
        let pieces: Vec<&str> = text.split('`').collect();
        // Code stands in every other piece: NAME ` in ` FILE.
        for window in pieces.windows(3).skip(1).step_by(2) {
            let [name, between, file] = window else { continue };
            let between = between.split_whitespace().collect::<Vec<_>>().join(" ");
            let is_type = name.starts_with(char::is_uppercase)
                && name.bytes().all(|byte| byte.is_ascii_alphanumeric());
            let file = workspace::root().join(file);
            if between == "in" && is_type && file.extension().is_some_and(|end| end == "rs") {
                let code = fs::read_to_string(&file).unwrap();
                let is_there =
                    ["enum", "struct"].iter().any(|kind| code.contains(&format!("{kind} {name} ")));
                assert!(is_there, "{}: {name} is not in {}", page.display(), file.display());
                named += 1;
            }
        }
    }
    assert!(named > 2, "pages name hardly a type");
}

#[test]
fn no_client_of_control_follows_proxies_that_are_not_set_for_it() {
    let mut files = vec![workspace::root().join("control/src")];
    let mut clients = 0;
    while let Some(path) = files.pop() {
        if path.is_dir() {
            files.extend(fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
            continue;
        }
        let text = fs::read_to_string(&path).unwrap();
        for forbidden in ["reqwest::get(", "Client::new()", "ClientBuilder::new()"] {
            assert!(!text.contains(forbidden), "{}: {forbidden}", path.display());
        }
        let built = text.split("Client::builder()").skip(1).filter(|_| text.contains("reqwest"));
        for built in built {
            let built = built.split("build()").next().unwrap();
            assert!(built.contains(".no_proxy()"), "{}: {built}", path.display());
            clients += 1;
        }
    }
    assert!(clients > 2, "control lost its clients");
}

#[test]
fn no_command_of_the_documents_shows_a_secret_to_every_process() {
    let mut found = Vec::new();
    pages(&workspace::root(), &mut found);
    let mut lines = 0;
    for page in found {
        let text = fs::read_to_string(&page).unwrap();
        let is_shell = page.ends_with("shell.sh");
        let blocks = text.split("```sh").skip(1).map(|rest| rest.split("```").next().unwrap());
        let blocks: Vec<&str> = if is_shell { vec![text.as_str()] } else { blocks.collect() };
        for line in blocks.into_iter().flat_map(str::lines).map(str::trim) {
            assert_eq!(shown(line), None, "{}: {line}", page.display());
            lines += 1;
        }
    }
    assert!(lines > 150, "documents have hardly a command");
    for (line, expected) in [
        ("cargo sandbox restart \"EDGE_ASSERTION_KEY=1:$old\"", Some("EDGE_ASSERTION_KEY")),
        ("EDGE_ASSERTION_KEY=\"1:$old\" cargo sandbox restart EDGE_ASSERTION_KEY", None),
        (
            "curl -H \"authorization: Bearer $NANGO_SECRET_KEY\" x | field y",
            Some("NANGO_SECRET_KEY"),
        ),
        ("new=$(curl -H \"b: ${NANGO_ADMIN_KEY:-}\" x)", Some("NANGO_ADMIN_KEY")),
        ("psql -q \"$DATABASE_URL\" -c x", Some("DATABASE_URL")),
        ("webhook \"$NANGO_WEBHOOK_SECRET\"", None),
        ("printf '{}' | openssl dgst -sha256 -hmac \"$1\"", Some("-hmac")),
        ("cargo sandbox up --nango-secret-key …", Some("--nango-secret-key")),
        ("old=$EDGE_ASSERTION_KEY new=$(openssl rand -hex 32)", None),
    ] {
        assert_eq!(shown(line), expected, "{line}");
    }
}
