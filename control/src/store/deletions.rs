//! Whether deletions at Nango are believed, and what an operator decided.

use super::{As, Store, StoreError, audit::AuditLine, tx::Tx, wake};
use crate::{
    domain::{
        audit::{Actor, AuditAction},
        missing::{ACCEPTED_FOR, Census, GONE_WITHIN},
    },
    nango::Listed,
};
use chrono::{DateTime, TimeDelta, Utc};
use contract::id::{ConnectionId, IntegrationId, TenantId};
use sqlx::types::Json;
use std::collections::BTreeMap;
use uuid::Uuid;

/// No deletion at Nango is believed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DeletionsHeld {
    pub since: DateTime<Utc>,
    /// How many connections were missing when that was last counted, and of how many.
    pub missing: i64,
    pub live: i64,
}

/// What an absence is held against.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Absences {
    pub is_held: bool,
    /// How many deletions an operator confirmed.
    pub accepted: u64,
    pub by_integration: BTreeMap<String, Census>,
}

impl Absences {
    /// All integrations together.
    pub fn all(&self) -> Census {
        self.by_integration.values().fold(Census::default(), |all, of| Census {
            live: all.live.saturating_add(of.live),
            missing: all.missing.saturating_add(of.missing),
            gone: all.gone.saturating_add(of.gone),
        })
    }
}

/// A credential at Nango that no connection here has, by its tags.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Orphan {
    pub tenant: TenantId,
    pub connection: ConnectionId,
    pub integration: IntegrationId,
}

/// What the last whole walk found of them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Orphans {
    pub count: i64,
    /// Some of them.
    pub sample: Vec<Orphan>,
}

type Held = (Option<DateTime<Utc>>, i64, i64, i64, Option<DateTime<Utc>>);

impl Store {
    /// Whether deletions at Nango are held; nothing, while each is believed.
    pub async fn deletions_held(&self) -> Result<Option<DeletionsHeld>, StoreError> {
        let mut tx = self.begin(As::Worker).await?;
        let held = read_held(&mut tx).await?;
        tx.commit().await?;
        Ok(of_row(held))
    }

    /// What is known of absences without asking Nango: live connections, those that were found missing, and those
    /// that were believed to be deleted. It reads all connections, and is asked only where one is missing.
    pub async fn absences(&self, at: DateTime<Utc>) -> Result<Absences, StoreError> {
        let mut tx = self.begin(As::Worker).await?;
        let held = read_held(&mut tx).await?;
        let rows: Vec<(String, i64, i64)> = sqlx::query_as(
            "SELECT integration_id, count(*), count(missing_since) FROM connections
             WHERE status IN ('active', 'needs_reauth') AND nango_connection_id IS NOT NULL GROUP BY integration_id",
        )
        .fetch_all(&mut *tx)
        .await?;
        let gone = read_gone(&mut tx, before(at, GONE_WITHIN)).await?;
        tx.commit().await?;
        let mut absences = absences(held, gone, at);
        for (integration, live, missing) in rows {
            let census = absences.by_integration.entry(integration).or_default();
            (census.live, census.missing) = (count(live), count(missing));
        }
        Ok(absences)
    }

    /// The same, but for what is live and missing, which a walk counts by itself.
    pub async fn absences_before(&self, at: DateTime<Utc>) -> Result<Absences, StoreError> {
        let mut tx = self.begin(As::Worker).await?;
        let held = read_held(&mut tx).await?;
        let gone = read_gone(&mut tx, before(at, GONE_WITHIN)).await?;
        tx.commit().await?;
        Ok(absences(held, gone, at))
    }

    /// Believes no deletion from now on; whether that is new.
    pub async fn hold_deletions(&self, all: Census, at: DateTime<Utc>) -> Result<bool, StoreError> {
        let mut tx = self.begin(As::Worker).await?;
        let is_new: bool = sqlx::query_scalar(
            "UPDATE deletions_held SET held_since = coalesce(held_since, $1), missing = $2, live = $3
             RETURNING held_since = $1",
        )
        .bind(at)
        .bind(i64::try_from(all.missing).unwrap_or(i64::MAX))
        .bind(i64::try_from(all.live).unwrap_or(i64::MAX))
        .fetch_one(&mut *tx)
        .await?;
        tx.commit().await?;
        Ok(is_new)
    }

    /// Believes deletions again, because nothing is missing any more.
    pub async fn release_deletions(&self) -> Result<(), StoreError> {
        let mut tx = self.begin(As::Worker).await?;
        sqlx::query("UPDATE deletions_held SET held_since = NULL, missing = 0")
            .execute(&mut *tx)
            .await?;
        tx.commit().await?;
        Ok(())
    }

    /// Keeps that connections are missing; nobody is told of that.
    pub async fn note_missing(
        &self,
        connections: &[ConnectionId],
        at: DateTime<Utc>,
    ) -> Result<(), StoreError> {
        let ids: Vec<Uuid> = connections.iter().map(|id| id.as_uuid()).collect();
        let mut tx = self.begin(As::Worker).await?;
        sqlx::query(
            "UPDATE connections SET missing_since = $2 WHERE connection_id = ANY($1) AND missing_since IS NULL
                 AND status IN ('active', 'needs_reauth')",
        )
        .bind(ids)
        .bind(at)
        .execute(&mut *tx)
        .await?;
        tx.commit().await?;
        Ok(())
    }

    /// An operator confirms as many deletions as are held; nothing, if none are. The next walk begins now.
    pub async fn confirm_deletions(
        &self,
        at: DateTime<Utc>,
    ) -> Result<Option<DeletionsHeld>, StoreError> {
        self.decide(
            "UPDATE deletions_held SET held_since = NULL, accepted = missing, accepted_at = $1",
            at,
        )
        .await
    }

    /// An operator says that nothing was deleted, and that Nango's list is right by now; nothing, if no deletion is
    /// held. What was found missing is forgotten, and the next walk begins now.
    pub async fn dismiss_deletions(
        &self,
        at: DateTime<Utc>,
    ) -> Result<Option<DeletionsHeld>, StoreError> {
        self.decide(
            "WITH found AS (UPDATE connections SET missing_since = NULL WHERE missing_since < $1)
             UPDATE deletions_held SET held_since = NULL, missing = 0",
            at,
        )
        .await
    }

    async fn decide(
        &self,
        decision: &'static str,
        at: DateTime<Utc>,
    ) -> Result<Option<DeletionsHeld>, StoreError> {
        let mut tx = self.begin(As::Worker).await?;
        sqlx::query("SELECT FROM deletions_held FOR UPDATE").execute(&mut *tx).await?;
        let Some(held) = of_row(read_held(&mut tx).await?) else { return Ok(None) };
        sqlx::query(decision).bind(at).execute(&mut *tx).await?;
        // A walk that is under way goes on by its lease; another is due at once.
        sqlx::query("UPDATE sweeps SET due_at = least(due_at, $1) WHERE lease IS NULL")
            .bind(at)
            .execute(&mut *tx)
            .await?;
        tx.commit().await?;
        Ok(Some(held))
    }

    /// Keeps in its tenant's audit log that an orphan is deleted at Nango.
    pub async fn note_orphan_removed(
        &self,
        orphan: &Listed,
        at: DateTime<Utc>,
    ) -> Result<(), StoreError> {
        let Listed { tenant, connection, id, integration, .. } = orphan;
        let mut tx = self.begin(As::Worker).await?;
        let line = AuditLine {
            tenant,
            connection: Some(*connection),
            actor: &Actor::Operator,
            action: AuditAction::OrphanRemoved,
            request_id: None,
            at,
        };
        let detail = serde_json::json!({ "nangoConnectionId": id, "integration": integration });
        self.write_audit(&mut tx, line, detail).await?;
        wake(&mut tx);
        tx.commit().await?;
        Ok(())
    }

    /// What the last whole walk found at Nango that no connection here has.
    pub async fn orphans(&self) -> Result<Orphans, StoreError> {
        let mut tx = self.begin(As::Worker).await?;
        let (count, Json(sample)) =
            sqlx::query_as("SELECT orphans, orphan_sample FROM sweeps").fetch_one(&mut *tx).await?;
        tx.commit().await?;
        Ok(Orphans { count, sample })
    }
}

async fn read_held(tx: &mut Tx) -> Result<Held, StoreError> {
    let query = "SELECT held_since, missing, live, accepted, accepted_at FROM deletions_held";
    Ok(sqlx::query_as(query).fetch_one(&mut **tx).await?)
}

fn of_row((since, missing, live, ..): Held) -> Option<DeletionsHeld> {
    since.map(|since| DeletionsHeld { since, missing, live })
}

async fn read_gone(tx: &mut Tx, since: DateTime<Utc>) -> Result<Vec<(String, i64)>, StoreError> {
    let gone = sqlx::query_as(
        "SELECT integration_id, count(*) FROM connections
         WHERE status = 'deleted' AND reason = 'gone_at_vault' AND since > $1 GROUP BY integration_id",
    )
    .bind(since)
    .fetch_all(&mut **tx)
    .await?;
    Ok(gone)
}

fn absences(held: Held, gone: Vec<(String, i64)>, at: DateTime<Utc>) -> Absences {
    let (held_since, _, _, accepted, accepted_at) = held;
    let is_valid = accepted_at.is_some_and(|accepted_at| accepted_at > before(at, ACCEPTED_FOR));
    let gone = gone.into_iter().map(|(integration, gone)| {
        (integration, Census { gone: count(gone), ..Census::default() })
    });
    Absences {
        is_held: held_since.is_some(),
        accepted: if is_valid { count(accepted) } else { 0 },
        by_integration: gone.collect(),
    }
}

fn count(rows: i64) -> u64 {
    u64::try_from(rows).unwrap_or_default()
}

fn before(at: DateTime<Utc>, by: TimeDelta) -> DateTime<Utc> {
    at.checked_sub_signed(by).unwrap_or(at)
}
