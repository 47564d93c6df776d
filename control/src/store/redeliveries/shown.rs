//! A redelivery of all events of a time, as its tenant sees it.

use crate::store::{As, Store, StoreError};
use chrono::{DateTime, Utc};
use contract::id::{JobId, TenantId};
use sqlx::{FromRow, Row as _, postgres::PgRow};
use uuid::Uuid;

/// A redelivery as it stands.
#[derive(Debug)]
pub struct RedeliveryShown {
    pub id: JobId,
    pub since: DateTime<Utc>,
    pub until: DateTime<Utc>,
    /// How many events there were when it was asked for, and how many deliveries were made of them so far.
    pub total: i64,
    pub made: i64,
    pub created_at: DateTime<Utc>,
    pub done_at: Option<DateTime<Utc>>,
    /// The one that took its place.
    pub replaced_by: Option<JobId>,
}

impl FromRow<'_, PgRow> for RedeliveryShown {
    fn from_row(row: &PgRow) -> Result<Self, sqlx::Error> {
        let replaced_by: Option<Uuid> = row.try_get("replaced_by")?;
        Ok(Self {
            id: JobId::from_uuid(row.try_get("job_id")?),
            since: row.try_get("since")?,
            until: row.try_get("until")?,
            total: row.try_get("total")?,
            made: row.try_get("made")?,
            created_at: row.try_get("created_at")?,
            done_at: row.try_get("done_at")?,
            replaced_by: replaced_by.map(JobId::from_uuid),
        })
    }
}

impl Store {
    /// A redelivery of this tenant's as it stands.
    pub async fn redelivery(
        &self,
        tenant: &TenantId,
        id: JobId,
    ) -> Result<Option<RedeliveryShown>, StoreError> {
        let mut tx = self.begin(As::Tenant(tenant)).await?;
        let found =
            sqlx::query_as("SELECT * FROM redeliveries WHERE tenant_id = $1 AND job_id = $2")
                .bind(tenant.as_str())
                .bind(id.as_uuid())
                .fetch_optional(&mut *tx)
                .await?;
        tx.commit().await?;
        Ok(found)
    }
}
