//! Looks names up: as the host does, on threads of their own, a few at a time and each once.

use super::SEND_TIMEOUT;
use dns_lookup::{LookupError, LookupErrorKind};
use futures::{
    FutureExt as _,
    future::{BoxFuture, Shared},
};
use std::{
    collections::HashMap,
    fmt,
    net::IpAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};
use tokio::{sync::Semaphore, time::timeout};

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

type Answer = Result<Vec<IpAddr>, Unresolved>;

type Asking = Shared<BoxFuture<'static, Answer>>;

/// Says where names lead.
#[derive(Clone)]
pub struct Resolver {
    ask: Arc<dyn Fn(&str) -> Answer + Send + Sync>,
    places: Arc<Semaphore>,
    /// What is being asked at this moment.
    under_way: Arc<Mutex<HashMap<String, Asking>>>,
}

impl fmt::Debug for Resolver {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Resolver(..)")
    }
}

impl Resolver {
    /// The host's: `/etc/hosts`, `/etc/resolv.conf` and whatever else it is set up to ask.
    pub fn system() -> Self {
        Self::table(|name| {
            dns_lookup::lookup_host(name).map(Iterator::collect).map_err(|error| judge(&error))
        })
    }

    /// One that answers as it is told.
    pub fn table(table: impl Fn(&str) -> Answer + Send + Sync + 'static) -> Self {
        let places = Arc::new(Semaphore::new(AT_ONCE));
        Self { ask: Arc::new(table), places, under_way: Arc::default() }
    }

    /// Where a name leads, if somebody says so within `limit`: a resolver that is away lets everybody wait, whom
    /// he asks and whom he queues for a place, and no receiver is to be blamed for it.
    pub(super) async fn look_up(&self, name: &str, limit: Duration) -> Answer {
        let answer = timeout(limit, self.share(name)).await;
        answer.unwrap_or_else(|_elapsed| Err(Unresolved::Trouble("no answer in time".to_owned())))
    }

    /// A name that is being looked up is not looked up again: who asks for it shares the answer, so that a zone
    /// of which nobody says anything has one thread and not all.
    async fn share(&self, name: &str) -> Answer {
        let asking = {
            let mut under_way = self.under_way();
            let asking = under_way.entry(name.to_owned());
            asking.or_insert_with(|| self.begin(name.to_owned())).clone()
        };
        asking.await
    }

    /// On a task of its own, because it goes on when nobody waits for it any more.
    fn begin(&self, name: String) -> Asking {
        let resolver = self.clone();
        let asking = tokio::spawn(async move {
            let answer = resolver.ask(name.clone()).await;
            resolver.under_way().remove(&name);
            answer
        });
        asking.map(|ended| ended.unwrap_or_else(|error| Err(trouble(&error)))).boxed().shared()
    }

    async fn ask(&self, name: String) -> Answer {
        let place = timeout(SEND_TIMEOUT, Arc::clone(&self.places).acquire_owned()).await;
        let place =
            place.map_err(|elapsed| trouble(&elapsed))?.map_err(|closed| trouble(&closed))?;
        let ask = Arc::clone(&self.ask);
        let asking = tokio::task::spawn_blocking(move || {
            // Held until the thread is free.
            let _place = place;
            ask(&name)
        });
        asking.await.unwrap_or_else(|error| Err(trouble(&error)))
    }

    fn under_way(&self) -> MutexGuard<'_, HashMap<String, Asking>> {
        self.under_way.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn trouble(error: &dyn fmt::Display) -> Unresolved {
    Unresolved::Trouble(error.to_string())
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
    use std::sync::atomic::{AtomicUsize, Ordering};

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
        let addresses = Resolver::system().look_up("localhost", SEND_TIMEOUT).await.unwrap();
        assert!(addresses.iter().all(IpAddr::is_loopback) && !addresses.is_empty());
    }

    #[tokio::test]
    async fn a_name_that_nobody_answers_for_has_one_thread_and_the_others_are_answered() {
        let (release, released) = std::sync::mpsc::channel::<()>();
        let (released, asked) = (Mutex::new(released), Arc::new(AtomicUsize::new(0)));
        let counted = Arc::clone(&asked);
        let resolver = Resolver::table(move |name| {
            if name != "silent.example" {
                return Err(Unresolved::NoSuchName);
            }
            counted.fetch_add(1, Ordering::Relaxed);
            released.lock().unwrap().recv().unwrap();
            Ok(vec![IpAddr::from([192, 0, 2, 1])])
        });
        let mut waiting: Vec<_> = (0..AT_ONCE)
            .map(|_| Box::pin(resolver.look_up("silent.example", SEND_TIMEOUT)))
            .collect();
        for waiting in &mut waiting {
            assert!(futures::poll!(waiting).is_pending());
        }
        assert_eq!(
            resolver.look_up("other.example", SEND_TIMEOUT).await,
            Err(Unresolved::NoSuchName)
        );
        // Who goes away changes nothing for those who stay.
        waiting.pop();
        release.send(()).unwrap();
        for answer in futures::future::join_all(waiting).await {
            assert_eq!(answer, Ok(vec![IpAddr::from([192, 0, 2, 1])]));
        }
        assert_eq!(asked.load(Ordering::Relaxed), 1);
        // An answer is for those who waited, and not kept.
        release.send(()).unwrap();
        assert!(resolver.look_up("silent.example", SEND_TIMEOUT).await.is_ok());
        assert_eq!(asked.load(Ordering::Relaxed), 2);
    }
}
