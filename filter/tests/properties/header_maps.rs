//! A header map as Envoy hands it over: what was written is read, and nothing is read that is not there.

use crate::{config, pairs};
use filter::head::RawHeader;
use proptest::{collection::vec, prelude::*, sample::Index};

type Owned = Vec<(Vec<u8>, Vec<u8>)>;

/// The format by its description, for any bytes.
fn written(headers: &Owned) -> Vec<u8> {
    let number = |n: usize| u32::try_from(n).unwrap().to_le_bytes();
    let texts = || headers.iter().flat_map(|(name, value)| [name, value]);
    let mut map = number(headers.len()).to_vec();
    map.extend(texts().flat_map(|text| number(text.len())));
    map.extend(texts().flat_map(|text| text.iter().copied().chain([0])));
    map
}

fn borrowed(headers: &Owned) -> Vec<RawHeader<'_>> {
    headers.iter().map(|(name, value)| (name.as_slice(), value.as_slice())).collect()
}

/// Zeros are frequent: they end texts, and they are most of every size.
fn bytes() -> impl Strategy<Value = Vec<u8>> {
    vec(prop_oneof![Just(0), any::<u8>(), Just(b'a'), 0..6_u8], 0..8)
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn what_was_written_is_read_whatever_bytes_it_has(headers in vec((bytes(), bytes()), 0..6)) {
        let map = written(&headers);
        prop_assert_eq!(pairs::read(&map), Some(borrowed(&headers)));
    }

    #[test]
    fn our_writer_writes_the_format(headers in vec((".{0,6}", ".{0,6}"), 0..6)) {
        let bytes = |text: &String| text.clone().into_bytes();
        let owned = headers.iter().map(|(name, value)| (bytes(name), bytes(value))).collect();
        let texts = headers.iter().map(|(name, value)| (name.as_str(), value.as_str()));
        prop_assert_eq!(pairs::write(texts), written(&owned));
    }

    #[test]
    fn a_map_that_ends_too_soon_is_refused(
        headers in vec((bytes(), bytes()), 0..6),
        end: Index,
    ) {
        let map = written(&headers);
        prop_assert_eq!(pairs::read(&map[..end.index(map.len())]), None);
    }

    /// Every byte of the map is either what was read or was not looked at, behind the last pair.
    #[test]
    fn accepted_implies_that_the_map_begins_with_what_was_read(
        headers in vec((bytes(), bytes()), 0..4),
        changes in vec((any::<Index>(), prop_oneof![0..8_u8, any::<u8>()]), 0..3),
        noise in bytes(),
        is_noise: bool,
    ) {
        let mut map = written(&headers);
        for (at, byte) in changes {
            let at = at.index(map.len());
            map[at] = byte;
        }
        let map = if is_noise { noise } else { map };
        if let Some(read) = pairs::read(&map) {
            let owned = read.iter().map(|(name, value)| (name.to_vec(), value.to_vec())).collect();
            prop_assert!(map.starts_with(&written(&owned)), "{:?}", map);
        }
    }

    #[test]
    fn a_count_that_the_map_has_no_room_for_is_refused(
        count in 3..=u32::MAX,
        rest in vec(any::<u8>(), 0..24),
    ) {
        let map = [count.to_le_bytes().as_slice(), &rest].concat();
        prop_assert_eq!(pairs::read(&map), None);
    }
}
