//! A tenant's feed, a page at a time.

use super::{As, Store, StoreError};
use crate::domain::{
    feed::{Feed, Lost, Pull},
    notification::EventType,
};
use contract::id::TenantId;
use serde_json::value::RawValue;

/// Events in the order of their positions.
#[derive(Debug)]
pub struct FeedPage {
    /// The bodies, as they are sent.
    pub events: Vec<Box<RawValue>>,
    /// The position behind which the feed goes on.
    pub next: i64,
    /// Whether there is more behind it now.
    pub has_more: bool,
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
        let heads: Option<(i64, i64)> = sqlx::query_as(
            "SELECT oldest_event, event_position FROM tenant_heads WHERE tenant_id = $1",
        )
        .bind(tenant.as_str())
        .fetch_optional(&mut *tx)
        .await?;
        let feed = heads.map_or(Feed::EMPTY, |(oldest, newest)| Feed { oldest, newest });
        let span = match feed.span(pull.after) {
            Ok(span) => span,
            Err(lost) => return Ok(Err(lost)),
        };
        let types = pull.types.as_ref();
        let types = types.map(|types| types.iter().copied().map(EventType::as_str).collect());
        let rows: Vec<(i64, String)> = sqlx::query_as(
            "SELECT position, body FROM events
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
        tx.commit().await?;
        let (positions, bodies): (Vec<i64>, Vec<String>) = rows.into_iter().unzip();
        let next = feed.next(span, &positions, pull.limit);
        let events = bodies.into_iter().map(RawValue::from_string).collect::<Result<_, _>>();
        let events =
            events.map_err(|error| StoreError::Corrupt(format!("events.body: {error}")))?;
        Ok(Ok(FeedPage { events, next, has_more: next < feed.newest }))
    }
}
