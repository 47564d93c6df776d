//! How Nango is set up: where it is, what time it has, its integrations, and where it sends browsers back to.

use super::finding::Finding;
use crate::{
    cause::chain,
    domain::provider::Provider,
    nango::{NangoError, Rehearsal},
};
use chrono::{DateTime, TimeDelta, Utc};
use contract::id::IntegrationId;
use std::collections::BTreeSet;
use url::Url;

/// Nobody notices clocks that differ by less.
const SKEW_SEEN: TimeDelta = TimeDelta::seconds(5);
/// The edge's assertions are believed for thirty seconds.
const SKEW_MAX: TimeDelta = TimeDelta::seconds(30);

pub(super) fn not_looked_at() -> Finding {
    Finding::warn(
        "nango",
        "not looked at: its settings cannot be read",
        "correct the settings first",
    )
}

pub(super) fn reach(status: Result<u16, String>) -> Finding {
    match status {
        Ok(200) => Finding::ok("nango", "answers"),
        Ok(status) => {
            let seen = format!("something answers {status}");
            Finding::fail("nango", seen, "set NANGO_API_URL to Nango's API, and see that it is up")
        }
        Err(why) => {
            let mend = "set NANGO_API_URL to Nango's API, and open the way there from this host";
            Finding::fail("nango", why, mend)
        }
    }
}

/// Nango's clock says whole seconds, and was read some time between `before` and `after`.
pub(super) fn clock(
    before: DateTime<Utc>,
    after: DateTime<Utc>,
    nangos: Option<DateTime<Utc>>,
) -> Finding {
    let Some(nangos) = nangos else {
        return Finding::skip("clock", "not compared: Nango does not say what time it has");
    };
    let ahead = nangos.signed_duration_since(after);
    let behind = before.signed_duration_since(nangos).checked_sub(&TimeDelta::seconds(1));
    let skew = ahead.max(behind.unwrap_or_default()).max(TimeDelta::zero());
    if skew <= SKEW_SEEN {
        return Finding::ok("clock", "agrees with Nango's");
    }
    let seen = format!("differs from Nango's by {} s", skew.num_seconds());
    let mend = "set this host's clock by NTP; if it is right, set that of Nango's host";
    if skew <= SKEW_MAX {
        Finding::warn("clock", seen, mend)
    } else {
        Finding::fail("clock", seen, mend)
    }
}

/// What the list of integrations says of the key that asked for it.
pub(super) fn key(error: Option<&NangoError>) -> Finding {
    const NAME: &str = "NANGO_SECRET_KEY";
    match error {
        None => Finding::ok(NAME, "is a key of this Nango"),
        Some(NangoError::Refused { status: 401, code }) => Finding::fail(
            NAME,
            format!("is refused ({code})"),
            "copy the key of the right environment from Nango's dashboard",
        ),
        Some(NangoError::Refused { status: 403, .. }) => Finding::warn(
            NAME,
            "may not list integrations",
            "give it the scope integrations:list, so that missing ones are found here and not by users",
        ),
        Some(error) => Finding::fail("nango", chain(error), "look again when Nango is well"),
    }
}

/// Whether we make more calls than Nango takes.
pub(super) fn limit(ours: u32, nangos: Option<u32>) -> Finding {
    const NAME: &str = "NANGO_CALLS_PER_MINUTE";
    match nangos {
        None => Finding::ok(NAME, format!("{ours}; Nango does not say how many it takes")),
        Some(nangos) if ours > nangos => Finding::warn(
            NAME,
            format!("{ours}, and Nango takes {nangos} a minute: it refuses the rest with 429"),
            format!("set it to {nangos}, or to less where others use the same account"),
        ),
        Some(nangos) => Finding::ok(NAME, format!("{ours} of the {nangos} that Nango takes")),
    }
}

/// What is found of an integration, and where browsers of it are sent back to.
pub(super) fn integration(
    provider: &Provider,
    integration: &IntegrationId,
    rehearsal: Option<Rehearsal>,
) -> (Finding, Option<String>) {
    let name = format!("{}_INTEGRATION_KEY", provider.as_str().to_ascii_uppercase());
    let finding = match rehearsal {
        None => Finding::fail(
            &name,
            format!("Nango has no integration `{integration}`"),
            "make it in Nango's dashboard, or set this to the id of one that is there",
        ),
        Some(Rehearsal::NoSession(error)) => Finding::fail(
            &name,
            format!("Nango opens no session for it: {}", chain(&error)),
            "give the key the scope connect_sessions:write, and see that the integration is there",
        ),
        Some(Rehearsal::NotSentOff(error)) => Finding::fail(
            &name,
            format!("Nango sends nobody off to the provider: {}", chain(&error)),
            "enter its client id, secret and scopes in Nango's dashboard",
        ),
        Some(Rehearsal::SentOff { redirect_uri, lacks_offline_access, state: _ }) => {
            let finding = match lacks_offline_access {
                None => Finding::ok(&name, "sends users off to the provider"),
                Some(lacks) => Finding::warn(
                    &name,
                    format!(
                        "asks the provider for no refresh token ({lacks} is missing): each user must come back as soon \
                         as the access token expires"
                    ),
                    format!("add {lacks} to the integration `{integration}` in Nango's dashboard"),
                ),
            };
            return (finding, redirect_uri);
        }
    };
    (finding, None)
}

/// Whether every provider is told to send browsers back to us, to the byte.
pub(super) fn callback(seen: &BTreeSet<String>, callback_url: &Url) -> Finding {
    const NAME: &str = "callback";
    let others: Vec<&str> =
        seen.iter().map(String::as_str).filter(|url| *url != callback_url.as_str()).collect();
    if seen.is_empty() {
        let seen = "cannot be seen: no integration sends anybody off";
        Finding::warn(NAME, seen, "mend the integrations first")
    } else if others.is_empty() {
        Finding::ok(NAME, format!("{callback_url}, at Nango as here"))
    } else {
        Finding::fail(
            NAME,
            format!("Nango sends browsers back to {}", others.join(", ")),
            format!(
                "set Nango's callback URL, and the one registered at each provider, to {callback_url}"
            ),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::finding::Status;

    #[track_caller]
    fn check_clock(nangos: i64, expected: Status) {
        let second = |second| DateTime::from_timestamp(second, 0).unwrap();
        let finding = clock(second(100), second(108), Some(second(nangos)));
        assert_eq!(finding.status, expected, "{nangos}: {finding:?}");
    }

    #[test]
    fn clocks_differ_by_what_the_way_to_nango_cannot_explain() {
        for nangos in [94, 99, 104, 108, 113] {
            check_clock(nangos, Status::Ok);
        }
        for nangos in [93, 69, 114, 138] {
            check_clock(nangos, Status::Warn);
        }
        for nangos in [68, 139, 0] {
            check_clock(nangos, Status::Fail);
        }
    }

    #[test]
    fn a_limit_above_nangos_is_found() {
        assert_eq!(limit(200, Some(200)).status, Status::Ok);
        assert_eq!(limit(100, Some(200)).status, Status::Ok);
        assert_eq!(limit(201, Some(200)).status, Status::Warn);
        assert_eq!(limit(100_000, None).status, Status::Ok);
    }

    #[test]
    fn an_integration_that_asks_for_no_refresh_token_warns() {
        let judge = |lacks: Option<&str>| {
            let sent = Rehearsal::SentOff {
                state: None,
                redirect_uri: None,
                lacks_offline_access: lacks.map(str::to_owned),
            };
            let (provider, key) = ("google".parse().unwrap(), "google-prod".parse().unwrap());
            integration(&provider, &key, Some(sent)).0
        };
        assert_eq!(judge(None).status, Status::Ok);
        let found = judge(Some("the parameter access_type=offline"));
        assert_eq!(found.status, Status::Warn);
        assert!(found.seen.contains("access_type=offline"), "{found:?}");
    }

    #[test]
    fn the_callback_must_be_ours_to_the_byte_for_every_provider() {
        let ours: Url = "https://a.example/oauth/callback".parse().unwrap();
        let judge = |seen: &[&str]| {
            callback(&seen.iter().map(|&url| url.to_owned()).collect(), &ours).status
        };
        assert_eq!(judge(&[ours.as_str()]), Status::Ok);
        assert_eq!(judge(&["https://a.example/oauth/callback/"]), Status::Fail);
        assert_eq!(judge(&[ours.as_str(), "https://api.nango.dev/oauth/callback"]), Status::Fail);
        assert_eq!(judge(&[]), Status::Warn);
    }

    #[test]
    fn a_key_that_is_none_fails_and_one_that_may_not_list_warns() {
        let refused = |status| NangoError::Refused { status, code: "c".to_owned() };
        assert_eq!(key(None).status, Status::Ok);
        assert_eq!(key(Some(&refused(401))).status, Status::Fail);
        assert_eq!(key(Some(&refused(403))).status, Status::Warn);
        assert_eq!(key(Some(&NangoError::Malformed("m"))).status, Status::Fail);
        assert_eq!(reach(Ok(404)).status, Status::Fail);
    }
}
