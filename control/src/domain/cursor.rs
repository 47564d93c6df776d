//! A place in a list, as whoever reads the list carries it.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use chrono::{DateTime, Datelike as _, Utc};
use sha2::{Digest, Sha256};
use uuid::Uuid;

/// Writes down a row's place; `list` names the list that it is a place of.
pub(super) fn write(at: DateTime<Utc>, id: Uuid, list: &str) -> String {
    let micros = at.timestamp_micros().to_be_bytes();
    URL_SAFE_NO_PAD.encode([&micros[..], id.as_bytes(), &check(micros, id, list)].concat())
}

/// Reads what was written down for the same list, and nothing else.
pub(super) fn read(cursor: &str, list: &str) -> Option<(DateTime<Utc>, Uuid)> {
    let bytes = URL_SAFE_NO_PAD.decode(cursor).ok()?;
    let (micros, rest) = bytes.split_first_chunk::<8>()?;
    let (id, claimed) = rest.split_first_chunk::<16>()?;
    let id = Uuid::from_bytes(*id);
    if claimed != check(*micros, id, list) {
        return None;
    }
    let at = DateTime::from_timestamp_micros(i64::from_be_bytes(*micros))?;
    can_be_asked_for(at).then_some((at, id))
}

/// Whether RFC 3339 has a spelling for a time. PostgreSQL refuses times that we could still count, such as one of
/// 200,000 years before Christ.
pub(super) fn can_be_asked_for(at: DateTime<Utc>) -> bool {
    (1..=9999).contains(&at.year())
}

/// Tells a cursor that was cut, mended or carried to another list. It is no proof and needs to be none: a
/// made-up place shows its maker nothing but rows of its own tenant.
fn check(micros: [u8; 8], id: Uuid, list: &str) -> [u8; 8] {
    let digest = Sha256::new()
        .chain_update(micros)
        .chain_update(id.as_bytes())
        .chain_update(list)
        .finalize();
    digest.first_chunk().copied().unwrap_or_default()
}
