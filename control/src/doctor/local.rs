//! What is found without Nango: settings, keys, certificates, database.

use super::finding::Finding;
use crate::{
    domain::{
        egress::Egress,
        health::{BACKLOG_AGE_MAX, Backlog},
        skew::{is_far, said},
    },
    tls::Life,
};
use chrono::{DateTime, TimeDelta, Utc};
use std::collections::BTreeMap;
use url::Url;

/// A certificate is renewed when a third of its life is left, as a rule; with less than this it was not.
const LIFE_LEFT_MIN: i32 = 5;

/// What is left of a certificate is told in hours below this.
const HOURS_BELOW_DAYS: i64 = 3;

pub(super) fn settings(problems: &BTreeMap<String, String>) -> Vec<Finding> {
    if problems.is_empty() {
        return vec![Finding::ok("settings", "all are readable")];
    }
    let fail = |(name, problem): (&String, &String)| {
        Finding::fail(name, problem.clone(), format!("correct {name} and start again"))
    };
    problems.iter().map(fail).collect()
}

pub(super) fn assertion_keys(count: usize) -> Finding {
    const NAME: &str = "EDGE_ASSERTION_KEY";
    match count {
        1 => Finding::ok(NAME, "one key"),
        2 => Finding::ok(NAME, "two keys: a rotation is under way"),
        more => Finding::warn(
            NAME,
            format!("{more} keys, and whoever has any of them is believed"),
            "take out those that no edge signs with any more",
        ),
    }
}

pub(super) fn public_url(callback_url: &Url, is_production: bool) -> Finding {
    const NAME: &str = "PUBLIC_URL";
    if callback_url.scheme() == "https" {
        Finding::ok(NAME, "is https")
    } else if is_production {
        let seen = "is http: authorisation codes travel in the clear, and most providers refuse it";
        Finding::fail(NAME, seen, "set it to an https:// address of the edge")
    } else {
        Finding::ok(NAME, "is http, which only development may have")
    }
}

pub(super) fn data_key(is_set: bool) -> Finding {
    const NAME: &str = "DATA_ENCRYPTION_KEY";
    let seen = if is_set {
        "seals what is kept secret"
    } else {
        "not set: no tenant can have a destination of its own"
    };
    Finding::ok(NAME, seen)
}

/// What tenants' own destinations may reach besides the public.
pub(super) fn networks(egress: &Egress) -> Finding {
    const NAME: &str = "NOTIFICATION_ALLOWED_NETWORKS";
    let dangerous: Vec<String> = egress.dangerous().map(ToString::to_string).collect();
    if !dangerous.is_empty() {
        let dangerous = dangerous.join(", ");
        let seen = format!("{dangerous}: tenants reach this host itself, or a cloud's metadata");
        return Finding::warn(NAME, seen, "name the receivers' networks only");
    }
    let seen = if egress.names_networks() {
        "tenants reach the public and the networks that are named"
    } else {
        "none: tenants' own destinations must be public"
    };
    Finding::ok(NAME, seen)
}

pub(super) fn no_mtls(is_production: bool) -> Option<Finding> {
    is_production.then(|| {
        Finding::warn(
            "MTLS",
            "not set: the hop from the edge and the one to receivers are without our certificate",
            "set MTLS_CERT_PATH, MTLS_KEY_PATH and MTLS_CA_PATH, unless a mesh or loopback holds those hops",
        )
    })
}

pub(super) fn mtls(usable: Result<(), String>) -> Finding {
    match usable {
        Ok(()) => Finding::ok("MTLS", "certificate, key and CA fit together"),
        Err(why) => Finding::fail("MTLS", why, "put the key beside the certificate it belongs to"),
    }
}

pub(super) fn certificates(
    name: &str,
    lives: Result<Vec<Life>, String>,
    at: DateTime<Utc>,
) -> Finding {
    const RENEW: &str = "renew it; this service takes it over within seconds";
    let lives = match lives {
        Ok(lives) => lives,
        Err(why) => return Finding::fail(name, why, "set it to a PEM file of X.509 certificates"),
    };
    // Of several, the one that is worst off decides.
    let judged = lives.into_iter().map(|Life { from, until }| {
        let left = until.signed_duration_since(at);
        let remaining = remaining(left);
        let whole = until.signed_duration_since(from);
        if left < TimeDelta::zero() {
            Finding::fail(name, format!("expired on {until}"), RENEW)
        } else if from > at {
            let seen = format!("is not valid before {from}");
            Finding::fail(name, seen, "wait, or correct the clock of this host")
        } else if left < whole.checked_div(LIFE_LEFT_MIN).unwrap_or(whole) {
            let seen = format!("{remaining} left, less than a fifth of its life");
            Finding::warn(name, seen, RENEW)
        } else {
            Finding::ok(name, format!("{remaining} left"))
        }
    });
    judged
        .max_by_key(|finding| finding.status)
        .unwrap_or_else(|| Finding::fail(name, "holds no certificate", RENEW))
}

/// In hours, where days would say too little.
fn remaining(left: TimeDelta) -> String {
    if left < TimeDelta::days(HOURS_BELOW_DAYS) {
        format!("{} hours", left.num_hours())
    } else {
        format!("{} days", left.num_days())
    }
}

pub(super) fn migrations(are_applied: bool) -> Finding {
    const NAME: &str = "migrations";
    if are_applied {
        Finding::ok(NAME, "all are applied")
    } else {
        Finding::fail(NAME, "some of this release's are missing", "run `control migrate`")
    }
}

/// Whether the database takes writes; if not, whether it is a standby.
pub(super) fn writes(is_standby: Option<bool>) -> Finding {
    const NAME: &str = "database role";
    match is_standby {
        None => Finding::ok(NAME, "takes writes: one was committed"),
        Some(true) => Finding::fail(
            NAME,
            "is a standby that was not promoted: it takes no writes",
            "set DATABASE_URL to the primary, or promote this server",
        ),
        Some(false) => Finding::fail(
            NAME,
            "is read-only: default_transaction_read_only is on for it, its login role or its server",
            "switch default_transaction_read_only off, or set DATABASE_URL to a database that takes writes",
        ),
    }
}

/// By it the clocks of all replicas are compared.
pub(super) fn database_clock(skew: TimeDelta) -> Finding {
    const NAME: &str = "database clock";
    if !is_far(skew) {
        return Finding::ok(NAME, "agrees with ours");
    }
    let mend = "set the clocks of this host and of PostgreSQL's by NTP: replicas write the database's times, but judge \
        certificates and date their log by the host's clock";
    Finding::warn(NAME, format!("ours is {}", said(skew)), mend)
}

pub(super) fn judge_backlog(backlog: Backlog, at: DateTime<Utc>) -> Finding {
    let Backlog { receipts, jobs, deliveries } = backlog;
    let oldest = [receipts, jobs, deliveries].into_iter().flatten().min();
    let age = oldest.map_or_else(TimeDelta::zero, |oldest| at.signed_duration_since(oldest));
    if age <= BACKLOG_AGE_MAX {
        return Finding::ok("backlog", "work that is due is done");
    }
    let seen = format!("the oldest work waits for {} s", age.num_seconds());
    Finding::warn(
        "backlog",
        seen,
        "start the service, or more instances of it, and look at its log",
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::finding::Status;

    fn day(day: i64) -> DateTime<Utc> {
        let today = DateTime::from_timestamp(1_795_340_000, 0).unwrap();
        today.checked_add_signed(TimeDelta::days(day)).unwrap()
    }

    fn worst(findings: &[Finding]) -> Status {
        findings.iter().map(|finding| finding.status).max().unwrap()
    }

    #[track_caller]
    fn check_life(lives: &[(i64, i64)], expected: Status) {
        let lives = lives.iter().map(|&(from, until)| Life { from: day(from), until: day(until) });
        let finding = certificates("MTLS_CERT_PATH", Ok(lives.collect()), day(0));
        assert_eq!(finding.status, expected, "{finding:?}");
    }

    #[test]
    fn a_certificate_is_judged_by_what_is_left_of_its_life() {
        check_life(&[(-10, 80)], Status::Ok);
        check_life(&[(-80, 10)], Status::Warn);
        check_life(&[(-80, -1)], Status::Fail);
        check_life(&[(1, 80)], Status::Fail);
        check_life(&[(-10, 80), (-80, -1), (-80, 10)], Status::Fail);
        check_life(&[], Status::Fail);
        let broken = certificates("MTLS_CA_PATH", Err("broken".to_owned()), day(0));
        assert_eq!(broken.status, Status::Fail);
    }

    #[test]
    fn what_is_left_of_a_short_life_is_told_in_hours() {
        let hours = |hours| remaining(TimeDelta::hours(hours));
        assert_eq!([0, 1, 23, 71].map(hours), ["0 hours", "1 hours", "23 hours", "71 hours"]);
        assert_eq!([72, 95, 2160].map(hours), ["3 days", "3 days", "90 days"]);
        let life = Life { from: day(0), until: day(1) };
        let seen = certificates("MTLS_CERT_PATH", Ok(vec![life]), day(0)).seen;
        assert_eq!(seen, "24 hours left");
    }

    #[test]
    fn every_setting_that_cannot_be_read_is_a_finding_of_its_name() {
        assert_eq!(worst(&settings(&BTreeMap::new())), Status::Ok);
        let problems =
            ["PORT", "PUBLIC_URL"].map(|name| (name.to_owned(), "is missing".to_owned()));
        let names: Vec<String> =
            settings(&problems.into()).into_iter().map(|finding| finding.name).collect();
        assert_eq!(names, ["PORT", "PUBLIC_URL"]);
    }

    #[test]
    fn codes_do_not_travel_in_the_clear_in_production() {
        let judge =
            |url: &str, is_production| public_url(&url.parse().unwrap(), is_production).status;
        assert_eq!(judge("https://a.example/oauth/callback", true), Status::Ok);
        assert_eq!(judge("http://a.example/oauth/callback", true), Status::Fail);
        assert_eq!(judge("http://localhost/oauth/callback", false), Status::Ok);
        assert_eq!(no_mtls(true).unwrap().status, Status::Warn);
        assert_eq!(no_mtls(false), None);
    }

    #[test]
    fn tenants_are_not_let_to_this_host_or_to_metadata_unsaid() {
        let judge = |text| {
            networks(&Egress::new(Egress::read_networks(text).unwrap(), [443].into())).status
        };
        assert_eq!([judge(""), judge("10.0.0.0/8")], [Status::Ok, Status::Ok]);
        assert_eq!([judge("0.0.0.0/0"), judge("10.0.0.0/8,::1")], [Status::Warn, Status::Warn]);
    }

    #[test]
    fn a_database_that_takes_no_writes_fails() {
        assert_eq!(writes(None).status, Status::Ok);
        let standby = writes(Some(true));
        assert_eq!((standby.status, standby.seen.contains("standby")), (Status::Fail, true));
        assert_eq!(writes(Some(false)).status, Status::Fail);
    }

    #[test]
    fn keys_that_nobody_signs_with_are_taken_out() {
        assert_eq!(
            [1, 2, 3].map(|count| assertion_keys(count).status),
            [Status::Ok, Status::Ok, Status::Warn]
        );
    }

    #[test]
    fn a_database_fails_where_it_cannot_serve_and_warns_where_work_waits() {
        let backlog = |seconds| {
            let jobs = day(0).checked_sub_signed(TimeDelta::seconds(seconds));
            Backlog { jobs, ..Backlog::default() }
        };
        let judge = |backlog| judge_backlog(backlog, day(0)).status;
        assert_eq!(
            [true, false].map(|applied| migrations(applied).status),
            [Status::Ok, Status::Fail]
        );
        assert_eq!(judge(Backlog::default()), Status::Ok);
        assert_eq!([60, 61].map(|seconds| judge(backlog(seconds))), [Status::Ok, Status::Warn]);
    }
}
