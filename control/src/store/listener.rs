//! Hears what other transactions tell, and asks now and then whether anybody is there to be heard.

use super::{ACQUIRE_TIMEOUT, Store, StoreError, prepare_session, tx::silence};
use sqlx::{
    Executor as _,
    postgres::{PgListener, PgNotification, PgPoolOptions},
};
use std::{io, time::Duration};
use tokio::time::timeout;

/// After so many times as long as an answer may take, whoever hears nothing asks: what is missed meanwhile, a poll finds.
const QUIET: u32 = 2;

/// A channel that one process listens to.
#[derive(Debug)]
pub struct Listener {
    inner: PgListener,
    limit: Duration,
}

impl Listener {
    /// What is told next. While the database is away, what is told is missed. Whoever is told of an error opens
    /// another: this one is of no more use.
    pub async fn heard(&mut self) -> Result<PgNotification, StoreError> {
        loop {
            // Silence is what a channel has most of, and also what a host that vanished has.
            match timeout(self.limit.saturating_mul(QUIET), self.inner.try_recv()).await {
                Ok(Ok(Some(told))) => return Ok(told),
                // sqlx would connect again by itself, and what was told in between is missed.
                Ok(Ok(None)) => return Err(lost().into()),
                Ok(Err(error)) => return Err(error.into()),
                Err(_quiet) => {
                    let asked = timeout(self.limit, self.inner.execute("SELECT 1")).await;
                    asked.unwrap_or_else(|_elapsed| Err(silence()))?;
                }
            }
        }
    }
}

fn lost() -> sqlx::Error {
    sqlx::Error::Io(io::Error::new(
        io::ErrorKind::ConnectionReset,
        "the listener's connection was lost",
    ))
}

impl Store {
    /// Listens, on a connection that is none of the pool's: sqlx takes leave of a listener that is dropped with a
    /// statement and no limit, and one that nobody answers would keep its place in the pool.
    pub(super) async fn listen_to(&self, channel: &str) -> Result<Listener, StoreError> {
        let one = PgPoolOptions::new()
            .max_connections(1)
            .max_lifetime(None)
            .idle_timeout(None)
            .acquire_timeout(ACQUIRE_TIMEOUT)
            .after_connect(|connection, _about| Box::pin(prepare_session(connection)))
            .connect_lazy_with(self.pool.connect_options().as_ref().clone());
        let mut inner = PgListener::connect_with(&one).await?;
        let listening = timeout(self.limit, inner.listen(channel)).await;
        listening.unwrap_or_else(|_elapsed| Err(silence()))?;
        Ok(Listener { inner, limit: self.limit })
    }
}
