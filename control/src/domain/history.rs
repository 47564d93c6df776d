//! Which of a connection's deliveries are shown, and where the next page begins.

use super::{
    cursor,
    query::{BadQuery, Query, number},
};
use chrono::{DateTime, Utc};
use contract::id::{ConnectionId, DeliveryId, TenantId};

const PAGE: usize = 50;
const PAGE_MAX: usize = 200;

/// How many tries of a delivery are shown, the last ones. With each comes up to 4.5 KiB of a receiver's words,
/// twice that as JSON, so that the longest page has less than 10 MB.
pub const ATTEMPTS_MAX: i64 = 5;

/// A page of a connection's deliveries, newest first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct History {
    pub connection: ConnectionId,
    /// The page goes on after this delivery.
    pub after: Option<(DateTime<Utc>, DeliveryId)>,
    pub limit: usize,
}

impl History {
    pub fn read(raw: &str, tenant: &TenantId, connection: ConnectionId) -> Result<Self, BadQuery> {
        let query = Query::read(raw, &["limit", "cursor"])?;
        let limit = |text: &str| number(text).filter(|limit| (1..=PAGE_MAX).contains(limit));
        let limit = query.value("limit", format!("a number from 1 to {PAGE_MAX}"), limit)?;
        let after = query.text("cursor").map(|text| {
            let (at, id) = cursor::read(text, &list(tenant, connection)).ok_or(BadQuery::Cursor)?;
            Ok((at, DeliveryId::from_uuid(id)))
        });
        Ok(Self { connection, after: after.transpose()?, limit: limit.unwrap_or(PAGE) })
    }

    /// Where the page after a delivery begins, as its tenant carries it.
    pub fn cursor(&self, tenant: &TenantId, last: (DateTime<Utc>, DeliveryId)) -> String {
        cursor::write(last.0, last.1.as_uuid(), &list(tenant, self.connection))
    }
}

/// No tenant's id has a slash, so that no two lists have one name.
fn list(tenant: &TenantId, connection: ConnectionId) -> String {
    format!("{tenant}/{connection}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn connection(number: u8) -> ConnectionId {
        ConnectionId::from_parts(1, &[number; 10])
    }

    #[test]
    fn a_page_is_read_strictly() {
        let acme = "acme".parse().unwrap();
        let read =
            |raw: &str| History::read(raw, &acme, connection(1)).map_err(|bad| bad.to_string());
        let first = History { connection: connection(1), after: None, limit: 50 };
        assert_eq!(read(""), Ok(first.clone()));
        assert_eq!(read("limit=200"), Ok(History { limit: 200, ..first }));
        for (raw, mend) in [
            ("limit=0", "limit must be a number from 1 to 200"),
            ("limit=201", "limit must be a number from 1 to 200"),
            ("limit=1&limit=1", "limit may be in the query once"),
            ("status=ready", "unknown in the query: status"),
            ("cursor=x", "nextCursor"),
        ] {
            assert!(read(raw).unwrap_err().contains(mend), "{raw}");
        }
    }

    #[test]
    fn a_cursor_is_of_one_connection_of_one_tenant() {
        let (acme, rival): (TenantId, TenantId) =
            ("acme".parse().unwrap(), "rival".parse().unwrap());
        let history = History { connection: connection(1), after: None, limit: 50 };
        let last = (DateTime::UNIX_EPOCH, DeliveryId::from_parts(1, &[7; 10]));
        let raw = format!("cursor={}", history.cursor(&acme, last));
        assert_eq!(History::read(&raw, &acme, connection(1)).unwrap().after, Some(last));
        assert_eq!(History::read(&raw, &rival, connection(1)), Err(BadQuery::Cursor));
        assert_eq!(History::read(&raw, &acme, connection(2)), Err(BadQuery::Cursor));
    }
}
