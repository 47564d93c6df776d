//! Whether deletions at Nango are believed, and what an operator decided.

use super::{As, Store, StoreError, audit::AuditLine, tx::Tx, wake};
use crate::{
    domain::{
        audit::{Actor, AuditAction},
        missing::{Census, GONE_WITHIN},
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

/// What an absence is held against. What an operator confirmed to be deleted is not counted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Absences {
    pub is_held: bool,
    /// How many decisions operators had made.
    pub decisions: i64,
    pub by_integration: BTreeMap<String, Census>,
}

/// What came of holding deletions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Holding {
    /// They were believed until now.
    Begun,
    /// They were held already.
    GoesOn,
    /// An operator decided since the absences were read: nothing was changed.
    Overtaken,
}

/// What came of an operator's confirmation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Confirmation {
    /// So many connections are confirmed.
    Done(u64),
    /// Others than so many are missing: nothing was changed.
    Counted(u64),
    /// Nothing is held.
    NothingHeld,
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

type Held = (Option<DateTime<Utc>>, i64, i64, i64);

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
             WHERE status IN ('active', 'needs_reauth') AND nango_connection_id IS NOT NULL
                 AND (missing_confirmed_at >= missing_since) IS NOT TRUE
             GROUP BY integration_id",
        )
        .fetch_all(&mut *tx)
        .await?;
        let gone = read_gone(&mut tx, before(at, GONE_WITHIN)).await?;
        tx.commit().await?;
        let mut absences = absences(held, gone);
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
        Ok(absences(held, gone))
    }

    /// Believes no deletion from now on, unless an operator made another decision than these since.
    pub async fn hold_deletions(
        &self,
        decisions: i64,
        all: Census,
        at: DateTime<Utc>,
    ) -> Result<Holding, StoreError> {
        let mut tx = self.begin(As::Worker).await?;
        let is_new: Option<bool> = sqlx::query_scalar(
            "UPDATE deletions_held SET held_since = coalesce(held_since, $1), missing = $2, live = $3
             WHERE decisions = $4 RETURNING held_since = $1",
        )
        .bind(at)
        .bind(i64::try_from(all.missing).unwrap_or(i64::MAX))
        .bind(i64::try_from(all.live).unwrap_or(i64::MAX))
        .bind(decisions)
        .fetch_optional(&mut *tx)
        .await?;
        tx.commit().await?;
        Ok(match is_new {
            Some(true) => Holding::Begun,
            Some(false) => Holding::GoesOn,
            None => Holding::Overtaken,
        })
    }

    /// Believes deletions again, because nothing is missing any more; `false`, if an operator decided since.
    pub async fn release_deletions(&self, decisions: i64) -> Result<bool, StoreError> {
        let mut tx = self.begin(As::Worker).await?;
        let released = sqlx::query(
            "UPDATE deletions_held SET held_since = NULL, missing = 0 WHERE decisions = $1",
        )
        .bind(decisions)
        .execute(&mut *tx)
        .await?;
        tx.commit().await?;
        Ok(released.rows_affected() == 1)
    }

    /// Keeps that connections are missing; nobody is told of that. `false`, if an operator decided since: he may have
    /// said that they are not.
    pub async fn note_missing(
        &self,
        decisions: i64,
        connections: &[ConnectionId],
        at: DateTime<Utc>,
    ) -> Result<bool, StoreError> {
        let ids: Vec<Uuid> = connections.iter().map(|id| id.as_uuid()).collect();
        let mut tx = self.begin(As::Worker).await?;
        // An operator who decides now waits.
        let undecided: Option<i32> =
            sqlx::query_scalar("SELECT 1 FROM deletions_held WHERE decisions = $1 FOR SHARE")
                .bind(decisions)
                .fetch_optional(&mut *tx)
                .await?;
        if undecided.is_none() {
            return Ok(false);
        }
        sqlx::query(
            "UPDATE connections SET missing_since = $2 WHERE connection_id = ANY($1) AND missing_since IS NULL
                 AND status IN ('active', 'needs_reauth')",
        )
        .bind(ids)
        .bind(at)
        .execute(&mut *tx)
        .await?;
        tx.commit().await?;
        Ok(true)
    }

    /// How many connections a confirmation would confirm now.
    pub async fn unconfirmed(&self) -> Result<u64, StoreError> {
        let mut tx = self.begin(As::Worker).await?;
        let unconfirmed = sqlx::query_scalar(
            "SELECT count(*) FROM connections
             WHERE missing_since IS NOT NULL AND (missing_confirmed_at >= missing_since) IS NOT TRUE
                 AND status IN ('active', 'needs_reauth') AND nango_connection_id IS NOT NULL",
        )
        .fetch_one(&mut *tx)
        .await?;
        tx.commit().await?;
        Ok(count(unconfirmed))
    }

    /// An operator confirms that those which are missing now were deleted at Nango, if they are as many as he expects.
    /// The next walk begins now.
    pub async fn confirm_deletions(
        &self,
        expected: u64,
        at: DateTime<Utc>,
    ) -> Result<Confirmation, StoreError> {
        let mut tx = self.begin(As::Worker).await?;
        if Self::lock_held(&mut tx).await?.is_none() {
            return Ok(Confirmation::NothingHeld);
        }
        // What another clock says to be missing since later is confirmed, too.
        let confirmed = sqlx::query(
            "UPDATE connections SET missing_confirmed_at = greatest($1, missing_since)
             WHERE missing_since IS NOT NULL AND (missing_confirmed_at >= missing_since) IS NOT TRUE
                 AND status IN ('active', 'needs_reauth') AND nango_connection_id IS NOT NULL",
        )
        .bind(at)
        .execute(&mut *tx)
        .await?
        .rows_affected();
        if confirmed != expected {
            return Ok(Confirmation::Counted(confirmed));
        }
        Self::decided(tx, at).await?;
        Ok(Confirmation::Done(confirmed))
    }

    /// An operator says that nothing was deleted, and that Nango's list is right by now; nothing, if no deletion is
    /// held. What was found missing is forgotten, and the next walk begins now.
    pub async fn dismiss_deletions(
        &self,
        at: DateTime<Utc>,
    ) -> Result<Option<DeletionsHeld>, StoreError> {
        let mut tx = self.begin(As::Worker).await?;
        let Some(held) = Self::lock_held(&mut tx).await? else { return Ok(None) };
        sqlx::query(
            "UPDATE connections SET missing_since = NULL, missing_confirmed_at = NULL
             WHERE missing_since IS NOT NULL",
        )
        .execute(&mut *tx)
        .await?;
        Self::decided(tx, at).await?;
        Ok(Some(held))
    }

    /// What is held, which no other decision and no walk changes until this one ends.
    async fn lock_held(tx: &mut Tx) -> Result<Option<DeletionsHeld>, StoreError> {
        sqlx::query("SELECT FROM deletions_held FOR UPDATE").execute(&mut **tx).await?;
        Ok(of_row(read_held(tx).await?))
    }

    /// Nothing is held from now on, and what was read before is out of date.
    async fn decided(mut tx: Tx, at: DateTime<Utc>) -> Result<(), StoreError> {
        sqlx::query(
            "UPDATE deletions_held SET held_since = NULL, missing = 0, decisions = decisions + 1",
        )
        .execute(&mut *tx)
        .await?;
        // A walk that is under way goes on by its lease; another is due at once.
        sqlx::query("UPDATE sweeps SET due_at = least(due_at, $1) WHERE lease IS NULL")
            .bind(at)
            .execute(&mut *tx)
            .await?;
        Ok(tx.commit().await?)
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
    let query = "SELECT held_since, missing, live, decisions FROM deletions_held";
    Ok(sqlx::query_as(query).fetch_one(&mut **tx).await?)
}

fn of_row((since, missing, live, ..): Held) -> Option<DeletionsHeld> {
    since.map(|since| DeletionsHeld { since, missing, live })
}

async fn read_gone(tx: &mut Tx, since: DateTime<Utc>) -> Result<Vec<(String, i64)>, StoreError> {
    let gone = sqlx::query_as(
        "SELECT integration_id, count(*) FROM connections
         WHERE status = 'deleted' AND reason = 'gone_at_vault' AND since > $1
             AND missing_confirmed_at IS NULL
         GROUP BY integration_id",
    )
    .bind(since)
    .fetch_all(&mut **tx)
    .await?;
    Ok(gone)
}

fn absences((held_since, _, _, decisions): Held, gone: Vec<(String, i64)>) -> Absences {
    let gone = gone.into_iter().map(|(integration, gone)| {
        (integration, Census { gone: count(gone), ..Census::default() })
    });
    Absences { is_held: held_since.is_some(), decisions, by_integration: gone.collect() }
}

fn count(rows: i64) -> u64 {
    u64::try_from(rows).unwrap_or_default()
}

fn before(at: DateTime<Utc>, by: TimeDelta) -> DateTime<Utc> {
    at.checked_sub_signed(by).unwrap_or(at)
}
