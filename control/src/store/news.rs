//! Which connections changed: told when a change commits, and to be asked for by whoever missed it.

use super::{As, Store, StoreError, read};
use crate::domain::connection::Connection;
use contract::id::{ConnectionId, TenantId};
use sqlx::{Postgres, Transaction, postgres::PgListener};
use uuid::Uuid;

/// A payload is a tenant, an id and a version: at most 120 of the 8000 bytes that PostgreSQL takes.
const CHANNEL: &str = "connections_news";

/// A connection, and the newest version of it that was heard of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Newer {
    pub tenant: TenantId,
    pub connection: ConnectionId,
    pub version: i64,
}

/// Changes as they are committed, by any process.
#[derive(Debug)]
pub struct News(PgListener);

impl News {
    /// The next change. While the database is away, changes are missed.
    pub async fn next(&mut self) -> Result<Newer, StoreError> {
        loop {
            let told = self.0.recv().await?;
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
        let mut listener = PgListener::connect_with(&self.pool).await?;
        listener.listen(CHANNEL).await?;
        Ok(News(listener))
    }

    /// The versions of these connections as they are now, in one query.
    pub async fn versions(
        &self,
        of: &[(TenantId, ConnectionId)],
    ) -> Result<Vec<Newer>, StoreError> {
        let tenants: Vec<&str> = of.iter().map(|(tenant, _)| tenant.as_str()).collect();
        let ids: Vec<Uuid> = of.iter().map(|(_, id)| id.as_uuid()).collect();
        let mut tx = self.begin(As::Worker).await?;
        let rows: Vec<(String, Uuid, i64)> = sqlx::query_as(
            "SELECT tenant_id, connection_id, version FROM connections
             JOIN unnest($1::text[], $2::uuid[]) AS wanted (tenant_id, connection_id)
                 USING (tenant_id, connection_id)",
        )
        .bind(tenants)
        .bind(ids)
        .fetch_all(&mut *tx)
        .await?;
        tx.commit().await?;
        rows.into_iter()
            .map(|(tenant, id, version)| {
                let tenant = read("connections.tenant_id", &tenant)?;
                Ok(Newer { tenant, connection: ConnectionId::from_uuid(id), version })
            })
            .collect()
    }
}

/// Tells of a change when its transaction commits, and not before.
pub(super) async fn tell(
    tx: &mut Transaction<'static, Postgres>,
    after: &Connection,
) -> Result<(), StoreError> {
    sqlx::query("SELECT pg_notify($1, $2)")
        .bind(CHANNEL)
        .bind(format!("{} {} {}", after.tenant, after.id, after.version))
        .execute(&mut **tx)
        .await?;
    Ok(())
}

fn parse(payload: &str) -> Option<Newer> {
    let mut words = payload.split(' ');
    let newer = Newer {
        tenant: words.next()?.parse().ok()?,
        connection: words.next()?.parse().ok()?,
        version: words.next()?.parse().ok()?,
    };
    words.next().is_none().then_some(newer)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_told_so_is_no_news() {
        let id = "0195f2a1-0000-7000-8000-000000000001";
        let newer = parse(&format!("acme {id} 7")).unwrap();
        assert_eq!((newer.tenant.as_str(), newer.version), ("acme", 7));
        for payload in
            ["", "acme", &format!("acme {id}"), &format!("acme {id} x"), &format!("acme {id} 7 8")]
        {
            assert_eq!(parse(payload), None, "{payload}");
        }
    }
}
