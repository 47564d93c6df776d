//! A header map as Envoy hands it over, and the head in it: what is read is there, byte for byte, and an
//! accepted path has no second reading.
#![no_main]

use filter::head::{Head, RawHeader, declared_body_bytes, request_id};
use libfuzzer_sys::fuzz_target;

#[path = "../../wasm/src/pairs.rs"]
mod pairs;

fuzz_target!(|map: &[u8]| {
    let Some(headers) = pairs::read(map) else { return };
    let plain = written(&headers);
    assert!(map.starts_with(&plain));
    // The module's own writer, which replies use, agrees with the plain one wherever there is text.
    let text = |bytes| str::from_utf8(bytes).ok();
    let texts = headers.iter().map(|(name, value)| Some((text(name)?, text(value)?)));
    if let Some(texts) = texts.collect::<Option<Vec<_>>>() {
        assert_eq!(pairs::write(texts.into_iter()), plain);
    }
    let id = request_id(&headers);
    assert!(id.is_none_or(|id| headers.iter().any(|header| header.1 == id.as_bytes())));
    let length = declared_body_bytes(&headers);
    assert!(length.is_none() || headers.iter().any(|header| header.0 == b"content-length"));
    let Ok(head) = Head::read(&headers) else { return };
    let values = |name: &str| -> Vec<&[u8]> {
        let of_name = headers.iter().filter(|header| header.0 == name.as_bytes());
        of_name.map(|header| header.1).collect()
    };
    for name in head.names() {
        let is_one_text = matches!(values(name).as_slice(), [one] if str::from_utf8(one).is_ok());
        assert_eq!(head.one(name).is_ok(), is_one_text);
    }
    assert_eq!(values(":path").len(), 1);
    assert!(head.target.starts_with(head.path) && head.path.starts_with('/'));
    assert!(head.target.bytes().all(|byte| byte.is_ascii_graphic()));
    assert!(!head.path.contains(['%', ';', '\\', '?', '#']) && !head.path.contains("//"));
    assert!(!head.path.split('/').any(|segment| segment == "." || segment == ".."));
});

fn written(headers: &[RawHeader<'_>]) -> Vec<u8> {
    let texts = || headers.iter().flat_map(|(name, value)| [*name, *value]);
    let mut map = u32::try_from(headers.len()).unwrap().to_le_bytes().to_vec();
    map.extend(texts().flat_map(|text| u32::try_from(text.len()).unwrap().to_le_bytes()));
    texts().for_each(|text| map.extend([text, b"\0"].concat()));
    map
}
