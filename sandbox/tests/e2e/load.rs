//! A steady load of valid requests, whose sender changes its proofs when it is told to.

use crate::{
    support::{Edge, Http, SIGNATURE, Sending},
    wire::{Message, Wire},
};
use contract::{keys::KeyRing, signature};
use sandbox::{pki::Identity, process::wait_for};
use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};
use tokio::task::JoinSet;

/// Requests before a connection is given up for a new one, so that both are always there.
const PER_CONNECTION: u32 = 50;

/// Of one sender; faster would starve the edge of the processor.
const PACE: Duration = Duration::from_millis(4);

/// With what the load proves itself.
#[derive(Debug, Clone)]
pub struct Proofs {
    pub identity: Arc<Identity>,
    pub webhook_key: String,
}

/// What the senders share with their test.
#[derive(Debug)]
struct Shared {
    proofs: Mutex<Proofs>,
    is_over: AtomicBool,
    /// How often each sender has taken the proofs.
    taken: [AtomicU64; SENDERS.len()],
}

/// Who sends what: webhooks or calls.
const SENDERS: [(Http, bool); 4] =
    [(Http::One, false), (Http::One, true), (Http::Two, false), (Http::Two, true)];

/// A running load.
pub struct Load {
    shared: Arc<Shared>,
    senders: JoinSet<(u64, Vec<String>)>,
}

impl Load {
    /// Starts senders of calls and of webhooks, over both versions of HTTP.
    pub fn start(edge: &Arc<Edge>, proofs: Proofs) -> Self {
        let shared = Arc::new(Shared {
            proofs: Mutex::new(proofs),
            is_over: AtomicBool::new(false),
            taken: Default::default(),
        });
        let mut senders = JoinSet::new();
        for sender in 0..SENDERS.len() {
            senders.spawn(send(Arc::clone(edge), Arc::clone(&shared), sender));
        }
        Self { shared, senders }
    }

    /// Changes the proofs, and waits until no connection stands on the ones before.
    pub async fn change(&self, change: impl FnOnce(&mut Proofs)) {
        change(&mut self.shared.proofs.lock().unwrap());
        self.goes_on().await;
    }

    /// Waits until every sender has begun and ended with a connection.
    pub async fn goes_on(&self) {
        let taken = || self.shared.taken.iter().map(|taken| taken.load(Ordering::Relaxed));
        let before: Vec<u64> = taken().collect();
        wait_for("the load does not change", Duration::from_secs(30), || async {
            Ok(taken()
                .zip(&before)
                .all(|(now, before)| now > before.saturating_add(1))
                .then_some(()))
        })
        .await
        .unwrap();
    }

    /// Ends it: how many requests there were, and which failed.
    pub async fn finish(self) -> (u64, Vec<String>) {
        self.shared.is_over.store(true, Ordering::Relaxed);
        let results = self.senders.join_all().await;
        let sent = results.iter().map(|(sent, _)| sent).sum();
        (sent, results.into_iter().flat_map(|(_, failed)| failed).collect())
    }
}

async fn send(edge: Arc<Edge>, shared: Arc<Shared>, sender: usize) -> (u64, Vec<String>) {
    let (http, is_webhook) = SENDERS[sender];
    let addresses = edge.envoy.addresses;
    let address = if is_webhook { addresses.public } else { addresses.clients };
    let (mut sent, mut failed) = (0, Vec::new());
    let mut pace = tokio::time::interval(PACE);
    while !shared.is_over.load(Ordering::Relaxed) {
        let proofs = shared.proofs.lock().unwrap().clone();
        shared.taken[sender].fetch_add(1, Ordering::Relaxed);
        let identity = (!is_webhook).then_some(proofs.identity.as_ref());
        let mut wire = match Wire::connect(&edge.pki, address, http, identity).await {
            Ok(wire) => wire,
            Err(error) => {
                failed.push(format!("{http:?}: no connection: {error}"));
                continue;
            }
        };
        for _ in 0..PER_CONNECTION {
            pace.tick().await;
            let message = if is_webhook { webhook(&proofs.webhook_key) } else { call() };
            sent += 1;
            match wire.send(&message).await {
                Ok(answer) if answer.status == 200 => {}
                other => failed.push(format!("{http:?}: {other:.300?}")),
            }
        }
    }
    (sent, failed)
}

/// A call that the shipped policy grants.
pub fn call() -> Message {
    Message::new("GET", "/tenants/acme/connections/1")
}

/// A webhook that this key signs.
pub fn webhook(key: &str) -> Message {
    let body = br#"{"type":"auth","from":"nango"}"#;
    let keys = KeyRing::parse(key.as_bytes()).unwrap();
    Message::new("POST", "/webhooks/nango")
        .header("content-type", "application/json")
        .header(SIGNATURE, signature::sign(&keys, body))
        .body(Sending::Whole, body)
}
