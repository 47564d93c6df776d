//! What a tenant asks to be sent again: all events of a time.

use super::{cursor::can_be_asked_for, notification::EventType};
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use utoipa::ToSchema;

/// How many events a time may have. They are counted while the tenant waits, and looked at again one by one.
pub const EVENTS_MAX: i64 = 100_000;

/// Which events are to be sent once more: those whose first delivery ended.
#[derive(Debug, Clone, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schema(as = Redelivery)]
pub struct RedeliveryRequest {
    /// Events that happened then or later; in the past.
    #[schema(value_type = DateTime<Utc>, example = "2026-11-22T18:00:00Z")]
    pub since: String,
    /// And before this; now at the latest, and without it.
    #[schema(value_type = Option<DateTime<Utc>>)]
    pub until: Option<String>,
    /// Those whose first delivery ended like this; without it, however it ended.
    #[schema(value_type = Option<Ended>)]
    pub status: Option<String>,
    /// Those of these types; without it, of all.
    #[schema(value_type = Option<Vec<EventType>>, min_items = 1)]
    pub types: Option<Vec<String>>,
    /// Only count.
    #[serde(default)]
    pub dry_run: bool,
}

/// How an event's first delivery ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    Delivered,
    Exhausted,
}

impl Ended {
    pub const ALL: [Self; 2] = [Self::Delivered, Self::Exhausted];

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Delivered => "delivered",
            Self::Exhausted => "exhausted",
        }
    }

    pub fn read(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|known| known.as_str() == text)
    }
}

/// How far a redelivery is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(as = RedeliveryStatus)]
pub enum Stage {
    /// More deliveries are to be made.
    UnderWay,
    /// All were made. They may still be on their way.
    Done,
    /// Another one took its place, and it makes no more.
    Replaced,
}

impl Stage {
    pub const fn of(is_done: bool, is_replaced: bool) -> Self {
        match (is_done, is_replaced) {
            (false, _) => Self::UnderWay,
            (true, false) => Self::Done,
            (true, true) => Self::Replaced,
        }
    }
}

/// Events whose first delivery ended. Those that are on their way need nobody to send them again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Redelivery {
    /// They happened in this time, up to its end and without it.
    pub since: DateTime<Utc>,
    pub until: DateTime<Utc>,
    /// Any, where nothing is said.
    pub status: Option<Ended>,
    pub types: Option<BTreeSet<EventType>>,
}

/// What is wrong with a request, and how to mend it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BadRedelivery {
    #[error("{0} must be a time such as 2026-11-22T18:00:00Z")]
    Time(&'static str),
    #[error("since must be before until, and in the past")]
    Order,
    #[error("status must be delivered or exhausted; leave it out for both")]
    Status,
    #[error(
        "types must be a list of event types, such as connection.activated; leave it out for all"
    )]
    Types,
}

impl Redelivery {
    /// The time ends `now` at the latest, so that what is asked has an end.
    pub fn read(request: &RedeliveryRequest, now: DateTime<Utc>) -> Result<Self, BadRedelivery> {
        let since = time("since", &request.since)?;
        let until = request.until.as_deref().map(|until| time("until", until)).transpose()?;
        let until = until.map_or(now, |until| until.min(now));
        if since >= until {
            return Err(BadRedelivery::Order);
        }
        let status =
            request.status.as_deref().map(|text| Ended::read(text).ok_or(BadRedelivery::Status));
        let types = request.types.as_deref().map(|types| {
            let types = types
                .iter()
                .map(|text| text.parse::<EventType>().ok())
                .collect::<Option<BTreeSet<_>>>();
            types.filter(|types| !types.is_empty()).ok_or(BadRedelivery::Types)
        });
        Ok(Self { since, until, status: status.transpose()?, types: types.transpose()? })
    }
}

/// In whole microseconds, which is what PostgreSQL keeps: two times that differ here differ there.
fn time(name: &'static str, text: &str) -> Result<DateTime<Utc>, BadRedelivery> {
    let at = DateTime::parse_from_rfc3339(text).map_err(|_malformed| BadRedelivery::Time(name))?;
    DateTime::from_timestamp_micros(at.timestamp_micros())
        .filter(|at| can_be_asked_for(*at))
        .ok_or(BadRedelivery::Time(name))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn now() -> DateTime<Utc> {
        "2026-11-22T18:00:00Z".parse().unwrap()
    }

    fn read(request: Value) -> Result<Redelivery, String> {
        let request: RedeliveryRequest =
            serde_json::from_value(request).map_err(|error| error.to_string())?;
        Redelivery::read(&request, now()).map_err(|bad| bad.to_string())
    }

    #[test]
    fn a_time_alone_means_everything_until_now() {
        let all = Redelivery {
            since: "2026-11-22T17:00:00Z".parse().unwrap(),
            until: now(),
            status: None,
            types: None,
        };
        assert_eq!(read(json!({"since": "2026-11-22T17:00:00Z"})), Ok(all.clone()));
        assert_eq!(read(json!({"since": "2026-11-22T18:00:00.0000009+01:00"})), Ok(all.clone()));
        let future = json!({"since": "2026-11-22T17:00:00Z", "until": "9999-01-01T00:00:00Z"});
        assert_eq!(read(future), Ok(all));
    }

    #[test]
    fn status_and_types_say_which() {
        let types = json!(["connection.deleted", "connection.failed", "connection.deleted"]);
        let some = json!({"since": "2026-11-22T17:00:00Z", "until": "2026-11-22T17:30:00Z",
            "status": "exhausted", "types": types, "dryRun": true});
        let some = read(some).unwrap();
        assert_eq!(some.until, "2026-11-22T17:30:00Z".parse::<DateTime<Utc>>().unwrap());
        assert_eq!(some.status, Some(Ended::Exhausted));
        assert_eq!(some.types, Some([EventType::Failed, EventType::Deleted].into()));
    }

    #[test]
    fn what_cannot_be_is_told_how_to_mend_it() {
        let since = "2026-11-22T17:00:00Z";
        for (request, mend) in [
            (json!({}), "missing field `since`"),
            (json!({"since": "yesterday"}), "since must be a time"),
            (json!({"since": 7}), "string"),
            (json!({"since": "2026-11-22"}), "since must be a time"),
            (json!({"since": "0000-12-31T23:59:59Z"}), "since must be a time"),
            (json!({"since": "0001-01-01T00:00:00+01:00"}), "since must be a time"),
            (json!({"since": since, "until": ""}), "until must be a time"),
            (json!({"since": since, "until": since}), "since must be before until"),
            (
                json!({"since": "2026-11-22T17:00:00.0000001Z", "until": "2026-11-22T17:00:00.0000002Z"}),
                "since must be before until",
            ),
            (json!({"since": "2026-11-22T18:00:00Z"}), "in the past"),
            (json!({"since": since, "status": "ready"}), "status must be delivered or exhausted"),
            (json!({"since": since, "types": []}), "types must be a list"),
            (json!({"since": since, "types": ["activated"]}), "types must be a list"),
            (json!({"since": since, "limit": 1}), "unknown field `limit`"),
        ] {
            let told = read(request.clone()).unwrap_err();
            assert!(told.contains(mend), "{request}: {told}");
        }
    }
}
