//! Whether the database serves, as of a moment ago: probes and samples share one look at it.

use crate::{
    cause::chain,
    domain::health::Database,
    mint::Mint,
    store::{Store, StoreError},
};
use chrono::{DateTime, TimeDelta, Utc};
use std::sync::Arc;
use tokio::sync::Mutex;

/// For how long a database that served is believed to: it is asked six times a minute, however often probes come. One
/// that does not serve is asked each time, so that its return is noticed at once.
const KEPT: TimeDelta = TimeDelta::seconds(10);

/// What a look showed, and when.
type Seen = (DateTime<Utc>, Database);

/// Looks at the database, one at a time for the whole process.
#[derive(Debug, Clone)]
pub struct Readiness {
    store: Store,
    slot: u8,
    kept_for: TimeDelta,
    last: Arc<Mutex<Option<Seen>>>,
}

impl Readiness {
    pub fn new(store: Store, mint: &Mint) -> Self {
        let [slot] = mint.bytes();
        Self { store, slot, kept_for: KEPT, last: Arc::default() }
    }

    /// The same, which believes a look for so long.
    #[must_use]
    pub fn kept_for(self, kept_for: TimeDelta) -> Self {
        Self { kept_for, ..self }
    }

    /// What a look shows, or the last one did.
    pub async fn look(&self, at: DateTime<Utc>) -> Database {
        match self.try_look(at).await {
            Ok(database) => database,
            Err(error) => {
                tracing::warn!(error = chain(&error), "not ready");
                Database::Unavailable
            }
        }
    }

    pub async fn try_look(&self, at: DateTime<Utc>) -> Result<Database, StoreError> {
        let mut last = self.last.lock().await;
        if let Some((looked_at, database)) = *last
            && (TimeDelta::zero()..self.kept_for).contains(&at.signed_duration_since(looked_at))
        {
            return Ok(database);
        }
        *last = None;
        let database = self.store.exercise(self.slot, at).await?;
        if let Database::Ready(_) = database {
            *last = Some((at, database));
        }
        Ok(database)
    }
}
