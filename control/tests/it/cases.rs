//! What a real Nango was recorded to do, in both callback modes: each ends in the status and the reason
//! that the table of a connection's life has for it, and each event is told once.

use crate::{setup::Setup, support::TestApp};
use nango_stand_in::{Mood, Trouble};
use serde_json::{Value, json};
use sqlx::PgPool;

/// What happens to one connection.
#[derive(Debug, Clone, Copy)]
enum Case {
    Succeeds,
    Denied,
    CodeIsNotExchanged,
    CookieIsEnforced,
    SessionExpiresMeanwhile,
    VaultLimitsRates,
    RefreshFailsForAWhile,
    RefreshFailsForGood,
    TokenIsRevoked,
    Reconnected,
    ReconnectDenied,
    DeletedBehindOurBack,
    Forged,
}

/// Each case, what it ends in where Nango finishes callbacks, and where this service does.
const CASES: [(Case, [&str; 2]); 13] = [
    (Case::Succeeds, ["active", "active"]),
    (Case::Denied, ["failed access_denied", "failed access_denied"]),
    (
        Case::CodeIsNotExchanged,
        ["failed no_connection_after_callback", "failed token_exchange_failed"],
    ),
    (Case::CookieIsEnforced, ["failed no_connection_after_callback", "active"]),
    (Case::SessionExpiresMeanwhile, ["active", "active"]),
    (Case::VaultLimitsRates, ["active", "active"]),
    (Case::RefreshFailsForAWhile, ["active", "active"]),
    (Case::RefreshFailsForGood, ["needs_reauth refresh_failed", "needs_reauth refresh_failed"]),
    (Case::TokenIsRevoked, ["needs_reauth token_rejected", "needs_reauth token_rejected"]),
    (Case::Reconnected, ["active", "active"]),
    (Case::ReconnectDenied, ["active", "active"]),
    (Case::DeletedBehindOurBack, ["deleted gone_at_vault", "deleted gone_at_vault"]),
    (Case::Forged, ["pending", "pending"]),
];

fn path(started: &Value, rest: &str) -> String {
    format!("/connections/{}{rest}", started["connectionId"].as_str().unwrap())
}

/// A browser goes all the way, whoever finishes.
async fn go(app: &TestApp, started: &Value, decision: &str) {
    let query = app.decide(started, decision).await;
    let answer = app.callback(&query).await;
    if let Some(location) = answer.headers.get("location") {
        // Whatever Nango shows the browser, this service is not told.
        reqwest::get(location.to_str().unwrap()).await.unwrap();
    }
}

/// Everything that is due within this time, done.
async fn pass(app: &TestApp, minutes: i64) {
    for _ in 0..minutes {
        app.outbox.sweep().await.unwrap();
        app.outbox.run_once().await.unwrap();
        app.advance(30);
        app.outbox.run_once().await.unwrap();
        app.advance(30);
    }
}

#[expect(clippy::wildcard_enum_match_arm, reason = "most cases need nothing of their own")]
async fn play(app: &TestApp, case: Case) -> Value {
    let started = app.start_connection().await;
    match case {
        Case::Forged => {
            let body = json!({"type": "connection.activated", "connectionId": started["connectionId"], "vendor": "github"});
            app.webhook(&body).await;
            return started;
        }
        Case::CodeIsNotExchanged => app.nango.provider().be(Mood::RefusesCodes),
        Case::SessionExpiresMeanwhile => app.nango.expire_sessions(),
        Case::VaultLimitsRates => app.nango.make_trouble(Trouble::RateLimited),
        _ => {}
    }
    go(app, &started, if matches!(case, Case::Denied) { "deny" } else { "allow" }).await;
    pass(app, 1).await;
    app.nango.make_trouble(Trouble::None);
    pass(app, 3).await;
    let vault = app.nango.connection_ids().pop();
    match (case, vault) {
        (Case::RefreshFailsForAWhile, Some(id)) => {
            app.nango.fail_refresh(&id, true);
            pass(app, 10).await;
            app.nango.fail_refresh(&id, false);
        }
        (Case::RefreshFailsForGood, Some(id)) => {
            app.nango.fail_refresh(&id, true);
            pass(app, 70).await;
        }
        (Case::TokenIsRevoked, _) => {
            app.nango.provider().be(Mood::RejectsTokens);
            app.ask_check(&started).await;
        }
        (Case::Reconnected | Case::ReconnectDenied, _) => {
            let again = app.call("acme", "POST", &path(&started, "/reconnect"), &json!({})).await;
            let decision = if matches!(case, Case::Reconnected) { "allow" } else { "deny" };
            go(app, &again.json(), decision).await;
        }
        (Case::DeletedBehindOurBack, Some(id)) => {
            assert!(app.nango.delete_behind_back(&id));
        }
        _ => {}
    }
    pass(app, 12).await;
    started
}

async fn check(pool: PgPool, completes: bool) {
    for (case, expected) in CASES {
        let enforces_cookie = matches!(case, Case::CookieIsEnforced);
        let setup = Setup { completes, enforces_cookie, ..Setup::default() };
        let app = TestApp::start_as(pool.clone(), setup).await;
        let started = play(&app, case).await;
        let now = app.get(started["connectionId"].as_str().unwrap()).await;
        let reason = now["reason"].as_str().map(|reason| format!(" {reason}")).unwrap_or_default();
        let seen = format!("{}{reason}", now["status"].as_str().unwrap());
        assert_eq!(seen, expected[usize::from(completes)], "{case:?}");
        let told = app.notified();
        let of_this = told.iter().filter(|it| it.body["connectionId"] == started["connectionId"]);
        let mut ids: Vec<&str> = of_this.map(|it| it.body["id"].as_str().unwrap()).collect();
        let all = ids.len();
        ids.sort_unstable();
        ids.dedup();
        assert_eq!(ids.len(), all, "{case:?}: an event was told twice");
        assert!(all > 0 || matches!(case, Case::Forged), "{case:?}: nobody was told");
        // The next case has a Nango of its own and the same database.
        app.abandon();
        for forget in [
            "UPDATE attempts SET status = 'superseded' WHERE status = 'open'",
            "UPDATE connections SET status = 'failed'",
            "UPDATE sweeps SET due_at = 'epoch', started_at = NULL, page = 0, lease = NULL",
        ] {
            sqlx::query(forget).execute(&pool).await.unwrap();
        }
    }
}

#[sqlx::test(migrator = "control::store::MIGRATIONS")]
async fn every_recorded_case_ends_as_the_table_says_where_nango_finishes(pool: PgPool) {
    check(pool, false).await;
}

#[sqlx::test(migrator = "control::store::MIGRATIONS")]
async fn every_recorded_case_ends_as_the_table_says_where_this_service_finishes(pool: PgPool) {
    check(pool, true).await;
}
