//! Which connections changed and which feeds went on: told once it is committed, and to be asked for by whoever
//! missed it.

use super::{As, Listener, Store, StoreError, Told, read, tx::Tx};
use crate::domain::connection::Connection;
use contract::id::{ConnectionId, TenantId};
use uuid::Uuid;

/// A payload is a tenant, an id and a version: at most 120 of the 8000 bytes that PostgreSQL takes.
const CHANNEL: &str = "connections_news";

/// Stands where the id of a connection would. A release that does not know it passes it over.
const FEED: &str = "events";

/// What somebody may wait for.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Awaited {
    Connection(TenantId, ConnectionId),
    Feed(TenantId),
}

/// The newest version of a connection, or the newest position of a feed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Newer {
    pub of: Awaited,
    pub version: i64,
}

/// Changes as they are committed, by any process.
#[derive(Debug)]
pub struct News(Listener);

impl News {
    /// The next change. While the database is away, changes are missed.
    pub async fn next(&mut self) -> Result<Newer, StoreError> {
        loop {
            let told = self.0.heard().await?;
            // Another release may say it in other words; whoever waits polls.
            if let Some(newer) = parse(told.payload()) {
                return Ok(newer);
            }
        }
    }
}

impl Store {
    /// Listens for changes, on one connection for the whole process.
    pub async fn news(&self) -> Result<News, StoreError> {
        Ok(News(self.listen_to(CHANNEL).await?))
    }

    /// The versions of all these as they are now, in one query.
    pub async fn versions(&self, of: &[Awaited]) -> Result<Vec<Newer>, StoreError> {
        let (tenants, ids): (Vec<&str>, Vec<Option<Uuid>>) = of
            .iter()
            .map(|of| match of {
                Awaited::Connection(tenant, id) => (tenant.as_str(), Some(id.as_uuid())),
                Awaited::Feed(tenant) => (tenant.as_str(), None),
            })
            .unzip();
        let mut tx = self.begin(As::Worker).await?;
        let rows: Vec<(String, Option<Uuid>, i64)> = sqlx::query_as(
            "WITH wanted AS (SELECT * FROM unnest($1::text[], $2::uuid[]) AS wanted (tenant_id, connection_id))
             SELECT tenant_id, connection_id, version FROM connections JOIN wanted USING (tenant_id, connection_id)
             UNION ALL
             SELECT tenant_id, NULL, event_position FROM tenant_heads JOIN wanted USING (tenant_id)
             WHERE connection_id IS NULL",
        )
        .bind(tenants)
        .bind(ids)
        .fetch_all(&mut *tx)
        .await?;
        tx.commit().await?;
        rows.into_iter()
            .map(|(tenant, id, version)| {
                let tenant = read("connections.tenant_id", &tenant)?;
                let of = match id {
                    Some(id) => Awaited::Connection(tenant, ConnectionId::from_uuid(id)),
                    None => Awaited::Feed(tenant),
                };
                Ok(Newer { of, version })
            })
            .collect()
    }
}

/// Tells of a change once its transaction has committed, and not before.
pub(super) fn tell(tx: &mut Tx, after: &Connection) {
    let payload = format!("{} {} {}", after.tenant, after.id, after.version);
    tx.tell(Told { channel: CHANNEL, payload });
}

/// Tells that a feed went on, once the transaction has committed.
pub(super) fn tell_feed(tx: &mut Tx, tenant: &TenantId, newest: i64) {
    tx.tell(Told { channel: CHANNEL, payload: format!("{tenant} {FEED} {newest}") });
}

fn parse(payload: &str) -> Option<Newer> {
    let mut words = payload.split(' ');
    let tenant = words.next()?.parse().ok()?;
    let of = match words.next()? {
        FEED => Awaited::Feed(tenant),
        id => Awaited::Connection(tenant, id.parse().ok()?),
    };
    let newer = Newer { of, version: words.next()?.parse().ok()? };
    words.next().is_none().then_some(newer)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_told_so_is_no_news() {
        let id = "0195f2a1-0000-7000-8000-000000000001";
        let newer = parse(&format!("acme {id} 7")).unwrap();
        let acme: TenantId = "acme".parse().unwrap();
        let of = Awaited::Connection(acme.clone(), id.parse().unwrap());
        assert_eq!(newer, Newer { of, version: 7 });
        assert_eq!(parse("acme events 7"), Some(Newer { of: Awaited::Feed(acme), version: 7 }));
        for payload in [
            "",
            "acme",
            "acme audit 7",
            "acme events",
            &format!("acme {id}"),
            &format!("acme {id} x"),
            &format!("acme {id} 7 8"),
        ] {
            assert_eq!(parse(payload), None, "{payload}");
        }
    }
}
