//! The only reader of time.

use crate::domain::skew::{Followed, Jump, Standing};
use chrono::{DateTime, TimeDelta, Utc};
use std::{
    sync::Arc,
    time::{Instant, SystemTime},
};
use tokio::sync::watch;

/// Says what time it is.
#[derive(Debug, Clone)]
pub struct Clock(Source);

#[derive(Debug, Clone)]
enum Source {
    System,
    Database(Arc<Follower>),
    /// Microseconds since 1970, moved by hand.
    Manual(Arc<watch::Sender<i64>>),
}

/// The database's time, carried on by this process's monotonic clock between two comparisons.
#[derive(Debug)]
struct Follower {
    began: Instant,
    followed: watch::Sender<Followed>,
}

/// When a question to the database began.
#[derive(Debug, Clone, Copy)]
pub struct Asked(TimeDelta);

impl Clock {
    pub const fn system() -> Self {
        Self(Source::System)
    }

    /// The database's clock: every replica that writes times goes by it, so that the times of all of them can be compared.
    /// Until the first comparison it is this host's.
    pub fn database() -> Self {
        let followed = watch::Sender::new(Followed::new(system()));
        Self(Source::Database(Arc::new(Follower { began: Instant::now(), followed })))
    }

    /// A clock that stands still until it is moved; for tests.
    pub fn manual(start: DateTime<Utc>) -> Self {
        Self(Source::Manual(Arc::new(watch::Sender::new(start.timestamp_micros()))))
    }

    /// The time in whole microseconds, which is what PostgreSQL keeps.
    pub fn now(&self) -> DateTime<Utc> {
        match &self.0 {
            Source::System => system(),
            Source::Database(follower) => follower.followed.borrow().at(follower.elapsed()),
            Source::Manual(micros) => from_micros(*micros.borrow()),
        }
    }

    /// Before the database is asked for its time.
    pub fn ask(&self) -> Asked {
        Asked(match &self.0 {
            Source::Database(follower) => follower.elapsed(),
            Source::System | Source::Manual(_) => TimeDelta::zero(),
        })
    }

    /// Takes the database's answer over. It is an error if this clock was so far off that nothing may be written by it,
    /// or was a moment ago.
    pub fn learn(&self, Asked(before): Asked, there: DateTime<Utc>) -> Result<(), Jump> {
        let Source::Database(follower) = &self.0 else { return Ok(()) };
        let after = follower.elapsed();
        let mut learned = Ok(());
        follower.followed.send_modify(|followed| {
            let verdict;
            (*followed, verdict) = followed.after((before, there, after));
            learned = verdict;
        });
        learned
    }

    /// How this clock stands to the database's; nothing, if it follows no other.
    pub fn standing(&self) -> Option<Standing> {
        match &self.0 {
            Source::Database(follower) => {
                Some(follower.followed.borrow().standing(follower.elapsed()))
            }
            Source::System | Source::Manual(_) => None,
        }
    }

    /// How far this host's own clock is ahead of the database's, by the last comparison; nothing, if this clock does not
    /// follow the database's, or was never compared with it.
    pub fn host_skew(&self) -> Option<TimeDelta> {
        match self.standing()? {
            Standing::Unknown => None,
            Standing::Follows | Standing::Doubted => {
                Some(system().signed_duration_since(self.now()))
            }
        }
    }

    /// Moves a manual clock. The others move by themselves; one that follows the database is wrong by so much then, as
    /// after a suspended host woke up. For tests.
    pub fn advance(&self, by: TimeDelta) {
        match &self.0 {
            Source::System => {}
            Source::Database(follower) => {
                follower.followed.send_modify(|followed| *followed = followed.moved(by));
            }
            Source::Manual(micros) => {
                let by = by.num_microseconds().unwrap_or_default();
                micros.send_modify(|micros| *micros = micros.saturating_add(by));
            }
        }
    }

    /// Waits until it is `at`; with a manual clock, until the clock is moved that far.
    pub async fn sleep_until(&self, at: DateTime<Utc>) {
        match &self.0 {
            Source::System | Source::Database(_) => {
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

impl Follower {
    fn elapsed(&self) -> TimeDelta {
        TimeDelta::from_std(self.began.elapsed()).unwrap_or(TimeDelta::MAX)
    }
}

#[expect(clippy::disallowed_methods, reason = "this is the only reader of time")]
fn system() -> DateTime<Utc> {
    from_micros(DateTime::<Utc>::from(SystemTime::now()).timestamp_micros())
}

/// Both sources are within chrono's range for the next 260,000 years.
fn from_micros(micros: i64) -> DateTime<Utc> {
    DateTime::from_timestamp_micros(micros).unwrap_or_default()
}
