//! Tries a destination out when its tenant asks: the one way from a request to a receiver, and no event goes it.

use crate::{
    clock::Clock,
    domain::{
        destination::Destination,
        outcome::Fault,
        rehearsal::{Answer, Report, TestEvent, Tls},
    },
    mint::Mint,
    notifier::{Notifier, Rehearsed, Sent},
};
use contract::id::{EventId, TenantId};
use std::{
    collections::HashSet,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};
use url::Url;

/// How many are under way in this process: each may take as long as a delivery.
const AT_ONCE: usize = 16;

/// Why a destination is not tried out.
#[derive(Debug, thiserror::Error)]
pub enum NotTried {
    #[error("the tenant's destination is being tried out, or too many are")]
    UnderWay,
    #[error("a test event cannot be written")]
    Unwritable(#[source] serde_json::Error),
}

/// Whoever may try destinations out.
#[derive(Debug, Clone)]
pub struct Rehearsal {
    notifier: Arc<Notifier>,
    clock: Clock,
    mint: Mint,
    under_way: Arc<Mutex<HashSet<TenantId>>>,
}

impl Rehearsal {
    pub fn new(notifier: Arc<Notifier>, clock: Clock, mint: Mint) -> Self {
        Self { notifier, clock, mint, under_way: Arc::default() }
    }

    /// Where a tenant is told that has no destination of its own.
    pub fn default_destination(&self) -> &Url {
        self.notifier.default_destination()
    }

    /// Takes a place among those who try theirs out; a tenant has one.
    pub fn enter(&self, tenant: &TenantId) -> Result<Place, NotTried> {
        Place::take(&self.under_way, tenant).ok_or(NotTried::UnderWay)
    }

    /// Sends a test event as a delivery would be sent, and reports what that met.
    pub async fn try_out(
        &self,
        place: Place,
        own: Option<&Destination>,
    ) -> Result<Report, NotTried> {
        let tenant = &place.tenant;
        let started_at = self.clock.now();
        let event_id = self.mint.id(EventId::from_parts);
        let event = TestEvent::new(event_id, tenant.clone(), started_at);
        let body = serde_json::to_string(&event).map_err(NotTried::Unwritable)?;
        let target = self.notifier.target(tenant, own);
        let rehearsed = self.notifier.rehearse(&target, event_id, &body, started_at).await;
        let Rehearsed { sent: Sent { outcome, detail, answer }, address, handshake } = rehearsed;
        let ended_at = self.clock.now();
        let url = own.map_or_else(|| self.default_destination(), |own| &own.url);
        Ok(Report {
            event_id,
            url: url.to_string(),
            outcome: outcome.as_str(),
            fault: outcome.fault().map(Fault::as_str),
            detail,
            address,
            tls: handshake.map(|handshake| Tls::of(handshake, ended_at)),
            answer: Answer::of(outcome, answer),
            duration_ms: ended_at.signed_duration_since(started_at).num_milliseconds(),
        })
    }
}

/// A tenant's place among those that are under way, given back when it is dropped.
#[derive(Debug)]
pub struct Place {
    places: Arc<Mutex<HashSet<TenantId>>>,
    tenant: TenantId,
}

impl Place {
    fn take(places: &Arc<Mutex<HashSet<TenantId>>>, tenant: &TenantId) -> Option<Self> {
        let mut taken = lock(places);
        let is_taken = taken.len() < AT_ONCE && taken.insert(tenant.clone());
        is_taken.then(|| Self { places: Arc::clone(places), tenant: tenant.clone() })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        lock(&self.places).remove(&self.tenant);
    }
}

fn lock(places: &Mutex<HashSet<TenantId>>) -> MutexGuard<'_, HashSet<TenantId>> {
    places.lock().unwrap_or_else(PoisonError::into_inner)
}
