//! The only reader of time.

use chrono::{DateTime, TimeDelta, Utc};
use std::{sync::Arc, time::SystemTime};
use tokio::sync::watch;

/// Says what time it is.
#[derive(Debug, Clone)]
pub struct Clock(Source);

#[derive(Debug, Clone)]
enum Source {
    System,
    /// Microseconds since 1970, moved by hand.
    Manual(Arc<watch::Sender<i64>>),
}

impl Clock {
    pub const fn system() -> Self {
        Self(Source::System)
    }

    /// A clock that stands still until it is moved; for tests.
    pub fn manual(start: DateTime<Utc>) -> Self {
        Self(Source::Manual(Arc::new(watch::Sender::new(start.timestamp_micros()))))
    }

    /// The time in whole microseconds, which is what PostgreSQL keeps.
    pub fn now(&self) -> DateTime<Utc> {
        let micros = match &self.0 {
            #[expect(clippy::disallowed_methods, reason = "this is the only reader of time")]
            Source::System => DateTime::<Utc>::from(SystemTime::now()).timestamp_micros(),
            Source::Manual(micros) => *micros.borrow(),
        };
        // Both sources are within chrono's range for the next 260,000 years.
        DateTime::from_timestamp_micros(micros).unwrap_or_default()
    }

    /// Moves a manual clock; the system's clock moves by itself.
    pub fn advance(&self, by: TimeDelta) {
        if let Source::Manual(micros) = &self.0 {
            let by = by.num_microseconds().unwrap_or_default();
            micros.send_modify(|micros| *micros = micros.saturating_add(by));
        }
    }

    /// Waits until it is `at`; with a manual clock, until the clock is moved that far.
    pub async fn sleep_until(&self, at: DateTime<Utc>) {
        match &self.0 {
            Source::System => {
                let wait = at.signed_duration_since(self.now()).to_std().unwrap_or_default();
                tokio::time::sleep(wait).await;
            }
            Source::Manual(micros) => {
                let is_reached = |micros: &i64| *micros >= at.timestamp_micros();
                // Its sender is this clock.
                let _reached = micros.subscribe().wait_for(is_reached).await.is_ok();
            }
        }
    }
}
