//! What a tenant pulls of its events or its trail, and where that goes on.

use super::{
    listing::read_sub,
    notification::EventType,
    numbered::{Mark, Numbered, Place},
    query::{BadQuery, Query, number},
    wait,
};
use chrono::TimeDelta;
use contract::id::{ConnectionId, TenantId};

const PAGE: usize = 50;
const PAGE_MAX: usize = 200;

/// How many positions are looked at for one page: one type among many must not cost a walk through all.
const SPAN: i64 = 2000;

/// The events that come next, of these types only.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pull {
    /// Where it goes on; without a place, the oldest event that is kept comes first.
    pub after: Option<Place>,
    pub limit: usize,
    pub types: Option<Vec<EventType>>,
    /// How long to wait for the next event, when there is none.
    pub wait: Option<TimeDelta>,
}

impl Pull {
    pub fn read(raw: &str, tenant: &TenantId) -> Result<Self, BadQuery> {
        let query = Query::read(raw, &["after", "limit", "types", "wait"])?;
        let known = EventType::ALL.map(EventType::as_str).join(", ");
        Ok(Self {
            after: after(&query, Numbered::Events, tenant)?,
            limit: limit(&query)?,
            types: query.value("types", format!("some of: {known}, separated by commas"), types)?,
            wait: wait::at_most(&query)?,
        })
    }
}

/// The lines of the trail that come next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trail {
    pub after: Place,
    pub limit: usize,
    /// Of this connection only.
    pub connection: Option<ConnectionId>,
    /// Of this end user's connections only.
    pub sub: Option<String>,
}

impl Trail {
    pub fn read(raw: &str, tenant: &TenantId) -> Result<Self, BadQuery> {
        let query = Query::read(raw, &["after", "limit", "connectionId", "sub"])?;
        let after = after(&query, Numbered::Audit, tenant)?.unwrap_or(Place::START);
        let connection = query.value("connectionId", "a connection's id", |id| id.parse().ok())?;
        Ok(Self { after, limit: limit(&query)?, connection, sub: read_sub(&query)? })
    }
}

fn after(query: &Query, list: Numbered, tenant: &TenantId) -> Result<Option<Place>, BadQuery> {
    let read = |text| list.read(tenant, text).ok_or(BadQuery::After);
    query.text("after").map(read).transpose()
}

fn limit(query: &Query) -> Result<usize, BadQuery> {
    let limit = |text: &str| number(text).filter(|limit| (1..=PAGE_MAX).contains(limit));
    let rule = format!("a number from 1 to {PAGE_MAX}");
    Ok(query.value("limit", rule, limit)?.unwrap_or(PAGE))
}

fn types(text: &str) -> Option<Vec<EventType>> {
    text.split(',').map(|word| word.parse().ok()).collect()
}

/// What is kept of a tenant's feed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Feed {
    /// The feed is whole from here on.
    pub oldest: i64,
    /// The newest position; 0 before the first.
    pub newest: i64,
}

/// Why a list cannot go on from a place.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Lost {
    #[error("what came after it is no longer kept")]
    Expired,
    /// It was never reached, or another one stands there: the database is of a backup that was older than
    /// the cursor. To go on would pass over what came in the place of what is lost.
    #[error("what it has seen is not there")]
    Unknown,
}

impl Feed {
    /// Of a tenant that has none yet.
    pub const EMPTY: Self = Self { oldest: 1, newest: 0 };

    /// The first and the last position to look at, in order; `there` is what stands where the place is.
    pub fn span(self, after: Option<Place>, there: Option<Mark>) -> Result<(i64, i64), Lost> {
        let first = match after {
            None => self.oldest,
            Some(after) if after.position > self.newest || !after.is_where(there) => {
                return Err(Lost::Unknown);
            }
            Some(after) => after.position.saturating_add(1),
        };
        if first < self.oldest {
            return Err(Lost::Expired);
        }
        Ok((first, first.saturating_add(SPAN).saturating_sub(1).min(self.newest)))
    }

    /// The position behind which the next page begins: behind the last event of a full page, or else
    /// behind all that was looked at.
    pub fn next(self, (first, last): (i64, i64), shown: &[i64], limit: usize) -> i64 {
        match shown.last() {
            Some(shown_last) if shown.len() >= limit => *shown_last,
            _ => last.max(first.saturating_sub(1)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn acme() -> TenantId {
        "acme".parse().unwrap()
    }

    fn place(position: i64) -> Place {
        Place { position, mark: Some(Mark::of(b"seen")) }
    }

    #[track_caller]
    fn refuse(raw: &str, expected: &str) {
        let bad = Pull::read(raw, &acme()).unwrap_err();
        assert!(bad.to_string().contains(expected), "{raw}: {bad}");
    }

    #[test]
    fn every_parameter_has_a_rule() {
        let all = Pull { after: None, limit: 50, types: None, wait: None };
        assert_eq!(Pull::read("", &acme()).unwrap(), all);
        let cursor = Numbered::Events.cursor(&acme(), place(3));
        let raw = format!(
            "after={cursor}&limit=200&wait=60&types=connection.failed,connection.activated"
        );
        let pull = Pull {
            after: Some(place(3)),
            limit: 200,
            types: Some(vec![EventType::Failed, EventType::Activated]),
            wait: Some(TimeDelta::seconds(60)),
        };
        assert_eq!(Pull::read(&raw, &acme()).unwrap(), pull);
        for limit in ["0", "201", "x", ""] {
            refuse(&format!("limit={limit}"), "limit must be a number from 1 to 200");
        }
        for wait in ["0", "61", "x"] {
            refuse(&format!("wait={wait}"), "wait must be a number of seconds from 1 to 60");
        }
        for types in ["", "failed", "connection.failed,", "connection.failed, connection.deleted"] {
            refuse(&format!("types={types}"), "types must be some of: connection.activated, ");
        }
        for after in ["", "3", &Numbered::Audit.cursor(&acme(), place(3))] {
            refuse(&format!("after={after}"), "after must be");
        }
        refuse(
            "cursor=x",
            "unknown in the query: cursor; this call takes after, limit, types, wait",
        );
    }

    #[test]
    fn a_trail_is_of_a_tenant_a_connection_or_a_user() {
        let cursor = Numbered::Audit.cursor(&acme(), place(3));
        let all = Trail { after: Place::START, limit: 50, connection: None, sub: None };
        assert_eq!(Trail::read("", &acme()), Ok(all.clone()));
        let read = Trail::read(&format!("after={cursor}&limit=1"), &acme());
        assert_eq!(read, Ok(Trail { after: place(3), limit: 1, ..all.clone() }));
        let id = ConnectionId::from_parts(1, &[1; 10]);
        let read = Trail::read(&format!("connectionId={id}&sub=user-1"), &acme());
        let sub = Some("user-1".to_owned());
        assert_eq!(read, Ok(Trail { connection: Some(id), sub, ..all }));
        assert!(Trail::read("connectionId=1", &acme()).is_err());
        assert!(Trail::read("sub=", &acme()).is_err());
        assert!(Trail::read("wait=5", &acme()).is_err());
    }

    #[test]
    fn a_feed_goes_on_where_it_is_whole_and_nowhere_else() {
        let feed = Feed { oldest: 11, newest: 5000 };
        for (after, expected) in [
            (None, Ok((11, 2010))),
            (Some(0), Err(Lost::Expired)),
            (Some(9), Err(Lost::Expired)),
            (Some(10), Ok((11, 2010))),
            (Some(11), Ok((12, 2011))),
            (Some(4999), Ok((5000, 5000))),
            (Some(5000), Ok((5001, 5000))),
            (Some(5001), Err(Lost::Unknown)),
            (Some(i64::MAX), Err(Lost::Unknown)),
        ] {
            let after = after.map(place);
            let there = after.and_then(|after| after.mark);
            assert_eq!(feed.span(after, there), expected, "{after:?}");
            assert_eq!(feed.span(after, None), expected, "{after:?}");
        }
        assert_eq!(Feed::EMPTY.span(None, None), Ok((1, 0)));
        assert_eq!(Feed::EMPTY.span(Some(Place::START), None), Ok((1, 0)));
        // All is gone, and nothing new came.
        let gone = Feed { oldest: 6, newest: 5 };
        for (after, expected) in
            [(None, Ok((6, 5))), (Some(5), Ok((6, 5))), (Some(4), Err(Lost::Expired))]
        {
            assert_eq!(gone.span(after.map(place), None), expected, "{after:?}");
        }
    }

    #[test]
    fn a_feed_does_not_go_on_behind_what_it_never_had() {
        let feed = Feed { oldest: 11, newest: 5000 };
        let other = Some(Mark::of(b"another"));
        for position in [10, 11, 4999, 5000] {
            assert_eq!(feed.span(Some(place(position)), other), Err(Lost::Unknown), "{position}");
        }
    }

    #[test]
    fn the_next_page_begins_behind_what_was_looked_at() {
        let feed = Feed { oldest: 1, newest: 9 };
        for (span, shown, limit, expected) in [
            ((1, 9), &[1, 2][..], 2, 2),
            ((1, 9), &[1, 2], 3, 9),
            ((1, 9), &[], 3, 9),
            ((10, 9), &[], 3, 9),
        ] {
            assert_eq!(feed.next(span, shown, limit), expected, "{span:?} {shown:?} {limit}");
        }
        assert_eq!(Feed::EMPTY.next((1, 0), &[], 1), 0);
    }
}
