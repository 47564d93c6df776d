//! A connection's deliveries as its tenant sees them: newest first, each with its tries.

use crate::{
    domain::history::{ATTEMPTS_MAX, History},
    store::{As, Store, StoreError, tx::Tx},
};
use chrono::{DateTime, Utc};
use contract::id::{DeliveryId, EventId, TenantId};
use sqlx::{FromRow, QueryBuilder, Row as _, postgres::PgRow};
use std::collections::HashMap;
use uuid::Uuid;

/// A delivery as it stands.
#[derive(Debug)]
pub struct DeliveryShown {
    pub id: DeliveryId,
    pub event: EventId,
    pub event_type: String,
    pub sequence: i64,
    pub status: String,
    pub is_redelivery: bool,
    pub tries: i32,
    pub our_faults: i32,
    pub created_at: DateTime<Utc>,
    pub due_at: DateTime<Utc>,
    pub ended_at: Option<DateTime<Utc>>,
    /// The last ones, in order.
    pub attempts: Vec<AttemptShown>,
}

/// One try as it ended.
#[derive(Debug)]
pub struct AttemptShown {
    pub number: i32,
    pub started_at: DateTime<Utc>,
    pub duration_ms: i64,
    pub outcome: String,
    pub fault: Option<String>,
    pub http_status: Option<i32>,
    pub detail: Option<String>,
    pub answer: Option<String>,
}

impl FromRow<'_, PgRow> for DeliveryShown {
    fn from_row(row: &PgRow) -> Result<Self, sqlx::Error> {
        Ok(Self {
            id: DeliveryId::from_uuid(row.try_get("delivery_id")?),
            event: EventId::from_uuid(row.try_get("event_id")?),
            event_type: row.try_get("type")?,
            sequence: row.try_get("sequence")?,
            status: row.try_get("status")?,
            is_redelivery: row.try_get("is_redelivery")?,
            tries: row.try_get("tries")?,
            our_faults: row.try_get("our_faults")?,
            created_at: row.try_get("created_at")?,
            due_at: row.try_get("due_at")?,
            ended_at: row.try_get("ended_at")?,
            attempts: Vec::new(),
        })
    }
}

impl Store {
    /// A page, and whether there is another one. Nothing, if there is no such connection.
    pub async fn deliveries(
        &self,
        tenant: &TenantId,
        history: &History,
    ) -> Result<Option<(Vec<DeliveryShown>, bool)>, StoreError> {
        let mut tx = self.begin(As::Tenant(tenant)).await?;
        let is_known: bool = sqlx::query_scalar(
            "SELECT EXISTS (SELECT FROM connections WHERE tenant_id = $1 AND connection_id = $2)",
        )
        .bind(tenant.as_str())
        .bind(history.connection.as_uuid())
        .fetch_one(&mut *tx)
        .await?;
        if !is_known {
            return Ok(None);
        }
        let mut page = page(&mut tx, tenant, history).await?;
        let has_more = page.len() > history.limit;
        page.truncate(history.limit);
        add_attempts(&mut tx, tenant, &mut page).await?;
        tx.commit().await?;
        Ok(Some((page, has_more)))
    }
}

/// One row more than the page tells whether there is another page.
async fn page(
    tx: &mut Tx,
    tenant: &TenantId,
    history: &History,
) -> Result<Vec<DeliveryShown>, StoreError> {
    let History { connection, after, limit } = history;
    let mut query = QueryBuilder::new(
        "SELECT delivery_id, event_id, type, deliveries.sequence, status, is_redelivery, tries, our_faults,
             created_at, due_at, ended_at
         FROM deliveries JOIN events USING (tenant_id, event_id) WHERE tenant_id = ",
    );
    query.push_bind(tenant.as_str()).push(" AND deliveries.connection_id = ");
    query.push_bind(connection.as_uuid());
    if let Some((created_at, id)) = after {
        query.push(" AND (created_at, delivery_id) < (").push_bind(*created_at);
        query.push(", ").push_bind(id.as_uuid()).push(")");
    }
    query.push(" ORDER BY created_at DESC, delivery_id DESC LIMIT ");
    query.push_bind(i64::try_from(limit.saturating_add(1)).unwrap_or(i64::MAX));
    Ok(query.build_query_as().fetch_all(&mut **tx).await?)
}

async fn add_attempts(
    tx: &mut Tx,
    tenant: &TenantId,
    page: &mut [DeliveryShown],
) -> Result<(), StoreError> {
    let ids: Vec<Uuid> = page.iter().map(|delivery| delivery.id.as_uuid()).collect();
    let rows: Vec<PgRow> = sqlx::query(
        "SELECT shown.* FROM unnest($2::uuid[]) AS asked (delivery_id) CROSS JOIN LATERAL (
             SELECT delivery_id, try, started_at, duration_ms, outcome, fault, http_status, detail, answer
             FROM delivery_attempts
             WHERE tenant_id = $1 AND delivery_id = asked.delivery_id ORDER BY try DESC LIMIT $3
         ) AS shown ORDER BY shown.try",
    )
    .bind(tenant.as_str())
    .bind(ids)
    .bind(ATTEMPTS_MAX)
    .fetch_all(&mut **tx)
    .await?;
    let mut attempts = HashMap::<Uuid, Vec<AttemptShown>>::new();
    for row in rows {
        attempts.entry(row.try_get("delivery_id")?).or_default().push(AttemptShown {
            number: row.try_get("try")?,
            started_at: row.try_get("started_at")?,
            duration_ms: row.try_get("duration_ms")?,
            outcome: row.try_get("outcome")?,
            fault: row.try_get("fault")?,
            http_status: row.try_get("http_status")?,
            detail: row.try_get("detail")?,
            answer: row.try_get("answer")?,
        });
    }
    for delivery in page {
        delivery.attempts = attempts.remove(&delivery.id.as_uuid()).unwrap_or_default();
    }
    Ok(())
}
