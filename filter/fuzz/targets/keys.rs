//! Lists of keys: an accepted one has a few keys with different ids and secrets of enough bytes, reads
//! the same when it is written out again, and prints none of them.
#![no_main]

use contract::keys::{KEYS_MAX, KeyRing, SECRET_BYTES_MIN};
use libfuzzer_sys::fuzz_target;

fn read(text: &[u8]) -> Option<Vec<(String, String)>> {
    let ring = KeyRing::parse(text).ok()?;
    assert_eq!(ring.signing().id, ring.iter().next().unwrap().id);
    assert_eq!(format!("{ring:?}").matches("Secret(..)").count(), ring.iter().count());
    let value = |secret: &[u8]| String::from_utf8(secret.to_vec()).unwrap();
    Some(ring.iter().map(|key| (key.id.to_string(), value(key.secret.expose()))).collect())
}

fuzz_target!(|text: &[u8]| {
    let Some(keys) = read(text) else { return };
    assert!((1..=KEYS_MAX).contains(&keys.len()));
    for (n, (id, value)) in keys.iter().enumerate() {
        assert!((1..=32).contains(&id.len()));
        assert!(keys.iter().skip(n + 1).all(|other| other.0 != *id));
        assert!(value.len() >= SECRET_BYTES_MIN);
        assert!(value.bytes().all(|byte| byte.is_ascii_graphic() && byte != b','));
        assert!(text.windows(value.len()).any(|window| window == value.as_bytes()));
    }
    let entries: Vec<String> = keys.iter().map(|(id, value)| format!("{id}:{value}")).collect();
    assert_eq!(read(entries.join(" ,\n").as_bytes()).as_ref(), Some(&keys));
});
