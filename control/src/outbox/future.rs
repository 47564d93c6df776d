//! Lets go on what a wrong clock put off.

use super::Outbox;
use crate::{cause::chain, domain::future::waits, store::StoreError};
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// There should be none: replicas write the database's times. A release before this one did not, and a database's clock may
/// have been wrong itself.
const EVERY: Duration = Duration::from_mins(5);

impl Outbox {
    /// Makes due what is dated further in the future than it may be, and says how many rows that were.
    pub async fn mend_future_once(&self) -> Result<u64, StoreError> {
        let mended = self.store.mend_future(self.clock.now(), &waits(&self.schedule)).await?;
        let mut rows_of_all = 0_u64;
        for (table, rows) in mended {
            rows_of_all = rows_of_all.saturating_add(rows);
            tracing::error!(
                table,
                rows,
                "{rows} rows of {table} were dated in the future; they are due now"
            );
        }
        Ok(rows_of_all)
    }

    /// Mends until `stop` is cancelled: at once, because whoever saw a clock go wrong restarts things, and then now and then.
    pub(super) async fn mend_future(&self, stop: CancellationToken) {
        let mending = async {
            loop {
                if let Err(error) = self.mend_future_once().await {
                    tracing::warn!(
                        error = chain(&error),
                        "what is dated in the future stays so for now"
                    );
                }
                tokio::time::sleep(EVERY).await;
            }
        };
        tokio::select! {
            () = stop.cancelled() => {}
            () = mending => {}
        }
    }
}
