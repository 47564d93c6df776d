//! Lets go at once what waits for a destination that takes something again.

use super::{Outbox, rest};
use crate::cause::chain;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

impl Outbox {
    /// Makes due, batch by batch, what waits for destinations that begin anew.
    pub(super) async fn hasten(&self, mut woken: watch::Receiver<()>, stop: &CancellationToken) {
        while !stop.is_cancelled() {
            match self.store.hasten_deliveries(self.clock.now()).await {
                Ok(true) => continue,
                Ok(false) => {}
                Err(error) => {
                    let error = chain(&error);
                    tracing::error!(error, "no delivery is hastened: the store failed");
                }
            }
            rest(&mut woken, stop).await;
        }
    }
}
