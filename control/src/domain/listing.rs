//! Which of a tenant's connections are listed, and where the next page begins.

use super::{
    connection::{Connection, Status},
    cursor,
    provider::Provider,
    query::{BadQuery, Query, number},
};
use chrono::{DateTime, Utc};
use contract::id::{ConnectionId, TenantId};

const PAGE: usize = 50;
const PAGE_MAX: usize = 200;

/// The longest `sub` that a start accepts.
const SUB_BYTES_MAX: usize = 255;
/// The longest account id that a profile keeps.
const ACCOUNT_CHARS_MAX: usize = 255;

const PARAMETERS: [&str; 6] = ["sub", "provider", "status", "providerAccountId", "limit", "cursor"];

/// Connections, newest first, that pass every filter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listing {
    pub sub: Option<String>,
    pub provider: Option<Provider>,
    pub status: Option<Status>,
    pub provider_account_id: Option<String>,
    /// The list goes on after this connection.
    pub after: Option<Position>,
    pub limit: usize,
}

impl Listing {
    /// Reads the query of a list of `tenant`.
    pub fn read(raw: &str, tenant: &TenantId) -> Result<Self, BadQuery> {
        let query = Query::read(raw, &PARAMETERS)?;
        let statuses = Status::ALL.map(Status::as_str).join(", ");
        let limit = |text: &str| number(text).filter(|limit| (1..=PAGE_MAX).contains(limit));
        Ok(Self {
            sub: read_sub(&query)?,
            provider: query.value("provider", "a provider's name", |text| text.parse().ok())?,
            status: query.value("status", format!("one of: {statuses}"), Status::read)?,
            provider_account_id: query.value(
                "providerAccountId",
                format!("1 to {ACCOUNT_CHARS_MAX} characters, none of them a control character"),
                text(|text| text.chars().count() <= ACCOUNT_CHARS_MAX),
            )?,
            limit: query
                .value("limit", format!("a number from 1 to {PAGE_MAX}"), limit)?
                .unwrap_or(PAGE),
            after: query
                .text("cursor")
                .map(|cursor| Position::read(cursor, tenant).ok_or(BadQuery::Cursor))
                .transpose()?,
        })
    }
}

/// The end user that a query names.
pub(super) fn read_sub(query: &Query) -> Result<Option<String>, BadQuery> {
    let rule = format!("1 to {SUB_BYTES_MAX} bytes without control characters");
    query.value("sub", rule, text(|text| text.len() <= SUB_BYTES_MAX))
}

fn text(max: fn(&str) -> bool) -> impl Fn(&str) -> Option<String> {
    move |text: &str| {
        let is_text = !text.is_empty() && !text.contains(char::is_control) && max(text);
        is_text.then(|| text.to_owned())
    }
}

/// A connection's place in the list. New ones come before all others, so that a page never shifts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Position {
    pub created_at: DateTime<Utc>,
    pub id: ConnectionId,
}

impl Position {
    pub const fn of(connection: &Connection) -> Self {
        Self { created_at: connection.created_at, id: connection.id }
    }

    /// The position as its tenant carries it.
    pub fn cursor(self, tenant: &TenantId) -> String {
        cursor::write(self.created_at, self.id.as_uuid(), tenant.as_str())
    }

    fn read(cursor: &str, tenant: &TenantId) -> Option<Self> {
        let (created_at, id) = cursor::read(cursor, tenant.as_str())?;
        Some(Self { created_at, id: ConnectionId::from_uuid(id) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::connection::fixture::connection;
    use uuid::Uuid;

    fn tenant(name: &str) -> TenantId {
        name.parse().unwrap()
    }

    #[track_caller]
    fn refuse(raw: &str, expected: &str) {
        let bad = Listing::read(raw, &tenant("acme")).unwrap_err();
        assert!(bad.to_string().contains(expected), "{raw}: {bad}");
    }

    #[test]
    fn a_list_without_a_query_is_the_newest_fifty() {
        let listing = Listing::read("", &tenant("acme")).unwrap();
        let all = Listing {
            sub: None,
            provider: None,
            status: None,
            provider_account_id: None,
            after: None,
            limit: 50,
        };
        assert_eq!(listing, all);
    }

    #[test]
    fn every_filter_has_a_rule() {
        let filters = "sub=u&provider=github&status=needs_reauth&providerAccountId=7&limit=200";
        assert!(Listing::read(filters, &tenant("acme")).is_ok());
        refuse("limit=0", "limit must be a number from 1 to 200");
        refuse("limit=201", "limit must be");
        refuse("limit=x", "limit must be");
        refuse("sub=", "sub must be");
        refuse("sub=a%00", "sub must be");
        refuse(&format!("sub={}", "u".repeat(256)), "sub must be");
        refuse("provider=GitHub", "provider must be");
        refuse("status=Active", "status must be one of: pending, active");
        refuse("providerAccountId=", "providerAccountId must be");
        refuse(&format!("providerAccountId={}", "é".repeat(256)), "providerAccountId must be");
        refuse("tenantId=acme", "unknown in the query: tenantId");
    }

    #[test]
    fn a_cursor_is_read_by_its_tenant_alone() {
        let position = Position::of(&connection(Status::Active));
        let cursor = position.cursor(&tenant("acme"));
        assert_eq!(Position::read(&cursor, &tenant("acme")), Some(position));
        assert_eq!(Position::read(&cursor, &tenant("rival")), None);
    }

    #[test]
    fn a_cursor_that_was_touched_is_none() {
        let cursor = Position::of(&connection(Status::Active)).cursor(&tenant("acme"));
        for index in 0..cursor.len() {
            let (before, after) = (cursor.split_at(index).0, cursor.split_at(index + 1).1);
            for changed in
                [before.to_owned(), format!("{before}{after}"), format!("{before}%{after}")]
            {
                assert_eq!(Position::read(&changed, &tenant("acme")), None, "{changed}");
            }
        }
        for changed in [format!("{cursor}="), format!("{cursor}A"), "é".to_owned()] {
            assert_eq!(Position::read(&changed, &tenant("acme")), None, "{changed}");
        }
    }

    /// Whoever knows how a cursor is made can make one of any time; PostgreSQL does not take them all.
    #[test]
    fn a_cursor_is_of_a_time_that_can_be_asked_for() {
        let acme = tenant("acme");
        let read = |at: &str| {
            let created_at: DateTime<Utc> = at.parse().unwrap();
            let position = Position { created_at, id: ConnectionId::from_uuid(Uuid::nil()) };
            Position::read(&position.cursor(&acme), &acme).is_some()
        };
        for at in ["0001-01-01T00:00:00Z", "2026-11-22T18:00:00Z", "9999-12-31T23:59:59.999999Z"] {
            assert!(read(at), "{at}");
        }
        for at in
            ["-200000-01-01T00:00:00Z", "0000-12-31T23:59:59.999999Z", "+10000-01-01T00:00:00Z"]
        {
            assert!(!read(at), "{at}");
        }
    }

    proptest::proptest! {
        /// One position has one spelling, and a text that nobody wrote as a cursor is none.
        #[test]
        fn a_cursor_is_what_was_written(micros in 0_i64..1 << 52, id: u128, text: String) {
            let created_at = DateTime::from_timestamp_micros(micros).unwrap();
            let id = ConnectionId::from_uuid(Uuid::from_u128(id));
            let position = Position { created_at, id };
            let acme = tenant("acme");
            proptest::prop_assert_eq!(Position::read(&position.cursor(&acme), &acme), Some(position));
            proptest::prop_assert_eq!(Position::read(&text, &acme), None);
        }

        #[test]
        fn any_query_is_read_or_refused(raw: String) {
            if let Ok(listing) = Listing::read(&raw, &tenant("acme")) {
                proptest::prop_assert!((1..=PAGE_MAX).contains(&listing.limit));
            }
        }
    }
}
