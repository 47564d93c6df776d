//! The call budget that all replicas share: one row for each class of calls.

use super::{As, Store, StoreError};
use crate::domain::budget::{Bucket, CallClass};
use chrono::{DateTime, Utc};

impl Store {
    /// Lets `decide` take calls out of a class's bucket, one replica after the other.
    pub async fn lease_calls<T>(
        &self,
        class: CallClass,
        decide: impl FnOnce(Bucket) -> (Bucket, T) + Send,
    ) -> Result<T, StoreError> {
        let mut tx = self.begin(As::Worker).await?;
        let row: Option<(i64, DateTime<Utc>, DateTime<Utc>)> = sqlx::query_as(
            "SELECT level, filled_at, promised_at FROM nango_budget WHERE class = $1 FOR UPDATE",
        )
        .bind(class.as_str())
        .fetch_optional(&mut *tx)
        .await?;
        let Some((level, filled_at, promised_at)) = row else {
            let class = class.as_str();
            return Err(StoreError::Corrupt(format!("nango_budget has no row for {class:?}")));
        };
        let (left, leased) = decide(Bucket { level, filled_at, promised_at });
        sqlx::query(
            "UPDATE nango_budget SET level = $2, filled_at = $3, promised_at = $4 WHERE class = $1",
        )
        .bind(class.as_str())
        .bind(left.level)
        .bind(left.filled_at)
        .bind(left.promised_at)
        .execute(&mut *tx)
        .await?;
        tx.commit().await?;
        Ok(leased)
    }
}
