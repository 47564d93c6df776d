//! Looks names up: as the host does, on threads of their own, and a few at a time.

use dns_lookup::{LookupError, LookupErrorKind};
use std::{fmt, net::IpAddr, sync::Arc};
use tokio::sync::Semaphore;

/// A resolver that hangs holds a thread for as long as it likes.
const AT_ONCE: usize = 32;

/// A name without an address, and whose fault that is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Unresolved {
    /// Somebody who knows says that there is none.
    NoSuchName,
    /// Nobody says anything.
    Trouble(String),
    /// This process has no memory or no socket to ask with.
    Limits(String),
}

type Table = dyn Fn(&str) -> Result<Vec<IpAddr>, Unresolved> + Send + Sync;

/// Says where names lead.
#[derive(Clone)]
pub struct Resolver(Source);

#[derive(Clone)]
enum Source {
    System(Arc<Semaphore>),
    Table(Arc<Table>),
}

impl fmt::Debug for Resolver {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Resolver(..)")
    }
}

impl Resolver {
    /// The host's: `/etc/hosts`, `/etc/resolv.conf` and whatever else it is set up to ask.
    pub fn system() -> Self {
        Self(Source::System(Arc::new(Semaphore::new(AT_ONCE))))
    }

    /// One that answers as it is told; for tests.
    pub fn table(
        table: impl Fn(&str) -> Result<Vec<IpAddr>, Unresolved> + Send + Sync + 'static,
    ) -> Self {
        Self(Source::Table(Arc::new(table)))
    }

    pub(super) async fn look_up(&self, name: &str) -> Result<Vec<IpAddr>, Unresolved> {
        let trouble = |error: &dyn fmt::Display| Unresolved::Trouble(error.to_string());
        match &self.0 {
            Source::Table(table) => table(name),
            Source::System(places) => {
                let place = Arc::clone(places).acquire_owned().await;
                let place = place.map_err(|closed| trouble(&closed))?;
                let name = name.to_owned();
                let asking = tokio::task::spawn_blocking(move || {
                    // Held until the thread is free, even if nobody waits for its answer any more.
                    let _place = place;
                    dns_lookup::lookup_host(&name).map(Iterator::collect)
                });
                asking.await.map_err(|error| trouble(&error))?.map_err(|error| judge(&error))
            }
        }
    }
}

fn judge(error: &LookupError) -> Unresolved {
    let said = error.to_string();
    match error.kind() {
        LookupErrorKind::NoName | LookupErrorKind::NoData => Unresolved::NoSuchName,
        LookupErrorKind::Memory => Unresolved::Limits(said),
        LookupErrorKind::Again
        | LookupErrorKind::Badflags
        | LookupErrorKind::Fail
        | LookupErrorKind::Family
        | LookupErrorKind::Socktype
        | LookupErrorKind::Service
        | LookupErrorKind::System
        | LookupErrorKind::Unknown
        | LookupErrorKind::IO => Unresolved::Trouble(said),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_who_knows_says_that_there_is_no_such_name() {
        // The numbers of Linux's netdb.h: NONAME, NODATA, AGAIN, FAIL, MEMORY, SYSTEM.
        let judged = [-2, -5, -3, -4, -10, -11].map(|code| judge(&LookupError::new(code)));
        assert_eq!(judged[..2], [Unresolved::NoSuchName, Unresolved::NoSuchName]);
        assert!(matches!(judged[2..4], [Unresolved::Trouble(_), Unresolved::Trouble(_)]));
        assert!(matches!(judged[4..], [Unresolved::Limits(_), Unresolved::Trouble(_)]));
    }

    #[tokio::test]
    async fn the_system_knows_its_own_name() {
        let addresses = Resolver::system().look_up("localhost").await.unwrap();
        assert!(addresses.iter().all(IpAddr::is_loopback) && !addresses.is_empty());
    }
}
