//! Ids: one spelling each, the same in text and in JSON, and nothing in them that a path, a header or a
//! log line could not carry.

use crate::{config, near};
use contract::{
    action::Action,
    id::{AttemptId, ConnectionId, EventId, IntegrationId, NangoConnectionId, TenantId},
    keys::KeyId,
};
use proptest::prelude::*;
use serde::{Serialize, de::DeserializeOwned};
use std::{fmt::Display, str::FromStr};

/// The 36 characters of RFC 9562, with the version in its place, read without a UUID library.
fn is_uuid_7(text: &str) -> bool {
    let groups: Vec<&str> = text.split('-').collect();
    let lengths: Vec<usize> = groups.iter().map(|group| group.len()).collect();
    let is_digit = |character: char| matches!(character, '0'..='9' | 'a'..='f');
    lengths == [8, 4, 4, 4, 12]
        && groups.iter().all(|group| group.chars().all(is_digit))
        && groups[2].starts_with('7')
}

/// What `text` is read as, after a check that JSON reads it alike and that it prints as it was written.
fn one_spelling<I>(text: &str) -> Option<I>
where
    I: FromStr + Display + PartialEq + Serialize + DeserializeOwned,
{
    let read = text.parse::<I>().ok();
    let json = serde_json::from_value::<I>(serde_json::Value::from(text)).ok();
    assert!(read == json, "text and JSON differ about {text:?}");
    if let Some(id) = &read {
        assert_eq!(id.to_string(), text);
        assert_eq!(serde_json::to_value(id).unwrap(), text);
    }
    read
}

fn is_of(text: &str, lengths: std::ops::RangeInclusive<usize>, others: &str) -> bool {
    lengths.contains(&text.len())
        && text.chars().all(|it| it.is_ascii_alphanumeric() || others.contains(it))
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn an_id_that_was_made_is_read_again(unix_ms in 0..1_u64 << 48, random: [u8; 10]) {
        let id = ConnectionId::from_parts(unix_ms, &random);
        prop_assert_eq!(one_spelling::<ConnectionId>(&id.to_string()), Some(id));
        prop_assert_eq!(ConnectionId::from_uuid(id.as_uuid()), id);
        // The same parts are the same id, whatever it names.
        let attempt = AttemptId::from_parts(unix_ms, &random);
        prop_assert_eq!(attempt.to_string(), id.to_string());
    }

    #[test]
    fn ids_sort_as_text_by_the_time_they_were_made(
        times in prop::array::uniform2(0..1_u64 << 48),
        random: [[u8; 10]; 2],
    ) {
        let [one, other] = [0, 1].map(|n| EventId::from_parts(times[n], &random[n]));
        if times[0] != times[1] {
            prop_assert_eq!(one.cmp(&other), times[0].cmp(&times[1]));
        }
        prop_assert_eq!(one.cmp(&other), one.to_string().cmp(&other.to_string()));
    }

    #[test]
    fn our_ids_are_lower_case_uuids_of_version_7_and_nothing_else(
        text in near(prop_oneof![
            "[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}",
            "[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12}",
            "[0-9a-f]{12}7[0-9a-f]{19}",
            r"\{[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[0-9a-f]{4}-[0-9a-f]{12}\}",
            "urn:uuid:[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[0-9a-f]{4}-[0-9a-f]{12}",
        ]),
    ) {
        let read = one_spelling::<ConnectionId>(&text);
        prop_assert_eq!(read.is_some(), is_uuid_7(&text), "{}", text);
    }

    #[test]
    fn a_tenant_id_is_accepted_by_its_rule_alone(
        text in near(prop_oneof!["[a-zA-Z0-9._-]{0,70}", "[a-z0-9][a-z0-9._-]{0,62}"]),
    ) {
        let begins_well = text.chars().next().is_some_and(|first| first.is_ascii_alphanumeric());
        let expected = begins_well && is_of(&text, 1..=63, "._-");
        prop_assert_eq!(one_spelling::<TenantId>(&text).is_some(), expected, "{}", text);
        if expected {
            prop_assert_ne!(text.as_str(), ".");
            prop_assert_ne!(text.as_str(), "..");
            prop_assert_eq!(String::from(text.parse::<TenantId>().unwrap()), text);
        }
    }

    #[test]
    fn the_vaults_names_are_accepted_by_its_rules_alone(
        text in near(prop_oneof![
            r"[ -~]{0,6}",
            "[a-zA-Z0-9~:.@ _-]{0,260}",
            r#"[a-zA-Z0-9,.;:=+~\[\]|@$\{\}"'\\/_ -]{0,260}"#,
        ]),
    ) {
        let integration = is_of(&text, 1..=255, "~:.@ _-");
        prop_assert_eq!(one_spelling::<IntegrationId>(&text).is_some(), integration, "{}", text);
        let connection = is_of(&text, 1..=255, ",.;:=+~[]|@${}\"'\\/_ -");
        prop_assert_eq!(one_spelling::<NangoConnectionId>(&text).is_some(), connection, "{}", text);
    }

    #[test]
    fn a_key_id_is_accepted_by_its_rule_alone(text in near("[a-zA-Z0-9_-]{0,34}")) {
        let read = text.parse::<KeyId>();
        prop_assert_eq!(read.is_ok(), is_of(&text, 1..=32, "_-"), "{}", text);
        if let Ok(id) = read {
            prop_assert_eq!(id.to_string(), text);
        }
    }

    #[test]
    fn an_action_is_one_of_seven_words(
        text in near(proptest::sample::select(Action::ALL.to_vec()).prop_map(|it| it.to_string())),
    ) {
        let words = ["connect", "read", "delete", "notify", "audit", "erase", "proxy"];
        prop_assert_eq!(one_spelling::<Action>(&text).is_some(), words.contains(&text.as_str()));
    }
}
