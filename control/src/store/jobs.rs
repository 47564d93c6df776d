//! Jobs: calls to the vault that must still happen.

use super::{As, Store, StoreError, read, receipts::lease_end};
use crate::domain::connection::Connection;
use chrono::{DateTime, TimeDelta, Utc};
use contract::id::{ConnectionId, JobId, NangoConnectionId, TenantId};
use sqlx::{Postgres, Transaction};
use uuid::Uuid;

/// What must still happen at the vault.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum JobKind {
    /// Delete everything it has for the connection.
    DeleteConnection,
    /// Delete one success that the connection may not have.
    DeleteExtra(NangoConnectionId),
}

/// A job that one worker may do until its lease runs out.
#[derive(Debug)]
pub struct ClaimedJob {
    pub id: JobId,
    pub lease: Uuid,
    pub tenant: TenantId,
    pub connection: ConnectionId,
    pub kind: JobKind,
    /// How often it was claimed before.
    pub tries: usize,
}

impl Store {
    pub(super) async fn write_job(
        &self,
        tx: &mut Transaction<'static, Postgres>,
        connection: &Connection,
        kind: JobKind,
        at: DateTime<Utc>,
    ) -> Result<(), StoreError> {
        let (kind, vault) = match kind {
            JobKind::DeleteConnection => ("delete_connection", None),
            JobKind::DeleteExtra(vault) => ("delete_extra", Some(String::from(vault))),
        };
        sqlx::query(
            "INSERT INTO jobs (job_id, tenant_id, connection_id, kind, nango_connection_id, created_at, due_at)
             VALUES ($1, $2, $3, $4, $5, $6, $6)",
        )
        .bind(self.mint.id(JobId::from_parts).as_uuid())
        .bind(connection.tenant.as_str())
        .bind(connection.id.as_uuid())
        .bind(kind)
        .bind(vault)
        .bind(at)
        .execute(&mut **tx)
        .await?;
        Ok(())
    }

    /// Claims the job that is due longest.
    pub async fn claim_job(
        &self,
        at: DateTime<Utc>,
        lease_for: TimeDelta,
    ) -> Result<Option<ClaimedJob>, StoreError> {
        let lease = self.mint.lease();
        let mut tx = self.begin(As::Worker).await?;
        // SKIP LOCKED: another worker's claim is passed over and not waited for.
        let row: Option<(Uuid, String, Uuid, Option<String>, i32)> = sqlx::query_as(
            "UPDATE jobs SET lease = $1, due_at = $3, tries = tries + 1
             WHERE job_id = (
                 SELECT job_id FROM jobs
                 WHERE done_at IS NULL AND due_at <= $2
                 ORDER BY due_at LIMIT 1 FOR UPDATE SKIP LOCKED
             )
             RETURNING job_id, tenant_id, connection_id, nango_connection_id, tries",
        )
        .bind(lease)
        .bind(at)
        .bind(lease_end(at, lease_for))
        .fetch_optional(&mut *tx)
        .await?;
        tx.commit().await?;
        row.map(|(id, tenant, connection, vault, tries)| {
            let vault = vault.map(|vault| read("jobs.nango_connection_id", &vault)).transpose()?;
            Ok(ClaimedJob {
                id: JobId::from_uuid(id),
                lease,
                tenant: read("jobs.tenant_id", &tenant)?,
                connection: ConnectionId::from_uuid(connection),
                // A CHECK holds that exactly the extra ones have a name.
                kind: vault.map_or(JobKind::DeleteConnection, JobKind::DeleteExtra),
                tries: usize::try_from(tries.saturating_sub(1)).unwrap_or_default(),
            })
        })
        .transpose()
    }

    /// Does a job again later.
    pub async fn postpone_job(
        &self,
        job: &ClaimedJob,
        due_at: DateTime<Utc>,
    ) -> Result<(), StoreError> {
        let mut tx = self.begin(As::Worker).await?;
        sqlx::query("UPDATE jobs SET due_at = $3, lease = NULL WHERE job_id = $1 AND lease = $2")
            .bind(job.id.as_uuid())
            .bind(job.lease)
            .bind(due_at)
            .execute(&mut *tx)
            .await?;
        tx.commit().await?;
        Ok(())
    }
}

/// Ends a job; `false`, if its lease was lost.
pub(super) async fn end_job(
    tx: &mut Transaction<'static, Postgres>,
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
