//! What an operator confirmed is a set of connections, and no number of them.

use crate::{
    mass_deletion::{LIVE, activate, all, pass, statuses},
    support::TestApp,
};
use contract::id::ConnectionId;
use control::{
    domain::missing::Census,
    missing,
    store::{Confirmation, Holding},
};
use serde_json::Value;
use sqlx::PgPool;

const MISSING: u64 = 24;

/// So many connections, all of which Nango lists no more, and all of which are held.
async fn lose_all(app: &TestApp) -> Vec<(Value, String)> {
    let connections = activate(app, LIVE).await;
    app.nango.hide_connections(true);
    pass(app, 4).await;
    connections
}

/// The operator decides that all that are missing were deleted.
async fn confirm(app: &TestApp) {
    let told = missing::confirm(&app.store, &app.clock, MISSING).await.unwrap();
    assert!(told.starts_with("confirmed: 24"), "{told}");
}

async fn is_held(app: &TestApp) -> bool {
    app.store.deletions_held().await.unwrap().is_some()
}

async fn marked(app: &TestApp) -> i64 {
    app.count("SELECT count(*) FROM connections WHERE missing_confirmed_at IS NOT NULL").await
}

/// The next day's loss of everything.
async fn lose_all_a_day_later(app: &TestApp) {
    // What was deleted counts for a day.
    app.advance(25 * 3600);
    app.outbox.sweep().await.unwrap();
    app.outbox.run_once().await.unwrap();
    app.nango.hide_connections(true);
    pass(app, 8).await;
}

/// No walk: only what is asked for.
async fn check(app: &TestApp, connections: &[(Value, String)]) {
    for _ in 0..3 {
        for (started, _) in connections {
            app.ask_check(started).await;
        }
        for _ in 0..4 {
            app.outbox.run_once().await.unwrap();
            app.advance(31);
        }
    }
}

#[sqlx::test(migrator = "control::store::MIGRATIONS")]
async fn what_was_confirmed_yesterday_lets_no_other_mass_pass_today(pool: PgPool) {
    let app = TestApp::start(pool).await;
    lose_all(&app).await;
    confirm(&app).await;
    pass(&app, 6).await;
    assert_eq!(statuses(&app).await, all("deleted"));
    app.nango.hide_connections(false);
    let others = activate(&app, LIVE - 4).await;
    lose_all_a_day_later(&app).await;
    let active = statuses(&app).await.get("active").copied().unwrap_or_default();
    assert_eq!(active, i64::try_from(others.len()).unwrap(), "nobody confirmed these");
    app.abandon();
}

#[sqlx::test(migrator = "control::store::MIGRATIONS")]
async fn what_was_confirmed_and_came_back_is_no_credit_for_another_mass(pool: PgPool) {
    let app = TestApp::start(pool).await;
    lose_all(&app).await;
    confirm(&app).await;
    assert_eq!(marked(&app).await, 24);
    // Nango is right again before anything was deleted.
    app.nango.hide_connections(false);
    pass(&app, 10).await;
    assert_eq!((statuses(&app).await, marked(&app).await), (all("active"), 0));
    lose_all_a_day_later(&app).await;
    assert_eq!(statuses(&app).await, all("active"), "the next day's loss was not confirmed");
    app.abandon();
}

#[sqlx::test(migrator = "control::store::MIGRATIONS")]
async fn a_mark_that_an_earlier_release_left_behind_confirms_nothing(pool: PgPool) {
    let app = TestApp::start(pool).await;
    lose_all(&app).await;
    confirm(&app).await;
    // It saw them listed again, and does not know of marks.
    let seen = "UPDATE connections SET missing_since = NULL";
    sqlx::query(seen).execute(&app.pool).await.unwrap();
    app.nango.hide_connections(false);
    lose_all_a_day_later(&app).await;
    assert_eq!(statuses(&app).await, all("active"));
    assert!(is_held(&app).await);
    app.abandon();
}

#[sqlx::test(migrator = "control::store::MIGRATIONS")]
async fn checks_alone_delete_what_was_confirmed_and_nothing_else(pool: PgPool) {
    let app = TestApp::start(pool).await;
    let confirmed = lose_all(&app).await;
    confirm(&app).await;
    check(&app, &confirmed).await;
    assert_eq!(statuses(&app).await, all("deleted"));
    assert_eq!(marked(&app).await, 24, "they count against no others");
    app.nango.hide_connections(false);
    let others = activate(&app, 8).await;
    app.nango.hide_connections(true);
    check(&app, &others).await;
    let active = statuses(&app).await.get("active").copied().unwrap_or_default();
    // One is one; from the second on they are most.
    assert!(active == 8 && is_held(&app).await, "nobody confirmed these: {active}");
    app.abandon();
}

#[sqlx::test(migrator = "control::store::MIGRATIONS")]
async fn a_few_are_deleted_one_by_one_after_many_were_confirmed(pool: PgPool) {
    let app = TestApp::start(pool).await;
    lose_all(&app).await;
    confirm(&app).await;
    pass(&app, 6).await;
    app.nango.hide_connections(false);
    let others = activate(&app, LIVE).await;
    for (_, nango_id) in &others[..4] {
        assert!(app.nango.delete_behind_back(nango_id));
        pass(&app, 4).await;
    }
    assert!(!is_held(&app).await);
    assert_eq!(
        statuses(&app).await,
        [("active".to_owned(), 20), ("deleted".to_owned(), 28)].into()
    );
    app.abandon();
}

#[sqlx::test(migrator = "control::store::MIGRATIONS")]
async fn what_is_confirmed_is_as_many_as_the_operator_saw_or_nothing(pool: PgPool) {
    let app = TestApp::start(pool).await;
    lose_all(&app).await;
    let told = missing::show(&app.store).await.unwrap();
    assert!(told.contains("control missing confirm --count 24 "), "{told}");
    for expected in [0, 23, 25] {
        let refused = missing::confirm(&app.store, &app.clock, expected).await.unwrap_err();
        let words = format!("24 connections are missing by now, and not {expected}");
        assert!(refused.to_string().starts_with(&words), "{refused}");
        assert!(marked(&app).await == 0 && is_held(&app).await);
    }
    pass(&app, 6).await;
    assert_eq!(statuses(&app).await, all("active"));
    confirm(&app).await;
    assert_eq!((marked(&app).await, app.store.unconfirmed().await.unwrap()), (24, 0));
    app.abandon();
}

#[sqlx::test(migrator = "control::store::MIGRATIONS")]
async fn what_is_dismissed_after_it_was_confirmed_is_confirmed_no_more(pool: PgPool) {
    let app = TestApp::start(pool).await;
    lose_all(&app).await;
    confirm(&app).await;
    let at = app.clock.now();
    let decisions = app.store.absences(at).await.unwrap().decisions;
    let census = Census { live: 24, missing: 24, gone: 0 };
    app.store.hold_deletions(decisions, census, at).await.unwrap();
    missing::dismiss(&app.store, &app.clock).await.unwrap();
    assert_eq!(marked(&app).await, 0);
    pass(&app, 6).await;
    assert_eq!(statuses(&app).await, all("active"));
    app.abandon();
}

/// A walk reads what is held, and an operator decides while it judges.
#[sqlx::test(migrator = "control::store::MIGRATIONS")]
async fn a_decision_is_not_undone_by_what_a_walk_read_before_it(pool: PgPool) {
    let app = TestApp::start(pool).await;
    lose_all(&app).await;
    let census = Census { live: 24, missing: 24, gone: 0 };
    let ids = "SELECT connection_id FROM connections";
    let ids: Vec<uuid::Uuid> = sqlx::query_scalar(ids).fetch_all(&app.pool).await.unwrap();
    let ids: Vec<_> = ids.into_iter().map(ConnectionId::from_uuid).collect();
    for is_confirmed in [false, true] {
        let (store, at) = (&app.store, app.clock.now());
        let before = store.absences(at).await.unwrap().decisions;
        let held = store.hold_deletions(before, census, at).await.unwrap();
        assert_ne!(held, Holding::Overtaken, "nobody decided yet");
        assert!(store.note_missing(before, &ids, at).await.unwrap());
        if is_confirmed {
            let confirmed = store.confirm_deletions(MISSING, at).await.unwrap();
            assert_eq!(confirmed, Confirmation::Done(MISSING));
        } else {
            store.dismiss_deletions(at).await.unwrap();
        }
        let held = store.hold_deletions(before, census, at).await.unwrap();
        assert_eq!((held, is_held(&app).await), (Holding::Overtaken, false));
        assert!(!store.note_missing(before, &ids, at).await.unwrap());
        let noted = app.count("SELECT count(*) FROM connections WHERE missing_since IS NOT NULL");
        assert_eq!(noted.await, if is_confirmed { 24 } else { 0 });

        // A walk that read the decision holds again, and the one before it does not release that.
        let after = store.absences(at).await.unwrap().decisions;
        let held = store.hold_deletions(after, census, at).await.unwrap();
        assert_eq!((held, is_held(&app).await), (Holding::Begun, true));
        assert!(!store.release_deletions(before).await.unwrap());
        assert!(is_held(&app).await);
        assert!(store.release_deletions(after).await.unwrap());
        assert!(!is_held(&app).await);
    }
    app.abandon();
}
