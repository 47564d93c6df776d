//! What is kept for a time only is removed when it is over.

use super::Outbox;
use crate::{cause::chain, metrics::GivenUp, store::StoreError};
use chrono::{DateTime, Utc};
use contract::id::TenantId;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// What is over is as good as removed; removing it only makes room.
const EVERY: Duration = Duration::from_mins(5);

impl Outbox {
    /// Removes everything that is over now, in small transactions and children first.
    pub async fn forget_once(&self) -> Result<(), StoreError> {
        let now = self.clock.now();
        let deliveries_until = self.retention.deliveries_until(now);
        let events_until = self.retention.events_until(now);
        while self.store.forget_answers(now).await? {}
        while self.store.forget_deliveries(deliveries_until).await? {}
        while self.store.forget_work(deliveries_until).await? {}
        let mut after = String::new();
        loop {
            let tenants = self.store.tenants_with_old_events(&after, events_until).await?;
            let Some(last) = tenants.last() else { break };
            last.as_str().clone_into(&mut after);
            for tenant in &tenants {
                self.give_up_deliveries(tenant, events_until).await?;
                while self.store.forget_events(tenant, events_until).await? {
                    self.give_up_deliveries(tenant, events_until).await?;
                }
            }
        }
        while self.store.forget_connections(events_until).await? {}
        Ok(())
    }

    /// Ends what nobody took of a tenant's oldest events, which could not be removed otherwise.
    async fn give_up_deliveries(
        &self,
        tenant: &TenantId,
        until: DateTime<Utc>,
    ) -> Result<(), StoreError> {
        loop {
            let now = self.clock.now();
            let (given_up, may_be_more) = self.store.give_up_deliveries(tenant, until, now).await?;
            self.metrics.given_up(GivenUp::Age, given_up);
            if given_up > 0 {
                tracing::error!(
                    tenant.id = %tenant,
                    "{given_up} notifications of `{tenant}` are given up: their events are no longer kept"
                );
            }
            if !may_be_more {
                return Ok(());
            }
        }
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
