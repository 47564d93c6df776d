//! How destinations stand, written by whoever records tries.

use super::{As, Store, StoreError, audit::AuditLine, deliveries::hasten, tx::Tx, wake};
use crate::domain::{
    audit::{Actor, AuditAction},
    destination_health::{DestinationHealth, Standing, Tried, Turn},
};
use chrono::{DateTime, Utc};
use contract::id::TenantId;
use sqlx::{FromRow, Row as _, postgres::PgRow};
use std::collections::{BTreeMap, BTreeSet};

/// A tenant and how its destination stands.
struct Row {
    tenant: String,
    health: DestinationHealth,
}

impl FromRow<'_, PgRow> for Row {
    fn from_row(row: &PgRow) -> Result<Self, sqlx::Error> {
        let count = |column: &str| {
            let count: i32 = row.try_get(column)?;
            u32::try_from(count).map_err(|negative| sqlx::Error::Decode(negative.into()))
        };
        let status: String = row.try_get("status")?;
        let standing = match (status.as_str(), row.try_get("probe_at")?) {
            ("active", _) => Standing::Active,
            ("stopped", _) => Standing::Stopped,
            ("paused", Some(probe_at)) => Standing::Paused { probe_at, probes: count("probes")? },
            _ => return Err(sqlx::Error::Decode(format!("a destination is {status}").into())),
        };
        let health = DestinationHealth {
            standing,
            reason: row.try_get("reason")?,
            since: row.try_get("since")?,
            failures: count("failures")?,
            failing_since: row.try_get("failing_since")?,
            last_success_at: row.try_get("last_success_at")?,
            last_failure_at: row.try_get("last_failure_at")?,
        };
        Ok(Self { tenant: row.try_get("tenant_id")?, health })
    }
}

impl Store {
    /// How a tenant's destination stands; nothing, if it was never tried.
    pub async fn destination_health(
        &self,
        tenant: &TenantId,
    ) -> Result<Option<DestinationHealth>, StoreError> {
        let mut tx = self.begin(As::Tenant(tenant)).await?;
        let found = read_health(&mut tx, &[tenant.as_str()]).await?.remove(tenant.as_str());
        tx.commit().await?;
        Ok(found)
    }

    /// Lets a destination that was put again begin anew; whether it was paused or stopped.
    pub async fn restart_destination(
        &self,
        tenant: &TenantId,
        by: &Actor,
        request_id: Option<String>,
        at: DateTime<Utc>,
    ) -> Result<bool, StoreError> {
        let mut tx = self.begin(As::Tenant(tenant)).await?;
        let is_restarted = self.restart(&mut tx, tenant, (by, request_id), at).await?;
        tx.commit().await?;
        Ok(is_restarted)
    }

    /// The same, in the transaction that puts it.
    pub(super) async fn restart(
        &self,
        tx: &mut Tx,
        tenant: &TenantId,
        (by, request_id): (&Actor, Option<String>),
        at: DateTime<Utc>,
    ) -> Result<bool, StoreError> {
        // Whoever records a try holds the same lock while he asks which version is the current one.
        let before = lock_health(tx, &[tenant.as_str()], at).await?.remove(tenant.as_str());
        write_health(tx, tenant.as_str(), &DestinationHealth::new(at)).await?;
        hasten(tx, tenant.as_str()).await?;
        wake(tx);
        let before = before.map_or(Standing::Active, |health| health.standing);
        if before == Standing::Active {
            return Ok(false);
        }
        let line = AuditLine {
            tenant,
            connection: None,
            actor: by,
            action: AuditAction::DestinationRestarted,
            request_id,
            at,
        };
        self.write_audit(tx, line, serde_json::json!({ "was": before.as_str() })).await?;
        Ok(true)
    }

    /// Lets tries change how their destinations stand, in the transaction that records them. A try at a
    /// version that was put away since says nothing of the one that is there; whoever failed is told which that
    /// is, and none is put until the transaction ends.
    pub(super) async fn record_health(
        &self,
        tx: &mut Tx,
        tried: &[(&TenantId, i64, Tried)],
        jitter: f64,
    ) -> Result<(Turns, BTreeMap<String, i64>), StoreError> {
        let mut by_tenant = BTreeMap::<&TenantId, Vec<(i64, Tried)>>::new();
        for (tenant, version, tried) in tried {
            by_tenant.entry(tenant).or_default().push((*version, *tried));
        }
        let tenants: Vec<&str> = by_tenant.keys().map(|tenant| tenant.as_str()).collect();
        let known = read_health(tx, &tenants).await?;
        // A receiver that takes everything changes nothing, and its row is not locked.
        by_tenant.retain(|tenant, tried| {
            let has_failed = tried.iter().any(|(_, tried)| tried.outcome.fault().is_some());
            let tried = tried.iter().map(|(_, tried)| *tried);
            let health = known.get(tenant.as_str());
            has_failed || health.is_none_or(|health| fold(health, tried, jitter).0 != *health)
        });
        let tenants: Vec<&str> = by_tenant.keys().map(|tenant| tenant.as_str()).collect();
        if tenants.is_empty() {
            return Ok((Vec::new(), BTreeMap::new()));
        }
        let since = by_tenant.values().flatten().map(|(_, tried)| tried.at).min();
        let locked = lock_health(tx, &tenants, since.unwrap_or_default()).await?;
        let versions = read_versions(tx, &tenants).await?;
        let mut turns = Vec::new();
        for (tenant, tried) in by_tenant {
            let Some(before) = locked.get(tenant.as_str()) else { continue };
            let current = versions.get(tenant.as_str()).copied().unwrap_or_default();
            let tried = tried.into_iter().filter(|(version, _)| *version == current);
            let (after, turned) = fold(before, tried.map(|(_, tried)| tried), jitter);
            write_health(tx, tenant.as_str(), &after).await?;
            for (turn, health, at) in turned {
                if turn == Turn::Resumed {
                    hasten(tx, tenant.as_str()).await?;
                }
                self.write_turn(tx, tenant, (turn, &health), at).await?;
                turns.push((tenant.clone(), turn, health.reason.or_else(|| before.reason.clone())));
            }
        }
        Ok((turns, versions))
    }

    async fn write_turn(
        &self,
        tx: &mut Tx,
        tenant: &TenantId,
        (turn, health): (Turn, &DestinationHealth),
        at: DateTime<Utc>,
    ) -> Result<(), StoreError> {
        let line = AuditLine {
            tenant,
            connection: None,
            actor: &Actor::Service,
            action: turn.audit(),
            request_id: None,
            at,
        };
        let detail = serde_json::json!({ "reason": health.reason, "failures": health.failures,
            "failingSince": health.failing_since });
        self.write_audit(tx, line, detail).await
    }
}

/// Who stands otherwise now, and why.
type Turns = Vec<(TenantId, Turn, Option<String>)>;

type Turned = Vec<(Turn, DestinationHealth, DateTime<Utc>)>;

/// What one tenant's tries make of its destination, one after the other.
fn fold(
    before: &DestinationHealth,
    tried: impl Iterator<Item = Tried>,
    jitter: f64,
) -> (DestinationHealth, Turned) {
    let mut tried: Vec<Tried> = tried.collect();
    tried.sort_by_key(|tried| tried.at);
    let mut turned = Vec::new();
    let mut health = before.clone();
    for tried in tried {
        let (after, turn) = health.after(tried, jitter);
        turned.extend(turn.map(|turn| (turn, after.clone(), tried.at)));
        health = after;
    }
    (health, turned)
}

async fn read_health(
    tx: &mut Tx,
    tenants: &[&str],
) -> Result<BTreeMap<String, DestinationHealth>, StoreError> {
    let rows: Vec<Row> =
        sqlx::query_as("SELECT * FROM destination_health WHERE tenant_id = ANY($1)")
            .bind(tenants)
            .fetch_all(&mut **tx)
            .await?;
    Ok(rows.into_iter().map(|row| (row.tenant, row.health)).collect())
}

/// The versions of those who have a destination of their own.
async fn read_versions(tx: &mut Tx, tenants: &[&str]) -> Result<BTreeMap<String, i64>, StoreError> {
    let rows: Vec<(String, i64)> = sqlx::query_as(
        "SELECT tenant_id, version FROM destinations WHERE tenant_id = ANY($1) AND url IS NOT NULL",
    )
    .bind(tenants)
    .fetch_all(&mut **tx)
    .await?;
    Ok(rows.into_iter().collect())
}

/// Locks the rows in the order of their key, after making those that are not there yet.
async fn lock_health(
    tx: &mut Tx,
    tenants: &[&str],
    since: DateTime<Utc>,
) -> Result<BTreeMap<String, DestinationHealth>, StoreError> {
    sqlx::query(
        "INSERT INTO destination_health (tenant_id, status, since)
         SELECT tenant_id, 'active', $2 FROM unnest($1::text[]) AS tried (tenant_id) ORDER BY tenant_id
         ON CONFLICT DO NOTHING",
    )
    .bind(tenants)
    .bind(since)
    .execute(&mut **tx)
    .await?;
    let rows: Vec<Row> = sqlx::query_as(
        "SELECT * FROM destination_health WHERE tenant_id = ANY($1) ORDER BY tenant_id FOR UPDATE",
    )
    .bind(tenants)
    .fetch_all(&mut **tx)
    .await?;
    Ok(rows.into_iter().map(|row| (row.tenant, row.health)).collect())
}

async fn write_health(
    tx: &mut Tx,
    tenant: &str,
    health: &DestinationHealth,
) -> Result<(), StoreError> {
    let (probe_at, probes) = match health.standing {
        Standing::Paused { probe_at, probes } => (Some(probe_at), probes),
        Standing::Active | Standing::Stopped => (None, 0),
    };
    sqlx::query(
        "UPDATE destination_health SET status = $2, reason = $3, since = $4, failures = $5, failing_since = $6,
             probes = $7, probe_at = $8, last_success_at = $9, last_failure_at = $10
         WHERE tenant_id = $1",
    )
    .bind(tenant)
    .bind(health.standing.as_str())
    .bind(health.reason.as_deref())
    .bind(health.since)
    .bind(i32::try_from(health.failures).unwrap_or(i32::MAX))
    .bind(health.failing_since)
    .bind(i32::try_from(probes).unwrap_or(i32::MAX))
    .bind(probe_at)
    .bind(health.last_success_at)
    .bind(health.last_failure_at)
    .execute(&mut **tx)
    .await?;
    Ok(())
}

/// Takes the probes of those whose time has come, until `until`; of two replicas, one has it. A claim waits
/// for nobody.
pub(super) async fn take_probes(
    tx: &mut Tx,
    tenants: &[&str],
    at: DateTime<Utc>,
    until: DateTime<Utc>,
) -> Result<BTreeSet<String>, StoreError> {
    if tenants.is_empty() {
        return Ok(BTreeSet::new());
    }
    let taken: Vec<String> = sqlx::query_scalar(
        "UPDATE destination_health SET probe_at = $3 WHERE tenant_id IN (
             SELECT tenant_id FROM destination_health
             WHERE tenant_id = ANY($1) AND status = 'paused' AND probe_at <= $2 FOR UPDATE SKIP LOCKED
         ) RETURNING tenant_id",
    )
    .bind(tenants)
    .bind(at)
    .bind(until)
    .fetch_all(&mut **tx)
    .await?;
    Ok(taken.into_iter().collect())
}
