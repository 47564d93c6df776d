//! What every call needs of the database, done once in one transaction: migrations are read, and a row is written as a
//! tenant, under row-level security, and committed.

use super::{As, MIGRATIONS, NOT_MIGRATED, Store, StoreError, Tx};
use crate::domain::health::Database;
use chrono::{DateTime, Utc};

/// The tenant of heartbeats: no tenant's id has this character.
const NO_TENANT: &str = "#";

impl Store {
    /// Whether the database serves. `slot` is this process's own row.
    pub async fn exercise(&self, slot: u8, at: DateTime<Utc>) -> Result<Database, StoreError> {
        match self.try_exercise(slot, at).await {
            Err(error) if is_not_migrated(&error) => Ok(Database::NotMigrated),
            exercised => exercised,
        }
    }

    async fn try_exercise(&self, slot: u8, at: DateTime<Utc>) -> Result<Database, StoreError> {
        let mut tx = self.begin(As::Worker).await?;
        if !is_migrated(&mut tx).await? {
            return Ok(Database::NotMigrated);
        }
        let (is_standby, is_read_only): (bool, bool) = sqlx::query_as(
            "SELECT pg_is_in_recovery(), current_setting('transaction_read_only')::boolean",
        )
        .fetch_one(&mut *tx)
        .await?;
        if is_standby || is_read_only {
            return Ok(Database::ReadOnly { is_standby });
        }
        let backlog = Self::backlog_in(&mut tx, at).await?;
        sqlx::query(
            "SELECT set_config('role', 'connections_api', true), set_config('connections.tenant', $1, true)",
        )
        .bind(NO_TENANT)
        .execute(&mut *tx)
        .await?;
        sqlx::query(
            "INSERT INTO heartbeats (slot, beat_at) VALUES ($1, clock_timestamp())
             ON CONFLICT (tenant_id, slot) DO UPDATE SET beat_at = excluded.beat_at",
        )
        .bind(i16::from(slot))
        .execute(&mut *tx)
        .await?;
        // What is written is lost with a disk that takes no more, or a replica that never acknowledges: here, too.
        tx.commit().await?;
        Ok(Database::Ready(backlog))
    }

    /// Whether every migration of this binary was applied; an error, when nobody can say.
    pub async fn is_migrated(&self) -> Result<bool, StoreError> {
        let asked = async {
            let mut tx = self.begin(As::Worker).await?;
            let migrated = is_migrated(&mut tx).await?;
            tx.commit().await?;
            Ok(migrated)
        };
        match asked.await {
            Err(error) if is_not_migrated(&error) => Ok(false),
            asked => asked,
        }
    }
}

async fn is_migrated(tx: &mut Tx) -> Result<bool, StoreError> {
    let applied: Vec<i64> =
        sqlx::query_scalar("SELECT version FROM _sqlx_migrations WHERE success")
            .fetch_all(&mut **tx)
            .await?;
    Ok(MIGRATIONS.iter().all(|migration| applied.contains(&migration.version)))
}

/// Whether the database lacks what the first migration makes.
fn is_not_migrated(error: &StoreError) -> bool {
    let StoreError::Unprepared(sqlx::Error::Database(error)) = error else { return false };
    NOT_MIGRATED.contains(&error.code().unwrap_or_default().as_ref())
}
