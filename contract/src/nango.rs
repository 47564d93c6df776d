//! The bodies that Nango's webhooks have, read into what they claim.
//!
//! A verified signature proves that Nango sent a body, and not that Nango's own code made it: its
//! provider ingress is open to strangers and forwards what it cannot attribute, signed with the same
//! key. So everything in here is a hint that says where to look. Nothing in here can hold a token, a
//! provider's payload or a provider's error text; what is not read cannot be kept by mistake.
//!
//! Nango adds types and operations "without considering this a breaking change", so that reading
//! never fails: what is not known is [`Webhook::Unknown`].

use crate::id::{AttemptId, ConnectionId, IntegrationId, NangoConnectionId, TenantId};
use serde::{Deserialize, Deserializer, Serialize, de::IgnoredAny};
use std::{collections::BTreeMap, str::FromStr};

/// The tags by which we find our connections in the vault. Only the holder of the API key can write
/// them, and every session must carry all of them again: Nango replaces the whole set.
pub mod tag {
    /// Our `ConnectionId`, the same for ever.
    pub const CONNECTION_REF: &str = "connection_ref";
    /// The `AttemptId`, new for each start and reconnect.
    pub const ATTEMPT: &str = "attempt";
    pub const TENANT_ID: &str = "tenant_id";
    pub const END_USER_ID: &str = "end_user_id";
    /// Which deployment a connection belongs to, when several share one Nango environment.
    pub const INSTANCE: &str = "instance";
}

/// What a webhook claims.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Webhook {
    /// A connection was created, replaced, refreshed or deleted, or that failed.
    Auth(AuthHint),
    /// The body that the original service's README promised to its users.
    Simplified(SimplifiedHint),
    /// A type that says nothing about a connection's life: `sync`, `async_action`, `forward`.
    Ignored { kind: String },
    /// A type we do not know, or no JSON object at all.
    Unknown,
}

/// What an `auth` webhook claims.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AuthHint {
    pub connection_id: NangoConnectionId,
    pub provider_config_key: IntegrationId,
    pub operation: Operation,
    pub success: bool,
    /// Absent from failed creations, and from everything that is not ours.
    #[serde(default)]
    pub tags: HintTags,
    /// The kind of failure, never its text: the text comes from the provider or its user.
    #[serde(default, rename = "error", deserialize_with = "error_kind")]
    pub error_kind: Option<String>,
}

/// Those of our tags that say where to look. A tag that is not written as we write it is none of ours.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct HintTags {
    pub connection_ref: Option<ConnectionId>,
    pub tenant_id: Option<TenantId>,
    pub attempt: Option<AttemptId>,
}

impl<'de> Deserialize<'de> for HintTags {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Value {
            Text(String),
            Other(IgnoredAny),
        }
        fn read<T: FromStr>(tags: &BTreeMap<String, Value>, name: &str) -> Option<T> {
            match tags.get(name)? {
                Value::Text(text) => text.parse().ok(),
                Value::Other(IgnoredAny) => None,
            }
        }
        let tags =
            Option::<BTreeMap<String, Value>>::deserialize(deserializer)?.unwrap_or_default();
        Ok(Self {
            connection_ref: read(&tags, tag::CONNECTION_REF),
            tenant_id: read(&tags, tag::TENANT_ID),
            attempt: read(&tags, tag::ATTEMPT),
        })
    }
}

/// What an `auth` webhook is about. A failed reconnect says `creation` too.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Operation {
    Creation,
    Override,
    Refresh,
    Deletion,
    #[serde(other)]
    Unknown,
}

/// What the simplified body claims.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SimplifiedHint {
    /// Nango's name for the connection, or ours.
    pub connection_id: NangoConnectionId,
    #[serde(default, deserialize_with = "word")]
    pub vendor: Option<String>,
}

/// The first type of the simplified body; others of its kind begin with the same word.
const SIMPLIFIED_PREFIX: &str = "connection.";

/// Reads the body of a webhook. It never fails; see the module's words.
pub fn read(body: &[u8]) -> Webhook {
    #[derive(Deserialize)]
    struct Envelope {
        r#type: String,
        from: Option<String>,
    }
    let Ok(envelope) = serde_json::from_slice::<Envelope>(body) else { return Webhook::Unknown };
    let read = match (envelope.r#type.as_str(), envelope.from.as_deref()) {
        ("auth", Some("nango")) => serde_json::from_slice(body).map(Webhook::Auth),
        ("sync" | "async_action" | "forward", _) => Ok(Webhook::Ignored { kind: envelope.r#type }),
        (kind, _) if kind.starts_with(SIMPLIFIED_PREFIX) => {
            serde_json::from_slice(body).map(Webhook::Simplified)
        }
        _ => Ok(Webhook::Unknown),
    };
    read.unwrap_or(Webhook::Unknown)
}

/// Keeps an error's `type` and drops its description and payload.
fn error_kind<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum ErrorOrKind {
        Error { r#type: String },
        Kind(String),
    }
    let error = Option::<ErrorOrKind>::deserialize(deserializer)?;
    let kind = error.map(|(ErrorOrKind::Error { r#type: kind } | ErrorOrKind::Kind(kind))| kind);
    Ok(kind.filter(|kind| is_word(kind)))
}

fn word<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    let text = Option::<String>::deserialize(deserializer)?;
    Ok(text.filter(|text| is_word(text)))
}

/// A name that a program could have given. A stranger's texts, of any length and with any character in
/// them, are not kept.
fn is_word(text: &str) -> bool {
    (1..=64).contains(&text.len())
        && text.bytes().all(|byte| {
            byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"_.-".contains(&byte)
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(body: &str, expected: &Webhook) {
        assert_eq!(read(body.as_bytes()), *expected, "{body}");
    }

    fn refresh_failed() -> AuthHint {
        AuthHint {
            connection_id: "n-1".parse().unwrap(),
            provider_config_key: "github".parse().unwrap(),
            operation: Operation::Refresh,
            success: false,
            tags: HintTags::default(),
            error_kind: Some("refresh_token_external_error".to_owned()),
        }
    }

    #[test]
    fn an_auth_event_is_read_without_its_error_text() {
        let body = r#"{"type":"auth","from":"nango","connectionId":"n-1","providerConfigKey":"github",
            "operation":"refresh","success":false,"newField":[1],
            "error":{"type":"refresh_token_external_error","description":"Bearer gho_secret"}}"#;
        check(body, &Webhook::Auth(refresh_failed()));
    }

    #[test]
    fn a_hint_survives_being_stored() {
        let stored = serde_json::to_string(&refresh_failed()).unwrap();
        assert_eq!(serde_json::from_str::<AuthHint>(&stored).unwrap(), refresh_failed());
    }

    #[test]
    fn our_tags_are_read_and_nobody_elses() {
        let tags = r#"{"connection_ref":"0195f2a1-0000-7000-8000-000000000001","tenant_id":"acme",
            "attempt":"0195f2a1-0000-7000-8000-000000000002","other":"\u0000","end_user_id":7}"#;
        let body = format!(
            r#"{{"type":"auth","from":"nango","connectionId":"n-1","providerConfigKey":"github",
            "operation":"creation","success":true,"tags":{tags}}}"#
        );
        let Webhook::Auth(hint) = read(body.as_bytes()) else { panic!("{body}") };
        assert_eq!(hint.tags.tenant_id, Some("acme".parse().unwrap()));
        assert!(hint.tags.connection_ref.is_some() && hint.tags.attempt.is_some());
        for tags in ["null", "{}", r#"{"connection_ref":"re-2","tenant_id":"","attempt":null}"#] {
            let body = format!(
                r#"{{"type":"auth","from":"nango","connectionId":"n-1","providerConfigKey":"github",
                "operation":"creation","success":true,"tags":{tags}}}"#
            );
            let Webhook::Auth(hint) = read(body.as_bytes()) else { panic!("{body}") };
            assert_eq!(hint.tags, HintTags::default(), "{tags}");
        }
    }

    #[test]
    fn a_strangers_texts_are_not_kept() {
        for text in [r"\u0000", "two words", "Bearer gho_secret", &"a".repeat(65), ""] {
            let body = format!(
                r#"{{"type":"auth","from":"nango","connectionId":"n-1","providerConfigKey":"github",
                "operation":"refresh","success":false,"error":{{"type":"{text}"}}}}"#
            );
            let Webhook::Auth(hint) = read(body.as_bytes()) else { panic!("{body}") };
            assert_eq!(hint.error_kind, None, "{text:?}");
            let body = format!(
                r#"{{"type":"connection.activated","connectionId":"n-1","vendor":"{text}"}}"#
            );
            let Webhook::Simplified(hint) = read(body.as_bytes()) else { panic!("{body}") };
            assert_eq!(hint.vendor, None, "{text:?}");
        }
    }

    #[test]
    fn an_operation_of_a_newer_nango_is_read_as_unknown() {
        let body = r#"{"type":"auth","from":"nango","connectionId":"n-1","providerConfigKey":"github",
            "operation":"rotated","success":true}"#;
        let Webhook::Auth(hint) = read(body.as_bytes()) else { panic!("{body}") };
        assert_eq!(hint.operation, Operation::Unknown);
    }

    #[test]
    fn an_auth_event_that_is_not_from_nango_or_lacks_a_field_is_unknown() {
        check(r#"{"type":"auth","from":"github","connectionId":"n-1"}"#, &Webhook::Unknown);
        check(r#"{"type":"auth","from":"nango","connectionId":"n-1"}"#, &Webhook::Unknown);
        check(
            r#"{"type":"auth","from":"nango","connectionId":"","providerConfigKey":"github","operation":"creation","success":true}"#,
            &Webhook::Unknown,
        );
    }

    #[test]
    fn types_that_say_nothing_about_a_connections_life_are_ignored() {
        for kind in ["sync", "async_action", "forward"] {
            let body = format!(r#"{{"type":"{kind}","connectionId":"n-1","payload":{{"a":1}}}}"#);
            check(&body, &Webhook::Ignored { kind: kind.to_owned() });
        }
    }

    #[test]
    fn the_simplified_body_is_a_hint_too() {
        check(
            r#"{"type":"connection.activated","connectionId":"n-1","vendor":"github","connectionMetadata":{"username":"ada"}}"#,
            &Webhook::Simplified(SimplifiedHint {
                connection_id: "n-1".parse().unwrap(),
                vendor: Some("github".to_owned()),
            }),
        );
    }

    #[test]
    fn what_is_no_webhook_of_nangos_is_unknown() {
        for body in ["", "null", "[]", "{", "\u{0}", r#"{"type":1}"#, r#"{"type":"issue.created"}"#]
        {
            check(body, &Webhook::Unknown);
        }
    }
}
