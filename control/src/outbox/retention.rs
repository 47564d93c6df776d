//! What is kept for a time only is removed when it is over.

use super::Outbox;
use crate::{cause::chain, store::StoreError};
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// What is over is as good as removed; removing it only makes room.
const EVERY: Duration = Duration::from_mins(1);

impl Outbox {
    /// Removes everything that is over now, in small transactions.
    pub async fn forget_once(&self) -> Result<(), StoreError> {
        while self.store.forget_answers(self.clock.now()).await? {}
        Ok(())
    }

    /// Removes until `stop` is cancelled.
    pub(super) async fn forget(&self, stop: CancellationToken) {
        let forgetting = async {
            loop {
                if let Err(error) = self.forget_once().await {
                    tracing::warn!(error = chain(&error), "what is over is kept for now");
                }
                tokio::time::sleep(EVERY).await;
            }
        };
        tokio::select! {
            () = stop.cancelled() => {}
            () = forgetting => {}
        }
    }
}
