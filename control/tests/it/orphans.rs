//! Credentials at Nango that nobody has are deleted by command while they are few: many say that the database is the wrong one.

use crate::{
    mass_deletion::{LIVE, activate},
    missing_decided::{few, forget},
    support::TestApp,
};
use control::orphans::{self, Wanted};
use sqlx::PgPool;

/// As after a start of the command with the database of another environment, or of a restored one.
#[sqlx::test(migrator = "control::store::MIGRATIONS")]
async fn a_database_that_knows_none_of_nangos_credentials_removes_none_of_them(pool: PgPool) {
    let app = TestApp::start(pool).await;
    for (started, _) in activate(&app, LIVE).await {
        forget(&app, &started).await;
    }
    app.outbox.sweep().await.unwrap();
    let (store, nango) = (&app.store, &app.outbox.nango);
    let refused = orphans::remove(store, nango, &app.clock, few(LIVE)).await.unwrap_err();
    assert!(refused.to_string().starts_with("24 of 24 credentials"), "{refused}");
    assert_eq!(app.nango.connection_ids().len(), LIVE);
    let told = orphans::describe(&orphans::find(store, nango).await.unwrap());
    assert!(told.contains("DATABASE_URL") && told.contains("--allow-many"), "{told}");
    let lines = "SELECT count(*) FROM audit_events WHERE action = 'credential.orphan_removed'";
    assert_eq!(app.count(lines).await, 0);
    // Another count is refused even then.
    let wanted = |count| Wanted { count, allows_many: true };
    let refused = orphans::remove(store, nango, &app.clock, wanted(LIVE - 1)).await.unwrap_err();
    assert!(refused.to_string().starts_with("there are 24 of them"), "{refused}");
    assert_eq!(app.nango.connection_ids().len(), LIVE);
    // The operator compared both, and they belong together.
    orphans::remove(store, nango, &app.clock, wanted(LIVE)).await.unwrap();
    assert!(app.nango.connection_ids().is_empty());
    app.abandon();
}

#[sqlx::test(migrator = "control::store::MIGRATIONS")]
async fn a_database_that_lacks_many_of_nangos_credentials_removes_none_of_them(pool: PgPool) {
    let app = TestApp::start(pool).await;
    let connections = activate(&app, LIVE).await;
    for (started, _) in &connections[..5] {
        forget(&app, started).await;
    }
    let (store, nango) = (&app.store, &app.outbox.nango);
    let refused = orphans::remove(store, nango, &app.clock, few(5)).await.unwrap_err();
    assert!(refused.to_string().starts_with("5 of 24 credentials"), "{refused}");
    assert_eq!(app.nango.connection_ids().len(), LIVE);
    app.abandon();
}
