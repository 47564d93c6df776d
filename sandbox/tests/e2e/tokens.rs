//! No token that was ever issued is found anywhere but at the vault.

use crate::{
    flow::{authorize, notified, show, start},
    support::World,
};
use sandbox::{browser::Decision, stack::Stack};
use std::fs;

/// Everything that a token could have come to: every row of every table, every log, every answer.
async fn everything(stack: &Stack) -> String {
    let mut connection = stack.database.connect().await.unwrap();
    let tables: Vec<String> =
        sqlx::query_scalar("SELECT tablename::text FROM pg_tables WHERE schemaname = 'public'")
            .fetch_all(&mut connection)
            .await
            .unwrap();
    let mut found = String::new();
    for table in tables {
        let query = sqlx::AssertSqlSafe(format!("SELECT {table}::text FROM {table}"));
        let rows: Vec<String> = sqlx::query_scalar(query).fetch_all(&mut connection).await.unwrap();
        found.push_str(&rows.join("\n"));
    }
    for (_, log) in stack.logs() {
        found.push_str(&fs::read_to_string(log).unwrap());
    }
    found
}

#[tokio::test]
async fn a_token_is_found_nowhere() {
    let world = World::start().await;
    let stack = &world.stack;
    let started = start(stack).await;
    authorize(stack, &started, Decision::Allow).await;
    let notified = notified(stack, 1).await;
    let shown = show(stack, &started).await;
    let mut found = everything(stack).await;
    found = [found, started.to_string(), shown.to_string(), format!("{notified:?}")].concat();
    let issued = stack.stand_in().unwrap().issued_tokens();
    assert_eq!(issued.len(), 1, "a token was issued");
    for token in issued {
        assert!(!found.contains(&token), "a token got out");
    }
    assert!(!found.contains("nango_connect_session_"), "a connect session's token got out");
    // The search finds what is there: the connection, in rows, logs and answers.
    let id = started["connectionId"].as_str().unwrap();
    assert!(found.matches(id).count() > 5, "the search finds nothing");
    // Nor is the OAuth state in a log.
    let logs: String =
        stack.logs().iter().map(|(_, log)| fs::read_to_string(log).unwrap()).collect();
    assert!(!logs.contains(started["state"].as_str().unwrap()), "a state is in a log");
    world.finish().await;
}
