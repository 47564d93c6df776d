//! Confirms what webhooks claimed: match here, ask the vault, and only then change anything.

use super::{Outbox, STEP_LEASE, backoff};
use crate::{
    domain::{
        audit::Actor,
        connection::{Connection, Status},
        profile::{Mapping, Profile},
        transition::Event,
    },
    nango::{Listed, LookUp, NangoError},
    store::{As, Change, ClaimedReceipt, Hint, ReceiptOutcome, Settled, StoreError},
};
use chrono::TimeDelta;
use contract::{
    id::{ConnectionId, TenantId},
    nango::{AuthHint, Operation, SimplifiedHint, tag},
};

/// The waits while the vault does not list what a webhook claims: it may list from a replica that lags.
const LOOK_AGAIN_AFTER: [TimeDelta; 5] = [
    TimeDelta::seconds(2),
    TimeDelta::seconds(5),
    TimeDelta::seconds(15),
    TimeDelta::seconds(60),
    TimeDelta::seconds(300),
];

/// What a hint says, after everything that is known here was held against it.
enum Lead {
    /// Ask the vault about this name.
    Ask(Name),
    /// There is nothing to ask.
    Settle(ReceiptOutcome),
}

enum Name {
    Ours(TenantId, ConnectionId),
    Claimed(SimplifiedHint),
}

impl Outbox {
    pub(super) async fn confirm_next(&self) -> Result<bool, StoreError> {
        let now = self.clock.now();
        let Some(receipt) = self.store.claim_receipt(now, STEP_LEASE).await? else {
            return Ok(false);
        };
        let lead = self.lead(&receipt.hint).await?;
        match lead {
            Lead::Settle(outcome) => {
                self.store.settle_receipt(&receipt, outcome, self.clock.now()).await?;
            }
            Lead::Ask(name) => match self.ask(&name).await {
                Ok(listed) if listed.is_empty() => self.look_again(&receipt).await?,
                Ok(listed) => self.carry_over(&receipt, &listed).await?,
                Err(error) => self.ask_again(&receipt, &error).await?,
            },
        }
        Ok(true)
    }

    /// Matches a hint with what is kept here, so that a stranger's forgery costs no call to Nango.
    async fn lead(&self, hint: &Hint) -> Result<Lead, StoreError> {
        let hint = match hint {
            Hint::Auth(hint) => hint,
            Hint::Simplified(hint) => return Ok(Lead::Ask(Name::Claimed(hint.clone()))),
        };
        let Some((tenant, id)) = claimed_name(hint) else {
            // A failure has no tags. Whose it is shows the callback, or the vault's name.
            let known = self.store.connections_by_vault_name(&hint.connection_id).await?;
            return Ok(Lead::Settle(if known.is_empty() {
                ReceiptOutcome::NoMatch
            } else {
                ReceiptOutcome::NothingNew
            }));
        };
        let Some(connection) = self.store.connection(As::Worker, &tenant, id).await? else {
            return Ok(Lead::Settle(ReceiptOutcome::NoMatch));
        };
        let says_success =
            hint.success && matches!(hint.operation, Operation::Creation | Operation::Override);
        let is_known = connection.vault.as_ref() == Some(&hint.connection_id)
            && connection.status == Status::Active;
        Ok(if says_success && !is_known {
            Lead::Ask(Name::Ours(tenant, id))
        } else {
            Lead::Settle(ReceiptOutcome::NothingNew)
        })
    }

    async fn ask(&self, name: &Name) -> Result<Vec<Listed>, NangoError> {
        match name {
            Name::Ours(tenant, id) => {
                let listed = self.nango.look_up(LookUp::Ours(*id)).await?;
                let is_meant = |row: &Listed| row.tenant == *tenant && row.connection == *id;
                Ok(listed.into_iter().filter(is_meant).collect())
            }
            Name::Claimed(hint) => {
                let ours = hint.connection_id.as_str().parse();
                let name = ours.map_or(LookUp::Nangos(&hint.connection_id), LookUp::Ours);
                self.nango.look_up(name).await
            }
        }
    }

    /// Applies what the vault lists. The receipt ends with the last row's change, in its transaction.
    async fn carry_over(
        &self,
        receipt: &ClaimedReceipt,
        listed: &[Listed],
    ) -> Result<(), StoreError> {
        let settled =
            Settled::Receipt { id: receipt.id, lease: receipt.lease, outcome: "confirmed" };
        let rows = listed.len();
        for (index, row) in listed.iter().enumerate() {
            let is_last = index.saturating_add(1) == rows;
            let known = self.store.connection(As::Worker, &row.tenant, row.connection).await?;
            let Some(known) = known.filter(|known| known.integration == row.integration) else {
                if is_last {
                    let outcome = ReceiptOutcome::NoMatch;
                    self.store.settle_receipt(receipt, outcome, self.clock.now()).await?;
                }
                continue;
            };
            let profile = self.profile(&known, row).await;
            let event = Event::Confirmed { attempt: row.attempt, vault: row.id.clone(), profile };
            let change = Change {
                tenant: &row.tenant,
                connection: row.connection,
                actor: Actor::Vault,
                request_id: None,
                at: self.clock.now(),
                settles: is_last.then_some(settled),
            };
            self.store.change(As::Worker, change, |connection| connection.apply(event)).await?;
        }
        Ok(())
    }

    /// Who the user is, where that will be told now. Nobody waits for it longer than for the rest.
    async fn profile(&self, known: &Connection, row: &Listed) -> Profile {
        let will_activate =
            known.status == Status::Pending && known.open_attempt == Some(row.attempt);
        let Some(mapping) = Mapping::of(&known.provider).filter(|_| will_activate) else {
            return Profile::default();
        };
        match self.nango.profile(mapping, &row.integration, &row.id).await {
            Ok(profile) => profile.unwrap_or_default(),
            Err(error) => {
                let id = known.id;
                let error = &error as &dyn std::error::Error;
                tracing::warn!(connection.id = %id, error, "no profile for connection `{id}`");
                Profile::default()
            }
        }
    }

    async fn look_again(&self, receipt: &ClaimedReceipt) -> Result<(), StoreError> {
        let now = self.clock.now();
        let due_at =
            LOOK_AGAIN_AFTER.get(receipt.tries).and_then(|wait| now.checked_add_signed(*wait));
        match due_at {
            Some(due_at) => self.store.postpone_receipt(receipt, due_at).await,
            None => self.store.settle_receipt(receipt, ReceiptOutcome::Unconfirmed, now).await,
        }
    }

    async fn ask_again(
        &self,
        receipt: &ClaimedReceipt,
        error: &NangoError,
    ) -> Result<(), StoreError> {
        let wait = backoff(receipt.tries);
        let id = receipt.id;
        let error = error as &dyn std::error::Error;
        tracing::warn!(receipt.id = %id, error, "receipt `{id}` waits {} s", wait.num_seconds());
        let now = self.clock.now();
        self.store.postpone_receipt(receipt, now.checked_add_signed(wait).unwrap_or(now)).await
    }
}

fn claimed_name(hint: &AuthHint) -> Option<(TenantId, ConnectionId)> {
    let tenant = hint.tags.get(tag::TENANT_ID)?.parse().ok()?;
    let id = hint.tags.get(tag::CONNECTION_REF)?.parse().ok()?;
    Some((tenant, id))
}
