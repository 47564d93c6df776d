//! Where a numbered list goes on: a position that its tenant carries, with a check.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use contract::id::TenantId;
use sha2::{Digest, Sha256};

/// Tells what stands at a position from what stood there before a backup was restored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mark([u8; 8]);

impl Mark {
    /// Of an event its id, of a line of the trail its link: what no other one has.
    pub fn of(what: &[u8]) -> Self {
        Self(first_bytes(Sha256::new_with_prefix(what)))
    }
}

/// A place in a numbered list: behind that position.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    pub position: i64,
    /// What stood there when the place was told; nothing before the first, and where it is not known.
    pub mark: Option<Mark>,
}

impl Place {
    /// Before the first.
    pub const START: Self = Self { position: 0, mark: None };

    /// Whether this is where the place was told, as far as can be known: `there` is what stands there now.
    pub fn is_where(self, there: Option<Mark>) -> bool {
        match (self.mark, there) {
            (Some(was), Some(is)) => was == is,
            (None, _) | (_, None) => true,
        }
    }
}

/// The lists that are numbered, tenant by tenant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Numbered {
    Events,
    Audit,
}

impl Numbered {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Events => "events",
            Self::Audit => "audit",
        }
    }

    /// The cursor of that place.
    pub fn cursor(self, tenant: &TenantId, place: Place) -> String {
        let mut bytes = place.position.to_be_bytes().to_vec();
        bytes.extend(place.mark.iter().flat_map(|mark| mark.0));
        bytes.extend(self.check(tenant, &bytes));
        URL_SAFE_NO_PAD.encode(bytes)
    }

    /// The place that a cursor of this list tells.
    pub fn read(self, tenant: &TenantId, cursor: &str) -> Option<Place> {
        let bytes = URL_SAFE_NO_PAD.decode(cursor).ok()?;
        let (place, claimed) = bytes.split_last_chunk::<8>()?;
        if *claimed != self.check(tenant, place) {
            return None;
        }
        let (position, mark) = place.split_first_chunk::<8>()?;
        let mark = match mark {
            [] => None,
            mark => Some(Mark(mark.try_into().ok()?)),
        };
        let position = i64::from_be_bytes(*position);
        (position >= 0).then_some(Place { position, mark })
    }

    /// Tells a cursor that was cut, mended or carried to another list or tenant. As that of a list of
    /// connections, it is no proof and needs to be none.
    fn check(self, tenant: &TenantId, place: &[u8]) -> [u8; 8] {
        let digest = Sha256::new_with_prefix(place)
            .chain_update(self.as_str())
            .chain_update([0])
            .chain_update(tenant.as_str());
        first_bytes(digest)
    }
}

fn first_bytes(digest: Sha256) -> [u8; 8] {
    digest.finalize().first_chunk().copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tenant(name: &str) -> TenantId {
        name.parse().unwrap()
    }

    fn place(position: i64) -> Place {
        Place { position, mark: Some(Mark::of(b"what stands there")) }
    }

    #[test]
    fn a_cursor_is_read_by_its_own_list_and_tenant_alone() {
        let cursor = Numbered::Events.cursor(&tenant("acme"), place(7));
        assert_eq!(Numbered::Events.read(&tenant("acme"), &cursor), Some(place(7)));
        assert_eq!(Numbered::Events.read(&tenant("rival"), &cursor), None);
        assert_eq!(Numbered::Audit.read(&tenant("acme"), &cursor), None);
        let before_all = Numbered::Events.cursor(&tenant("acme"), place(-1));
        assert_eq!(Numbered::Events.read(&tenant("acme"), &before_all), None);
    }

    /// As cursors were before they had a mark; clients keep theirs for long.
    #[test]
    fn a_cursor_without_a_mark_is_a_place_that_is_believed() {
        let digest = Sha256::digest([&7_i64.to_be_bytes()[..], b"events\0acme"].concat());
        let old = [&7_i64.to_be_bytes()[..], &digest[..8]].concat();
        let unmarked = Place { mark: None, ..place(7) };
        let read = Numbered::Events.read(&tenant("acme"), &URL_SAFE_NO_PAD.encode(old));
        assert_eq!(read, Some(unmarked));
        let there = Mark::of(b"another");
        assert!(unmarked.is_where(Some(there)) && place(7).is_where(None));
        assert!(place(7).is_where(place(7).mark) && !place(7).is_where(Some(there)));
    }

    #[test]
    fn a_cursor_that_was_touched_is_none() {
        let cursor = Numbered::Audit.cursor(&tenant("acme"), place(1 << 40));
        let read = |changed: &str| Numbered::Audit.read(&tenant("acme"), changed);
        for index in 0..cursor.len() {
            let (before, after) = (cursor.split_at(index).0, cursor.split_at(index + 1).1);
            for changed in
                [before.to_owned(), format!("{before}{after}"), format!("{before}%{after}")]
            {
                assert_eq!(read(&changed), None, "{changed}");
            }
        }
        for changed in [format!("{cursor}="), format!("{cursor}A"), "é".to_owned()] {
            assert_eq!(read(&changed), None, "{changed}");
        }
    }

    proptest::proptest! {
        #[test]
        fn a_cursor_is_what_was_written(position in 0_i64.., seen: Option<[u8; 16]>, text: String) {
            let acme = tenant("acme");
            let place = Place { position, mark: seen.map(|seen| Mark::of(&seen)) };
            let cursor = Numbered::Events.cursor(&acme, place);
            proptest::prop_assert_eq!(Numbered::Events.read(&acme, &cursor), Some(place));
            proptest::prop_assert_eq!(Numbered::Events.read(&acme, &text), None);
        }
    }
}
