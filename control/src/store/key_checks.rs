//! Which key each id of `DATA_ENCRYPTION_KEY` stands for, for ever: another one under the same id opens nothing that
//! the first has sealed.

use super::{As, Store, StoreError, Tx};
use crate::domain::{
    destination::owner,
    sealing::{KeyCheck, Sealer},
};
use contract::{id::TenantId, keys::KeyId};

/// Of how many destinations the secrets are tried with a key that no check value is kept of.
const TRIED: i64 = 20;

impl Store {
    /// The keys that are not the ones that were first used under their ids. Those that were never used are kept from now
    /// on: of two processes with different ones, the second finds the first's.
    pub async fn claim_keys(&self, sealer: &Sealer) -> Result<Vec<KeyId>, StoreError> {
        let mut tx = self.begin(As::Worker).await?;
        let mut replaced = Vec::new();
        for (id, check) in sealer.checks() {
            let is_the_one = match kept(&mut tx, id).await? {
                Some(kept) => kept == check.0,
                // A release before this one kept none.
                None => opens(&mut tx, sealer, id).await? && claim(&mut tx, id, check).await?,
            };
            if !is_the_one {
                replaced.push(id.clone());
            }
        }
        tx.commit().await?;
        Ok(replaced)
    }

    /// The same, and nothing is kept.
    pub async fn replaced_keys(&self, sealer: &Sealer) -> Result<Vec<KeyId>, StoreError> {
        let mut tx = self.begin(As::Worker).await?;
        let mut replaced = Vec::new();
        for (id, check) in sealer.checks() {
            let is_the_one = match kept(&mut tx, id).await? {
                Some(kept) => kept == check.0,
                None => opens(&mut tx, sealer, id).await?,
            };
            if !is_the_one {
                replaced.push(id.clone());
            }
        }
        tx.commit().await?;
        Ok(replaced)
    }

    /// Within a tenant's transaction that keeps what the key has sealed: it must be the one of its id. The service has
    /// looked at its start, as a rule; but the database may not have answered then.
    pub(super) async fn require_key(
        tx: &mut Tx,
        tenant: &TenantId,
        key: Option<(&KeyId, KeyCheck)>,
    ) -> Result<(), StoreError> {
        let Some((id, check)) = key else { return Ok(()) };
        switch(tx, "connections_worker", "").await?;
        if !claim(tx, id, check).await? {
            return Err(StoreError::Corrupt(format!(
                "another key of DATA_ENCRYPTION_KEY as `{id}`"
            )));
        }
        switch(tx, "connections_api", tenant.as_str()).await
    }
}

async fn switch(tx: &mut Tx, role: &str, tenant: &str) -> Result<(), StoreError> {
    sqlx::query("SELECT set_config('role', $1, true), set_config('connections.tenant', $2, true)")
        .bind(role)
        .bind(tenant)
        .execute(&mut **tx)
        .await?;
    Ok(())
}

async fn kept(tx: &mut Tx, id: &KeyId) -> Result<Option<Vec<u8>>, StoreError> {
    Ok(sqlx::query_scalar("SELECT check_value FROM key_checks WHERE key_id = $1")
        .bind(id.as_str())
        .fetch_optional(&mut **tx)
        .await?)
}

/// Keeps the key's check value where none is kept, and says whether it is the one that is.
async fn claim(tx: &mut Tx, id: &KeyId, check: KeyCheck) -> Result<bool, StoreError> {
    sqlx::query(
        "INSERT INTO key_checks (key_id, check_value) VALUES ($1, $2) ON CONFLICT DO NOTHING",
    )
    .bind(id.as_str())
    .bind(&check.0[..])
    .execute(&mut **tx)
    .await?;
    Ok(kept(tx, id).await?.is_some_and(|kept| kept == check.0))
}

/// Whether the key opens something that its id has sealed, or that has sealed nothing.
async fn opens(tx: &mut Tx, sealer: &Sealer, id: &KeyId) -> Result<bool, StoreError> {
    let sealed: Vec<(String, String)> = sqlx::query_as(
        "SELECT tenant_id, secrets FROM destinations
         WHERE secrets IS NOT NULL AND split_part(secrets, '.', 1) = $1 LIMIT $2",
    )
    .bind(id.as_str())
    .bind(TRIED)
    .fetch_all(&mut **tx)
    .await?;
    let mut opens = sealed.is_empty();
    for (tenant, sealed) in &sealed {
        let tenant = super::read::<TenantId>("destinations.tenant_id", tenant)?;
        opens |= sealer.open(sealed, &owner(&tenant)).is_ok();
    }
    Ok(opens)
}
