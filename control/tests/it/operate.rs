//! What an operator does: migrate, with few rights, and ask whether it is ready.

use axum::{body::Body, http::Request};
use control::{
    clock::Clock,
    http::{Probed, admin_router},
    mint::Mint,
    store::{As, Store},
};
use serde_json::{Value, json};
use sqlx::{PgPool, postgres::PgConnectOptions};
use tokio_util::sync::CancellationToken;
use tower::ServiceExt as _;

async fn readyz(store: &Store, stop: &CancellationToken) -> (u16, Value) {
    let probed = Probed { store: store.clone(), stop: stop.clone() };
    let request = Request::get("/readyz").body(Body::empty()).unwrap();
    let answer = admin_router(probed).oneshot(request).await.unwrap();
    let status = answer.status().as_u16();
    let body = axum::body::to_bytes(answer.into_body(), usize::MAX).await.unwrap();
    (status, serde_json::from_slice(&body).unwrap())
}

fn store(pool: &PgPool) -> Store {
    Store::with_pool(pool.clone(), Mint::new(Clock::system()))
}

#[sqlx::test(migrations = false)]
async fn the_service_is_ready_once_it_is_migrated_and_until_it_stops(pool: PgPool) {
    let stop = CancellationToken::new();
    let store = store(&pool);
    let missing = json!({"database": "ok", "migrations": "missing; run `control migrate`"});
    assert_eq!(readyz(&store, &stop).await, (503, missing));
    store.migrate().await.unwrap();
    store.migrate().await.unwrap();
    let ok = json!({"database": "ok", "migrations": "ok"});
    assert_eq!(readyz(&store, &stop).await, (200, ok));
    stop.cancel();
    assert_eq!(readyz(&store, &stop).await, (503, json!({"stopping": true})));
    pool.close().await;
    let away = json!({"database": "unavailable"});
    assert_eq!(readyz(&store, &CancellationToken::new()).await, (503, away));
}

/// As on a managed PostgreSQL: an owner that is no superuser migrates, and a login that owns nothing serves.
#[sqlx::test(migrations = false)]
async fn an_owner_without_superuser_migrates_and_another_login_serves(pool: PgPool) {
    let database: String =
        sqlx::query_scalar("SELECT current_database()::text").fetch_one(&pool).await.unwrap();
    // A role's name has 63 bytes at most; the beginning of the database's is the same for all tests.
    let suffix: String = database.chars().rev().take(24).collect();
    let [owner, login] = ["owner", "login"].map(|role| format!("{role}_{suffix}"));
    let run = async |sql: String| {
        sqlx::raw_sql(sqlx::AssertSqlSafe(sql)).execute(&pool).await.unwrap();
    };
    run(format!("CREATE ROLE \"{owner}\" LOGIN NOSUPERUSER CREATEROLE PASSWORD 'p'")).await;
    run(format!("CREATE ROLE \"{login}\" LOGIN NOSUPERUSER PASSWORD 'p'")).await;
    run(format!("ALTER DATABASE \"{database}\" OWNER TO \"{owner}\"")).await;
    run(format!("GRANT ALL ON SCHEMA public TO \"{owner}\"")).await;
    // The roles belong to the cluster, and other tests' migrations, which are a superuser's, made them
    // first; from PostgreSQL 16 on only their maker can grant them.
    store(&pool).migrate().await.unwrap();
    run("DROP SCHEMA public CASCADE; CREATE SCHEMA public".to_owned()).await;
    run(format!("ALTER SCHEMA public OWNER TO \"{owner}\"")).await;
    run(format!("GRANT connections_api, connections_worker TO \"{owner}\", \"{login}\"")).await;
    let connect = |user: &str| {
        let options: &PgConnectOptions = &pool.connect_options();
        let options = options.clone().username(user).password("p");
        Store::new(options, Mint::new(Clock::system()))
    };
    connect(&owner).migrate().await.unwrap();
    for user in [&owner, &login] {
        let store = connect(user);
        let stop = CancellationToken::new();
        assert_eq!(readyz(&store, &stop).await.0, 200, "{user}");
        let tenant = "acme".parse().unwrap();
        let id = "0195f2a1-0000-7000-8000-000000000001".parse().unwrap();
        let none = store.connection(As::Tenant(&tenant), &tenant, id).await.unwrap();
        assert_eq!(none, None, "{user}");
        store.close().await;
    }
    run(format!(
        "REASSIGN OWNED BY \"{owner}\" TO CURRENT_USER; DROP OWNED BY \"{owner}\", \"{login}\""
    ))
    .await;
    run(format!("ALTER DATABASE \"{database}\" OWNER TO CURRENT_USER")).await;
    run(format!("DROP ROLE \"{owner}\"; DROP ROLE \"{login}\"")).await;
}
