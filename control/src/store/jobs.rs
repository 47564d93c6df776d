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

/// Queues a check. One that waits already is enough; one that is under way may have asked already, and is made again.
const ASK_CHECK: &str =
    "INSERT INTO jobs (job_id, tenant_id, connection_id, kind, created_at, due_at)
     VALUES ($1, $2, $3, 'check', $4, $4)
     ON CONFLICT (tenant_id, connection_id) WHERE kind = 'check' AND done_at IS NULL
     DO UPDATE SET asked_again_at = $4";

/// Queues a probe. One that waits already, for up to a day, waits no longer; one that is under way is made again.
const ASK_PROBE: &str = "INSERT INTO jobs (job_id, tenant_id, connection_id, kind, created_at, due_at)
     VALUES ($1, $2, $3, 'probe', $4, $4)
     ON CONFLICT (tenant_id, connection_id) WHERE kind = 'probe' AND done_at IS NULL
     DO UPDATE SET asked_again_at = excluded.due_at,
         due_at = CASE WHEN jobs.lease IS NULL THEN least(jobs.due_at, excluded.due_at) ELSE jobs.due_at END";

/// Queues a probe that nothing happened for. One that waits or is under way is enough.
const ASK_PERIODIC_PROBE: &str =
    "INSERT INTO jobs (job_id, tenant_id, connection_id, kind, created_at, due_at)
     VALUES ($1, $2, $3, 'probe', $4, $4) ON CONFLICT DO NOTHING";

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
        let whose = (&connection.tenant, connection.id);
        let (kind, vault) = match kind {
            JobKind::DeleteConnection => (DELETE_CONNECTION, None),
            JobKind::DeleteExtra(vault) => (DELETE_EXTRA, Some(String::from(vault))),
            JobKind::Check => return ask(tx, &self.mint, ASK_CHECK, whose, due_at).await,
            JobKind::Probe => return ask(tx, &self.mint, ASK_PROBE, whose, due_at).await,
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

    /// Leaves a check behind, of a connection that there is: one that begins after `at`. One that is waiting already is
    /// enough.
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
        // SKIP LOCKED: another worker's claim is passed over and not waited for. What was asked so far is asked by this one.
        let row: Option<Row> = sqlx::query_as(
            "UPDATE jobs SET lease = $1, due_at = $3, created_at = least(coalesce(asked_again_at, created_at), $2),
                 asked_again_at = NULL
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

    /// Does a job again later, because the vault could not be asked. Whoever asked meanwhile waits with the others.
    pub async fn postpone_job(
        &self,
        job: &ClaimedJob,
        why: Postponed,
        due_at: DateTime<Utc>,
    ) -> Result<(), StoreError> {
        let mut tx = self.begin(As::Worker).await?;
        sqlx::query(
            "UPDATE jobs SET due_at = $3, lease = NULL, failures = failures + $4 WHERE job_id = $1 AND lease = $2",
        )
        .bind(job.id.as_uuid())
        .bind(job.lease)
        .bind(due_at)
        .bind(why.counts().1)
        .execute(&mut *tx)
        .await?;
        tx.commit().await?;
        Ok(())
    }

    /// Does a job again later, because what it saw is to be seen twice; at once, if somebody asked meanwhile.
    pub async fn look_again(
        &self,
        job: &ClaimedJob,
        due_at: DateTime<Utc>,
    ) -> Result<(), StoreError> {
        let mut tx = self.begin(As::Worker).await?;
        if !begin_again(&mut tx, job.id, job.lease).await? {
            sqlx::query(
                "UPDATE jobs SET due_at = $3, lease = NULL WHERE job_id = $1 AND lease = $2",
            )
            .bind(job.id.as_uuid())
            .bind(job.lease)
            .bind(due_at)
            .execute(&mut *tx)
            .await?;
        }
        tx.commit().await?;
        Ok(())
    }
}

/// Queues what one of these says.
async fn ask(
    tx: &mut Tx,
    mint: &Mint,
    how: &'static str,
    (tenant, id): (&TenantId, ConnectionId),
    due_at: DateTime<Utc>,
) -> Result<bool, StoreError> {
    let asked = sqlx::query(how)
        .bind(mint.id(JobId::from_parts).as_uuid())
        .bind(tenant.as_str())
        .bind(id.as_uuid())
        .bind(due_at)
        .execute(&mut **tx)
        .await?;
    Ok(asked.rows_affected() == 1)
}

/// Queues a probe that begins after `due_at`, because it is not known whose a credential is. Only workers do.
pub(super) async fn insert_probe(
    tx: &mut Tx,
    mint: &Mint,
    whose: (&TenantId, ConnectionId),
    due_at: DateTime<Utc>,
) -> Result<(), StoreError> {
    ask(tx, mint, ASK_PROBE, whose, due_at).await?;
    Ok(())
}

/// Queues a probe because it is time for one.
pub(super) async fn insert_periodic_probe(
    tx: &mut Tx,
    mint: &Mint,
    whose: (&TenantId, ConnectionId),
    due_at: DateTime<Utc>,
) -> Result<(), StoreError> {
    ask(tx, mint, ASK_PERIODIC_PROBE, whose, due_at).await?;
    Ok(())
}

/// Ends a job, or begins it anew, if somebody asked for it while it was under way; `false`, if its lease was lost.
pub(super) async fn end_job(
    tx: &mut Tx,
    id: JobId,
    lease: Uuid,
    at: DateTime<Utc>,
) -> Result<bool, StoreError> {
    if begin_again(tx, id, lease).await? {
        return Ok(true);
    }
    let ended =
        sqlx::query("UPDATE jobs SET done_at = $3, lease = NULL WHERE job_id = $1 AND lease = $2")
            .bind(id.as_uuid())
            .bind(lease)
            .bind(at)
            .execute(&mut **tx)
            .await?;
    Ok(ended.rows_affected() == 1)
}

/// Makes a job due that somebody asked for while it was under way: it may have looked before he asked. `false`, if nobody
/// did.
async fn begin_again(tx: &mut Tx, id: JobId, lease: Uuid) -> Result<bool, StoreError> {
    // Whoever asks from here on waits for this transaction. By another clock it may have been later than the lease ends.
    let asked_again_at: Option<DateTime<Utc>> = sqlx::query_scalar(
        "SELECT asked_again_at FROM jobs WHERE job_id = $1 AND lease = $2 FOR UPDATE",
    )
    .bind(id.as_uuid())
    .bind(lease)
    .fetch_optional(&mut **tx)
    .await?
    .flatten();
    let Some(asked_again_at) = asked_again_at else { return Ok(false) };
    sqlx::query(
        "UPDATE jobs SET due_at = least(due_at, $2), created_at = $2, failures = 0, lease = NULL, asked_again_at = NULL
         WHERE job_id = $1",
    )
    .bind(id.as_uuid())
    .bind(asked_again_at)
    .execute(&mut **tx)
    .await?;
    wake(tx);
    Ok(true)
}
