//! Where a numbered list goes on: a position that its tenant carries, with a check.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use contract::id::TenantId;
use sha2::{Digest, Sha256};

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

    /// The cursor behind that position.
    pub fn cursor(self, tenant: &TenantId, position: i64) -> String {
        let position = position.to_be_bytes();
        URL_SAFE_NO_PAD.encode([position, self.check(tenant, position)].concat())
    }

    /// The position that a cursor of this list stands behind.
    pub fn read(self, tenant: &TenantId, cursor: &str) -> Option<i64> {
        let bytes = URL_SAFE_NO_PAD.decode(cursor).ok()?;
        let (position, claimed) = bytes.split_first_chunk::<8>()?;
        if claimed != self.check(tenant, *position) {
            return None;
        }
        Some(i64::from_be_bytes(*position)).filter(|position| *position >= 0)
    }

    /// Tells a cursor that was cut, mended or carried to another list or tenant. As that of a list of
    /// connections, it is no proof and needs to be none.
    fn check(self, tenant: &TenantId, position: [u8; 8]) -> [u8; 8] {
        let digest = Sha256::new()
            .chain_update(position)
            .chain_update(self.as_str())
            .chain_update([0])
            .chain_update(tenant.as_str())
            .finalize();
        digest.first_chunk().copied().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tenant(name: &str) -> TenantId {
        name.parse().unwrap()
    }

    #[test]
    fn a_cursor_is_read_by_its_own_list_and_tenant_alone() {
        let cursor = Numbered::Events.cursor(&tenant("acme"), 7);
        assert_eq!(Numbered::Events.read(&tenant("acme"), &cursor), Some(7));
        assert_eq!(Numbered::Events.read(&tenant("rival"), &cursor), None);
        assert_eq!(Numbered::Audit.read(&tenant("acme"), &cursor), None);
        let before_all = Numbered::Events.cursor(&tenant("acme"), -1);
        assert_eq!(Numbered::Events.read(&tenant("acme"), &before_all), None);
    }

    #[test]
    fn a_cursor_that_was_touched_is_none() {
        let cursor = Numbered::Audit.cursor(&tenant("acme"), 1 << 40);
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
        fn a_cursor_is_what_was_written(position in 0_i64.., text: String) {
            let acme = tenant("acme");
            let cursor = Numbered::Events.cursor(&acme, position);
            proptest::prop_assert_eq!(Numbered::Events.read(&acme, &cursor), Some(position));
            proptest::prop_assert_eq!(Numbered::Events.read(&acme, &text), None);
        }
    }
}
