//! `control audit verify`: whether a tenant's trail holds, from its first line to its last link.

use crate::{
    domain::{
        audit_chain::{AuditHash, BrokenChain, verify},
        feed::Trail,
        numbered::Place,
    },
    store::{Store, StoreError},
};
use contract::id::TenantId;

const PAGE: usize = 1000;

/// Why a trail is not what it was, or cannot be looked at.
#[derive(Debug, thiserror::Error)]
pub enum BadTrail {
    #[error(transparent)]
    Broken(#[from] BrokenChain),
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Computes every link again; how many there are, and the last.
pub async fn verify_trail(store: &Store, tenant: &TenantId) -> Result<(i64, AuditHash), BadTrail> {
    // Lines may be added meanwhile; they are not looked at.
    let end = store.trail_end(tenant).await?;
    let mut at = (0, AuditHash::START);
    while at.0 < end.0 {
        let left = usize::try_from(end.0.saturating_sub(at.0)).unwrap_or(PAGE);
        let after = Place { position: at.0, mark: None };
        let lines = store
            .trail(tenant, &Trail { after, limit: left.min(PAGE), connection: None, sub: None })
            .await?;
        let lines = lines.map_err(|_lost| BrokenChain::Missing(at.0))?;
        if lines.is_empty() {
            return Err(BrokenChain::Missing(at.0.saturating_add(1)).into());
        }
        at = verify(at, &lines)?;
    }
    if at == end { Ok(at) } else { Err(BrokenChain::Changed(end.0).into()) }
}
