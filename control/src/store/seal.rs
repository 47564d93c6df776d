//! Sealing: what was committed is numbered, and the trail is chained. Writers never wait for it.

use super::{As, Store, StoreError, audit::LineRow, news::tell_feed, read, tx::Tx};
use crate::domain::audit_chain::AuditHash;
use contract::id::TenantId;
use uuid::Uuid;

/// How much of one tenant is sealed in one transaction.
const BATCH: i64 = 2000;

/// How many tenants are found at once.
const TENANTS: i64 = 100;

/// How far a tenant was sealed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Head {
    event: i64,
    audit: i64,
    link: AuditHash,
}

impl Store {
    /// Tenants that have something to be sealed, in their order, from after that one.
    pub async fn unsealed_tenants(&self, after: &str) -> Result<Vec<TenantId>, StoreError> {
        let mut tx = self.begin(As::Worker).await?;
        // From one tenant to the next, so that one with a million rows costs no more than one with one.
        let tenants: Vec<String> = sqlx::query_scalar(
            "WITH RECURSIVE found AS (
                 SELECT $1 AS tenant_id
                 UNION ALL
                 SELECT least(
                     (SELECT tenant_id FROM events WHERE position IS NULL AND tenant_id > found.tenant_id
                      ORDER BY tenant_id LIMIT 1),
                     (SELECT tenant_id FROM audit_events WHERE position IS NULL AND tenant_id > found.tenant_id
                      ORDER BY tenant_id LIMIT 1))
                 FROM found WHERE found.tenant_id IS NOT NULL
             )
             SELECT tenant_id FROM found WHERE tenant_id > $1 LIMIT $2",
        )
        .bind(after)
        .bind(TENANTS)
        .fetch_all(&mut *tx)
        .await?;
        tx.commit().await?;
        tenants.iter().map(|tenant| read("events.tenant_id", tenant)).collect()
    }

    /// Seals some of a tenant's events and lines, in the order of their inserts, and says how many. None,
    /// while another sealer is at it. The events go first and by themselves: a line that nobody can read holds
    /// up the trail, and not the feed.
    ///
    /// Whatever is committed when this looks is numbered; what is committed later gets a later number,
    /// though it may have been inserted before.
    pub async fn seal(&self, tenant: &TenantId) -> Result<u64, StoreError> {
        let events = self.seal_events(tenant).await?;
        Ok(events.saturating_add(self.seal_lines(tenant).await?))
    }

    async fn seal_events(&self, tenant: &TenantId) -> Result<u64, StoreError> {
        let mut tx = self.begin(As::Worker).await?;
        let Some(head) = lock_head(&mut tx, tenant).await? else { return Ok(0) };
        let events = number_events(&mut tx, tenant, head.event).await?;
        if events > 0 {
            let after = Head { event: head.event.saturating_add_unsigned(events), ..head };
            move_head(&mut tx, tenant, after).await?;
            tell_feed(&mut tx, tenant, after.event);
        }
        // At once, even with nothing done: the lines' turn would find the head locked.
        tx.commit().await?;
        Ok(events)
    }

    async fn seal_lines(&self, tenant: &TenantId) -> Result<u64, StoreError> {
        let mut tx = self.begin(As::Worker).await?;
        let Some(head) = lock_head(&mut tx, tenant).await? else { return Ok(0) };
        let (lines, link) = chain_lines(&mut tx, tenant, head).await?;
        if lines > 0 {
            let after = Head { audit: head.audit.saturating_add_unsigned(lines), link, ..head };
            move_head(&mut tx, tenant, after).await?;
        }
        tx.commit().await?;
        Ok(lines)
    }
}

/// Makes the head if there is none, and holds it until the transaction ends; nothing, if another holds it.
///
/// From here on nothing is sorted that an index has in order: statistics hardly ever know of a backlog, and
/// PostgreSQL would read all of it, and sort it, for each batch.
async fn lock_head(tx: &mut Tx, tenant: &TenantId) -> Result<Option<Head>, StoreError> {
    sqlx::query("INSERT INTO tenant_heads (tenant_id) VALUES ($1) ON CONFLICT DO NOTHING")
        .bind(tenant.as_str())
        .execute(&mut **tx)
        .await?;
    let row: Option<(i64, i64, Vec<u8>, String)> = sqlx::query_as(
        "SELECT event_position, audit_position, audit_hash, set_config('enable_sort', 'off', true)
         FROM tenant_heads WHERE tenant_id = $1 FOR UPDATE SKIP LOCKED",
    )
    .bind(tenant.as_str())
    .fetch_optional(&mut **tx)
    .await?;
    let head = row.map(|(event, audit, link, _is_set)| {
        Ok(Head { event, audit, link: read_hash("tenant_heads.audit_hash", link)? })
    });
    head.transpose()
}

async fn number_events(tx: &mut Tx, tenant: &TenantId, newest: i64) -> Result<u64, StoreError> {
    let numbered = sqlx::query(
        "WITH unsealed AS (
             SELECT event_id, inserted FROM events WHERE tenant_id = $1 AND position IS NULL
             ORDER BY inserted LIMIT $3
         ), numbered AS (
             SELECT event_id, $2 + row_number() OVER (ORDER BY inserted) AS position FROM unsealed
         )
         UPDATE events SET position = numbered.position FROM numbered
         WHERE events.tenant_id = $1 AND events.event_id = numbered.event_id",
    )
    .bind(tenant.as_str())
    .bind(newest)
    .bind(BATCH)
    .execute(&mut **tx)
    .await?;
    Ok(numbered.rows_affected())
}

/// Chains lines behind the head; how many, and the last link.
async fn chain_lines(
    tx: &mut Tx,
    tenant: &TenantId,
    head: Head,
) -> Result<(u64, AuditHash), StoreError> {
    let rows: Vec<LineRow> = sqlx::query_as(
        "SELECT $2 + row_number() OVER (ORDER BY inserted) AS position, audit_id, at, actor, action, connection_id,
             request_id, detail
         FROM audit_events WHERE tenant_id = $1 AND position IS NULL ORDER BY inserted LIMIT $3",
    )
    .bind(tenant.as_str())
    .bind(head.audit)
    .bind(BATCH)
    .fetch_all(&mut **tx)
    .await?;
    if rows.is_empty() {
        return Ok((0, head.link));
    }
    let mut link = head.link;
    let (mut ids, mut positions, mut links) = (Vec::new(), Vec::new(), Vec::new());
    for row in rows {
        let line = row.of(tenant);
        link = line
            .hash_after(link)
            .map_err(|error| StoreError::Corrupt(format!("audit line {}: {error}", line.id)))?;
        ids.push(line.id.as_uuid());
        positions.push(line.position);
        links.push(link.as_bytes().to_vec());
    }
    let lines = write_links(tx, tenant, (ids, positions, links)).await?;
    Ok((lines, link))
}

async fn write_links(
    tx: &mut Tx,
    tenant: &TenantId,
    (ids, positions, links): (Vec<Uuid>, Vec<i64>, Vec<Vec<u8>>),
) -> Result<u64, StoreError> {
    let written = sqlx::query(
        "WITH links AS (
             SELECT * FROM unnest($2::uuid[], $3::bigint[], $4::bytea[]) AS link (audit_id, position, hash)
         ), chained AS (
             INSERT INTO audit_chain (tenant_id, position, audit_id, hash)
             SELECT $1, position, audit_id, hash FROM links
         )
         UPDATE audit_events SET position = links.position FROM links
         WHERE audit_events.tenant_id = $1 AND audit_events.audit_id = links.audit_id",
    )
    .bind(tenant.as_str())
    .bind(ids)
    .bind(positions)
    .bind(links)
    .execute(&mut **tx)
    .await?;
    Ok(written.rows_affected())
}

async fn move_head(tx: &mut Tx, tenant: &TenantId, head: Head) -> Result<(), StoreError> {
    sqlx::query(
        "UPDATE tenant_heads SET event_position = $2, audit_position = $3, audit_hash = $4 WHERE tenant_id = $1",
    )
    .bind(tenant.as_str())
    .bind(head.event)
    .bind(head.audit)
    .bind(head.link.as_bytes().as_slice())
    .execute(&mut **tx)
    .await?;
    Ok(())
}

pub(super) fn read_hash(column: &str, bytes: Vec<u8>) -> Result<AuditHash, StoreError> {
    let bytes =
        bytes.try_into().map_err(|_other| StoreError::Corrupt(format!("{column} is no hash")))?;
    Ok(AuditHash::from_bytes(bytes))
}
