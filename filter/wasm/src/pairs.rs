//! How Envoy hands over a header map: a count, the sizes of each name and value, then the texts, each
//! with a NUL after it. All numbers are little-endian `u32`.

use filter::head::RawHeader;

/// The pairs in `map`, borrowed from it; nothing if it is not written as above.
pub(crate) fn read(map: &[u8]) -> Option<Vec<RawHeader<'_>>> {
    let (count, rest) = take_u32(map)?;
    let count = usize::try_from(count).ok()?;
    // A count that the map is too short for must not make us reserve memory for it.
    let mut sizes = rest.get(..count.checked_mul(8)?)?;
    let mut texts = rest.get(count.checked_mul(8)?..)?;
    let mut pairs = Vec::with_capacity(count);
    for _ in 0..count {
        let (name_size, after) = take_u32(sizes)?;
        let (value_size, after) = take_u32(after)?;
        sizes = after;
        let (name, after) = take_text(texts, name_size)?;
        let (value, after) = take_text(after, value_size)?;
        texts = after;
        pairs.push((name, value));
    }
    Some(pairs)
}

/// The same format, the other way: for the headers of a reply.
pub(crate) fn write<'a>(pairs: impl Iterator<Item = (&'a str, &'a str)> + Clone) -> Vec<u8> {
    let size = |text: &str| u32::try_from(text.len()).unwrap_or(u32::MAX).to_le_bytes();
    let count = u32::try_from(pairs.clone().count()).unwrap_or(u32::MAX);
    let mut map = count.to_le_bytes().to_vec();
    for (name, value) in pairs.clone() {
        map.extend_from_slice(&size(name));
        map.extend_from_slice(&size(value));
    }
    for (name, value) in pairs {
        for text in [name, value] {
            map.extend_from_slice(text.as_bytes());
            map.push(0);
        }
    }
    map
}

fn take_u32(bytes: &[u8]) -> Option<(u32, &[u8])> {
    let (number, rest) = bytes.split_first_chunk()?;
    Some((u32::from_le_bytes(*number), rest))
}

fn take_text(bytes: &[u8], size: u32) -> Option<(&[u8], &[u8])> {
    let (text, rest) = bytes.split_at_checked(usize::try_from(size).ok()?)?;
    Some((text, rest.strip_prefix(b"\0")?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        for pairs in [vec![], vec![(":path", "/"), ("x-empty", ""), ("x-a", "1"), ("x-a", "2")]] {
            let map = write(pairs.iter().copied());
            let expected: Vec<RawHeader<'_>> =
                pairs.iter().map(|(name, value)| (name.as_bytes(), value.as_bytes())).collect();
            assert_eq!(read(&map), Some(expected));
        }
    }

    #[test]
    fn every_truncated_map_is_refused() {
        let map = write([("x-a", "1"), ("x-b", "22")].into_iter());
        for end in 0..map.len() {
            assert_eq!(read(&map[..end]), None, "{end}");
        }
    }

    #[test]
    fn sizes_that_the_map_does_not_have_are_refused() {
        let mut map = write([("x-a", "1")].into_iter());
        for position in 0..12 {
            let mut huge = map.clone();
            huge[position] = 0xff;
            assert_eq!(read(&huge), None, "{position}");
        }
        // A name that runs into its terminator.
        map[4] = 4;
        assert_eq!(read(&map), None);
    }
}
