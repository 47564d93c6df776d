//! Whether an instance may be sent requests, and what about it should wake somebody.

use super::skew::{is_far, said};
use chrono::{DateTime, TimeDelta, Utc};
use serde::Serialize;

/// Work that is due is claimed within a second; what waits longer than this waits for too few workers, or
/// for a database that is too slow.
pub const BACKLOG_AGE_MAX: TimeDelta = TimeDelta::seconds(60);

/// Since when the oldest piece of work is due that nobody has claimed, of each kind.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Backlog {
    pub receipts: Option<DateTime<Utc>>,
    pub jobs: Option<DateTime<Utc>>,
    pub deliveries: Option<DateTime<Utc>>,
}

/// What is known of the database.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Database {
    Unavailable,
    NotMigrated,
    /// It answers, and takes nothing: every call that changes something fails.
    ReadOnly {
        is_standby: bool,
    },
    Ready(Backlog),
}

/// What the last call to the vault showed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Vault {
    #[default]
    NotAsked,
    Answers,
    /// It takes our key for none, or for one of too few scopes.
    RefusesKey,
    Silent {
        calls: u32,
    },
}

/// Our certificate, as it serves now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Certificate {
    pub from: DateTime<Utc>,
    pub until: DateTime<Utc>,
    /// Why the files as they are now are not used.
    pub trouble: Option<String>,
}

impl Certificate {
    /// A certificate is renewed when a third of its life is left, as a rule; with less than a fifth it was
    /// not.
    pub fn is_late(&self, at: DateTime<Utc>) -> bool {
        let whole = self.until.signed_duration_since(self.from);
        let left = self.until.signed_duration_since(at);
        left < whole.checked_div(5).unwrap_or(whole)
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    Ok,
    /// It serves, and somebody should look.
    Degraded,
    /// Nothing can be served.
    Unavailable,
    Stopping,
}

/// The answer to a probe.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub struct Health {
    pub status: Status,
    pub checks: Checks,
}

/// What was looked at; what could not be is absent.
#[derive(Debug, Default, PartialEq, Eq, Serialize)]
pub struct Checks {
    #[serde(skip_serializing_if = "Option::is_none")]
    database: Option<Check>,
    #[serde(skip_serializing_if = "Option::is_none")]
    migrations: Option<Check>,
    #[serde(skip_serializing_if = "Option::is_none")]
    backlog: Option<Ages>,
    #[serde(skip_serializing_if = "Option::is_none")]
    nango: Option<Check>,
    #[serde(skip_serializing_if = "Option::is_none")]
    certificate: Option<CertificateCheck>,
    #[serde(skip_serializing_if = "Option::is_none")]
    deletions: Option<Check>,
    #[serde(skip_serializing_if = "Option::is_none")]
    clock: Option<Check>,
}

/// How long our certificate serves.
#[derive(Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
struct CertificateCheck {
    status: Status,
    days_left: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    detail: Option<String>,
}

#[derive(Debug, PartialEq, Eq, Serialize)]
struct Check {
    status: Status,
    #[serde(skip_serializing_if = "Option::is_none")]
    detail: Option<String>,
}

/// Seconds that the oldest piece of work waits; nothing, where none does.
#[derive(Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
struct Ages {
    status: Status,
    limit_seconds: i64,
    receipts_seconds: Option<i64>,
    jobs_seconds: Option<i64>,
    deliveries_seconds: Option<i64>,
}

impl Health {
    /// The service is asked to stop: nobody should send it more.
    pub fn stopping() -> Self {
        Self { status: Status::Stopping, checks: Checks::default() }
    }

    /// Without database and migrations nothing can be served. An old backlog and a silent vault are shared by
    /// all instances: to take them all out of service would mend neither, and stop what still works.
    pub fn of(database: Database, vault: Vault, at: DateTime<Utc>) -> Self {
        let nango = Some(check_vault(vault));
        let (database, migrations, backlog) = match database {
            Database::Unavailable => (Check::new(Status::Unavailable), None, None),
            Database::NotMigrated => {
                let missing = Check::told(Status::Unavailable, "missing; run `control migrate`");
                (Check::new(Status::Ok), Some(missing), None)
            }
            Database::ReadOnly { is_standby } => {
                let detail = why_read_only(is_standby);
                (Check::told(Status::Unavailable, detail), Some(Check::new(Status::Ok)), None)
            }
            Database::Ready(backlog) => {
                let ages = Ages::of(backlog, at);
                (Check::new(Status::Ok), Some(Check::new(Status::Ok)), Some(ages))
            }
        };
        let database = Some(database);
        let checks = Checks { database, migrations, backlog, nango, ..Checks::default() };
        Self { status: checks.worst(), checks }
    }

    /// Adds what is known of our certificate. One that is late is no reason to take an instance out: the
    /// others have the same.
    #[must_use]
    pub fn with_certificate(mut self, certificate: &Certificate, at: DateTime<Utc>) -> Self {
        let is_well = certificate.trouble.is_none() && !certificate.is_late(at);
        self.checks.certificate = Some(CertificateCheck {
            status: if is_well { Status::Ok } else { Status::Degraded },
            days_left: certificate.until.signed_duration_since(at).num_days(),
            detail: certificate.trouble.clone(),
        });
        Self { status: self.status.max(self.checks.worst()), ..self }
    }
}

impl Health {
    /// Adds how far this host's clock is from the database's. Every time that is written is the database's; but certificates
    /// are judged by the host's, and its log is dated by it. It serves all the same.
    #[must_use]
    pub fn with_clock(mut self, skew: TimeDelta) -> Self {
        self.checks.clock = Some(if is_far(skew) {
            Check::told(Status::Degraded, &said(skew))
        } else {
            Check::new(Status::Ok)
        });
        Self { status: self.status.max(self.checks.worst()), ..self }
    }
}

impl Health {
    /// Adds that our clock was found far from the database's: until it is trusted again, nothing is written by it.
    #[must_use]
    pub fn with_doubted_clock(mut self) -> Self {
        let seen = "was far from the database's a moment ago; nothing is written until it is trusted again";
        self.checks.clock = Some(Check::told(Status::Unavailable, seen));
        Self { status: self.status.max(self.checks.worst()), ..self }
    }
}

impl Health {
    /// Adds whether deletions at Nango are believed. They are shared by all instances, so that none is taken out.
    #[must_use]
    pub fn with_deletions(mut self, held: Option<(i64, i64)>) -> Self {
        self.checks.deletions = Some(match held {
            Some((missing, live)) => Check::told(
                Status::Degraded,
                &format!(
                    "{missing} of {live} connections are missing at Nango, and none is deleted: run `control missing`"
                ),
            ),
            None => Check::new(Status::Ok),
        });
        Self { status: self.status.max(self.checks.worst()), ..self }
    }
}

impl Checks {
    fn worst(&self) -> Status {
        let Self { database, migrations, backlog, nango, certificate, clock, deletions } = self;
        let checks = [database, migrations, nango, clock, deletions]
            .into_iter()
            .flatten()
            .map(|check| check.status);
        let others = [
            backlog.as_ref().map(|ages| ages.status),
            certificate.as_ref().map(|certificate| certificate.status),
        ];
        checks.chain(others.into_iter().flatten()).max().unwrap_or(Status::Ok)
    }
}

impl Check {
    const fn new(status: Status) -> Self {
        Self { status, detail: None }
    }

    fn told(status: Status, detail: &str) -> Self {
        Self { status, detail: Some(detail.to_owned()) }
    }
}

/// Why nothing can be written.
pub const fn why_read_only(is_standby: bool) -> &'static str {
    if is_standby {
        "a standby that was not promoted: it answers and takes no writes"
    } else {
        "read-only: default_transaction_read_only is on for it, or for our login"
    }
}

fn check_vault(vault: Vault) -> Check {
    match vault {
        Vault::NotAsked => Check::told(Status::Ok, "not called yet"),
        Vault::Answers => Check::new(Status::Ok),
        Vault::RefusesKey => {
            Check::told(Status::Degraded, "the key is refused; run `control doctor`")
        }
        Vault::Silent { calls } => {
            Check::told(Status::Degraded, &format!("no answer to the last {calls} calls"))
        }
    }
}

impl Ages {
    fn of(backlog: Backlog, at: DateTime<Utc>) -> Self {
        let age = |since: Option<DateTime<Utc>>| {
            since.map(|since| at.signed_duration_since(since).num_seconds().max(0))
        };
        let Backlog { receipts, jobs, deliveries } = backlog;
        let [receipts_seconds, jobs_seconds, deliveries_seconds] =
            [receipts, jobs, deliveries].map(age);
        let limit_seconds = BACKLOG_AGE_MAX.num_seconds();
        let oldest =
            [receipts_seconds, jobs_seconds, deliveries_seconds].into_iter().flatten().max();
        let is_old = oldest.is_some_and(|oldest| oldest > limit_seconds);
        let status = if is_old { Status::Degraded } else { Status::Ok };
        Self { status, limit_seconds, receipts_seconds, jobs_seconds, deliveries_seconds }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(database: Database, vault: Vault, expected: Status) {
        let at = DateTime::from_timestamp(1_795_340_000, 0).unwrap();
        assert_eq!(Health::of(database, vault, at).status, expected, "{database:?} {vault:?}");
    }

    fn waiting(seconds: i64) -> Database {
        let at = DateTime::from_timestamp(1_795_340_000, 0).unwrap();
        let jobs = at.checked_sub_signed(TimeDelta::seconds(seconds));
        Database::Ready(Backlog { jobs, ..Backlog::default() })
    }

    #[test]
    fn only_a_database_that_cannot_serve_takes_an_instance_out() {
        let well = Database::Ready(Backlog::default());
        for vault in
            [Vault::NotAsked, Vault::Answers, Vault::RefusesKey, Vault::Silent { calls: 9 }]
        {
            check(Database::Unavailable, vault, Status::Unavailable);
            check(Database::NotMigrated, vault, Status::Unavailable);
            check(Database::ReadOnly { is_standby: true }, vault, Status::Unavailable);
            check(Database::ReadOnly { is_standby: false }, vault, Status::Unavailable);
        }
        check(well, Vault::NotAsked, Status::Ok);
        check(well, Vault::Answers, Status::Ok);
        check(well, Vault::RefusesKey, Status::Degraded);
        check(well, Vault::Silent { calls: 1 }, Status::Degraded);
    }

    #[test]
    fn deletions_that_are_held_are_said_and_take_nobody_out() {
        let at = DateTime::from_timestamp(1_795_340_000, 0).unwrap();
        let judge = |held| {
            let health = Health::of(Database::Ready(Backlog::default()), Vault::Answers, at);
            health.with_deletions(held).status
        };
        assert_eq!([judge(None), judge(Some((24, 24)))], [Status::Ok, Status::Degraded]);
    }

    #[test]
    fn work_that_waits_longer_than_the_limit_is_said() {
        check(waiting(-5), Vault::Answers, Status::Ok);
        check(waiting(60), Vault::Answers, Status::Ok);
        check(waiting(61), Vault::Answers, Status::Degraded);
    }

    #[test]
    fn a_clock_that_is_far_off_is_said_and_takes_nobody_out() {
        let at = DateTime::from_timestamp(1_795_340_000, 0).unwrap();
        let judge = |seconds| {
            let health = Health::of(Database::Ready(Backlog::default()), Vault::Answers, at);
            health.with_clock(TimeDelta::seconds(seconds)).status
        };
        assert_eq!([-3, 0, 3].map(judge), [Status::Ok; 3]);
        assert_eq!([-4, 4].map(judge), [Status::Degraded; 2]);
    }

    #[test]
    fn an_instance_that_may_not_write_by_its_clock_is_taken_out() {
        let at = DateTime::from_timestamp(1_795_340_000, 0).unwrap();
        let health = Health::of(Database::Ready(Backlog::default()), Vault::Answers, at);
        assert_eq!(health.with_doubted_clock().status, Status::Unavailable);
    }

    #[test]
    fn a_certificate_that_was_not_renewed_is_said_and_takes_nobody_out() {
        let day = |day: i64| {
            let today = DateTime::from_timestamp(1_795_340_000, 0).unwrap();
            today.checked_add_signed(TimeDelta::days(day)).unwrap()
        };
        let judge = |from, until, trouble: Option<&str>| {
            let trouble = trouble.map(str::to_owned);
            let certificate = Certificate { from: day(from), until: day(until), trouble };
            let health = Health::of(Database::Ready(Backlog::default()), Vault::Answers, day(0));
            health.with_certificate(&certificate, day(0)).status
        };
        assert_eq!(judge(-10, 80, None), Status::Ok);
        assert_eq!(judge(-80, 10, None), Status::Degraded);
        assert_eq!(judge(-80, -1, None), Status::Degraded);
        assert_eq!(judge(-10, 80, Some("the key is another's")), Status::Degraded);
    }
}
