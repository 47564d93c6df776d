//! A tenant's feed, a page at a time.

use super::{As, Store, StoreError, tx::Tx};
use crate::domain::{
    feed::{Feed, Lost, Pull},
    notification::EventType,
    numbered::{Mark, Place},
};
use contract::id::TenantId;
use serde_json::value::RawValue;
use sqlx::FromRow;
use uuid::Uuid;

/// Events in the order of their positions.
#[derive(Debug)]
pub struct FeedPage {
    /// The bodies, as they are sent.
    pub events: Vec<Box<RawValue>>,
    /// Where the feed goes on.
    pub next: Place,
    /// Whether there is more behind it now.
    pub has_more: bool,
}

/// How far a tenant's feed reaches, and what it let go of last.
#[derive(FromRow)]
struct Head {
    #[sqlx(rename = "oldest_event")]
    oldest: i64,
    #[sqlx(rename = "event_position")]
    newest: i64,
    gone_position: Option<i64>,
    gone_event: Option<Uuid>,
}

impl Store {
    /// The events that come next, and where the page after them begins.
    pub async fn pull(
        &self,
        tenant: &TenantId,
        pull: &Pull,
    ) -> Result<Result<FeedPage, Lost>, StoreError> {
        // What were removed between two queries would be a gap in silence.
        let mut tx = self.begin_snapshot(As::Tenant(tenant)).await?;
        let head: Option<Head> = sqlx::query_as(
            "SELECT oldest_event, event_position, gone_position, gone_event FROM tenant_heads WHERE tenant_id = $1",
        )
        .bind(tenant.as_str())
        .fetch_optional(&mut *tx)
        .await?;
        let feed = head
            .as_ref()
            .map_or(Feed::EMPTY, |head| Feed { oldest: head.oldest, newest: head.newest });
        let there = match pull.after {
            Some(after) => mark(&mut tx, tenant, head.as_ref(), after.position).await?,
            None => None,
        };
        let span = match feed.span(pull.after, there) {
            Ok(span) => span,
            Err(lost) => return Ok(Err(lost)),
        };
        let types = pull.types.as_ref();
        let types = types.map(|types| types.iter().copied().map(EventType::as_str).collect());
        let rows: Vec<(i64, Uuid, String)> = sqlx::query_as(
            "SELECT position, event_id, body FROM events
             WHERE tenant_id = $1 AND position BETWEEN $2 AND $3 AND ($4::text[] IS NULL OR type = ANY ($4))
             ORDER BY position LIMIT $5",
        )
        .bind(tenant.as_str())
        .bind(span.0)
        .bind(span.1)
        .bind::<Option<Vec<&str>>>(types)
        .bind(i64::try_from(pull.limit).unwrap_or(i64::MAX))
        .fetch_all(&mut *tx)
        .await?;
        let positions: Vec<i64> = rows.iter().map(|(position, _, _)| *position).collect();
        let position = feed.next(span, &positions, pull.limit);
        let next = match (rows.last(), pull.after) {
            (Some((last, id, _)), _) if *last == position => Some(mark_of(*id)),
            (_, Some(after)) if after.position == position => there.or(after.mark),
            _ => mark(&mut tx, tenant, head.as_ref(), position).await?,
        };
        tx.commit().await?;
        let events = rows.into_iter().map(|(_, _, body)| RawValue::from_string(body));
        let events = events
            .collect::<Result<_, _>>()
            .map_err(|error| StoreError::Corrupt(format!("events.body: {error}")))?;
        let next = Place { position, mark: next };
        Ok(Ok(FeedPage { events, next, has_more: position < feed.newest }))
    }
}

/// What stands at a position, or stood there when the feed let go of it last.
async fn mark(
    tx: &mut Tx,
    tenant: &TenantId,
    head: Option<&Head>,
    position: i64,
) -> Result<Option<Mark>, StoreError> {
    if let Some(head) = head.filter(|head| head.gone_position == Some(position)) {
        return Ok(head.gone_event.map(mark_of));
    }
    let id: Option<Uuid> =
        sqlx::query_scalar("SELECT event_id FROM events WHERE tenant_id = $1 AND position = $2")
            .bind(tenant.as_str())
            .bind(position)
            .fetch_optional(&mut **tx)
            .await?;
    Ok(id.map(mark_of))
}

fn mark_of(event: Uuid) -> Mark {
    Mark::of(event.as_bytes())
}
