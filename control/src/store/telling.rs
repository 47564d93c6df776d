//! Tells other processes what was committed, many commits in one statement.
//!
//! A transaction that tells by itself (`NOTIFY`) takes a lock of the whole PostgreSQL cluster from before its commit
//! to after it: one such commit goes to disk at a time, whatever connections there are. What is told is a hint, and
//! whoever misses it polls; so it is told after the commit, and a process that dies in between costs a second.

use super::{StoreError, tx::Bounded};
use crate::cause::chain;
use sqlx::PgPool;
use std::{
    mem,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};
use tokio::runtime::Handle;

/// Something that was committed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Told {
    pub(super) channel: &'static str,
    pub(super) payload: String,
}

/// What was committed and not told yet.
#[derive(Debug, Default)]
struct Untold {
    told: Vec<Told>,
    is_telling: bool,
}

impl Untold {
    /// Adds some, and says whether somebody must begin to tell.
    fn add(&mut self, told: Vec<Told>) -> bool {
        self.told.extend(told);
        !self.told.is_empty() && !mem::replace(&mut self.is_telling, true)
    }

    /// What is told next; nothing, when whoever tells is done.
    fn take(&mut self) -> Option<Vec<Told>> {
        let told = mem::take(&mut self.told);
        self.is_telling = !told.is_empty();
        self.is_telling.then_some(told)
    }
}

/// Tells for one process, one statement at a time: what comes meanwhile goes into the next.
#[derive(Debug, Clone)]
pub(super) struct Teller {
    pool: PgPool,
    limit: Duration,
    untold: Arc<Mutex<Untold>>,
}

impl Teller {
    pub(super) fn new(pool: PgPool, limit: Duration) -> Self {
        Self { pool, limit, untold: Arc::default() }
    }

    /// Tells soon, and keeps nobody waiting.
    pub(super) fn tell(&self, told: Vec<Told>) {
        let Ok(runtime) = Handle::try_current() else { return };
        if self.untold().add(told) {
            drop(runtime.spawn(self.clone().tell_all()));
        }
    }

    async fn tell_all(self) {
        loop {
            let Some(told) = self.untold().take() else { return };
            if let Err(error) = self.tell_together(&told).await {
                let error = chain(&error);
                tracing::warn!(error, "whoever waits for {} changes polls for them", told.len());
            }
        }
    }

    async fn tell_together(&self, told: &[Told]) -> Result<(), StoreError> {
        let (channels, payloads): (Vec<&str>, Vec<&str>) =
            told.iter().map(|told| (told.channel, told.payload.as_str())).unzip();
        let mut connection = Bounded::alone(self.pool.acquire().await?, self.limit);
        sqlx::query(
            "SELECT pg_notify(channel, payload) FROM unnest($1::text[], $2::text[]) AS told (channel, payload)",
        )
        .bind(channels)
        .bind(payloads)
        .execute(&mut connection)
        .await?;
        Ok(())
    }

    fn untold(&self) -> MutexGuard<'_, Untold> {
        // Nothing panics while it is held; if it did, what it holds would still be true.
        self.untold.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(payload: &str) -> Told {
        Told { channel: "news", payload: payload.to_owned() }
    }

    #[test]
    fn what_comes_while_somebody_tells_is_told_together_by_the_same() {
        let mut untold = Untold::default();
        assert!(untold.add(vec![told("1")]), "somebody must begin");
        assert_eq!(untold.take(), Some(vec![told("1")]));
        assert!(!untold.add(vec![told("2")]));
        assert!(!untold.add(vec![told("3"), told("4")]));
        assert_eq!(untold.take(), Some(vec![told("2"), told("3"), told("4")]));
        assert_eq!(untold.take(), None);
        assert!(untold.add(vec![told("5")]), "whoever told is done, and another one must begin");
    }

    #[test]
    fn of_nothing_nobody_tells() {
        let mut untold = Untold::default();
        assert!(!untold.add(Vec::new()));
        assert_eq!(untold.take(), None);
    }
}
