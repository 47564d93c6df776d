//! What must be true of the database before anything is kept in it, found out at the start, or as soon as it answers.

use crate::{
    cause::chain,
    domain::sealing::Sealer,
    store::{Pooling, Store, StoreError},
};
use contract::keys::KeyId;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// Between two questions to a database that does not answer, or is not migrated.
const AGAIN: Duration = Duration::from_secs(1);

/// Why the service must not go on with this database. An operator mends it; asking again does not.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unfit {
    #[error(
        "the database is behind a pooler in {0} pooling, which gives our sessions to others: set pool_mode = session, \
         or connect to PostgreSQL itself"
    )]
    Pooled(&'static str),
    #[error(
        "DATA_ENCRYPTION_KEY has another key under the id `{0}` than the one that secrets are kept with: set that one \
         again, and give the new one an id of its own in front of it, as in 2:new,{0}:old"
    )]
    KeyReplaced(KeyId),
}

/// What one look shows.
#[derive(Debug)]
pub enum Checked {
    Fit,
    Unfit(Unfit),
    /// Nobody can say yet.
    NotYet(Option<StoreError>),
}

/// What a pooling means for us.
pub const fn judge_pooling(pooling: Pooling) -> Option<Unfit> {
    match pooling {
        Pooling::Session => None,
        Pooling::Transaction => Some(Unfit::Pooled("transaction")),
        Pooling::Statement => Some(Unfit::Pooled("statement")),
    }
}

/// Looks once.
pub async fn check(store: &Store, sealer: Option<&Sealer>) -> Checked {
    let checked = async {
        // First: behind such a pooler no other answer is to be trusted.
        if let Some(unfit) = judge_pooling(store.pooling().await?) {
            return Ok(Checked::Unfit(unfit));
        }
        if !store.is_migrated().await? {
            return Ok(Checked::NotYet(None));
        }
        let Some(sealer) = sealer else { return Ok(Checked::Fit) };
        let replaced = store.claim_keys(sealer).await?.into_iter().next();
        Ok(replaced.map_or(Checked::Fit, |id| Checked::Unfit(Unfit::KeyReplaced(id))))
    };
    checked.await.unwrap_or_else(|error| Checked::NotYet(Some(error)))
}

/// Looks until it is known; an error, if the service must not go on.
pub async fn until_known(
    store: &Store,
    sealer: Option<&Sealer>,
    stop: &CancellationToken,
) -> Result<(), Unfit> {
    let knowing = async {
        loop {
            match check(store, sealer).await {
                Checked::Fit => return Ok(()),
                Checked::Unfit(unfit) => return Err(unfit),
                Checked::NotYet(error) => {
                    if let Some(error) = error {
                        let error = chain(&error);
                        tracing::warn!(
                            error,
                            "the database is not checked yet: it does not answer"
                        );
                    }
                    tokio::time::sleep(AGAIN).await;
                }
            }
        }
    };
    tokio::select! {
        () = stop.cancelled() => Ok(()),
        known = knowing => known,
    }
}
