//! Lists of keys: what was written is what is read, whatever is accepted is hard to guess, and no secret
//! prints.

use crate::{config, near};
use contract::keys::{KEYS_MAX, KeyId, KeyRing, SECRET_BYTES_MIN, UnusableKeys};
use proptest::{prelude::*, sample::Index};
use std::collections::BTreeMap;

type Written = Vec<(String, String)>;

/// Keys with different ids, as an operator has them. A comma would end an entry.
fn written(count: impl Into<proptest::collection::SizeRange>) -> impl Strategy<Value = Written> {
    let keys = proptest::collection::btree_map("[a-zA-Z0-9_-]{1,32}", "[!-+--~]{16,80}", count);
    keys.prop_map(BTreeMap::into_iter).prop_map(Iterator::collect::<Written>).prop_shuffle()
}

fn read(text: &str) -> Result<Written, UnusableKeys> {
    let ring = KeyRing::parse(text.as_bytes())?;
    let value = |secret: &[u8]| String::from_utf8(secret.to_vec()).unwrap();
    Ok(ring.iter().map(|key| (key.id.to_string(), value(key.secret.expose()))).collect())
}

fn entries(keys: &Written) -> Vec<String> {
    keys.iter().map(|(id, value)| format!("{id}:{value}")).collect()
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn a_written_list_is_read_in_its_order_whatever_space_is_around(
        keys in written(1..=KEYS_MAX),
        space in "[ \t\r\n]{0,3}",
        separator in "[ \n]{0,2},[ \n,]{0,3}",
    ) {
        let text = format!("{space}{}{separator}{space}", entries(&keys).join(&separator));
        prop_assert_eq!(read(&text), Ok(keys.clone()));
        let ring = KeyRing::parse(text.as_bytes()).unwrap();
        prop_assert_eq!(ring.signing().id.as_str(), keys[0].0.as_str());
        for (id, value) in &keys {
            let found = ring.find(&id.parse::<KeyId>().unwrap()).unwrap();
            prop_assert_eq!(found.secret.expose(), value.as_bytes());
        }
    }

    #[test]
    fn a_bare_value_is_a_key_with_the_id_1(value in "[!-+--9;-~]{16,80}") {
        prop_assert_eq!(read(&value), Ok(vec![("1".to_owned(), value.clone())]));
    }

    #[test]
    fn one_bad_entry_spoils_the_whole_list_and_says_why(
        keys in written(1..KEYS_MAX),
        at: Index,
        long in "[!-+--~]{16,20}",
        short in "[!-+--~]{0,15}",
        strange in "[^ -~\\s]",
    ) {
        let broken = |entry: String| {
            let mut entries = entries(&keys);
            entries.insert(at.index(entries.len() + 1), entry);
            read(&entries.join(","))
        };
        let id_of_another = &keys[at.index(keys.len())].0;
        prop_assert_eq!(broken(format!("{id_of_another}:{long}")), Err(UnusableKeys::DuplicateId));
        prop_assert_eq!(broken(format!("no id:{long}")), Err(UnusableKeys::Id));
        prop_assert_eq!(broken(format!(":{long}")), Err(UnusableKeys::Id));
        // Ids have at most 32 characters, so that this one is of none of the others.
        let id = "x".repeat(33);
        prop_assert_eq!(broken(format!("{id}:{long}")), Err(UnusableKeys::Id));
        let mut ids = (0..KEYS_MAX).map(|n| format!("new-{n}"));
        let id = ids.find(|id| keys.iter().all(|key| key.0 != *id)).unwrap();
        prop_assert_eq!(broken(format!("{id}:{short}")), Err(UnusableKeys::TooShort));
        prop_assert_eq!(broken(format!("{id}:{strange}{long}")), Err(UnusableKeys::Unprintable));
        prop_assert_eq!(broken(format!("{id}:{long} {long}")), Err(UnusableKeys::Unprintable));
    }

    #[test]
    fn more_keys_than_a_rotation_needs_are_refused(keys in written(KEYS_MAX + 1..KEYS_MAX + 4)) {
        prop_assert_eq!(read(&entries(&keys).join(",")), Err(UnusableKeys::TooMany));
    }

    #[test]
    fn accepted_implies_few_keys_with_different_ids_and_secrets_of_enough_printable_bytes(
        text in near(prop_oneof![
            "[a-c:, \n]{0,60}",
            "([a-c]?:?[!-~]{14,18},?){0,10}",
            written(1..4).prop_map(|keys| entries(&keys).join(",")),
        ]),
    ) {
        let Ok(keys) = read(&text) else { return Ok(()) };
        prop_assert!((1..=KEYS_MAX).contains(&keys.len()));
        let ids: BTreeMap<&String, &String> = keys.iter().map(|(id, value)| (id, value)).collect();
        prop_assert_eq!(ids.len(), keys.len());
        for (id, value) in &keys {
            prop_assert!(id.parse::<KeyId>().is_ok());
            let unprefixed = value.strip_prefix("whsec_").unwrap_or(value);
            prop_assert!(unprefixed.len() >= SECRET_BYTES_MIN);
            prop_assert!(value.bytes().all(|byte| byte.is_ascii_graphic() && byte != b','));
            prop_assert!(text.contains(value.as_str()));
        }
        // A bare value is the only thing that reads otherwise when it is written out.
        prop_assert_eq!(read(&entries(&keys).join(",")), Ok(keys));
    }

    #[test]
    fn a_ring_prints_its_ids_and_not_eight_characters_of_a_secret(keys in written(1..=KEYS_MAX)) {
        let ring = KeyRing::parse(entries(&keys).join(",").as_bytes()).unwrap();
        let printed = format!("{ring:?} {ring:#?}");
        for (id, value) in &keys {
            prop_assert!(printed.contains(id.as_str()));
            let is_printed = |part: &[u8]| printed.as_bytes().windows(8).any(|it| it == part);
            prop_assert!(!value.as_bytes().windows(8).any(is_printed), "{}", printed);
        }
        prop_assert_eq!(printed.matches("Secret(..)").count(), 2 * keys.len());
    }
}
