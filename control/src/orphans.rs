//! `control orphans`: credentials at Nango with our tags that no connection here has. Nobody can use them, and nobody
//! deletes them but an operator: after a restore of our database they are its users'.

use crate::{
    clock::Clock,
    domain::missing::{Census, is_database_doubtful},
    nango::{Listed, NangoClient, NangoError},
    store::{Store, StoreError},
};
use contract::id::ConnectionId;
use std::{
    collections::{BTreeMap, HashSet},
    fmt::Write as _,
};

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
    #[error(
        "{found} of {listed} credentials with our tags have no connection here: the database may be another environment's, or an \
         old backup. Compare DATABASE_URL with NANGO_SECRET_KEY; if they belong together, `--allow-many` deletes the credentials all the same"
    )]
    Many { found: usize, listed: u64 },
}

/// What a walk through Nango's list found.
#[derive(Debug, Default)]
pub struct Found {
    pub orphans: Vec<Listed>,
    /// How many credentials with our tags it lists, and how many of those are orphans.
    by_integration: BTreeMap<String, Census>,
}

impl Found {
    fn counted(&self) -> Vec<Census> {
        self.by_integration.values().copied().collect()
    }

    /// Nothing, unless there are too many orphans to trust the database that does not know them.
    fn judge(&self) -> Result<(), OrphansError> {
        let counted = self.counted();
        if is_database_doubtful(&counted) {
            let (found, listed) = (self.orphans.len(), Census::all(&counted).live);
            return Err(OrphansError::Many { found, listed });
        }
        Ok(())
    }
}

/// What an operator wants to be deleted.
#[derive(Debug, Clone, Copy)]
pub struct Wanted {
    /// How many there are, as the list said.
    pub count: usize,
    /// Even if they are so many that the database may be the wrong one.
    pub allows_many: bool,
}

/// Walks through Nango's list. A connection is kept here before its user can authorise it, so that a credential
/// without one stays without one.
pub async fn find(store: &Store, nango: &NangoClient) -> Result<Found, OrphansError> {
    let (mut found, mut number) = (Found::default(), 0_u32);
    loop {
        let page = waiting(|| nango.page(number)).await?;
        let known = of_ours(store, &page.ours).await?;
        for row in page.ours {
            let is_orphan = !known.contains(&(row.tenant.to_string(), row.connection));
            let census = found.by_integration.entry(row.integration.to_string()).or_default();
            census.live = census.live.saturating_add(1);
            census.missing = census.missing.saturating_add(u64::from(is_orphan));
            found.orphans.extend(is_orphan.then_some(row));
        }
        if page.is_last {
            return Ok(found);
        }
        number = number.saturating_add(1);
    }
}

/// Deletes them at Nango, each with a line in its tenant's audit log: as many as are wanted, or none.
pub async fn remove(
    store: &Store,
    nango: &NangoClient,
    clock: &Clock,
    wanted: Wanted,
) -> Result<usize, OrphansError> {
    if store.deletions_held().await?.is_some() {
        return Err(OrphansError::Held);
    }
    let found = find(store, nango).await?;
    let (count, expected) = (found.orphans.len(), wanted.count);
    if count != expected {
        return Err(OrphansError::Counted { found: count, expected });
    }
    if !wanted.allows_many {
        found.judge()?;
    }
    for orphan in &found.orphans {
        // The line comes first: who is cut off in between would leave none.
        store.note_orphan_removed(orphan, clock.now()).await?;
        waiting(|| nango.delete(&orphan.integration, &orphan.id)).await?;
    }
    Ok(count)
}

/// Names them, for people.
pub fn describe(found: &Found) -> String {
    let mut text = String::new();
    for Listed { tenant, connection, integration, .. } in &found.orphans {
        // Writing to a text does not fail.
        let _written = writeln!(text, "{tenant}  {connection}  {integration}");
    }
    let count = found.orphans.len();
    let what = match count {
        0 => "no credential with our tags is without its connection".to_owned(),
        1.. => format!(
            "{count} credentials with our tags have no connection here; nothing was changed\n\
             control orphans remove --count {count}   delete them at Nango"
        ),
    };
    let doubt = found.judge().err().map(|doubt| format!("{doubt}\n")).unwrap_or_default();
    text + &what + "\n" + &doubt
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
