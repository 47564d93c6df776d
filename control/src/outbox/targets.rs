//! Whom the tenants of a batch are told at: one query for all of them.

use super::Outbox;
use crate::{
    cause::chain,
    notifier::Target,
    store::{ClaimedDelivery, StoreError, Unreadable},
};
use contract::id::TenantId;
use std::collections::BTreeSet;

/// A receiver, and which version of its tenant's own destination that is; 0, where it is the operator's.
pub(super) struct Receiver {
    pub(super) target: Target,
    pub(super) version: i64,
}

impl Outbox {
    /// Each delivery with its receiver, as its tenant has set it at this moment.
    pub(super) async fn with_targets(
        &self,
        claimed: Vec<ClaimedDelivery>,
    ) -> Result<Vec<(ClaimedDelivery, Receiver)>, StoreError> {
        if claimed.is_empty() {
            return Ok(Vec::new());
        }
        let tenants: BTreeSet<&TenantId> = claimed.iter().map(|claimed| &claimed.tenant).collect();
        let tenants: Vec<&TenantId> = tenants.into_iter().collect();
        let own = self.store.destinations_of(&tenants).await?;
        let with_target = |delivery: ClaimedDelivery| {
            let tenant = &delivery.tenant;
            let (target, version) = match own.get(tenant) {
                None => (self.notifier.target(tenant, None), 0),
                Some(Ok(own)) => (self.notifier.target(tenant, Some(own)), own.version),
                Some(Err(Unreadable { version, why })) => {
                    tracing::error!(
                        error = chain(why),
                        "the destination of `{tenant}` is unreadable"
                    );
                    (Target::unreadable(), *version)
                }
            };
            (delivery, Receiver { target, version })
        };
        Ok(claimed.into_iter().map(with_target).collect())
    }
}
