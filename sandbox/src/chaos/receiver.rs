//! A receiver that fails, hangs and resets by lot, and writes down every try that reached it.

use super::{oracle::Arrival, relay::Relay};
use crate::pki::Pki;
use axum::{
    Router,
    body::Bytes,
    extract::State,
    http::{HeaderMap, StatusCode},
    routing::post,
};
use axum_server::{Handle, tls_rustls::RustlsConfig};
use rand::{RngExt as _, rngs::StdRng};
use std::{
    collections::HashSet,
    fmt,
    net::{Ipv4Addr, SocketAddr, TcpListener},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, UNIX_EPOCH},
};

/// What becomes of a try.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Fate {
    Takes,
    /// Answers with this status.
    Fails(u16),
    /// Never answers.
    Hangs,
    /// Breaks every connection that is open.
    Resets,
    /// Takes it, and the answer is lost with the connection.
    TakesAndResets,
}

/// Who says what becomes of a notification with this body.
pub type Judge = Box<dyn FnMut(&str) -> Fate + Send>;

/// Of a hundred tries, how many meet what.
const FATES: [(u32, Fate); 6] = [
    (80, Fate::Takes),
    (6, Fate::Fails(500)),
    (6, Fate::Fails(503)),
    (3, Fate::Hangs),
    (2, Fate::Resets),
    (3, Fate::TakesAndResets),
];

/// Fails, hangs and resets by lot.
pub fn by_lot(mut rng: StdRng) -> Judge {
    Box::new(move |_body| {
        let mut left = rng.random_range(0..100_u32);
        for (share, fate) in FATES {
            if left < share {
                return fate;
            }
            left = left.saturating_sub(share);
        }
        Fate::Takes
    })
}

struct Shared {
    webhook: standardwebhooks::Webhook,
    judge: Mutex<Judge>,
    seen: Mutex<Seen>,
    /// On which its callers come; breaking it resets them.
    wire: Arc<Relay>,
}

#[derive(Default)]
struct Seen {
    arrivals: Vec<Arrival>,
    /// When each came, since the epoch.
    times: Vec<Duration>,
    taken: HashSet<String>,
}

/// A running receiver. It ends when this is dropped.
pub struct Receiver {
    shared: Arc<Shared>,
    handle: Handle<SocketAddr>,
}

impl fmt::Debug for Receiver {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Receiver(behind {})", self.shared.wire.address())
    }
}

/// A port that a receiver will have.
pub fn listen() -> anyhow::Result<TcpListener> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}

impl Receiver {
    pub fn start(
        listener: TcpListener,
        wire: Arc<Relay>,
        pki: &Pki,
        signing_secret: &str,
        judge: Judge,
    ) -> anyhow::Result<Self> {
        let webhook = standardwebhooks::Webhook::new(signing_secret)
            .map_err(|error| anyhow::anyhow!("the signing secret is unusable: {error}"))?;
        let (judge, seen) = (Mutex::new(judge), Mutex::default());
        let shared = Arc::new(Shared { webhook, judge, seen, wire });
        let router = Router::new()
            .route("/webhooks/connections", post(meet))
            .with_state(Arc::clone(&shared));
        let tls = RustlsConfig::from_config(Arc::new(pki.server_tls("receiver")?));
        let handle = Handle::new();
        let server = axum_server::from_tcp_rustls(listener, tls)?
            .handle(handle.clone())
            .serve(router.into_make_service());
        tokio::spawn(server);
        Ok(Self { shared, handle })
    }

    /// Another one decides from now on.
    pub fn be_judged_by(&self, judge: Judge) {
        *lock(&self.shared.judge) = judge;
    }

    /// Every try so far, in order.
    pub fn arrivals(&self) -> Vec<Arrival> {
        lock(&self.shared.seen).arrivals.clone()
    }

    /// Every try so far with the time of its arrival since the epoch.
    pub fn timed_arrivals(&self) -> Vec<(Duration, Arrival)> {
        let seen = lock(&self.shared.seen);
        seen.times.iter().copied().zip(seen.arrivals.iter().cloned()).collect()
    }

    /// How many different events were taken so far.
    pub fn taken(&self) -> usize {
        lock(&self.shared.seen).taken.len()
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.handle.shutdown();
    }
}

async fn meet(State(shared): State<Arc<Shared>>, headers: HeaderMap, body: Bytes) -> StatusCode {
    let is_signed = shared.webhook.verify(&body, &headers).is_ok();
    let id = headers.get("webhook-id").and_then(|value| value.to_str().ok()).unwrap_or_default();
    let body = String::from_utf8_lossy(&body).into_owned();
    let fate = (lock(&shared.judge))(&body);
    let was_taken = is_signed && matches!(fate, Fate::Takes | Fate::TakesAndResets);
    {
        // Written down before it is answered, so that what follows an answer comes after it here.
        let mut seen = lock(&shared.seen);
        if was_taken {
            seen.taken.insert(id.to_owned());
        }
        seen.arrivals.push(Arrival { id: id.to_owned(), body, is_signed, was_taken });
        seen.times.push(UNIX_EPOCH.elapsed().unwrap_or_default());
    }
    match fate {
        Fate::Takes if is_signed => StatusCode::NO_CONTENT,
        Fate::Takes => StatusCode::UNAUTHORIZED,
        Fate::Fails(status) => StatusCode::from_u16(status).unwrap_or_default(),
        Fate::Hangs => std::future::pending().await,
        Fate::Resets | Fate::TakesAndResets => {
            shared.wire.break_all();
            std::future::pending().await
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::SeedableRng as _;

    #[test]
    fn the_lot_has_every_fate_in_its_share() {
        assert_eq!(FATES.iter().map(|(share, _)| share).sum::<u32>(), 100);
        let mut judge = by_lot(StdRng::seed_from_u64(1));
        let fates: Vec<Fate> = (0..10_000).map(|_| judge("")).collect();
        for (share, fate) in FATES {
            let drawn = fates.iter().filter(|drawn| **drawn == fate).count();
            let expected = usize::try_from(share).unwrap() * 100;
            assert!(drawn.abs_diff(expected) < expected / 2, "{fate:?}: {drawn}");
        }
    }
}
