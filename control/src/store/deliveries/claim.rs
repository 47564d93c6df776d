//! Claims what is due, tenant by tenant: a backlog that is not sent is not read.

use super::ClaimedDelivery;
use crate::{
    domain::{
        delivery::Progress,
        places::{Due, PLACES_MAX, Shares, Walk},
    },
    store::{As, Store, StoreError, destination_health::take_probes, later, read, tx::Tx},
};
use chrono::{DateTime, Utc};
use contract::id::{ConnectionId, DeliveryId, EventId, TenantId};
use std::{collections::BTreeSet, time::Duration};
use uuid::Uuid;

/// How many tenants one claim looks at, at most.
const TENANTS_MAX: usize = 256;

/// When a claim is made, how long it holds, and after which tenant its walk begins.
#[derive(Debug, Clone, Copy)]
pub struct Round<'a> {
    pub at: DateTime<Utc>,
    pub lease_for: Duration,
    pub after: Option<&'a TenantId>,
}

type Row = (
    Uuid,
    String,
    Uuid,
    Uuid,
    i32,
    Option<DateTime<Utc>>,
    bool,
    String,
    Option<String>,
    DateTime<Utc>,
);

impl Store {
    /// Walks on from tenant to tenant, lets `share` say how many of whose deliveries are claimed, and claims
    /// of each tenant those that are due longest.
    pub async fn claim_deliveries(
        &self,
        round: Round<'_>,
        share: impl FnOnce(Walk) -> Shares + Send,
    ) -> Result<(Vec<ClaimedDelivery>, Shares), StoreError> {
        let mut tx = self.begin(As::Worker).await?;
        let walk = walk(&mut tx, round).await?;
        let shares = share(walk);
        if shares.shares.is_empty() {
            return Ok((Vec::new(), shares));
        }
        let probes = shares.shares.iter().filter(|(due, _)| due.is_probe);
        let probes: Vec<&str> = probes.map(|(due, _)| due.tenant.as_str()).collect();
        let until = later(round.at, round.lease_for);
        let probes = take_probes(&mut tx, &probes, round.at, until).await?;
        let claimed = self.claim_shares(&mut tx, round, &shares, &probes).await?;
        tx.commit().await?;
        Ok((claimed, shares))
    }

    async fn claim_shares(
        &self,
        tx: &mut Tx,
        round: Round<'_>,
        shares: &Shares,
        probes: &BTreeSet<String>,
    ) -> Result<Vec<ClaimedDelivery>, StoreError> {
        let (lease, lease_until) = (self.mint.lease(), later(round.at, round.lease_for));
        // Another replica may have taken the probe a moment ago.
        let ours = shares
            .shares
            .iter()
            .filter(|(due, _)| !due.is_probe || probes.contains(due.tenant.as_str()));
        let (tenants, counts): (Vec<(&str, bool)>, Vec<i64>) = ours
            .map(|(due, count)| {
                let count = i64::try_from(*count).unwrap_or_default();
                ((due.tenant.as_str(), due.is_probe), count)
            })
            .unzip();
        let (tenants, are_probes): (Vec<&str>, Vec<bool>) = tenants.into_iter().unzip();
        // SKIP LOCKED: another worker's claims are passed over and not waited for. The limit is the most
        // that is ever shared out; without it PostgreSQL prepares for thousands, and reads whole tables.
        let rows: Vec<Row> = sqlx::query_as(
            "WITH due AS (
                 SELECT picked.tenant_id, picked.delivery_id, greatest(picked.due_at, picked.hastened_from) AS due_at
                 FROM unnest($4::text[], $5::bigint[], $6::boolean[]) AS share (tenant_id, deliveries, is_probe)
                 CROSS JOIN LATERAL (
                     SELECT tenant_id, delivery_id, due_at, hastened_from FROM deliveries
                     WHERE tenant_id = share.tenant_id AND status = 'ready'
                       AND due_at <= CASE WHEN share.is_probe THEN 'infinity' ELSE $2 END
                       AND (due_at <= $2 OR lease IS NULL)
                     ORDER BY due_at LIMIT share.deliveries FOR UPDATE SKIP LOCKED
                 ) AS picked LIMIT 64
             )
             UPDATE deliveries SET lease = $1, due_at = $3
             FROM due, events
             WHERE deliveries.tenant_id = due.tenant_id AND deliveries.delivery_id = due.delivery_id
               AND events.tenant_id = deliveries.tenant_id AND events.event_id = deliveries.event_id
             RETURNING deliveries.delivery_id, deliveries.tenant_id, deliveries.connection_id, deliveries.event_id,
                 deliveries.tries, deliveries.our_fault_since, deliveries.is_redelivery, events.body,
                 events.traceparent, due.due_at",
        )
        .bind(lease)
        .bind(round.at)
        .bind(lease_until)
        .bind(tenants)
        .bind(counts)
        .bind(are_probes)
        .fetch_all(&mut **tx)
        .await?;
        let leased = (lease, lease_until);
        rows.into_iter().map(|row| claimed(row, round.at, leased, probes)).collect()
    }
}

fn claimed(
    row: Row,
    at: DateTime<Utc>,
    (lease, lease_until): (Uuid, DateTime<Utc>),
    probes: &BTreeSet<String>,
) -> Result<ClaimedDelivery, StoreError> {
    let (
        id,
        tenant,
        connection,
        event,
        tries,
        our_fault_since,
        is_redelivery,
        body,
        traceparent,
        due_at,
    ) = row;
    let tries = usize::try_from(tries).unwrap_or_default();
    Ok(ClaimedDelivery {
        id: DeliveryId::from_uuid(id),
        lease,
        lease_until,
        is_probe: probes.contains(&tenant),
        tenant: read("deliveries.tenant_id", &tenant)?,
        connection: ConnectionId::from_uuid(connection),
        event: EventId::from_uuid(event),
        body,
        traceparent: traceparent.and_then(|text| text.parse().ok()),
        progress: Progress {
            tries,
            our_fault_since,
            early_until: Some(due_at).filter(|due_at| *due_at > at),
        },
        is_redelivery,
    })
}

/// The next tenants that have something waiting, and how much of it is due. A probe need not be: a destination
/// whose few deliveries all wait for hours would be found well hours late. Each step is one look into the
/// index, which passes over all that the tenant before has waiting. What is due is counted in the index's
/// order, because PostgreSQL would otherwise guess that some of it is found soon in the table.
async fn walk(tx: &mut Tx, round: Round<'_>) -> Result<Walk, StoreError> {
    let rows: Vec<(String, i64, bool, bool)> = sqlx::query_as(
        "WITH RECURSIVE walk AS (
             (SELECT tenant_id, 1 AS step FROM deliveries
              WHERE status = 'ready' AND tenant_id > $1 ORDER BY tenant_id LIMIT 1)
             UNION ALL
             SELECT next.tenant_id, walk.step + 1 FROM walk CROSS JOIN LATERAL (
                 SELECT tenant_id FROM deliveries
                 WHERE status = 'ready' AND tenant_id > walk.tenant_id ORDER BY tenant_id LIMIT 1
             ) AS next
             WHERE walk.step < $2
         )
         SELECT walk.tenant_id,
             CASE WHEN health.status = 'stopped' OR health.probe_at > $3 THEN 0
             WHEN health.status = 'paused' THEN (
                 SELECT count(*) FROM (
                     SELECT FROM deliveries
                     WHERE tenant_id = walk.tenant_id AND status = 'ready' AND (due_at <= $3 OR lease IS NULL)
                     ORDER BY due_at LIMIT 1
                 ) AS probe
             ) ELSE (
                 SELECT count(*) FROM (
                     SELECT FROM deliveries
                     WHERE tenant_id = walk.tenant_id AND status = 'ready' AND due_at <= $3
                     ORDER BY due_at LIMIT $4
                 ) AS due
             ) END,
             coalesce(health.status = 'paused', false), own.url IS NULL
         FROM walk LEFT JOIN destination_health AS health USING (tenant_id)
             LEFT JOIN destinations AS own USING (tenant_id)
         ORDER BY walk.tenant_id",
    )
    .bind(round.after.map_or("", TenantId::as_str))
    .bind(i32::try_from(TENANTS_MAX).unwrap_or(i32::MAX))
    .bind(round.at)
    .bind(i64::try_from(PLACES_MAX).unwrap_or(i64::MAX))
    .fetch_all(&mut **tx)
    .await?;
    let is_cut = rows.len() >= TENANTS_MAX;
    let came_to = rows.last().filter(|_| is_cut);
    let came_to = came_to.map(|(tenant, ..)| read("deliveries.tenant_id", tenant)).transpose()?;
    let due = rows.into_iter().filter(|(_, deliveries, ..)| *deliveries > 0);
    let due = due.map(|(tenant, deliveries, is_probe, is_operators)| {
        let tenant = read("deliveries.tenant_id", &tenant)?;
        let deliveries = usize::try_from(deliveries).unwrap_or_default();
        Ok(Due { tenant, deliveries, is_probe, is_operators })
    });
    Ok(Walk { due: due.collect::<Result<_, StoreError>>()?, came_to })
}
