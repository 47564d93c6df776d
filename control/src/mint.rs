//! The only maker of ids and other random things.

use crate::clock::Clock;
use rand::RngExt as _;

/// Makes ids that sort by the time of its clock.
#[derive(Debug, Clone)]
pub struct Mint {
    clock: Clock,
}

impl Mint {
    pub const fn new(clock: Clock) -> Self {
        Self { clock }
    }

    /// The clock that its ids sort by.
    pub const fn clock(&self) -> &Clock {
        &self.clock
    }

    /// Hands `make` the time in milliseconds and ten random bytes: `mint.id(EventId::from_parts)`.
    pub fn id<I>(&self, make: impl FnOnce(u64, &[u8; 10]) -> I) -> I {
        // A clock before 1970 makes ids that sort first, and are as unique as all others.
        let unix_ms = u64::try_from(self.clock.now().timestamp_millis()).unwrap_or_default();
        make(unix_ms, &rand::rng().random())
    }

    /// A token that tells one claim of a lease from another, or one request from another.
    pub fn lease(&self) -> uuid::Uuid {
        uuid::Builder::from_random_bytes(rand::rng().random()).into_uuid()
    }

    /// Random bytes for a key, a nonce or a ticket.
    pub fn bytes<const N: usize>(&self) -> [u8; N] {
        let mut bytes = [0; N];
        rand::rng().fill(&mut bytes);
        bytes
    }

    /// A number from 0 to 1, to spread retries.
    pub fn jitter(&self) -> f64 {
        rand::rng().random()
    }
}
