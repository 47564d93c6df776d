//! Confirms what webhooks claimed: match here, ask the vault, and only then change anything.

use super::{Outbox, VAULT_LEASE, ask_again_at, listed::refresh};
use crate::{
    cause::chain,
    domain::{
        connection::{Connection, Status},
        due::Lane,
    },
    nango::{Listed, LookUp, NangoError},
    store::{
        As, Begin, ClaimedReceipt, Hint, LookFor, Postponed, ReceiptOutcome, Settled, StoreError,
    },
    trace,
};
use chrono::TimeDelta;
use contract::{
    id::{ConnectionId, NangoConnectionId, TenantId},
    nango::{AuthHint, HintTags, Operation, SimplifiedHint},
};
use tracing::field::Empty;

/// The waits while the vault does not list what a webhook claims: it may list from a replica that lags. Each
/// is longer where the look before was too short ago; an attempt that is waited for has looks of its own.
const LOOK_AGAIN_AFTER: [TimeDelta; 4] = [
    TimeDelta::seconds(2),
    TimeDelta::seconds(30),
    TimeDelta::seconds(60),
    TimeDelta::seconds(300),
];

/// What a hint says, after everything that is known here was held against it.
#[derive(Debug)]
enum Lead {
    /// Ask the vault about a connection of ours.
    Ask { tenant: TenantId, id: ConnectionId, look_for: LookFor },
    /// Queue a check of a connection of ours, which also finds what the list does not show, and asks the provider.
    Check { tenant: TenantId, id: ConnectionId },
    /// Ask the vault once about a name of its own that is not known here.
    AskOnce(NangoConnectionId),
    /// There is nothing to ask.
    Settle(ReceiptOutcome),
}

impl Outbox {
    pub(super) async fn confirm_next(&self) -> Result<bool, StoreError> {
        let now = self.clock.now();
        let Some(receipt) = self.store.claim_receipt(now, VAULT_LEASE).await? else {
            return Ok(false);
        };
        self.wakeups.wake(Lane::Receipts);
        let span = tracing::info_span!("receipt", receipt.id = %receipt.id, trace.id = Empty);
        trace::within(receipt.traceparent.clone(), span, Box::pin(self.confirm(&receipt))).await?;
        Ok(true)
    }

    async fn confirm(&self, receipt: &ClaimedReceipt) -> Result<(), StoreError> {
        match self.lead(&receipt.hint).await? {
            Lead::Settle(outcome) => {
                self.store.settle_receipt(receipt, outcome, self.clock.now()).await?;
            }
            Lead::Ask { tenant, id, look_for } => {
                self.look(receipt, (&tenant, id), look_for).await?;
            }
            Lead::Check { tenant, id } => {
                let now = self.clock.now();
                self.store.ask_check(As::Worker, &tenant, id, now).await?;
                self.store.settle_receipt(receipt, ReceiptOutcome::CheckQueued, now).await?;
            }
            Lead::AskOnce(name) => match self.nango.look_up(LookUp::Nangos(&name)).await {
                Ok(listed) if listed.is_empty() => {
                    let outcome = ReceiptOutcome::Unconfirmed;
                    self.store.settle_receipt(receipt, outcome, self.clock.now()).await?;
                }
                Ok(listed) => self.carry_over(receipt, &listed).await?,
                Err(error) => self.ask_again(receipt, &error).await?,
            },
        }
        Ok(())
    }

    /// Asks the vault, unless somebody did since the hint came, or does soon.
    async fn look(
        &self,
        receipt: &ClaimedReceipt,
        (tenant, id): (&TenantId, ConnectionId),
        look_for: LookFor,
    ) -> Result<(), StoreError> {
        let now = self.clock.now();
        let wish = (look_for, receipt.asked_at);
        let settle = |outcome| self.store.settle_receipt(receipt, outcome, now);
        let look = match self.store.begin_look((tenant, id), wish, now).await? {
            Begin::Now(look) => look,
            Begin::Wait(until) => {
                return self.store.postpone_receipt(receipt, Postponed::Busy, until).await;
            }
            Begin::Answered { found: true } => return settle(ReceiptOutcome::NothingNew).await,
            Begin::Answered { found: false } => return self.look_again(receipt).await,
            Begin::NotFound => return settle(ReceiptOutcome::NoMatch).await,
        };
        match self.ask(tenant, id).await {
            Ok(listed) => {
                if listed.is_empty() {
                    self.look_again(receipt).await?;
                } else {
                    self.carry_over(receipt, &listed).await?;
                }
                // Last: until all of it is applied, it answers nobody.
                self.store.end_look(&look, !listed.is_empty()).await
            }
            Err(error) => {
                self.store.undo_look(&look).await?;
                self.ask_again(receipt, &error).await
            }
        }
    }

    /// Matches a hint with what is kept here, so that a stranger's forgery costs as little as possible.
    async fn lead(&self, hint: &Hint) -> Result<Lead, StoreError> {
        match hint {
            Hint::Auth(hint) => self.lead_of_auth(hint).await,
            Hint::Simplified(hint) => self.lead_of_simplified(hint).await,
        }
    }

    async fn lead_of_auth(&self, hint: &AuthHint) -> Result<Lead, StoreError> {
        let HintTags { connection_ref, tenant_id, attempt: _ } = &hint.tags;
        let (Some(id), Some(tenant)) = (connection_ref, tenant_id) else {
            // A failure has no tags. Whose it is shows the callback, or the vault's name.
            return self.lead_of_vault_name(hint).await;
        };
        let Some(connection) = self.store.connection(As::Worker, tenant, *id).await? else {
            return Ok(Lead::Settle(ReceiptOutcome::NoMatch));
        };
        let is_bound = connection.vault.as_ref() == Some(&hint.connection_id);
        Ok(match (hint.operation.clone(), hint.success) {
            // While an attempt is open, a success of what is bound may be its renewal.
            (Operation::Creation | Operation::Override, true)
                if !is_bound
                    || connection.status != Status::Active
                    || connection.open_attempt.is_some() =>
            {
                Lead::Ask { tenant: tenant.clone(), id: *id, look_for: LookFor::Success }
            }
            // Nobody here waited for this renewal: it may be of another account.
            (Operation::Override, true) => Lead::Check { tenant: tenant.clone(), id: *id },
            (Operation::Refresh, works) if is_bound && connection.is_news(works) => {
                Lead::Ask { tenant: tenant.clone(), id: *id, look_for: LookFor::Refresh }
            }
            (Operation::Deletion, true) if is_bound && connection.is_authorized() => {
                Lead::Check { tenant: tenant.clone(), id: *id }
            }
            (
                Operation::Creation
                | Operation::Override
                | Operation::Refresh
                | Operation::Deletion
                | Operation::Unknown,
                _,
            ) => Lead::Settle(ReceiptOutcome::NothingNew),
        })
    }

    /// What became of a credential is worth a lookup where it is news; all else is seen elsewhere.
    async fn lead_of_vault_name(&self, hint: &AuthHint) -> Result<Lead, StoreError> {
        let known = self.store.connections_by_vault_name(&hint.connection_id).await?;
        let Some((tenant, id)) = known.into_iter().next() else {
            return Ok(Lead::Settle(ReceiptOutcome::NoMatch));
        };
        let connection = self.store.connection(As::Worker, &tenant, id).await?;
        let is_news = |of: &dyn Fn(&Connection) -> bool| connection.as_ref().is_some_and(of);
        Ok(match (hint.operation.clone(), hint.success) {
            (Operation::Refresh, works) if is_news(&|known| known.is_news(works)) => {
                Lead::Ask { tenant, id, look_for: LookFor::Refresh }
            }
            (Operation::Deletion, true) if is_news(&Connection::is_authorized) => {
                Lead::Check { tenant, id }
            }
            (
                Operation::Refresh
                | Operation::Deletion
                | Operation::Creation
                | Operation::Override
                | Operation::Unknown,
                _,
            ) => Lead::Settle(ReceiptOutcome::NothingNew),
        })
    }

    /// A simplified body names a connection by our id or by the vault's. A name of the vault's that is not
    /// known here may be a success that is awaited; while none is, it is nobody's.
    async fn lead_of_simplified(&self, hint: &SimplifiedHint) -> Result<Lead, StoreError> {
        let name = &hint.connection_id;
        if let Ok(id) = name.as_str().parse::<ConnectionId>() {
            let tenant = self.store.tenant_of(id).await?;
            return Ok(tenant.map_or(Lead::Settle(ReceiptOutcome::NoMatch), |tenant| Lead::Ask {
                tenant,
                id,
                look_for: LookFor::Success,
            }));
        }
        if !self.store.connections_by_vault_name(name).await?.is_empty() {
            return Ok(Lead::Settle(ReceiptOutcome::NothingNew));
        }
        Ok(if self.store.awaits_success().await? {
            Lead::AskOnce(name.clone())
        } else {
            Lead::Settle(ReceiptOutcome::NoMatch)
        })
    }

    async fn ask(&self, tenant: &TenantId, id: ConnectionId) -> Result<Vec<Listed>, NangoError> {
        let listed = self.nango.look_up(LookUp::Ours(id)).await?;
        Ok(listed.into_iter().filter(|row| row.tenant == *tenant && row.connection == id).collect())
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
            let is_known = self.apply_listed(row, refresh(row), is_last.then_some(settled)).await?;
            if is_last && !is_known {
                let outcome = ReceiptOutcome::NoMatch;
                self.store.settle_receipt(receipt, outcome, self.clock.now()).await?;
            }
        }
        Ok(())
    }

    async fn look_again(&self, receipt: &ClaimedReceipt) -> Result<(), StoreError> {
        let now = self.clock.now();
        let due_at =
            LOOK_AGAIN_AFTER.get(receipt.looks).and_then(|wait| now.checked_add_signed(*wait));
        match due_at {
            Some(due_at) => {
                self.store.postpone_receipt(receipt, Postponed::NotListed, due_at).await
            }
            None => self.store.settle_receipt(receipt, ReceiptOutcome::Unconfirmed, now).await,
        }
    }

    async fn ask_again(
        &self,
        receipt: &ClaimedReceipt,
        error: &NangoError,
    ) -> Result<(), StoreError> {
        let id = receipt.id;
        let (due_at, why) = ask_again_at(self.clock.now(), receipt.failures, error);
        tracing::warn!(receipt.id = %id, error = chain(error), "receipt `{id}` waits until {due_at}");
        self.store.postpone_receipt(receipt, why, due_at).await
    }
}
