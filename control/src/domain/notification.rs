//! What a client application is told about a connection.

#![expect(
    single_use_lifetimes,
    reason = "derived descriptions name the lifetimes of what they describe"
)]

use super::{
    connection::{Connection, Status},
    provider::Provider,
};
use chrono::{DateTime, Utc};
use contract::id::{ConnectionId, EventId, TenantId};
use serde::{Serialize, Serializer};
use std::str::FromStr;
use utoipa::ToSchema;

/// What happened, by the names that client applications know.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum EventType {
    Activated,
    Failed,
    Expired,
    NeedsReauth,
    Recovered,
    Reauthorized,
    ReauthorizationFailed,
    Updated,
    Deleted,
}

impl Serialize for EventType {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

/// What is sent to try a destination out. Nobody asks for it by name, and no feed holds it.
pub const TEST_TYPE: &str = "destination.test";

/// A text that names no type of event.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("no type of event")]
pub struct UnknownType;

impl FromStr for EventType {
    type Err = UnknownType;

    fn from_str(text: &str) -> Result<Self, UnknownType> {
        Self::ALL.into_iter().find(|known| known.as_str() == text).ok_or(UnknownType)
    }
}

impl EventType {
    pub const ALL: [Self; 9] = [
        Self::Activated,
        Self::Failed,
        Self::Expired,
        Self::NeedsReauth,
        Self::Recovered,
        Self::Reauthorized,
        Self::ReauthorizationFailed,
        Self::Updated,
        Self::Deleted,
    ];

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Activated => "connection.activated",
            Self::Failed => "connection.failed",
            Self::Expired => "connection.expired",
            Self::NeedsReauth => "connection.needs_reauth",
            Self::Recovered => "connection.recovered",
            Self::Reauthorized => "connection.reauthorized",
            Self::ReauthorizationFailed => "connection.reauthorization_failed",
            Self::Updated => "connection.updated",
            Self::Deleted => "connection.deleted",
        }
    }
}

/// What happened to a connection, and how it stands since. Members may be added.
// The names down to `metadata` are the original service's.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Event)]
pub struct Notification<'a> {
    /// The same in every repeat.
    #[schema(value_type = uuid::Uuid)]
    pub id: EventId,
    pub r#type: EventType,
    /// Dense per connection, from 1.
    #[schema(minimum = 1)]
    pub sequence: i64,
    pub occurred_at: DateTime<Utc>,
    #[schema(value_type = uuid::Uuid)]
    pub connection_id: ConnectionId,
    #[schema(value_type = String)]
    pub tenant_id: &'a TenantId,
    /// The end user, by the client application's name for them.
    pub oidc_sub: &'a str,
    #[schema(value_type = String)]
    pub provider: &'a Provider,
    pub status: Status,
    /// Why, by a stable name such as `access_denied`, `refresh_failed` or `gone_at_vault`.
    #[schema(required)]
    pub reason: Option<&'a str>,
    pub requested_scopes: &'a [String],
    /// The scopes that the user granted; null while they are not known.
    #[schema(required)]
    pub authorized_scopes: Option<&'a [String]>,
    /// Whether `authorizedScopes` is known: not every provider says it without the token.
    pub scopes_verified: bool,
    /// Those of `requestedScopes` that the user did not grant; null while that is not known.
    #[schema(required)]
    pub missing_scopes: Option<Vec<&'a str>>,
    #[schema(required)]
    pub provider_account_id: Option<&'a str>,
    #[schema(required)]
    pub display_name: Option<&'a str>,
    #[schema(inline)]
    pub metadata: Metadata<'a>,
    /// What the client application gave at the start.
    #[schema(value_type = Object)]
    pub client_metadata: &'a serde_json::Value,
}

/// How the user is shown at the provider.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = EventMetadata)]
pub struct Metadata<'a> {
    #[schema(required)]
    pub username: Option<&'a str>,
    #[schema(required)]
    pub avatar: Option<&'a str>,
}

impl<'a> Notification<'a> {
    /// Tells that `connection`, as it stands after the change, went through `type` for this reason.
    pub fn of(
        connection: &'a Connection,
        (r#type, reason): (EventType, Option<&'a str>),
        id: EventId,
        occurred_at: DateTime<Utc>,
    ) -> Self {
        let profile = &connection.profile;
        Self {
            id,
            r#type,
            sequence: connection.sequence,
            occurred_at,
            connection_id: connection.id,
            tenant_id: &connection.tenant,
            oidc_sub: &connection.sub,
            provider: &connection.provider,
            status: connection.status,
            reason,
            requested_scopes: &connection.requested_scopes,
            authorized_scopes: connection.authorized_scopes(),
            scopes_verified: connection.authorized_scopes().is_some(),
            missing_scopes: connection.missing_scopes(),
            provider_account_id: profile.account_id.as_deref(),
            display_name: profile.display_name.as_deref(),
            metadata: Metadata {
                username: profile.username.as_deref(),
                avatar: profile.avatar.as_deref(),
            },
            client_metadata: &connection.client_metadata,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{connection::fixture::connection, profile::Profile};

    #[test]
    fn a_notification_has_the_names_that_the_api_promises() {
        let mut active = connection(Status::Active);
        active.sequence = 3;
        active.profile = Profile {
            account_id: Some("583231".to_owned()),
            display_name: Some("Ada".to_owned()),
            username: Some("ada".to_owned()),
            avatar: None,
            scopes: None,
        };
        let id = EventId::from_parts(0, &[0; 10]);
        let at = DateTime::UNIX_EPOCH;
        let notification = Notification::of(&active, (EventType::Activated, None), id, at);
        assert_eq!(
            serde_json::to_string(&notification).unwrap(),
            concat!(
                r#"{"id":"00000000-0000-7000-8000-000000000000","type":"connection.activated","sequence":3,"#,
                r#""occurredAt":"1970-01-01T00:00:00Z","connectionId":"00000000-0001-7101-8101-010101010101","#,
                r#""tenantId":"acme","oidcSub":"user-1","provider":"github","status":"active","reason":null,"#,
                r#""requestedScopes":["repo"],"authorizedScopes":null,"scopesVerified":false,"missingScopes":null,"#,
                r#""providerAccountId":"583231","displayName":"Ada","#,
                r#""metadata":{"username":"ada","avatar":null},"clientMetadata":{}}"#
            )
        );
    }
}
