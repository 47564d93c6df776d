//! Each way in which a database turns us away: the caller is asked to come back, and nothing is called our fault.

use crate::support::{Answer, TestApp, caller, nobody};
use axum::{Router, body::Body};
use contract::{action::Action, assertion::Vouched};
use control::{
    clock::Clock,
    http::{AppState, router},
    hub::Hub,
    mint::Mint,
    store::Store,
};
use serde_json::json;
use sqlx::{PgPool, postgres::PgConnectOptions};

/// A login of its own on the test's database, so that it can be turned away without anybody else.
struct Login {
    pool: PgPool,
    name: String,
    database: String,
}

impl Login {
    async fn new(pool: &PgPool) -> Self {
        let database: String =
            sqlx::query_scalar("SELECT current_database()::text").fetch_one(pool).await.unwrap();
        let suffix: String = database.chars().rev().take(24).collect();
        let login = Self { pool: pool.clone(), name: format!("login_{suffix}"), database };
        // One that a test left behind, which did not come to its end.
        login.run(&format!("DROP ROLE IF EXISTS {}", login.name())).await;
        login.run(&format!("CREATE ROLE {} LOGIN PASSWORD 'p'", login.name())).await;
        login.run(&format!("GRANT connections_api, connections_worker TO {}", login.name())).await;
        login
    }

    fn name(&self) -> String {
        format!("\"{}\"", self.name)
    }

    async fn run(&self, sql: &str) {
        sqlx::raw_sql(sqlx::AssertSqlSafe(sql.to_owned())).execute(&self.pool).await.unwrap();
    }

    fn options(&self) -> PgConnectOptions {
        let options: &PgConnectOptions = &self.pool.connect_options();
        options.clone().username(&self.name).password("p")
    }

    fn store(&self) -> Store {
        Store::new(self.options(), Mint::new(Clock::system()))
    }

    async fn drop(self) {
        self.run(&format!("DROP OWNED BY {name}; DROP ROLE {name}", name = self.name())).await;
    }
}

/// A process of the same service on another connection.
fn on(app: &TestApp, store: Store) -> Router {
    router(AppState { store, hub: Hub::new(app.stop.clone()), ..app.state.clone() })
}

/// One call of each kind that needs the database.
async fn ask(app: &TestApp, router: &Router) -> Vec<(&'static str, Answer)> {
    let webhook = Vouched { webhook_key: Some("k".parse().unwrap()), ..nobody() };
    let start = json!({"sub": "user-1", "provider": "github"}).to_string();
    let mut answers = Vec::new();
    for (method, path, vouched, body) in [
        ("GET", "/tenants/acme/connections", caller("acme", Action::Read), String::new()),
        ("GET", "/tenants/acme/events", caller("acme", Action::Read), String::new()),
        ("POST", "/tenants/acme/connections", caller("acme", Action::Connect), start),
        ("POST", "/webhooks/nango", webhook, json!({"type": "auth"}).to_string()),
    ] {
        let request = app.request(method, path, &vouched).body(Body::from(body)).unwrap();
        answers.push((path, TestApp::send_to(router.clone(), request).await));
    }
    answers
}

async fn check_turned_away(app: &TestApp, login: &Login, why: &str) {
    let router = on(app, login.store());
    for (path, answer) in ask(app, &router).await {
        assert_eq!(answer.status, 503, "{why}: {path}: {:?}", answer.body);
        assert_eq!(answer.code(), "unavailable", "{why}: {path}");
        assert!(answer.headers.contains_key("retry-after"), "{why}: {path}");
    }
}

#[sqlx::test(migrator = "control::store::MIGRATIONS")]
async fn whoever_the_database_turns_away_is_asked_to_come_back(pool: PgPool) {
    let app = TestApp::start(pool.clone()).await;
    let login = Login::new(&pool).await;
    let (name, database) = (login.name(), format!("\"{}\"", login.database));
    for (code, turn_away, let_in) in [
        // As pg_hba.conf does, with the same code.
        ("28000", format!("ALTER ROLE {name} NOLOGIN"), format!("ALTER ROLE {name} LOGIN")),
        (
            "53300",
            format!("ALTER ROLE {name} CONNECTION LIMIT 0"),
            format!("ALTER ROLE {name} CONNECTION LIMIT -1"),
        ),
        (
            "55000",
            format!(
                "UPDATE pg_database SET datallowconn = false WHERE datname = '{}'",
                login.database
            ),
            format!(
                "UPDATE pg_database SET datallowconn = true WHERE datname = '{}'",
                login.database
            ),
        ),
        (
            "42501, of a database",
            format!("REVOKE CONNECT ON DATABASE {database} FROM PUBLIC"),
            format!("GRANT CONNECT ON DATABASE {database} TO PUBLIC"),
        ),
        (
            "42501, of a role",
            format!("REVOKE connections_api, connections_worker FROM {name}"),
            format!("GRANT connections_api, connections_worker TO {name}"),
        ),
        (
            "25006",
            format!("ALTER ROLE {name} SET default_transaction_read_only = on"),
            format!("ALTER ROLE {name} RESET default_transaction_read_only"),
        ),
    ] {
        login.run(&turn_away).await;
        if code == "25006" {
            // Who only reads is served; who writes is asked to come back.
            let router = on(&app, login.store());
            let answers = ask(&app, &router).await;
            let statuses: Vec<u16> = answers.iter().map(|(_, it)| it.status.as_u16()).collect();
            assert_eq!(statuses, [200, 200, 503, 503], "{code}");
        } else {
            check_turned_away(&app, &login, code).await;
        }
        login.run(&let_in).await;
    }
    login.run(&format!("ALTER ROLE {name} PASSWORD 'another'")).await;
    let router = on(&app, login.store());
    let trusts = ask(&app, &router).await.iter().all(|(_, answer)| answer.status.is_success());
    if !trusts {
        // This server asks for passwords: one that is being changed is no fault of the caller's either.
        check_turned_away(&app, &login, "28P01").await;
    }
    let nobodys =
        Store::new(login.options().database("no_such_database"), Mint::new(Clock::system()));
    for (path, answer) in ask(&app, &on(&app, nobodys)).await {
        assert_eq!((answer.status.as_u16(), path.is_empty()), (503, false), "3D000: {path}");
    }
    login.drop().await;
    app.abandon();
}

#[sqlx::test(migrator = "control::store::MIGRATIONS")]
async fn a_session_that_the_database_ends_costs_one_answer_at_most(pool: PgPool) {
    let app = TestApp::start(pool.clone()).await;
    let login = Login::new(&pool).await;
    let router = on(&app, login.store());
    for (path, answer) in ask(&app, &router).await {
        assert!(answer.status.is_success(), "{path}: {:?}", answer.body);
    }
    login
        .run(&format!(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = '{}'",
            login.name
        ))
        .await;
    // The pool looks at each connection before it gives it out.
    for (path, answer) in ask(&app, &router).await {
        assert!(answer.status.is_success() || answer.status == 503, "{path}: {:?}", answer.body);
    }
    for (path, answer) in ask(&app, &router).await {
        assert!(answer.status.is_success(), "{path}: {:?}", answer.body);
    }
    login.drop().await;
    app.abandon();
}

/// A migration that adds a column spoils the statements that were prepared before it.
#[sqlx::test(migrator = "control::store::MIGRATIONS")]
async fn a_statement_that_a_migration_spoils_is_refused_once_and_not_for_ever(pool: PgPool) {
    let app = TestApp::start(pool.clone()).await;
    let login = Login::new(&pool).await;
    let router = on(&app, login.store());
    let get = async || {
        let vouched = caller("acme", Action::Notify);
        let request = app.request("GET", "/tenants/acme/destination", &vouched);
        TestApp::send_to(router.clone(), request.body(Body::empty()).unwrap()).await
    };
    assert_eq!(get().await.status, 200);
    login.run("ALTER TABLE destinations ADD COLUMN newer text").await;
    let spoiled = get().await;
    assert_eq!(spoiled.status, 503, "{:?}", spoiled.body);
    assert!(spoiled.headers.contains_key("retry-after"));
    // Its connection is gone with it.
    assert_eq!(get().await.status, 200);
    login.drop().await;
    app.abandon();
}
