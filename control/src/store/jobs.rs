//! Jobs: calls to the vault that must still happen.

use super::{As, Postponed, Store, StoreError, later, read, tx::Tx, wake};
use crate::{domain::connection::Connection, mint::Mint};
use chrono::{DateTime, Utc};
use contract::id::{ConnectionId, JobId, NangoConnectionId, TenantId};
use std::time::Duration;
use uuid::Uuid;

const DELETE_CONNECTION: &str = "delete_connection";
const DELETE_EXTRA: &str = "delete_extra";
const CHECK: &str = "check";
const PROBE: &str = "probe";

type Row = (Uuid, String, Uuid, String, Option<String>, i32, DateTime<Utc>);

/// What must still happen at the vault.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum JobKind {
    /// Delete everything it has for the connection.
    DeleteConnection,
    /// Delete one success that the connection may not have.
    DeleteExtra(NangoConnectionId),
    /// Look at it now, and once more if something is in doubt.
    Check,
    /// Ask the provider who the user is, until that is known and the token was accepted.
    Probe,
}

/// A job that one worker may do until its lease runs out.
#[derive(Debug)]
pub struct ClaimedJob {
    pub id: JobId,
    pub lease: Uuid,
    pub tenant: TenantId,
    pub connection: ConnectionId,
    pub kind: JobKind,
    /// How often the vault could not be asked.
    pub failures: usize,
    pub created_at: DateTime<Utc>,
}

impl Store {
    /// `false`, if the same extra success is waiting to be undone already.
    pub(super) async fn write_job(
        &self,
        tx: &mut Tx,
        connection: &Connection,
        kind: JobKind,
        due_at: DateTime<Utc>,
    ) -> Result<bool, StoreError> {
        let (kind, vault) = match kind {
            JobKind::DeleteConnection => (DELETE_CONNECTION, None),
            JobKind::DeleteExtra(vault) => (DELETE_EXTRA, Some(String::from(vault))),
            JobKind::Check => (CHECK, None),
            JobKind::Probe => (PROBE, None),
        };
        let written = sqlx::query(
            "INSERT INTO jobs (job_id, tenant_id, connection_id, kind, nango_connection_id, created_at, due_at)
             VALUES ($1, $2, $3, $4, $5, $6, $6) ON CONFLICT DO NOTHING",
        )
        .bind(self.mint.id(JobId::from_parts).as_uuid())
        .bind(connection.tenant.as_str())
        .bind(connection.id.as_uuid())
        .bind(kind)
        .bind(vault)
        .bind(due_at)
        .execute(&mut **tx)
        .await?;
        Ok(written.rows_affected() == 1)
    }

    /// Leaves a check behind, of a connection that there is. One that is waiting already is enough.
    pub async fn ask_check(
        &self,
        role: As<'_>,
        tenant: &TenantId,
        id: ConnectionId,
        at: DateTime<Utc>,
    ) -> Result<Option<Connection>, StoreError> {
        let mut tx = self.begin(role).await?;
        let Some(connection) = Self::lock(&mut tx, tenant, id).await? else { return Ok(None) };
        if self.write_job(&mut tx, &connection, JobKind::Check, at).await? {
            wake(&mut tx);
        }
        tx.commit().await?;
        Ok(Some(connection))
    }

    /// Claims the job that is due longest, of those kinds that this release knows: what a newer one
    /// means by a job, this one must not guess.
    pub async fn claim_job(
        &self,
        at: DateTime<Utc>,
        lease_for: Duration,
    ) -> Result<Option<ClaimedJob>, StoreError> {
        let lease = self.mint.lease();
        let mut tx = self.begin(As::Worker).await?;
        // SKIP LOCKED: another worker's claim is passed over and not waited for.
        let row: Option<Row> = sqlx::query_as(
            "UPDATE jobs SET lease = $1, due_at = $3
             WHERE job_id = (
                 SELECT job_id FROM jobs
                 WHERE done_at IS NULL AND due_at <= $2 AND kind IN ('delete_connection', 'delete_extra', 'check', 'probe')
                 ORDER BY due_at LIMIT 1 FOR UPDATE SKIP LOCKED
             )
             RETURNING job_id, tenant_id, connection_id, kind, nango_connection_id, failures, created_at",
        )
        .bind(lease)
        .bind(at)
        .bind(later(at, lease_for))
        .fetch_optional(&mut *tx)
        .await?;
        tx.commit().await?;
        row.map(|(id, tenant, connection, kind, vault, failures, created_at)| {
            let kind = match (kind.as_str(), vault) {
                (DELETE_CONNECTION, None) => JobKind::DeleteConnection,
                (CHECK, None) => JobKind::Check,
                (PROBE, None) => JobKind::Probe,
                (DELETE_EXTRA, Some(vault)) => {
                    JobKind::DeleteExtra(read("jobs.nango_connection_id", &vault)?)
                }
                _ => return Err(StoreError::Corrupt(format!("jobs.kind of {id} holds {kind:?}"))),
            };
            Ok(ClaimedJob {
                id: JobId::from_uuid(id),
                lease,
                tenant: read("jobs.tenant_id", &tenant)?,
                connection: ConnectionId::from_uuid(connection),
                kind,
                failures: usize::try_from(failures).unwrap_or_default(),
                created_at,
            })
        })
        .transpose()
    }

    /// Does a job again later, because the vault could not be asked.
    pub async fn postpone_job(
        &self,
        job: &ClaimedJob,
        why: Postponed,
        due_at: DateTime<Utc>,
    ) -> Result<(), StoreError> {
        self.move_job(job, due_at, why.counts().1).await
    }

    /// Does a job again later, because what it saw is to be seen twice.
    pub async fn look_again(
        &self,
        job: &ClaimedJob,
        due_at: DateTime<Utc>,
    ) -> Result<(), StoreError> {
        self.move_job(job, due_at, 0).await
    }

    async fn move_job(
        &self,
        job: &ClaimedJob,
        due_at: DateTime<Utc>,
        failures: i32,
    ) -> Result<(), StoreError> {
        let mut tx = self.begin(As::Worker).await?;
        sqlx::query(
            "UPDATE jobs SET due_at = $3, lease = NULL, failures = failures + $4 WHERE job_id = $1 AND lease = $2",
        )
        .bind(job.id.as_uuid())
        .bind(job.lease)
        .bind(due_at)
        .bind(failures)
        .execute(&mut *tx)
        .await?;
        tx.commit().await?;
        Ok(())
    }
}

/// Queues a probe. One that waits already is enough.
pub(super) async fn insert_probe(
    tx: &mut Tx,
    mint: &Mint,
    (tenant, id): (&TenantId, ConnectionId),
    due_at: DateTime<Utc>,
) -> Result<(), StoreError> {
    sqlx::query(
        "INSERT INTO jobs (job_id, tenant_id, connection_id, kind, created_at, due_at)
         VALUES ($1, $2, $3, 'probe', $4, $4) ON CONFLICT DO NOTHING",
    )
    .bind(mint.id(JobId::from_parts).as_uuid())
    .bind(tenant.as_str())
    .bind(id.as_uuid())
    .bind(due_at)
    .execute(&mut **tx)
    .await?;
    Ok(())
}

/// Ends a job; `false`, if its lease was lost.
pub(super) async fn end_job(
    tx: &mut Tx,
    id: JobId,
    lease: Uuid,
    at: DateTime<Utc>,
) -> Result<bool, StoreError> {
    let ended =
        sqlx::query("UPDATE jobs SET done_at = $3, lease = NULL WHERE job_id = $1 AND lease = $2")
            .bind(id.as_uuid())
            .bind(lease)
            .bind(at)
            .execute(&mut **tx)
            .await?;
    Ok(ended.rows_affected() == 1)
}
