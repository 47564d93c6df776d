//! What the doctor finds around this service: the edge, proxies, Nango, and a database that takes no writes.

use crate::doctor::{World, run};
use control::{
    doctor::Status,
    domain::missing::Census,
    mint::Mint,
    store::{Holding, Store},
};
use nango_stand_in::Trouble;
use sqlx::PgPool;
use std::{
    fs,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _, copy_bidirectional},
    net::{TcpListener, TcpStream},
};

#[sqlx::test(migrator = "control::store::MIGRATIONS")]
async fn a_database_that_takes_no_writes_is_found(pool: PgPool) {
    let world = World::start(&pool).await;
    let name = pool.connect_options().get_database().unwrap().to_owned();
    let read_only = format!("ALTER DATABASE \"{name}\" SET default_transaction_read_only = on");
    sqlx::raw_sql(sqlx::AssertSqlSafe(read_only)).execute(&pool).await.unwrap();
    world.check(&[("database role", Status::Fail, "is read-only")]).await;
}

#[sqlx::test(migrator = "control::store::MIGRATIONS")]
async fn a_nango_that_is_away_or_unwell_is_found(pool: PgPool) {
    let mut world = World::start(&pool).await;
    world.nango.make_trouble(Trouble::Unavailable);
    world.check(&[("nango", Status::Fail, "it answered 503")]).await;
    world.nango.make_trouble(Trouble::None);
    // Nobody listens on the port of discard.
    world.set("NANGO_API_URL", "http://127.0.0.1:9");
    world.check(&[("nango", Status::Fail, "unreachable")]).await;
}

/// A proxy that knows no way but the one to Nango; it says how many connections it had.
async fn proxy(nango: &str) -> (String, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("http://u:proxypassword@{}", listener.local_addr().unwrap());
    let count = Arc::new(AtomicUsize::new(0));
    let (counted, nango) = (Arc::clone(&count), nango.replace("http://", ""));
    tokio::spawn(async move {
        loop {
            let (mut from, _) = listener.accept().await.unwrap();
            counted.fetch_add(1, Ordering::Relaxed);
            let mut to = TcpStream::connect(&nango).await.unwrap();
            tokio::spawn(async move { copy_bidirectional(&mut from, &mut to).await.is_ok() });
        }
    });
    (address, count)
}

/// The variables are those of a process, which a test must not set for all others.
#[sqlx::test(migrator = "control::store::MIGRATIONS")]
async fn a_proxy_of_the_environment_is_named_and_only_one_that_is_set_here_is_used(pool: PgPool) {
    let mut world = World::start(&pool).await;
    let (address, count) = proxy(&world.nango.url()).await;
    for name in ["HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy"] {
        world.set(name, &address);
    }
    let told = run(&["doctor"], &world.environment).await;
    let words = String::from_utf8(told.stdout).unwrap();
    assert_eq!((told.status.code(), count.load(Ordering::Relaxed)), (Some(0), 0), "{words}");
    let named = "\nWARN  NANGO_PROXY_URL ";
    assert!(words.contains(named) && words.contains("HTTP_PROXY"), "{words}");
    assert!(!words.contains("proxypassword"), "{words}");
    world.set("NANGO_PROXY_URL", &address);
    let told = run(&["doctor"], &world.environment).await;
    let words = String::from_utf8(told.stdout).unwrap();
    assert_eq!(told.status.code(), Some(0), "{words}");
    assert!(count.load(Ordering::Relaxed) > 0, "{words}");
    assert!(!words.contains("proxypassword") && !words.contains(named), "{words}");
}

#[sqlx::test(migrator = "control::store::MIGRATIONS")]
async fn an_edge_that_does_not_answer_is_found_and_no_key_is_told(pool: PgPool) {
    let mut world = World::start(&pool).await;
    // Nobody listens on the port of discard.
    world.set("EDGE_ADMIN_URL", "http://127.0.0.1:9");
    world.set("PUBLIC_URL", "http://127.0.0.1:9");
    world.set("ENVIRONMENT", "development");
    world.set("NANGO_WEBHOOK_SECRET", "0123456789abcdef0123");
    let away = ("callback", Status::Fail, "Nango sends browsers back to");
    world
        .check(&[
            ("edge", Status::Fail, "refused"),
            ("webhook key", Status::Warn, "PUBLIC_URL is not reached from here"),
            away,
        ])
        .await;
    world.set("EDGE_ADMIN_URL", "localhost");
    world.set("NANGO_WEBHOOK_SECRET", "short");
    let report = world.examine().await.to_string();
    for problem in ["FAIL  EDGE_ADMIN_URL", "FAIL  NANGO_WEBHOOK_SECRET"] {
        assert!(report.contains(problem), "{report}");
    }
    // Something else than an Envoy.
    world.set("EDGE_ADMIN_URL", &world.nango.url());
    world.environment.remove("NANGO_WEBHOOK_SECRET");
    world.check(&[("edge", Status::Fail, "something answers"), away]).await;
}

/// A Nango that answers as a real one was recorded, with these words in the place of others.
async fn recorded(changes: &'static [(&'static str, &'static str)]) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            tokio::spawn(async move {
                let mut request = vec![0; 16 << 10];
                let read = stream.read(&mut request).await.unwrap_or_default();
                let request = String::from_utf8_lossy(&request[..read]).into_owned();
                let file = match request.split(['?', ' ']).nth(1).unwrap_or_default() {
                    "/health" => "01-health",
                    "/integrations" => "04-integrations-list",
                    "/connect/sessions" => "20-connect-session-create",
                    path if path.starts_with("/oauth/connect/") => "22-oauth-connect",
                    _ => "81-connection-get-unknown",
                };
                stream.write_all(answer(file, changes).as_bytes()).await.is_ok()
            });
        }
    });
    url
}

/// A recorded answer, for a connection of its own.
fn answer(file: &str, changes: &[(&str, &str)]) -> String {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../contract/fixtures/nango-0.71.4/api");
    let recorded = fs::read_to_string(format!("{folder}/{file}.response.txt")).unwrap();
    let recorded = changes.iter().fold(recorded, |text, (from, to)| text.replace(from, to));
    let recorded = recorded.replace("\r\n", "\n");
    let (head, body) = recorded.split_once("\n\n").unwrap();
    let is_kept = |line: &&str| {
        let name = line.split(':').next().unwrap_or_default().to_lowercase();
        !["content-length", "transfer-encoding", "connection", "date"].contains(&name.as_str())
    };
    let head: Vec<&str> = head.lines().filter(is_kept).collect();
    let (head, length) = (head.join("\r\n"), body.len());
    format!("{head}\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{body}")
}

/// What is found of these names at a recorded Nango.
async fn found_at(
    world: &mut World,
    changes: &'static [(&'static str, &'static str)],
    names: [&str; 2],
) -> [(Status, String); 2] {
    world.set("NANGO_API_URL", &recorded(changes).await);
    let report = world.examine().await;
    names.map(|name| {
        let found = report.findings.iter().find(|finding| finding.name == name);
        let found = found.unwrap_or_else(|| panic!("no {name} in:\n{report}"));
        (found.status, found.seen.clone())
    })
}

#[sqlx::test(migrator = "control::store::MIGRATIONS")]
async fn a_limit_above_the_one_that_a_real_nango_says_and_offline_access_are_found(pool: PgPool) {
    let mut world = World::start(&pool).await;
    world.set("GITHUB_INTEGRATION_KEY", "github");
    let names = ["NANGO_CALLS_PER_MINUTE", "GITHUB_INTEGRATION_KEY"];
    let [limit, integration] = found_at(&mut world, &[], names).await;
    assert_eq!(limit, (Status::Ok, "200 of the 200 that Nango takes".to_owned()));
    assert_eq!(integration.0, Status::Ok, "{}", integration.1);

    world.set("NANGO_CALLS_PER_MINUTE", "1000");
    let google = &[("\"provider\":\"github\"", "\"provider\":\"google\"")];
    let [limit, integration] = found_at(&mut world, google, names).await;
    assert_eq!(limit.0, Status::Warn);
    assert!(limit.1.contains("1000, and Nango takes 200 a minute"), "{}", limit.1);
    assert_eq!(integration.0, Status::Warn);
    assert!(integration.1.contains("access_type=offline is missing"), "{}", integration.1);

    let offline = &[
        ("\"provider\":\"github\"", "\"provider\":\"google\""),
        ("&client_id=", "&access_type=offline&client_id="),
        ("X-RateLimit-Limit: 200\n", ""),
    ];
    let [limit, integration] = found_at(&mut world, offline, names).await;
    assert_eq!((limit.0, integration.0), (Status::Ok, Status::Ok), "{} {}", limit.1, integration.1);
    assert!(limit.1.contains("does not say"), "{}", limit.1);
}

#[sqlx::test(migrator = "control::store::MIGRATIONS")]
async fn what_is_missing_and_what_nobody_has_is_found_and_decided_by_command(pool: PgPool) {
    let world = World::start(&pool).await;
    let store = Store::with_pool(pool.clone(), Mint::new(world.clock.clone()));
    let census = Census { live: 30, missing: 25, gone: 0 };
    let held = store.hold_deletions(0, census, world.clock.now()).await.unwrap();
    assert_eq!(held, Holding::Begun);
    let orphans = async || {
        let found = world.examine().await.findings.into_iter();
        let found = found.filter(|finding| finding.name == "orphaned credentials");
        found.map(|finding| (finding.status, finding.seen)).collect::<Vec<_>>()
    };
    let unknown = orphans().await;
    assert!(
        matches!(unknown.as_slice(), [(Status::Skip, seen)] if seen.starts_with("not known")),
        "{unknown:?}"
    );
    let swept = "UPDATE sweeps SET swept_at = '2026-11-21T10:00:00Z'";
    sqlx::query(swept).execute(&pool).await.unwrap();
    let none = orphans().await;
    let words = "none as of 2026-11-21T10:00:00Z";
    assert!(matches!(none.as_slice(), [(Status::Ok, seen)] if seen.starts_with(words)), "{none:?}");
    let orphan = serde_json::json!([{"tenant": "acme", "connection": "0195f2a1-0000-7000-8000-000000000001",
        "integration": "github-dev"}]);
    sqlx::query("UPDATE sweeps SET orphans = 1, orphan_sample = $1")
        .bind(orphan)
        .execute(&pool)
        .await
        .unwrap();
    let orphaned = "as of 2026-11-21T10:00:00Z, 1 at Nango had no connection here, such as \
        acme/0195f2a1-0000-7000-8000-000000000001 (github-dev)";
    world
        .check(&[
            ("missing at Nango", Status::Fail, "25 of 30 connections; none of them is deleted"),
            ("orphaned credentials", Status::Warn, orphaned),
        ])
        .await;
    let said = async |arguments: &[&str]| {
        let ran = run(arguments, &world.environment).await;
        let words = String::from_utf8([ran.stdout, ran.stderr].concat()).unwrap();
        (ran.status.code(), words)
    };
    let (code, words) = said(&["missing"]).await;
    assert!(code == Some(0) && words.contains("25 of 30 connections are missing"), "{words}");
    let (code, words) = said(&["orphans", "remove", "--count", "0"]).await;
    assert!(code == Some(1) && words.contains("decide with `control missing`"), "{words}");
    let (code, words) = said(&["missing", "confirm", "--count", "25"]).await;
    assert!(code == Some(1) && words.contains("0 connections are missing by now"), "{words}");
    let (code, words) = said(&["missing", "dismiss"]).await;
    assert!(code == Some(0) && words.starts_with("dismissed: 25"), "{words}");
    let (code, words) = said(&["missing", "confirm"]).await;
    assert!(code == Some(2) && words.contains("--count"), "{words}");
    let (code, words) = said(&["missing", "confirm", "--count", "25"]).await;
    assert!(code == Some(0) && words.starts_with("nothing is held"), "{words}");
    let (code, words) = said(&["orphans"]).await;
    assert!(code == Some(0) && words.contains("no credential with our tags"), "{words}");
}
