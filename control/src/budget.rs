//! This replica's part of the calls that Nango takes: small leases from the budget that all replicas share.

use crate::{
    cause::chain,
    clock::Clock,
    domain::budget::{CallClass, CallsPerMinute, Purse, Taken},
    mint::Mint,
    store::{Store, StoreError},
};
use chrono::{DateTime, TimeDelta, Utc};
use std::time::Duration;
use tokio::sync::Mutex;

/// Why a call may not be made now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NoCall {
    /// The share is used up for so long.
    Wait(Duration),
    /// The database does not say what is left.
    Unknown,
}

/// The call budget, as one replica sees it.
#[derive(Debug)]
pub struct Budget {
    store: Store,
    clock: Clock,
    mint: Mint,
    start: Mutex<Purse>,
    confirm: Mutex<Purse>,
    upkeep: Mutex<Purse>,
    profile: Mutex<Purse>,
}

impl Budget {
    pub fn new(store: Store, limit: CallsPerMinute, clock: Clock, mint: Mint) -> Self {
        let purse = |class| Mutex::new(Purse::new(class, limit));
        Self {
            store,
            clock,
            mint,
            start: purse(CallClass::Start),
            confirm: purse(CallClass::Confirm),
            upkeep: purse(CallClass::Upkeep),
            profile: purse(CallClass::Profile),
        }
    }

    /// Takes one call.
    pub async fn take(&self, class: CallClass) -> Result<(), NoCall> {
        self.take_together(class, 1).await.map(|_lapses_at| ())
    }

    /// Takes calls that are of use only together; they must be made before the time that it says.
    pub async fn take_together(
        &self,
        class: CallClass,
        calls: u32,
    ) -> Result<DateTime<Utc>, NoCall> {
        // One asks the database for all who wait here, who then find what it got.
        let mut purse = self.purse(class).lock().await;
        let mut taken = purse.take(calls, self.clock.now());
        if let Taken::Lease(wanted) = taken {
            let share = purse.share();
            let at = self.clock.now();
            let leased =
                self.store.lease_calls(class, |bucket| bucket.lease(share, wanted, at)).await;
            taken = match leased {
                Ok(leased) => purse.put(leased, calls, at),
                Err(error) => return Err(unknown(class, &error)),
            };
        }
        match taken {
            Taken::Spent(lapses_at) => Ok(lapses_at),
            Taken::ComeBackAt(slot) => {
                let wait = slot.signed_duration_since(self.clock.now()).max(TimeDelta::zero());
                Err(NoCall::Wait(spread(wait.to_std().unwrap_or_default(), self.mint.jitter())))
            }
            // What was put in was taken out.
            Taken::Lease(_) => Err(NoCall::Unknown),
        }
    }

    const fn purse(&self, class: CallClass) -> &Mutex<Purse> {
        match class {
            CallClass::Start => &self.start,
            CallClass::Confirm => &self.confirm,
            CallClass::Upkeep => &self.upkeep,
            CallClass::Profile => &self.profile,
        }
    }
}

/// Adds up to a fifth, so that those who were sent away together do not come back together.
pub fn spread(wait: Duration, jitter: f64) -> Duration {
    wait.mul_f64(1.0 + jitter.clamp(0.0, 1.0) / 5.0)
}

fn unknown(class: CallClass, error: &StoreError) -> NoCall {
    let class = class.as_str();
    tracing::error!(error = chain(error), "no {class} call: the store does not say what is left");
    NoCall::Unknown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn jitter_adds_at_most_a_fifth() {
        let wait = Duration::from_secs(10);
        assert_eq!(spread(wait, 0.0), wait);
        assert_eq!(spread(wait, 1.0), Duration::from_secs(12));
        assert_eq!(spread(wait, f64::INFINITY), Duration::from_secs(12));
        assert_eq!(spread(wait, -1.0), wait);
    }
}
