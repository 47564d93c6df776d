//! What the doctor finds around this service: the edge, proxies, and a database that takes no writes.

use crate::doctor::{World, run};
use control::doctor::Status;
use sqlx::PgPool;
use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};
use tokio::{
    io::copy_bidirectional,
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
