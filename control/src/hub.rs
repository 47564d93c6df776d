//! Who waits for which connection to change or which feed to go on, and what wakes them: one listener for the whole process, and
//! no connection to the database for anybody who waits.

use crate::{
    cause::chain,
    clock::Clock,
    store::{Awaited, Newer, Store, StoreError},
};
use chrono::{DateTime, TimeDelta, Utc};
use contract::id::{ConnectionId, TenantId};
use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// Half of the connections that one Envoy holds to control, each of which a waiter fills: those who wait
/// must not be in the way of those who do something.
pub const WAITERS_MAX: usize = 512;

/// Of those, one tenant's: whose waiters come by the hundred must not keep the others from waiting.
pub const TENANT_WAITERS_MAX: usize = 64;

/// How long whoever was woken in vain gathers news before it looks again. A busy tenant has many each second,
/// and each look is a query of each that waits.
const GATHER: TimeDelta = TimeDelta::milliseconds(250);

/// What the listener missed is found so late, by one query for all who wait.
const POLL: TimeDelta = TimeDelta::seconds(2);

/// The same while it listens: it misses only what a process died of before it could tell.
const SAFETY_POLL: TimeDelta = TimeDelta::seconds(10);

/// Where waiters meet news.
#[derive(Debug, Clone)]
pub struct Hub(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    /// The newest version or position that was heard of, of everything that somebody waits for.
    awaited: Mutex<HashMap<Awaited, watch::Sender<i64>>>,
    waiters: watch::Sender<usize>,
    by_tenant: Mutex<HashMap<TenantId, usize>>,
    is_listening: watch::Sender<bool>,
    stop: CancellationToken,
}

impl Hub {
    /// A hub whose waiters are let go when `stop` is cancelled.
    pub fn new(stop: CancellationToken) -> Self {
        Self(Arc::new(Inner {
            awaited: Mutex::default(),
            waiters: watch::Sender::new(0),
            by_tenant: Mutex::default(),
            is_listening: watch::Sender::new(false),
            stop,
        }))
    }

    /// Takes a place among those who wait; nothing, if all are taken, or all of this tenant's. Whoever has one looks at the
    /// connection once more before waiting: it may have changed a moment ago.
    pub fn enter(&self, tenant: &TenantId, connection: ConnectionId) -> Option<Waiter> {
        self.enter_for(Awaited::Connection(tenant.clone(), connection))
    }

    /// The same for a tenant's feed; its version is its newest position.
    pub fn enter_feed(&self, tenant: &TenantId) -> Option<Waiter> {
        self.enter_for(Awaited::Feed(tenant.clone()))
    }

    fn enter_for(&self, key: Awaited) -> Option<Waiter> {
        let has_place = self.0.waiters.send_if_modified(|waiters| {
            let has_place = *waiters < WAITERS_MAX && self.enter_tenant(tenant(&key));
            *waiters = waiters.saturating_add(usize::from(has_place));
            has_place
        });
        if !has_place {
            return None;
        }
        let mut awaited = self.awaited();
        let sender = awaited.entry(key.clone()).or_insert_with(|| watch::Sender::new(0));
        Some(Waiter { versions: sender.subscribe(), hub: self.clone(), key, gathers_until: None })
    }

    fn enter_tenant(&self, tenant: &TenantId) -> bool {
        let mut by_tenant = self.by_tenant();
        let places = by_tenant.entry(tenant.clone()).or_default();
        let has_place = *places < TENANT_WAITERS_MAX;
        *places = places.saturating_add(usize::from(has_place));
        has_place
    }

    fn leave_tenant(&self, tenant: &TenantId) {
        let mut by_tenant = self.by_tenant();
        if let Some(places) = by_tenant.get_mut(tenant) {
            *places = places.saturating_sub(1);
            if *places == 0 {
                by_tenant.remove(tenant);
            }
        }
    }

    /// How many wait, now and as it changes.
    pub fn waiters(&self) -> watch::Receiver<usize> {
        self.0.waiters.subscribe()
    }

    /// Whether news are heard as they happen, now and as it changes.
    pub fn is_listening(&self) -> watch::Receiver<bool> {
        self.0.is_listening.subscribe()
    }

    /// Listens and polls until the service stops.
    pub async fn run(&self, store: &Store, clock: &Clock) {
        tokio::select! {
            () = self.0.stop.cancelled() => {}
            ((), ()) = async { tokio::join!(self.listen(store, clock), self.poll(store, clock)) } => {}
        }
        self.0.is_listening.send_replace(false);
    }

    /// Asks for the versions of all that somebody waits for.
    pub async fn look(&self, store: &Store) -> Result<(), StoreError> {
        let of: Vec<Awaited> = self.awaited().keys().cloned().collect();
        if of.is_empty() {
            return Ok(());
        }
        for newer in store.versions(&of).await? {
            self.hear(newer);
        }
        Ok(())
    }

    async fn listen(&self, store: &Store, clock: &Clock) {
        loop {
            let listening = async {
                let mut news = store.news().await?;
                self.0.is_listening.send_replace(true);
                // What was told before is looked for at once.
                self.look(store).await?;
                loop {
                    self.hear(news.next().await?);
                }
            };
            let ended: Result<(), StoreError> = listening.await;
            self.0.is_listening.send_replace(false);
            if let Err(error) = ended {
                let error = chain(&error);
                tracing::warn!(
                    error,
                    "those who wait are not woken and polled for: the listener failed"
                );
            }
            rest(clock, POLL).await;
        }
    }

    async fn poll(&self, store: &Store, clock: &Clock) {
        let mut is_listening = self.is_listening();
        loop {
            let wait = if *is_listening.borrow_and_update() { SAFETY_POLL } else { POLL };
            tokio::select! {
                () = rest(clock, wait) => {}
                // It may be too long a wait now. Its sender is this hub.
                _ = is_listening.changed() => continue,
            }
            if let Err(error) = self.look(store).await {
                tracing::warn!(error = chain(&error), "those who wait could not be polled for");
            }
        }
    }

    fn hear(&self, Newer { of, version }: Newer) {
        if let Some(newest) = self.awaited().get(&of) {
            newest.send_if_modified(|newest| {
                let is_newer = version > *newest;
                *newest = version.max(*newest);
                is_newer
            });
        }
    }

    fn awaited(&self) -> MutexGuard<'_, HashMap<Awaited, watch::Sender<i64>>> {
        // Nothing panics while it is held; if it did, what it holds would still be true.
        self.0.awaited.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn by_tenant(&self) -> MutexGuard<'_, HashMap<TenantId, usize>> {
        self.0.by_tenant.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

const fn tenant(awaited: &Awaited) -> &TenantId {
    match awaited {
        Awaited::Connection(tenant, _) | Awaited::Feed(tenant) => tenant,
    }
}

async fn rest(clock: &Clock, wait: TimeDelta) {
    let now = clock.now();
    clock.sleep_until(now.checked_add_signed(wait).unwrap_or(now)).await;
}

/// A place among those who wait. A caller that goes away drops it.
#[derive(Debug)]
pub struct Waiter {
    hub: Hub,
    key: Awaited,
    versions: watch::Receiver<i64>,
    /// Nothing: it was not woken yet.
    gathers_until: Option<DateTime<Utc>>,
}

impl Waiter {
    /// Waits until a version after `seen` is heard of; `false`, when the time is over before, or the
    /// service stops. Whoever asks again was woken in vain, and is not woken again at once.
    pub async fn newer_than(&mut self, seen: i64, clock: &Clock, until: DateTime<Utc>) -> bool {
        let stop = self.hub.0.stop.clone();
        let gathers_until = self.gathers_until;
        let news = async {
            if let Some(gathers_until) = gathers_until {
                clock.sleep_until(gathers_until).await;
            }
            // Its sender lives as long as this place.
            let _heard = self.versions.wait_for(|version| *version > seen).await.is_ok();
        };
        let is_woken = tokio::select! {
            () = news => true,
            () = clock.sleep_until(until) => false,
            () = stop.cancelled() => false,
        };
        self.gathers_until = clock.now().checked_add_signed(GATHER);
        is_woken
    }
}

impl Drop for Waiter {
    fn drop(&mut self) {
        let mut awaited = self.hub.awaited();
        // Its own receiver is still there.
        if awaited.get(&self.key).is_some_and(|sender| sender.receiver_count() <= 1) {
            awaited.remove(&self.key);
        }
        drop(awaited);
        self.hub.leave_tenant(tenant(&self.key));
        self.hub.0.waiters.send_modify(|waiters| *waiters = waiters.saturating_sub(1));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::FutureExt as _;

    fn tenant(number: usize) -> TenantId {
        format!("t{number}").parse().unwrap()
    }

    #[test]
    fn places_are_bounded_and_come_back() {
        let hub = Hub::new(CancellationToken::new());
        let id = ConnectionId::from_parts(1, &[0; 10]);
        let of = |nth: usize| tenant(nth / TENANT_WAITERS_MAX);
        let mut waiters: Vec<Waiter> =
            (0..WAITERS_MAX).map(|nth| hub.enter(&of(nth), id).unwrap()).collect();
        assert!(hub.enter(&tenant(100), id).is_none());
        waiters.pop();
        assert_eq!(*hub.waiters().borrow(), WAITERS_MAX - 1);
        waiters.push(hub.enter(&tenant(100), id).unwrap());
        waiters.clear();
        assert_eq!(*hub.waiters().borrow(), 0);
        assert!(
            hub.awaited().is_empty() && hub.by_tenant().is_empty(),
            "who went away is forgotten"
        );
    }

    #[test]
    fn a_tenant_has_its_part_of_the_places_whatever_it_waits_for() {
        let hub = Hub::new(CancellationToken::new());
        let id = ConnectionId::from_parts(1, &[0; 10]);
        let (busy, other) = (tenant(1), tenant(2));
        let mut waiters: Vec<Waiter> = (0..TENANT_WAITERS_MAX / 2)
            .flat_map(|_| [hub.enter(&busy, id).unwrap(), hub.enter_feed(&busy).unwrap()])
            .collect();
        assert!(hub.enter(&busy, id).is_none() && hub.enter_feed(&busy).is_none());
        assert_eq!(*hub.waiters().borrow(), TENANT_WAITERS_MAX, "who finds no place takes none");
        assert!(hub.enter(&other, id).is_some());
        waiters.pop();
        assert!(hub.enter_feed(&busy).is_some());
    }

    #[test]
    fn who_was_woken_in_vain_gathers_news_before_it_looks_again() {
        let hub = Hub::new(CancellationToken::new());
        let clock = Clock::manual(DateTime::UNIX_EPOCH);
        let until = DateTime::UNIX_EPOCH + TimeDelta::seconds(60);
        let mut waiter = hub.enter_feed(&tenant(1)).unwrap();
        let hear = |version| hub.hear(Newer { of: Awaited::Feed(tenant(1)), version });
        hear(1);
        assert_eq!(
            waiter.newer_than(0, &clock, until).now_or_never(),
            Some(true),
            "the first time"
        );
        hear(2);
        clock.advance(TimeDelta::milliseconds(249));
        assert_eq!(waiter.newer_than(1, &clock, until).now_or_never(), None);
        clock.advance(TimeDelta::milliseconds(1));
        assert_eq!(waiter.newer_than(1, &clock, until).now_or_never(), Some(true));
        // News that come when it has gathered long enough are told at once.
        clock.advance(TimeDelta::seconds(1));
        assert_eq!(waiter.newer_than(2, &clock, until).now_or_never(), None);
        hear(3);
        assert_eq!(waiter.newer_than(2, &clock, until).now_or_never(), Some(true));
        // It gathers no longer than it may wait.
        let until = clock.now() + TimeDelta::milliseconds(100);
        clock.advance(TimeDelta::milliseconds(100));
        assert_eq!(waiter.newer_than(3, &clock, until).now_or_never(), Some(false));
    }
}
