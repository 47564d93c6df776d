//! A tenant's connections, a page at a time.

use super::{
    As, Store, StoreError,
    connections::{Row, select},
};
use crate::domain::{
    connection::{Connection, Status},
    listing::{Listing, Position},
    provider::Provider,
};
use contract::id::TenantId;
use sqlx::{Postgres, QueryBuilder};

impl Store {
    /// A page, and where the next one begins, if there is one.
    pub async fn list(
        &self,
        tenant: &TenantId,
        listing: &Listing,
    ) -> Result<(Vec<Connection>, Option<Position>), StoreError> {
        let mut tx = self.begin(As::Tenant(tenant)).await?;
        let rows: Vec<Row> = page(tenant, listing).build_query_as().fetch_all(&mut *tx).await?;
        tx.commit().await?;
        let has_more = rows.len() > listing.limit;
        let page = rows.into_iter().take(listing.limit).map(Connection::try_from);
        let page = page.collect::<Result<Vec<_>, _>>()?;
        let next = page.last().filter(|_| has_more).map(Position::of);
        Ok((page, next))
    }
}

/// Only the filters that are there: a query with all of them as options would be planned without the
/// index of any. One row more than the page tells whether there is another page.
fn page(tenant: &TenantId, listing: &Listing) -> QueryBuilder<Postgres> {
    let Listing { sub, provider, status, provider_account_id, after, limit } = listing;
    let mut query = QueryBuilder::new(select!("tenant_id = "));
    query.push_bind(tenant.as_str().to_owned());
    for (filter, value) in [
        (" AND sub = ", sub.clone()),
        (" AND provider = ", provider.as_ref().map(Provider::to_string)),
        (" AND status = ", status.map(|status| Status::as_str(status).to_owned())),
        (" AND provider_account_id = ", provider_account_id.clone()),
    ] {
        if let Some(value) = value {
            query.push(filter).push_bind(value);
        }
    }
    if let Some(Position { created_at, id }) = after {
        query.push(" AND (created_at, connection_id) < (").push_bind(*created_at);
        query.push(", ").push_bind(id.as_uuid()).push(")");
    }
    query.push(" ORDER BY created_at DESC, connection_id DESC LIMIT ");
    query.push_bind(i64::try_from(limit.saturating_add(1)).unwrap_or(i64::MAX));
    query
}
