//! The sealer: a few milliseconds behind the writers, it numbers each tenant's events and chains its trail.

use super::{Outbox, pause};
use crate::{cause::chain, domain::due::Lane, metrics::WorkResult, store::StoreError};
use futures::FutureExt as _;
use std::{panic::AssertUnwindSafe, time::Duration};
use tokio_util::sync::CancellationToken;

/// How long commits gather after some were sealed: under load, many share one transaction of the sealer.
const GATHER: Duration = Duration::from_millis(5);

impl Outbox {
    /// Seals all that is committed and that no other sealer is at.
    pub async fn seal_once(&self) -> Result<(), StoreError> {
        while self.seal_round().await? > 0 {}
        Ok(())
    }

    /// Seals until `stop` is cancelled, and does nothing else: a process that only seals.
    pub async fn keep_sealing(&self, stop: CancellationToken) {
        tokio::join!(self.seal(stop.clone()), self.wake_workers(&stop));
    }

    /// Seals until `stop` is cancelled.
    pub(super) async fn seal(&self, stop: CancellationToken) {
        while !stop.is_cancelled() {
            match AssertUnwindSafe(self.seal_round()).catch_unwind().await {
                Ok(Ok(0)) => self.until_woken(Lane::Sequence, &stop).await,
                Ok(Ok(_)) => tokio::time::sleep(GATHER).await,
                Ok(Err(error)) => {
                    let error = chain(&error);
                    tracing::error!(error, "feeds and trails wait: the store failed");
                    pause(&stop).await;
                }
                Err(_panic) => {
                    self.metrics.worked("feed", WorkResult::Panicked);
                    tracing::error!("the sealer panicked");
                    pause(&stop).await;
                }
            }
        }
    }

    /// Gives every tenant that has something one turn, and says how much was sealed: one with a million rows
    /// keeps nobody waiting for longer than a batch.
    async fn seal_round(&self) -> Result<u64, StoreError> {
        let (mut sealed, mut broken) = (0_u64, None);
        let mut after = String::new();
        loop {
            let tenants = self.store.unsealed_tenants(&after).await?;
            let Some(last) = tenants.last() else { break };
            last.as_str().clone_into(&mut after);
            for tenant in &tenants {
                match self.store.seal(tenant).await {
                    Ok(some) => sealed = sealed.saturating_add(some),
                    // What is wrong with one tenant's rows is not the others' trouble, and neither is whom it
                    // waited for in vain.
                    Err(error) if error.is_answer() => broken = Some(error),
                    Err(error) => return Err(error),
                }
            }
        }
        broken.map_or(Ok(sealed), Err)
    }
}
