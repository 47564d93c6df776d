//! Credentials that were renewed although nobody here waited for it, and tokens that a provider rejects together.

use crate::{
    mass_deletion::{LIVE, activate, statuses},
    support::TestApp,
};
use contract::id::{AttemptId, NangoConnectionId};
use control::{
    domain::{
        audit::Actor,
        connection::{Connection, Reason},
        event::{Event, Refresh, Rules},
        profile::Profile,
    },
    store::{As, Change},
};
use nango_stand_in::Mood;
use serde_json::{Value, json};
use sqlx::PgPool;
use std::time::Duration;

const OCTOCAT: &str = "583231";

fn id(started: &Value) -> &str {
    started["connectionId"].as_str().unwrap()
}

async fn reconnect(app: &TestApp, started: &Value) -> Value {
    let path = format!("/connections/{}/reconnect", id(started));
    app.call("acme", "POST", &path, &json!({})).await.json()
}

/// What Nango says of a renewal by that attempt.
async fn say_renewed(app: &TestApp, started: &Value, nango_id: &str, attempt: uuid::Uuid) {
    let body = json!({"type": "auth", "from": "nango", "operation": "override", "success": true,
        "connectionId": nango_id, "providerConfigKey": "github-dev", "tags": {
            "connection_ref": id(started), "tenant_id": "acme", "attempt": attempt,
            "end_user_id": "user-1", "instance": "test"}});
    app.webhook(&body).await;
}

async fn open_attempt(app: &TestApp) -> uuid::Uuid {
    sqlx::query_scalar("SELECT attempt_id FROM attempts WHERE status = 'open'")
        .fetch_one(&app.pool)
        .await
        .unwrap()
}

async fn minutes(app: &TestApp, minutes: usize) {
    for _ in 0..minutes {
        app.outbox.sweep().await.unwrap();
        app.outbox.run_once().await.unwrap();
        app.advance(61);
    }
}

/// Never active, while Nango holds a credential of account 7.
#[track_caller]
fn is_not_octocats(now: &Value) {
    let says = (now["status"].as_str().unwrap(), now["providerAccountId"].as_str());
    assert_ne!(says, ("active", Some(OCTOCAT)), "Nango holds the credential of account 7: {now}");
}

#[sqlx::test(migrator = "control::store::MIGRATIONS")]
async fn a_renewal_by_a_superseded_attempt_is_checked_for_its_account_while_another_is_open(
    pool: PgPool,
) {
    let app = TestApp::start(pool).await;
    let (started, nango_id) = app.activate().await;
    let first = reconnect(&app, &started).await;
    let first_attempt = open_attempt(&app).await;
    let query = app.decide(&first, "allow").await;
    // The browser is on its way to Nango, and somebody asks for another reconnect.
    let sent_on = app.callback(&query).await;
    reconnect(&app, &started).await;
    app.nango.provider().log_in(7);
    app.finish_at_nango(sent_on.headers["location"].to_str().unwrap()).await;
    say_renewed(&app, &started, &nango_id, first_attempt).await;
    minutes(&app, 70).await;
    let now = app.get(id(&started)).await;
    is_not_octocats(&now);
    app.abandon();
}

#[sqlx::test(migrator = "control::store::MIGRATIONS")]
async fn a_renewal_whose_webhook_was_lost_is_checked_for_its_account(pool: PgPool) {
    let app = TestApp::start(pool).await;
    let (started, _) = app.activate().await;
    let first = reconnect(&app, &started).await;
    let query = app.decide(&first, "allow").await;
    let sent_on = app.callback(&query).await;
    reconnect(&app, &started).await;
    app.nango.provider().log_in(7);
    app.finish_at_nango(sent_on.headers["location"].to_str().unwrap()).await;
    minutes(&app, 70).await;
    let now = app.get(id(&started)).await;
    is_not_octocats(&now);
    app.abandon();
}

#[sqlx::test(migrator = "control::store::MIGRATIONS")]
async fn a_refresh_that_works_by_a_renewal_that_nobody_waited_for_does_not_vouch_for_the_account(
    pool: PgPool,
) {
    let app = TestApp::start(pool).await;
    let (started, nango_id) = app.activate().await;
    app.nango.fail_refresh(&nango_id, true);
    minutes(&app, 66).await;
    let now = app.get(id(&started)).await;
    assert_eq!(now["reason"], Reason::RefreshFailed.as_str(), "{now}");
    let again = reconnect(&app, &started).await;
    let attempt = open_attempt(&app).await;
    let query = app.decide(&again, "allow").await;
    let sent_on = app.callback(&query).await;
    // Nobody waits any more: it is given up ten minutes after its callback.
    minutes(&app, 12).await;
    app.nango.provider().log_in(7);
    app.finish_at_nango(sent_on.headers["location"].to_str().unwrap()).await;
    say_renewed(&app, &started, &nango_id, attempt).await;
    app.outbox.run_once().await.unwrap();
    minutes(&app, 5).await;
    let now = app.get(id(&started)).await;
    assert!(!app.notified_types().contains(&"connection.recovered".to_owned()), "{now}");
    is_not_octocats(&now);
    app.abandon();
}

/// As when most refreshes fail at once, it is the provider and not its users.
#[sqlx::test(migrator = "control::store::MIGRATIONS")]
async fn tokens_that_were_rejected_together_are_in_use_again_when_the_provider_is_well(
    pool: PgPool,
) {
    let app = TestApp::start(pool).await;
    let connections = activate(&app, LIVE).await;
    app.advance(24 * 3600);
    // The provider rejects every token for five minutes.
    app.nango.provider().be(Mood::RejectsTokens);
    minutes(&app, 5).await;
    app.nango.provider().be(Mood::Well);
    minutes(&app, 2 * 24 * 60 / 30).await;
    app.advance(24 * 3600);
    minutes(&app, 20).await;
    let active = statuses(&app).await.get("active").copied().unwrap_or_default();
    assert_eq!(active, i64::try_from(connections.len()).unwrap(), "nobody revoked anything");
    app.abandon();
}

#[sqlx::test(migrator = "control::store::MIGRATIONS")]
async fn a_renewal_that_nobody_waited_for_is_checked_until_the_provider_says_whose_it_is(
    pool: PgPool,
) {
    let app = TestApp::start(pool).await;
    let (started, nango_id) = app.activate().await;
    let again = reconnect(&app, &started).await;
    let attempt = open_attempt(&app).await;
    let query = app.decide(&again, "allow").await;
    let sent_on = app.callback(&query).await;
    minutes(&app, 12).await;
    app.nango.provider().log_in(7);
    app.finish_at_nango(sent_on.headers["location"].to_str().unwrap()).await;
    // The check comes while the provider does not answer, or the calls for profiles are used up.
    app.nango.provider().be(Mood::LosesUsers);
    say_renewed(&app, &started, &nango_id, attempt).await;
    app.outbox.run_once().await.unwrap();
    minutes(&app, 2).await;
    app.nango.provider().be(Mood::Well);
    minutes(&app, 60).await;
    is_not_octocats(&app.get(id(&started)).await);
    app.abandon();
}

/// A callback's lookup and a webhook's may find the same success at the same moment.
#[sqlx::test(migrator = "control::store::MIGRATIONS")]
async fn a_success_that_is_found_twice_at_the_same_moment_is_no_renewal(pool: PgPool) {
    let app = TestApp::start(pool).await;
    let started = app.start_connection().await;
    let attempt = open_attempt(&app).await;
    let vault: NangoConnectionId = app.authorize(&started).await.parse().unwrap();
    let (tenant, connection) = ("acme".parse().unwrap(), id(&started).parse().unwrap());
    let found = async || {
        let at = app.clock.now();
        let change = Change {
            tenant: &tenant,
            connection,
            actor: Actor::Vault,
            request_id: None,
            at,
            opens: None,
            settles: None,
        };
        let event = Event::Listed {
            attempt: AttemptId::from_uuid(attempt),
            vault: vault.clone(),
            refresh: Refresh::Works,
            profile: Profile { account_id: Some(OCTOCAT.to_owned()), ..Profile::default() },
        };
        let decide = |connection: &Connection| connection.apply(event, Rules::at(at));
        app.store.change(As::Worker, change, decide).await.unwrap()
    };
    let mut other = app.pool.begin().await.unwrap();
    sqlx::query("SELECT FROM connections FOR UPDATE").execute(&mut *other).await.unwrap();
    let both_wait = async {
        let waiting = "SELECT count(*) FROM pg_stat_activity
            WHERE datname = current_database() AND wait_event_type = 'Lock'";
        while app.count(waiting).await < 2 {}
        other.commit().await.unwrap();
    };
    let all = async { tokio::join!(found(), found(), both_wait) };
    tokio::time::timeout(Duration::from_secs(30), all).await.unwrap();
    let now = app.get(id(&started)).await;
    assert_eq!((now["status"].as_str(), now["reason"].as_str()), (Some("active"), None), "{now}");
    app.abandon();
}
