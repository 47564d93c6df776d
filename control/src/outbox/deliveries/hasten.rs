//! Lets go at once what waits for a destination that takes something again.

use super::{Outbox, pause};
use crate::{cause::chain, domain::due::Lane};
use tokio_util::sync::CancellationToken;

impl Outbox {
    /// Makes due, batch by batch, what waits for destinations that begin anew.
    pub(super) async fn hasten(&self, stop: &CancellationToken) {
        while !stop.is_cancelled() {
            match self.store.hasten_deliveries(self.clock.now()).await {
                Ok(true) => {}
                Ok(false) => self.until_woken(Lane::Expedited, stop).await,
                Err(error) => {
                    let error = chain(&error);
                    tracing::error!(error, "no delivery is hastened: the store failed");
                    pause(stop).await;
                }
            }
        }
    }
}
