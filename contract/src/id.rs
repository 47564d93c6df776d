//! The names of things, each a type of its own, so that one cannot be passed for another.

use serde::{Deserialize, Serialize};
use std::{fmt, str::FromStr};
use uuid::{Builder, Uuid};

/// A text that breaks the rule of the id it was meant to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{kind} must be {rule}")]
pub struct MalformedId {
    kind: &'static str,
    rule: &'static str,
}

/// Declares an id that is a UUID of version 7: sortable by the time it was made.
macro_rules! uuid_id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String")]
        pub struct $name(Uuid);

        impl $name {
            /// Makes the id that `unix_ms` and `random` determine; the caller owns clock and randomness.
            pub fn from_parts(unix_ms: u64, random: &[u8; 10]) -> Self {
                Self(Builder::from_unix_timestamp_millis(unix_ms, random).into_uuid())
            }

            pub const fn from_uuid(uuid: Uuid) -> Self {
                Self(uuid)
            }

            pub const fn as_uuid(self) -> Uuid {
                self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(formatter)
            }
        }

        impl FromStr for $name {
            type Err = MalformedId;

            /// Accepts the form that is printed only, so that one id has one spelling, and version 7 only,
            /// so that a name of Nango's, which is a UUID too, is not taken for one of ours.
            fn from_str(text: &str) -> Result<Self, MalformedId> {
                match Uuid::try_parse(text) {
                    Ok(uuid) if uuid.get_version_num() == 7 && uuid.to_string() == text => {
                        Ok(Self(uuid))
                    }
                    Ok(_) | Err(_) => Err(MalformedId {
                        kind: stringify!($name),
                        rule: "a hyphenated lower-case UUID of version 7",
                    }),
                }
            }
        }

        impl TryFrom<String> for $name {
            type Error = MalformedId;

            fn try_from(text: String) -> Result<Self, MalformedId> {
                text.parse()
            }
        }
    };
}

uuid_id!(
    /// Our name for a connection, for as long as anybody may ask about it.
    ConnectionId
);
uuid_id!(
    /// One try to authorise a connection. It travels to the vault as a tag and back, and so shows
    /// which try an outcome belongs to.
    AttemptId
);
uuid_id!(
    /// The record that a webhook was taken.
    ReceiptId
);
uuid_id!(
    /// What happened to a connection; a client application recognises a repeat by it.
    EventId
);
uuid_id!(
    /// One notification on its way to one destination.
    DeliveryId
);
uuid_id!(
    /// One line of the audit trail.
    AuditId
);
uuid_id!(
    /// A remote call that must still happen.
    JobId
);

/// Declares an id that is a text with a rule.
macro_rules! text_id {
    ($(#[$doc:meta])* $name:ident, $rule:literal, $is_valid:expr) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(String);

        impl $name {
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl TryFrom<String> for $name {
            type Error = MalformedId;

            fn try_from(text: String) -> Result<Self, MalformedId> {
                let is_valid: fn(&str) -> bool = $is_valid;
                if is_valid(&text) {
                    Ok(Self(text))
                } else {
                    Err(MalformedId { kind: stringify!($name), rule: $rule })
                }
            }
        }

        impl FromStr for $name {
            type Err = MalformedId;

            fn from_str(text: &str) -> Result<Self, MalformedId> {
                Self::try_from(text.to_owned())
            }
        }

        impl From<$name> for String {
            fn from(id: $name) -> Self {
                id.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str(&self.0)
            }
        }
    };
}

text_id!(
    /// Who owns connections. The rule keeps it safe in a path, a header, a tag and a log line.
    TenantId,
    "1 to 63 letters, digits, '.', '_' or '-', beginning with a letter or digit",
    |text| {
        text.len() <= 63
            && text.starts_with(|first: char| first.is_ascii_alphanumeric())
            && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte))
    }
);

text_id!(
    /// The vault's name for our way to a provider: Nango's `providerConfigKey`, by Nango's own rule.
    IntegrationId,
    "1 to 255 letters, digits, spaces or one of ~:.@_-",
    |text| {
        (1..=255).contains(&text.len())
            && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"~:.@ _-".contains(&byte))
    }
);

text_id!(
    /// The vault's name for a connection, by Nango's own rule. It is not known until the vault says it.
    NangoConnectionId,
    "1 to 255 letters, digits, spaces or one of ,.;:=+~[]|@${}\"'\\/_-",
    |text| {
        (1..=255).contains(&text.len())
            && text.bytes().all(|byte| {
                byte.is_ascii_alphanumeric() || b",.;:=+~[]|@${}\"'\\/_ -".contains(&byte)
            })
    }
);

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check<I: FromStr>(text: &str, is_accepted: bool) {
        assert_eq!(text.parse::<I>().is_ok(), is_accepted, "{text:?}");
    }

    #[test]
    fn a_tenant_id_is_safe_in_a_path_a_header_and_a_tag() {
        check::<TenantId>("acme", true);
        check::<TenantId>("7.Acme_eu-1", true);
        check::<TenantId>(&"a".repeat(63), true);
        check::<TenantId>(&"a".repeat(64), false);
        check::<TenantId>("", false);
        check::<TenantId>(".acme", false);
        check::<TenantId>("-acme", false);
        check::<TenantId>("acme/eu", false);
        check::<TenantId>("acme%2feu", false);
        check::<TenantId>("acme eu", false);
        check::<TenantId>("acmé", false);
        check::<TenantId>("acme\n", false);
    }

    #[test]
    fn an_integration_id_follows_nangos_rule() {
        check::<IntegrationId>("github-app_2 ~:.@", true);
        check::<IntegrationId>("", false);
        check::<IntegrationId>("git/hub", false);
        check::<IntegrationId>(&"a".repeat(256), false);
    }

    #[test]
    fn a_nango_connection_id_follows_nangos_rule() {
        check::<NangoConnectionId>("394066a6-b36f-4b79-9e98-6ffbcd393498", true);
        check::<NangoConnectionId>("legacy/id with spaces", true);
        check::<NangoConnectionId>("", false);
        check::<NangoConnectionId>("a\r\nb", false);
        check::<NangoConnectionId>("naïve", false);
    }

    #[test]
    fn a_connection_id_has_one_spelling_and_is_no_id_of_nangos() {
        check::<ConnectionId>("0195f2a1-0000-7000-8000-000000000001", true);
        check::<ConnectionId>("394066a6-b36f-4b79-9e98-6ffbcd393498", false);
        check::<ConnectionId>("0195F2A1-0000-7000-8000-000000000001", false);
        check::<ConnectionId>("0195f2a10000700080000000000000001", false);
        check::<ConnectionId>("{0195f2a1-0000-7000-8000-000000000001}", false);
        check::<ConnectionId>("", false);
        let vaults = serde_json::json!("394066a6-b36f-4b79-9e98-6ffbcd393498");
        assert!(serde_json::from_value::<ConnectionId>(vaults).is_err());
    }

    #[test]
    fn ids_made_later_sort_later() {
        let random = [7; 10];
        assert!(EventId::from_parts(1, &[255; 10]) < EventId::from_parts(2, &random));
    }
}
