//! Of a connection, one delivery is ready and its successors wait. Whoever ends one makes the next ready; what
//! nobody made ready is found by a walk.

use crate::store::{As, Store, StoreError, read, tx::Tx, wake};
use chrono::{DateTime, Utc};
use contract::id::{ConnectionId, TenantId};
use uuid::Uuid;

/// How many connections one step of the walk looks at.
const CONNECTIONS_MAX: i32 = 500;

/// What a step of the walk found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stranded {
    /// How many deliveries waited for nobody, and are ready now.
    pub rescued: u64,
    /// Where the walk goes on; nothing, at its end.
    pub came_to: Option<(TenantId, ConnectionId)>,
}

impl Store {
    /// Looks for deliveries that wait though none before them is unfinished, and makes them ready. There should
    /// be none: this mends what a mistake of ours or a hand in the database left behind.
    pub async fn rescue_deliveries(
        &self,
        after: Option<&(TenantId, ConnectionId)>,
        at: DateTime<Utc>,
    ) -> Result<Stranded, StoreError> {
        let mut tx = self.begin(As::Worker).await?;
        let rows: Vec<(String, Uuid, bool)> = sqlx::query_as(
            "WITH RECURSIVE walk AS (
                 (SELECT tenant_id, connection_id, 1 AS step FROM deliveries
                  WHERE status = 'blocked' AND (tenant_id, connection_id) > ($1, $2)
                  ORDER BY tenant_id, connection_id LIMIT 1)
                 UNION ALL
                 SELECT next.tenant_id, next.connection_id, walk.step + 1 FROM walk CROSS JOIN LATERAL (
                     SELECT tenant_id, connection_id FROM deliveries
                     WHERE status = 'blocked'
                       AND (tenant_id, connection_id) > (walk.tenant_id, walk.connection_id)
                     ORDER BY tenant_id, connection_id LIMIT 1
                 ) AS next
                 WHERE walk.step < $3
             )
             SELECT tenant_id, connection_id, NOT EXISTS (
                 SELECT FROM deliveries
                 WHERE tenant_id = walk.tenant_id AND connection_id = walk.connection_id
                   AND status = 'ready' AND NOT is_redelivery
             ) FROM walk ORDER BY tenant_id, connection_id",
        )
        .bind(after.map_or("", |(tenant, _)| tenant.as_str()))
        .bind(after.map_or(Uuid::nil(), |(_, connection)| connection.as_uuid()))
        .bind(CONNECTIONS_MAX)
        .fetch_all(&mut *tx)
        .await?;
        let is_cut = i32::try_from(rows.len()).unwrap_or(i32::MAX) >= CONNECTIONS_MAX;
        let came_to = rows.last().filter(|_| is_cut);
        let came_to = match came_to {
            Some((tenant, connection, _)) => {
                let tenant = read("deliveries.tenant_id", tenant)?;
                Some((tenant, ConnectionId::from_uuid(*connection)))
            }
            None => None,
        };
        let stranded = rows.iter().filter(|(.., is_stranded)| *is_stranded);
        let (tenants, connections): (Vec<&str>, Vec<Uuid>) =
            stranded.map(|(tenant, connection, _)| (tenant.as_str(), *connection)).unzip();
        if tenants.is_empty() {
            return Ok(Stranded { rescued: 0, came_to });
        }
        lock_connections(&mut tx, &tenants, &connections).await?;
        let rescued = make_next_ready(&mut tx, &tenants, &connections, at).await?;
        wake(&mut tx);
        tx.commit().await?;
        Ok(Stranded { rescued, came_to })
    }
}

/// Whoever inserts a connection's next delivery holds the same lock; without it both could believe that the
/// other makes it ready. In the order of the key, so that no two can wait for each other.
pub(super) async fn lock_connections(
    tx: &mut Tx,
    tenants: &[&str],
    connections: &[Uuid],
) -> Result<(), StoreError> {
    if tenants.is_empty() {
        return Ok(());
    }
    sqlx::query(
        "SELECT FROM connections
         WHERE (tenant_id, connection_id) IN (SELECT * FROM unnest($1::text[], $2::uuid[]))
         ORDER BY tenant_id, connection_id FOR UPDATE",
    )
    .bind(tenants)
    .bind(connections)
    .execute(&mut **tx)
    .await?;
    Ok(())
}

/// Makes the first that waits ready, of each of these connections that has none that is; how many those were.
/// The caller holds the connections' locks.
pub(super) async fn make_next_ready(
    tx: &mut Tx,
    tenants: &[&str],
    connections: &[Uuid],
    at: DateTime<Utc>,
) -> Result<u64, StoreError> {
    if tenants.is_empty() {
        return Ok(0);
    }
    let made_ready = sqlx::query(
        "UPDATE deliveries SET status = 'ready', due_at = $3
         FROM (SELECT DISTINCT * FROM unnest($1::text[], $2::uuid[])) AS ended (tenant_id, connection_id)
         CROSS JOIN LATERAL (
             SELECT delivery_id FROM deliveries
             WHERE tenant_id = ended.tenant_id AND connection_id = ended.connection_id AND status = 'blocked'
             ORDER BY sequence LIMIT 1
         ) AS first
         WHERE deliveries.tenant_id = ended.tenant_id AND deliveries.delivery_id = first.delivery_id
           AND NOT EXISTS (
               SELECT FROM deliveries AS head
               WHERE head.tenant_id = ended.tenant_id AND head.connection_id = ended.connection_id
                 AND head.status = 'ready' AND NOT head.is_redelivery
           )",
    )
    .bind(tenants)
    .bind(connections)
    .bind(at)
    .execute(&mut **tx)
    .await?;
    Ok(made_ready.rows_affected())
}
