//! Seals tenants' secrets anew when the key changed, so that the old one may go.

use super::Outbox;
use crate::{
    cause::chain,
    domain::{destination::owner, sealing::Sealer},
    store::{SealedSecrets, StoreError},
};
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// A replica that was not restarted yet may seal with the old key for a while.
const EVERY: Duration = Duration::from_mins(5);

impl Outbox {
    /// Walks once through the secrets that another key than the first has sealed, and says how many it has
    /// sealed anew.
    pub async fn reseal_once(&self) -> Result<usize, StoreError> {
        let Some(sealer) = &self.sealer else { return Ok(0) };
        let Some(first) = sealer.key_ids().next() else { return Ok(0) };
        let (mut resealed, mut after) = (0_usize, String::new());
        loop {
            let found = self.store.secrets_of_other_keys(first, &after).await?;
            let Some(last) = found.last() else { break };
            last.tenant.as_str().clone_into(&mut after);
            for old in &found {
                if let Some(new) = self.sealed_anew(sealer, old)
                    && self.store.reseal(old, &new).await?
                {
                    resealed = resealed.saturating_add(1);
                }
            }
        }
        if resealed > 0 {
            tracing::info!("the secrets of {resealed} destinations are sealed with key `{first}`");
        }
        Ok(resealed)
    }

    /// Nothing, where no key that is set opens them.
    fn sealed_anew(&self, sealer: &Sealer, old: &SealedSecrets) -> Option<String> {
        let SealedSecrets { tenant, sealed } = old;
        let owner = owner(tenant);
        let opened = sealer.open(sealed, &owner);
        let sealed = opened.and_then(|text| sealer.seal(&text, &owner, self.mint.bytes()));
        if let Err(error) = &sealed {
            let error = chain(error);
            tracing::error!(tenant.id = %tenant, error, "the secrets of `{tenant}` are not sealed anew");
        }
        sealed.ok()
    }

    /// Reseals until `stop` is cancelled. Not at once: replicas beside this one may not know the key yet.
    pub(super) async fn reseal(&self, stop: CancellationToken) {
        let resealing = async {
            loop {
                tokio::time::sleep(EVERY).await;
                if let Err(error) = self.reseal_once().await {
                    tracing::warn!(error = chain(&error), "secrets keep their key for now");
                }
            }
        };
        tokio::select! {
            () = stop.cancelled() => {}
            () = resealing => {}
        }
    }
}
