//! Destinations: where a tenant is told, and what of.

use super::{As, Store, StoreError, audit::AuditLine};
use crate::domain::{
    audit::{Actor, AuditAction},
    destination::{Destination, NewDestination, changed, shown},
    notification::EventType,
    sealing::KeyCheck,
};
use chrono::{DateTime, Utc};
use contract::{id::TenantId, keys::KeyId};
use std::collections::HashMap;
use url::Url;

/// A destination that a tenant puts in the place of what it had.
#[derive(Debug)]
pub struct PutDestination<'a> {
    pub tenant: &'a TenantId,
    pub new: &'a NewDestination,
    /// Sealed; nothing, where those that are there stay.
    pub secrets: Option<String>,
    /// What they are sealed with: it must be the one key of its id.
    pub key: Option<(&'a KeyId, KeyCheck)>,
    /// What it replaces, if that matters; 0 for none.
    pub replaces: Option<i64>,
    pub actor: Actor,
    pub request_id: Option<String>,
    pub at: DateTime<Utc>,
}

/// Who removes a tenant's destination, and when.
#[derive(Debug)]
pub struct Removal<'a> {
    pub tenant: &'a TenantId,
    pub actor: Actor,
    pub request_id: Option<String>,
    pub at: DateTime<Utc>,
}

/// Who tries a tenant's destination out, and when.
#[derive(Debug)]
pub struct DestinationTested<'a> {
    pub tenant: &'a TenantId,
    pub url: &'a Url,
    pub actor: Actor,
    pub request_id: Option<String>,
    pub at: DateTime<Utc>,
}

#[derive(sqlx::FromRow)]
struct Row {
    tenant_id: String,
    version: i64,
    url: String,
    event_types: Option<Vec<String>>,
    return_origins: Option<Vec<String>>,
    ca: Option<String>,
    server_name: Option<String>,
    secrets: String,
    updated_at: DateTime<Utc>,
}

/// A tenant's own destination that nobody can read: nothing can be sent there, and nothing elsewhere.
#[derive(Debug)]
pub struct Unreadable {
    pub version: i64,
    pub why: StoreError,
}

impl Row {
    fn read(self) -> Result<Destination, StoreError> {
        Ok(Destination {
            url: super::read("destinations.url", &self.url)?,
            event_types: self.event_types,
            return_origins: self.return_origins,
            ca: self.ca,
            server_name: self.server_name,
            secrets: self.secrets,
            version: self.version,
            updated_at: self.updated_at,
        })
    }
}

impl Store {
    /// A tenant's own destination. How it fares (`destination_health`) is read beside it.
    pub async fn destination(
        &self,
        role: As<'_>,
        tenant: &TenantId,
    ) -> Result<Option<Destination>, StoreError> {
        let mut tx = self.begin(role).await?;
        let row: Option<Row> =
            sqlx::query_as("SELECT * FROM destinations WHERE tenant_id = $1 AND url IS NOT NULL")
                .bind(tenant.as_str())
                .fetch_optional(&mut *tx)
                .await?;
        tx.commit().await?;
        row.map(Row::read).transpose()
    }

    /// The own destinations of several tenants, for those who send. One that is unreadable is its tenant's trouble
    /// and not the others'.
    pub async fn destinations_of(
        &self,
        tenants: &[&TenantId],
    ) -> Result<HashMap<TenantId, Result<Destination, Unreadable>>, StoreError> {
        let tenants: Vec<&str> = tenants.iter().map(|tenant| tenant.as_str()).collect();
        let mut tx = self.begin(As::Worker).await?;
        let rows: Vec<Row> = sqlx::query_as(
            "SELECT * FROM destinations WHERE tenant_id = ANY ($1) AND url IS NOT NULL",
        )
        .bind(tenants)
        .fetch_all(&mut *tx)
        .await?;
        tx.commit().await?;
        let rows = rows.into_iter().map(|row| {
            let (tenant, version) =
                (super::read("destinations.tenant_id", &row.tenant_id)?, row.version);
            Ok((tenant, row.read().map_err(|why| Unreadable { version, why })))
        });
        rows.collect()
    }

    /// Puts a destination in place; nothing, if what it replaces is not there any more.
    pub async fn put_destination(
        &self,
        put: PutDestination<'_>,
    ) -> Result<Option<Destination>, StoreError> {
        let PutDestination { tenant, new, secrets, key, replaces, actor, request_id, at } = put;
        let types = new
            .event_types
            .as_ref()
            .map(|types| types.iter().copied().map(EventType::as_str).collect::<Vec<&str>>());
        let mut tx = self.begin(As::Tenant(tenant)).await?;
        Self::require_key(&mut tx, tenant, key).await?;
        let before: Option<Row> = sqlx::query_as(
            "SELECT * FROM destinations WHERE tenant_id = $1 AND url IS NOT NULL FOR UPDATE",
        )
        .bind(tenant.as_str())
        .fetch_optional(&mut *tx)
        .await?;
        let before = before.map(Row::read).transpose()?;
        let row: Option<Row> = sqlx::query_as(
            "INSERT INTO destinations AS kept (tenant_id, version, url, event_types, return_origins, ca, server_name,
                 secrets, updated_at)
             SELECT $1, 1, $2, $3, $4, $5, $6, $7, $8
             WHERE coalesce($9, 0) = 0 OR EXISTS (SELECT FROM destinations WHERE tenant_id = $1)
             ON CONFLICT (tenant_id) DO UPDATE SET version = kept.version + 1, url = $2, event_types = $3,
                 return_origins = $4, ca = $5, server_name = $6, secrets = coalesce($7, kept.secrets), updated_at = $8
             WHERE $9 IS NULL OR $9 = CASE WHEN kept.url IS NULL THEN 0 ELSE kept.version END
             RETURNING *",
        )
        .bind(tenant.as_str())
        .bind(new.url.as_str())
        .bind(types)
        .bind(new.return_origins.as_ref())
        .bind(new.ca.as_ref())
        .bind(new.server_name.as_ref())
        .bind(secrets.as_ref())
        .bind(at)
        .bind(replaces)
        .fetch_optional(&mut *tx)
        .await?;
        let Some(row) = row else { return Ok(None) };
        let (action, connection) = (AuditAction::DestinationSet, None);
        let line = AuditLine {
            tenant,
            connection,
            actor: &actor,
            action,
            request_id: request_id.clone(),
            at,
        };
        let detail = serde_json::json!({
            "version": row.version, "url": shown(&new.url), "eventTypes": row.event_types,
            "changed": changed(before.as_ref(), new, secrets.is_some()),
        });
        self.write_audit(&mut tx, line, detail).await?;
        // Whoever puts it again believes that it works by now.
        self.restart(&mut tx, tenant, (&actor, request_id), at).await?;
        tx.commit().await?;
        row.read().map(Some)
    }

    /// Notes that a tenant's destination is tried out.
    pub async fn note_test(&self, tested: DestinationTested<'_>) -> Result<(), StoreError> {
        let DestinationTested { tenant, url, actor, request_id, at } = tested;
        let mut tx = self.begin(As::Tenant(tenant)).await?;
        let (action, connection) = (AuditAction::DestinationTested, None);
        let line = AuditLine { tenant, connection, actor: &actor, action, request_id, at };
        self.write_audit(&mut tx, line, serde_json::json!({ "url": shown(url) })).await?;
        tx.commit().await?;
        Ok(())
    }

    /// Removes a tenant's own destination; `false`, if it has none. Either way the operator's begins anew: a
    /// tenant without its own has no other way to say that it works by now.
    pub async fn remove_destination(&self, removal: Removal<'_>) -> Result<bool, StoreError> {
        let Removal { tenant, actor, request_id, at } = removal;
        let mut tx = self.begin(As::Tenant(tenant)).await?;
        let version: Option<i64> = sqlx::query_scalar(
            "UPDATE destinations SET version = version + 1, url = NULL, event_types = NULL, return_origins = NULL,
                 ca = NULL, server_name = NULL, secrets = NULL, updated_at = $2
             WHERE tenant_id = $1 AND url IS NOT NULL RETURNING version",
        )
        .bind(tenant.as_str())
        .bind(at)
        .fetch_optional(&mut *tx)
        .await?;
        if let Some(version) = version {
            let (action, connection) = (AuditAction::DestinationRemoved, None);
            let line = AuditLine {
                tenant,
                connection,
                actor: &actor,
                action,
                request_id: request_id.clone(),
                at,
            };
            self.write_audit(&mut tx, line, serde_json::json!({ "version": version })).await?;
        }
        // How the own one fared says nothing of the operator's, which is told from now on.
        self.restart(&mut tx, tenant, (&actor, request_id), at).await?;
        tx.commit().await?;
        Ok(version.is_some())
    }
}
