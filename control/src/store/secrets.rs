//! Destinations' secrets by the key that they are sealed with, whose id each begins with.

use super::{As, Store, StoreError, read};
use contract::{id::TenantId, keys::KeyId};
use std::collections::BTreeMap;

/// How many are found at once.
const BATCH: i64 = 100;

/// A tenant's secrets, as they are kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SealedSecrets {
    pub tenant: TenantId,
    pub sealed: String,
}

impl Store {
    /// Some secrets that another key than this one sealed, in the order of their tenants, from after that one.
    pub async fn secrets_of_other_keys(
        &self,
        key: &KeyId,
        after: &str,
    ) -> Result<Vec<SealedSecrets>, StoreError> {
        let mut tx = self.begin(As::Worker).await?;
        let rows: Vec<(String, String)> = sqlx::query_as(
            "SELECT tenant_id, secrets FROM destinations
             WHERE tenant_id > $2 AND secrets IS NOT NULL AND split_part(secrets, '.', 1) <> $1
             ORDER BY tenant_id LIMIT $3",
        )
        .bind(key.as_str())
        .bind(after)
        .bind(BATCH)
        .fetch_all(&mut *tx)
        .await?;
        tx.commit().await?;
        let found = rows.into_iter().map(|(tenant, sealed)| {
            Ok(SealedSecrets { tenant: read("destinations.tenant_id", &tenant)?, sealed })
        });
        found.collect()
    }

    /// Puts the same secrets, sealed anew, in the place of those; `false`, if they are not there any more.
    /// It is no new version: nothing that its tenant set has changed.
    pub async fn reseal(&self, old: &SealedSecrets, new: &str) -> Result<bool, StoreError> {
        let mut tx = self.begin(As::Worker).await?;
        let replaced = sqlx::query(
            "UPDATE destinations SET secrets = $3 WHERE tenant_id = $1 AND secrets = $2",
        )
        .bind(old.tenant.as_str())
        .bind(&old.sealed)
        .bind(new)
        .execute(&mut *tx)
        .await?;
        tx.commit().await?;
        Ok(replaced.rows_affected() > 0)
    }

    /// How many destinations' secrets each key has sealed, by its id.
    pub async fn count_secrets(&self) -> Result<BTreeMap<String, i64>, StoreError> {
        let mut tx = self.begin(As::Worker).await?;
        let counts: Vec<(String, i64)> = sqlx::query_as(
            "SELECT split_part(secrets, '.', 1), count(*) FROM destinations WHERE secrets IS NOT NULL GROUP BY 1",
        )
        .fetch_all(&mut *tx)
        .await?;
        tx.commit().await?;
        Ok(counts.into_iter().collect())
    }
}
