//! What the vault lists of a connection, applied to it.

use super::Outbox;
use crate::{
    cause::chain,
    domain::{
        audit::Actor,
        connection::Connection,
        event::{Event, Refresh, Rules, Token},
        profile::{Me, Profile},
        transition::Effect,
    },
    nango::Listed,
    store::{As, Change, Settled, StoreError},
};
use contract::id::ConnectionId;
use std::collections::HashMap;

/// What one row says of refreshing, when nobody knows how many others fail.
pub(super) const fn refresh(row: &Listed) -> Refresh {
    if row.has_errors { Refresh::Fails } else { Refresh::Works }
}

/// What became of many rows.
#[derive(Debug, Default)]
pub(super) struct Applied<'a> {
    /// How many said something new.
    pub(super) news: usize,
    /// Those that no connection here has.
    pub(super) orphans: Vec<&'a Listed>,
}

impl Outbox {
    /// Applies one row; `false`, if there is no such connection of ours, or its installation is not approved.
    pub(super) async fn apply_listed(
        &self,
        row: &Listed,
        refresh: Refresh,
        settles: Option<Settled<'_>>,
    ) -> Result<bool, StoreError> {
        let known = self.store.connection(As::Worker, &row.tenant, row.connection).await?;
        let Some(known) = known.filter(|known| known.integration == row.integration) else {
            return Ok(false);
        };
        let is_awaited = known.open_attempt == Some(row.attempt);
        if is_awaited && Box::pin(self.awaits_approval(row)).await? {
            return Ok(false);
        }
        let profile = if is_awaited {
            let profile = self.profile(&known, row).await;
            self.with_callback_scopes(&known, row, profile).await?
        } else {
            Profile::default()
        };
        let event = Event::Listed { attempt: row.attempt, vault: row.id.clone(), refresh, profile };
        self.apply(&known, event, settles).await?;
        Ok(true)
    }

    /// Whether Nango still waits for the approval of an installation: it lists such a connection, which is of no use
    /// yet. While Nango does not say, the connection is not in use.
    async fn awaits_approval(&self, row: &Listed) -> Result<bool, StoreError> {
        if !self.store.awaits_approval(&row.tenant, row.attempt).await? {
            return Ok(false);
        }
        let answer = self.nango.awaits_installation(&row.integration, &row.id).await;
        Ok(answer.unwrap_or_else(|error| {
            let error = chain(&error);
            tracing::warn!(attempt.id = %row.attempt, error, "approval unknown");
            true
        }))
    }

    /// Applies those of many rows that say something new; nearly all say nothing, and cost nothing more.
    pub(super) async fn apply_rows<'a>(
        &self,
        rows: &'a [Listed],
        refresh: impl Fn(&Listed) -> Refresh,
    ) -> Result<Applied<'a>, StoreError> {
        let ids: Vec<ConnectionId> = rows.iter().map(|row| row.connection).collect();
        let known = self.store.connections(&ids).await?;
        let known: HashMap<ConnectionId, &Connection> =
            known.iter().map(|connection| (connection.id, connection)).collect();
        let rules = Rules { at: self.clock.now(), may_change_account: self.may_change_account };
        let mut applied = Applied::default();
        for row in rows {
            let known = known.get(&row.connection).filter(|known| known.tenant == row.tenant);
            let Some(known) = known else {
                applied.orphans.push(row);
                continue;
            };
            let refresh = refresh(row);
            let event = Event::Listed {
                attempt: row.attempt,
                vault: row.id.clone(),
                refresh,
                profile: Profile::default(),
            };
            if known.apply(event, rules) != Effect::Unchanged {
                self.apply_listed(row, refresh, None).await?;
                applied.news = applied.news.saturating_add(1);
            }
        }
        Ok(applied)
    }

    /// Commits what an event does to a connection.
    pub(super) async fn apply(
        &self,
        known: &Connection,
        event: Event,
        settles: Option<Settled<'_>>,
    ) -> Result<(), StoreError> {
        self.apply_where(known, event, settles, |_| true).await
    }

    /// The same for a provider's answer, unless a reconnect ended while it was under way: the answer may be about the
    /// credential before, and must not verify the new one.
    pub(super) async fn apply_answer(
        &self,
        known: &Connection,
        event: Event,
    ) -> Result<(), StoreError> {
        self.apply_where(known, event, None, |now| now.has_credential_of(known)).await
    }

    async fn apply_where(
        &self,
        known: &Connection,
        event: Event,
        settles: Option<Settled<'_>>,
        is_meant: impl FnOnce(&Connection) -> bool + Send,
    ) -> Result<(), StoreError> {
        let at = self.clock.now();
        let rules = Rules { at, may_change_account: self.may_change_account };
        let change = Change {
            tenant: &known.tenant,
            connection: known.id,
            actor: Actor::Vault,
            request_id: None,
            at,
            opens: None,
            settles,
        };
        let decide = |connection: &Connection| {
            if is_meant(connection) { connection.apply(event, rules) } else { Effect::Unchanged }
        };
        self.store.change(As::Worker, change, decide).await?;
        Ok(())
    }

    /// Who the user is, where an attempt succeeded. Nobody waits for it longer than for the rest.
    async fn profile(&self, known: &Connection, row: &Listed) -> Profile {
        let Some(mapping) = self.catalogue.mapping(&known.provider) else {
            return Profile::default();
        };
        match self.nango.profile(mapping, &row.integration, &row.id).await {
            Ok(Me::Is(profile)) => profile,
            Ok(Me::TokenRejected | Me::Unsaid) => Profile::default(),
            Err(error) => {
                let id = known.id;
                let error = chain(&error);
                tracing::warn!(connection.id = %id, error, "no profile for connection `{id}`");
                Profile::default()
            }
        }
    }

    /// Adds which scopes the callback said were granted, where the provider is described to say so there, and
    /// said it nowhere else.
    async fn with_callback_scopes(
        &self,
        known: &Connection,
        row: &Listed,
        profile: Profile,
    ) -> Result<Profile, StoreError> {
        let rules = self.catalogue.granted(&known.provider).filter(|rules| rules.in_callback());
        let Some(rules) = rules.filter(|_| profile.scopes.is_none()) else { return Ok(profile) };
        let said = self.store.callback_scopes(&row.tenant, row.attempt).await?;
        Ok(Profile { scopes: said.map(|scopes| rules.granted(scopes)), ..profile })
    }

    /// Whether the provider takes the token, and whose it is; nothing, where nobody can say.
    pub(super) async fn probe(
        &self,
        known: &Connection,
        row: &Listed,
    ) -> Result<Option<Event>, StoreError> {
        let Some(mapping) = self.catalogue.mapping(&known.provider) else { return Ok(None) };
        Ok(match self.nango.profile(mapping, &row.integration, &row.id).await {
            Ok(Me::Is(profile)) => Some(Event::Probed { token: Token::Accepted, profile }),
            Ok(Me::TokenRejected) => Some(self.rejected(known).await?),
            Err(error) if error.is_rejected_token() => Some(self.rejected(known).await?),
            Ok(Me::Unsaid) | Err(_) => None,
        })
    }

    /// The provider rejects the token: this one, or nearly all.
    pub(super) async fn rejected(&self, known: &Connection) -> Result<Event, StoreError> {
        let answers = self.store.answers(known, self.clock.now()).await?;
        Ok(Event::Probed { token: answers.rejection(), profile: Profile::default() })
    }
}
