//! The looks at the vault for one connection: which one is made, by whom, and what it showed.

use super::{As, Store, StoreError, connections::lock_row, tx::Tx};
use crate::domain::look::{LastLook, Looks, Turn, Wish};
use chrono::{DateTime, Utc};
use contract::id::{AttemptId, ConnectionId, TenantId};
use uuid::Uuid;

/// A look that is under way.
#[derive(Debug)]
pub struct BegunLook {
    tenant: TenantId,
    connection: ConnectionId,
    at: DateTime<Utc>,
    before: Looks,
}

/// What follows from a wish for a look.
#[derive(Debug)]
pub enum Begin {
    Now(BegunLook),
    Wait(DateTime<Utc>),
    Answered {
        found: bool,
    },
    /// There is no such connection of ours.
    NotFound,
}

/// Why somebody may want a look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LookFor {
    /// A webhook that may be the one that a user waits for.
    Success,
    /// A webhook that says of refreshing what would be news.
    Refresh,
    Check,
}

#[derive(sqlx::FromRow)]
struct Row {
    looked_at: Option<DateTime<Utc>>,
    look_found: Option<bool>,
    hurried_for: Option<Uuid>,
    hurries: i16,
    refresh_lookups_since: Option<DateTime<Utc>>,
    refresh_lookups: i16,
    awaited: Option<Uuid>,
}

impl Store {
    /// Says whether it is time for a look that was asked for at `asked_at`; if so, it is this caller's, and
    /// all others know of it.
    pub async fn begin_look(
        &self,
        (tenant, id): (&TenantId, ConnectionId),
        (look_for, asked_at): (LookFor, DateTime<Utc>),
        at: DateTime<Utc>,
    ) -> Result<Begin, StoreError> {
        let mut tx = self.begin(As::Worker).await?;
        if !lock_row(&mut tx, tenant, id).await? {
            return Ok(Begin::NotFound);
        }
        let row: Row = sqlx::query_as(
            "SELECT looked_at, look_found, hurried_for, hurries, refresh_lookups_since, refresh_lookups, (
                 SELECT attempt_id FROM attempts
                 WHERE tenant_id = $1 AND attempt_id = connections.open_attempt_id AND status = 'open'
                   AND callback_started_at IS NOT NULL
             ) AS awaited FROM connections WHERE tenant_id = $1 AND connection_id = $2",
        )
        .bind(tenant.as_str())
        .bind(id.as_uuid())
        .fetch_one(&mut *tx)
        .await?;
        let count = |counted| u8::try_from(counted).unwrap_or(u8::MAX);
        let before = Looks {
            last: row.looked_at.map(|at| LastLook { at, found: row.look_found }),
            hurried: row.hurried_for.map(|it| (AttemptId::from_uuid(it), count(row.hurries))),
            refreshes: row.refresh_lookups_since.map(|since| (since, count(row.refresh_lookups))),
        };
        let wish = match look_for {
            LookFor::Success => {
                Wish::Hint { asked_at, awaited: row.awaited.map(AttemptId::from_uuid) }
            }
            LookFor::Refresh => Wish::RefreshHint { asked_at },
            LookFor::Check => Wish::Check { asked_at },
        };
        match before.turn(wish, at) {
            Turn::Now(looks) => {
                keep(&mut tx, (tenant, id), looks).await?;
                tx.commit().await?;
                let tenant = tenant.clone();
                Ok(Begin::Now(BegunLook { tenant, connection: id, at, before }))
            }
            Turn::Wait(until) => Ok(Begin::Wait(until)),
            Turn::Answered { found } => Ok(Begin::Answered { found }),
        }
    }

    /// Ends a look, after what it showed was applied: it answers every hint that came before it.
    pub async fn end_look(&self, look: &BegunLook, found: bool) -> Result<(), StoreError> {
        self.note_look((&look.tenant, look.connection), look.at, found).await
    }

    /// Takes a look back that has no answer, so that nobody takes it for one.
    pub async fn undo_look(&self, look: &BegunLook) -> Result<(), StoreError> {
        let mut tx = self.begin(As::Worker).await?;
        let is_last = sqlx::query_scalar(
            "SELECT looked_at = $3 FROM connections
             WHERE tenant_id = $1 AND connection_id = $2 FOR UPDATE",
        )
        .bind(look.tenant.as_str())
        .bind(look.connection.as_uuid())
        .bind(look.at)
        .fetch_one(&mut *tx)
        .await?;
        if is_last {
            keep(&mut tx, (&look.tenant, look.connection), look.before).await?;
            tx.commit().await?;
        }
        Ok(())
    }

    /// Notes a look that began at `at` and asked nobody, unless a later one is known.
    pub async fn note_look(
        &self,
        (tenant, id): (&TenantId, ConnectionId),
        at: DateTime<Utc>,
        found: bool,
    ) -> Result<(), StoreError> {
        let mut tx = self.begin(As::Worker).await?;
        sqlx::query(
            "UPDATE connections SET looked_at = $3, look_found = $4
             WHERE tenant_id = $1 AND connection_id = $2 AND (looked_at IS NULL OR looked_at <= $3)",
        )
        .bind(tenant.as_str())
        .bind(id.as_uuid())
        .bind(at)
        .bind(found)
        .execute(&mut *tx)
        .await?;
        tx.commit().await?;
        Ok(())
    }
}

async fn keep(
    tx: &mut Tx,
    (tenant, id): (&TenantId, ConnectionId),
    Looks { last, hurried, refreshes }: Looks,
) -> Result<(), StoreError> {
    sqlx::query(
        "UPDATE connections SET looked_at = $3, look_found = $4, hurried_for = $5, hurries = $6,
             refresh_lookups_since = $7, refresh_lookups = $8
         WHERE tenant_id = $1 AND connection_id = $2",
    )
    .bind(tenant.as_str())
    .bind(id.as_uuid())
    .bind(last.map(|last| last.at))
    .bind(last.and_then(|last| last.found))
    .bind(hurried.map(|(attempt, _)| attempt.as_uuid()))
    .bind(hurried.map_or(0, |(_, hurries)| i16::from(hurries)))
    .bind(refreshes.map(|(since, _)| since))
    .bind(refreshes.map_or(0, |(_, lookups)| i16::from(lookups)))
    .execute(&mut **tx)
    .await?;
    Ok(())
}
