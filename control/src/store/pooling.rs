//! Whether a session of ours at the database is ours from its first transaction to its last. A pooler that gives it to
//! somebody else in between takes away what we prepared, set and listen to, and gives us another's.

use super::{ACQUIRE_TIMEOUT, Store, StoreError, prepare_session, tx::silence};
use sqlx::{ConnectOptions as _, Connection as _, PgConnection, Row as _, error::DatabaseError};
use std::{future::Future, time::Duration};
use tokio::time::timeout;

/// How often two sessions are compared. A pooler gives out the session that was used last, unless another client of it
/// was quicker.
const COMPARISONS: usize = 5;

/// Longer than a pooler keeps a client waiting whose session another one of ours has.
const PATIENCE: Duration = Duration::from_secs(3);

/// What stands between us and the database.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pooling {
    /// Nothing, or a pooler that leaves a session to its client.
    Session,
    /// A session is another client's after each transaction.
    Transaction,
    /// After each statement, and no transaction is let through.
    Statement,
}

impl Store {
    /// Compares two connections of ours: while one is in a transaction, the other must have a session of its own, and
    /// always the same.
    pub async fn pooling(&self) -> Result<Pooling, StoreError> {
        let mut one = self.connect_alone().await?;
        let mut other = self.connect_alone().await?;
        for _ in 0..COMPARISONS {
            let before = session(&mut one).await?;
            if let Err(error) = within(sqlx::raw_sql("BEGIN").execute(&mut other)).await {
                return if is_the_poolers(&error) {
                    Ok(Pooling::Statement)
                } else {
                    Err(error.into())
                };
            }
            let others = session(&mut other).await?;
            // Where the other has the only session that there is, this waits for it in vain.
            let after = session(&mut one).await.ok();
            let ended = within(sqlx::raw_sql("ROLLBACK").execute(&mut other)).await;
            if others == before || after != Some(before) {
                return Ok(Pooling::Transaction);
            }
            ended?;
        }
        // Without a word they would stay until the database misses them.
        let _ended = (one.close().await, other.close().await);
        Ok(Pooling::Session)
    }

    /// A connection that is none of the pool's.
    async fn connect_alone(&self) -> Result<PgConnection, StoreError> {
        let options = self.pool.connect_options();
        let connected = timeout(ACQUIRE_TIMEOUT, options.connect()).await;
        let mut connection = connected.unwrap_or_else(|_elapsed| Err(silence()))?;
        within(prepare_session(&mut connection)).await?;
        Ok(connection)
    }
}

/// Which process of the database answers. It is asked without a prepared statement, which may be another's.
async fn session(connection: &mut PgConnection) -> Result<i32, sqlx::Error> {
    let row = within(sqlx::raw_sql("SELECT pg_backend_pid()").fetch_one(connection)).await?;
    row.try_get(0)
}

async fn within<T>(asked: impl Future<Output = Result<T, sqlx::Error>>) -> Result<T, sqlx::Error> {
    timeout(PATIENCE, asked).await.unwrap_or_else(|_elapsed| Err(silence()))
}

/// Poolers say what they do not do as a violation of the protocol.
fn is_the_poolers(error: &sqlx::Error) -> bool {
    let code = error.as_database_error().and_then(DatabaseError::code);
    code.is_some_and(|code| code.starts_with("08"))
}
