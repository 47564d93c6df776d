//! How long work waits that is due and unclaimed.

use super::{As, Store, StoreError};
use crate::domain::health::Backlog;
use chrono::{DateTime, Utc};

type Row = (Option<DateTime<Utc>>, Option<DateTime<Utc>>, Option<DateTime<Utc>>);

impl Store {
    /// Since when the oldest of each kind is due. A claim moves what it takes behind its lease, so that
    /// whatever is due here is nobody's.
    pub async fn backlog(&self, at: DateTime<Utc>) -> Result<Backlog, StoreError> {
        let mut tx = self.begin(As::Worker).await?;
        // Each is the first entry of the partial index that claims read, too.
        let (receipts, jobs, deliveries): Row = sqlx::query_as(
            "SELECT (SELECT min(due_at) FROM receipts WHERE settled_at IS NULL AND due_at <= $1),
                 (SELECT min(due_at) FROM jobs WHERE done_at IS NULL AND due_at <= $1),
                 (SELECT min(due_at) FROM deliveries WHERE status = 'ready' AND due_at <= $1)",
        )
        .bind(at)
        .fetch_one(&mut *tx)
        .await?;
        tx.commit().await?;
        Ok(Backlog { receipts, jobs, deliveries })
    }
}
