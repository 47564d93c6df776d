//! How often a property is tried, and texts that are almost right. The properties of `filter` use this
//! file too.

use proptest::{
    prelude::{ProptestConfig, Strategy, any, prop_oneof},
    sample::Index,
};

pub(crate) fn config() -> ProptestConfig {
    ProptestConfig { failure_persistence: None, ..ProptestConfig::default() }
}

/// A text, and often one that differs from it by one character.
pub(crate) fn near(texts: impl Strategy<Value = String>) -> impl Strategy<Value = String> {
    let strange = prop_oneof![
        proptest::char::range('\0', '\u{7f}'),
        any::<char>(),
        proptest::sample::select(vec!['/', '.', ':', '-', '_', ',', '%', '*', ' ', 'A', '+', '0']),
    ];
    (texts, any::<Index>(), strange, 0..5_u8).prop_map(|(text, at, strange, change)| {
        let mut characters: Vec<char> = text.chars().collect();
        let at = at.index(characters.len().max(1));
        match change {
            0 if at < characters.len() => characters[at] = strange,
            1 => characters.insert(at, strange),
            2 if at < characters.len() => drop(characters.remove(at)),
            _ => {}
        }
        characters.into_iter().collect()
    })
}
