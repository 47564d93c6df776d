//! Whom the tenants of a batch are told at: one query for all of them.

use super::Outbox;
use crate::{
    notifier::Target,
    store::{ClaimedDelivery, StoreError},
};
use contract::id::TenantId;
use std::collections::BTreeSet;

impl Outbox {
    /// Each delivery with its receiver, as its tenant has set it at this moment.
    pub(super) async fn with_targets(
        &self,
        claimed: Vec<ClaimedDelivery>,
    ) -> Result<Vec<(ClaimedDelivery, Target)>, StoreError> {
        if claimed.is_empty() {
            return Ok(Vec::new());
        }
        let tenants: BTreeSet<&TenantId> = claimed.iter().map(|claimed| &claimed.tenant).collect();
        let tenants: Vec<&TenantId> = tenants.into_iter().collect();
        let own = self.store.destinations_of(&tenants).await?;
        let with_target = |delivery: ClaimedDelivery| {
            let target = self.notifier.target(&delivery.tenant, own.get(&delivery.tenant));
            (delivery, target)
        };
        Ok(claimed.into_iter().map(with_target).collect())
    }
}
