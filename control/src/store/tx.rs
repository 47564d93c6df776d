//! A transaction that waits for no answer longer than the database may take: a host that vanishes says nothing,
//! and TCP alone would wait for it for a quarter of an hour, or for ever.
//!
//! sqlx has no such limit. It would also take a connection whose query was given up back into its pool after a
//! ping, in the background and without a limit either, and the pool would be one place smaller for good.

use super::telling::{Teller, Told};
use crate::domain::sqlstate::{Meaning, meaning};
use futures::{
    FutureExt as _, StreamExt as _,
    future::BoxFuture,
    stream::{self, BoxStream},
};
use sqlx::{
    Describe, Either, Error, Execute, Executor, PgConnection, Postgres, SqlStr,
    error::DatabaseError,
    pool::PoolConnection,
    postgres::{PgQueryResult, PgRow, PgStatement, PgTypeInfo},
};
use std::{
    future::Future,
    io,
    ops::{Deref, DerefMut},
    time::Duration,
};
use tokio::{runtime::Handle, time::timeout};

/// Longer than a statement may take at the database, which says so itself while it is there.
pub(super) const ANSWER_TIMEOUT: Duration = Duration::from_secs(12);

/// A transaction that is open; it is rolled back when it is dropped.
#[derive(Debug)]
pub(super) struct Tx {
    connection: Bounded,
    teller: Teller,
    told: Vec<Told>,
}

impl Tx {
    pub(super) async fn begin(
        mut connection: Bounded,
        teller: Teller,
        begin: &'static str,
    ) -> Result<Self, Error> {
        connection.is_open = true;
        connection.execute(begin).await?;
        Ok(Self { connection, teller, told: Vec::new() })
    }

    /// Others are told this once it has committed, and not before.
    pub(super) fn tell(&mut self, told: Told) {
        self.told.push(told);
    }

    pub(super) async fn commit(mut self) -> Result<(), Error> {
        self.execute("COMMIT").await?;
        self.is_open = false;
        let Self { connection, teller, told } = self;
        // Its place in the pool is free before somebody needs one to tell.
        drop(connection);
        teller.tell(told);
        Ok(())
    }
}

impl Deref for Tx {
    type Target = Bounded;

    fn deref(&self) -> &Bounded {
        &self.connection
    }
}

impl DerefMut for Tx {
    fn deref_mut(&mut self) -> &mut Bounded {
        &mut self.connection
    }
}

/// A connection each of whose answers must come in time.
#[derive(Debug)]
pub(super) struct Bounded {
    connection: Held,
    limit: Duration,
    is_open: bool,
    /// An answer did not come, and may come yet, and belongs to nobody; or the session is not the one that it was.
    is_silent: bool,
}

impl Bounded {
    /// A connection on which no transaction is open.
    pub(super) fn alone(connection: PoolConnection<Postgres>, limit: Duration) -> Self {
        Self { connection: Held(Some(connection)), limit, is_open: false, is_silent: false }
    }

    fn parts(&mut self) -> Result<(&mut PgConnection, &mut bool), Error> {
        let connection = self.connection.0.as_mut().ok_or(Error::WorkerCrashed)?;
        Ok((connection, &mut self.is_silent))
    }
}

impl Drop for Bounded {
    fn drop(&mut self) {
        let held = Held(self.connection.0.take());
        if !self.is_silent
            && let Ok(runtime) = Handle::try_current()
        {
            drop(runtime.spawn(timeout(self.limit, held.give_back(self.is_open))));
        }
    }
}

/// A connection that is closed when it is dropped: at once, and without a word that nobody would hear. Its place
/// in the pool is free then.
#[derive(Debug)]
struct Held(Option<PoolConnection<Postgres>>);

impl Held {
    async fn give_back(mut self, is_open: bool) {
        if is_open
            && let Some(connection) = self.0.as_mut()
            && connection.execute("ROLLBACK").await.is_err()
        {
            return;
        }
        if let Some(mut connection) = self.0.take() {
            // With the pool's ping. Whoever stops waiting for that closes it.
            connection.return_to_pool().await;
        }
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        if let Some(connection) = self.0.take() {
            drop(connection.detach());
        }
    }
}

impl<'c> Executor<'c> for &'c mut Bounded {
    type Database = Postgres;

    fn fetch_many<'e, 'q: 'e, E>(
        self,
        query: E,
    ) -> BoxStream<'e, Result<Either<PgQueryResult, PgRow>, Error>>
    where
        'c: 'e,
        E: 'q + Execute<'q, Postgres>,
    {
        let limit = self.limit;
        let (connection, is_silent) = match self.parts() {
            Ok(parts) => parts,
            Err(error) => return stream::once(async { Err(error) }).boxed(),
        };
        let answers = Some((connection.fetch_many(query), is_silent));
        stream::unfold(answers, move |answers| async move {
            let (mut answers, is_silent) = answers?;
            match within(limit, is_silent, answers.next().map(Ok)).await {
                Ok(answer) => {
                    let answer = answer?;
                    *is_silent |= answer.as_ref().is_err_and(is_spoiled);
                    Some((answer, Some((answers, is_silent))))
                }
                Err(silent) => Some((Err(silent), None)),
            }
        })
        .boxed()
    }

    fn fetch_optional<'e, 'q: 'e, E>(self, query: E) -> BoxFuture<'e, Result<Option<PgRow>, Error>>
    where
        'c: 'e,
        E: 'q + Execute<'q, Postgres>,
    {
        let limit = self.limit;
        async move {
            let (connection, is_silent) = self.parts()?;
            within(limit, is_silent, connection.fetch_optional(query)).await
        }
        .boxed()
    }

    fn prepare_with<'e>(
        self,
        sql: SqlStr,
        parameters: &'e [PgTypeInfo],
    ) -> BoxFuture<'e, Result<PgStatement, Error>>
    where
        'c: 'e,
    {
        let limit = self.limit;
        async move {
            let (connection, is_silent) = self.parts()?;
            within(limit, is_silent, connection.prepare_with(sql, parameters)).await
        }
        .boxed()
    }

    fn describe<'e>(self, sql: SqlStr) -> BoxFuture<'e, Result<Describe<Postgres>, Error>>
    where
        'c: 'e,
    {
        let limit = self.limit;
        async move {
            let (connection, is_silent) = self.parts()?;
            within(limit, is_silent, connection.describe(sql)).await
        }
        .boxed()
    }
}

/// What the database answers in time; its silence is noted.
async fn within<T>(
    limit: Duration,
    is_silent: &mut bool,
    answer: impl Future<Output = Result<T, Error>>,
) -> Result<T, Error> {
    let in_time = timeout(limit, answer).await;
    *is_silent |= in_time.as_ref().is_ok_and(|answer| answer.as_ref().is_err_and(is_spoiled));
    *is_silent |= in_time.is_err();
    in_time.unwrap_or_else(|_elapsed| Err(silence()))
}

/// Whether the connection that said so will say it again and again.
fn is_spoiled(error: &Error) -> bool {
    let code = error.as_database_error().and_then(DatabaseError::code);
    code.is_some_and(|code| meaning(&code) == Meaning::Spoiled)
}

/// That no answer came, as the network would say it.
pub(super) fn silence() -> Error {
    Error::Io(io::ErrorKind::TimedOut.into())
}
