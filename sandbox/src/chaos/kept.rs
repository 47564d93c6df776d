//! What the database has, read past every wire.

use super::oracle::KeptEvent;
use crate::database::Database;
use std::collections::BTreeMap;

/// How many rows there are.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Rows {
    pub events: i64,
    pub deliveries: i64,
    /// Tries that were recorded; one that a kill cut off is not.
    pub attempts: i64,
}

pub async fn rows(database: &Database) -> anyhow::Result<Rows> {
    let mut connection = database.connect().await?;
    let (events, deliveries, attempts) = sqlx::query_as(
        "SELECT (SELECT count(*) FROM events), (SELECT count(*) FROM deliveries),
             (SELECT count(*) FROM delivery_attempts)",
    )
    .fetch_one(&mut connection)
    .await?;
    Ok(Rows { events, deliveries, attempts })
}

pub async fn events(database: &Database) -> anyhow::Result<Vec<KeptEvent>> {
    let mut connection = database.connect().await?;
    let rows: Vec<(String, String, i64, String, String)> = sqlx::query_as(
        "SELECT event_id::text, connection_id::text, sequence, type, body FROM events",
    )
    .fetch_all(&mut connection)
    .await?;
    let event = |(id, connection, sequence, r#type, body)| KeptEvent {
        id,
        connection,
        sequence,
        r#type,
        body,
    };
    Ok(rows.into_iter().map(event).collect())
}

/// Every connection with its state.
pub async fn connections(database: &Database) -> anyhow::Result<BTreeMap<String, String>> {
    let mut connection = database.connect().await?;
    let rows: Vec<(String, String)> =
        sqlx::query_as("SELECT connection_id::text, status FROM connections")
            .fetch_all(&mut connection)
            .await?;
    Ok(rows.into_iter().collect())
}

/// Tries of a tenant's deliveries that were recorded as failed.
pub async fn failed_tries(database: &Database, tenant: &str) -> anyhow::Result<i64> {
    let mut connection = database.connect().await?;
    let failed =
        "SELECT count(*) FROM delivery_attempts WHERE tenant_id = $1 AND outcome <> 'delivered'";
    Ok(sqlx::query_scalar(failed).bind(tenant).fetch_one(&mut connection).await?)
}
