//! `control orphans`: credentials at Nango with our tags that no connection here has. Nobody can use them, and nobody
//! deletes them but an operator: after a restore of our database they are its users'.

use crate::{
    clock::Clock,
    nango::{Listed, NangoClient, NangoError},
    store::{Store, StoreError},
};
use contract::id::ConnectionId;
use std::{collections::HashSet, fmt::Write as _};

/// Why orphans cannot be found or removed.
#[derive(Debug, thiserror::Error)]
pub enum OrphansError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("nango's list cannot be read")]
    Nango(#[from] NangoError),
    #[error(
        "connections are missing at Nango, so that its list may be another environment's: decide with `control missing` first"
    )]
    Held,
    #[error(
        "there are {found} of them, and not {expected}: look at them again with `control orphans`"
    )]
    Counted { found: usize, expected: usize },
}

/// Walks through Nango's list. A connection is kept here before its user can authorise it, so that a credential
/// without one stays without one.
pub async fn find(store: &Store, nango: &NangoClient) -> Result<Vec<Listed>, OrphansError> {
    let (mut orphans, mut number) = (Vec::new(), 0_u32);
    loop {
        let page = waiting(|| nango.page(number)).await?;
        let known = of_ours(store, &page.ours).await?;
        let is_orphan = |row: &Listed| !known.contains(&(row.tenant.to_string(), row.connection));
        orphans.extend(page.ours.into_iter().filter(is_orphan));
        if page.is_last {
            return Ok(orphans);
        }
        number = number.saturating_add(1);
    }
}

/// Deletes them at Nango, each with a line in its tenant's audit log: as many as were `expected`, or none.
pub async fn remove(
    store: &Store,
    nango: &NangoClient,
    clock: &Clock,
    expected: usize,
) -> Result<usize, OrphansError> {
    if store.deletions_held().await?.is_some() {
        return Err(OrphansError::Held);
    }
    let orphans = find(store, nango).await?;
    let found = orphans.len();
    if found != expected {
        return Err(OrphansError::Counted { found, expected });
    }
    for orphan in &orphans {
        // The line comes first: who is cut off in between would leave none.
        store.note_orphan_removed(orphan, clock.now()).await?;
        waiting(|| nango.delete(&orphan.integration, &orphan.id)).await?;
    }
    Ok(found)
}

/// Names them, for people.
pub fn describe(orphans: &[Listed]) -> String {
    let mut text = String::new();
    for Listed { tenant, connection, integration, .. } in orphans {
        // Writing to a text does not fail.
        let _written = writeln!(text, "{tenant}  {connection}  {integration}");
    }
    let count = orphans.len();
    let what = match count {
        0 => "no credential with our tags is without its connection".to_owned(),
        1.. => format!(
            "{count} credentials with our tags have no connection here; nothing was changed\n\
             control orphans remove --count {count}   delete them at Nango"
        ),
    };
    text + &what + "\n"
}

async fn of_ours(
    store: &Store,
    rows: &[Listed],
) -> Result<HashSet<(String, ConnectionId)>, StoreError> {
    let ids: Vec<ConnectionId> = rows.iter().map(|row| row.connection).collect();
    let known = store.connections(&ids).await?.into_iter();
    Ok(known.map(|connection| (connection.tenant.to_string(), connection.id)).collect())
}

/// Asks until Nango may be asked: users' calls go first.
async fn waiting<T, F: Future<Output = Result<T, NangoError>>>(
    ask: impl Fn() -> F,
) -> Result<T, NangoError> {
    loop {
        match ask().await {
            Err(NangoError::Busy { retry_after, .. }) => tokio::time::sleep(retry_after).await,
            answered => return answered,
        }
    }
}
