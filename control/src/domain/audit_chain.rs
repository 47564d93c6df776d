//! The trail as a chain: each hash covers the one before and its own line, so that a line that was changed,
//! left out or put in shows to whoever kept a later hash.

use chrono::{DateTime, SecondsFormat, Utc};
use contract::id::{AuditId, ConnectionId, TenantId};
use serde::{Serialize, Serializer};
use serde_json::Value;
use sha2::{Digest, Sha256};

/// A link of the chain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AuditHash([u8; 32]);

impl AuditHash {
    /// What comes before the first link.
    pub const START: Self = Self([0; 32]);

    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl std::fmt::Display for AuditHash {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(&hex::encode(self.0))
    }
}

impl Serialize for AuditHash {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// A line of the trail in its place. As JSON it is canonical: members in the order of their names, no white
/// space; so whoever has the answer of the API can compute the hashes again.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ChainedLine {
    pub action: String,
    pub actor: String,
    #[serde(serialize_with = "micros")]
    pub at: DateTime<Utc>,
    /// Null, where the line is the whole tenant's.
    pub connection_id: Option<ConnectionId>,
    /// Objects of `serde_json` keep their members in order.
    pub detail: Value,
    pub id: AuditId,
    /// Dense, from 1.
    pub position: i64,
    pub request_id: Option<String>,
    pub tenant_id: TenantId,
}

/// In whole microseconds, which is what the database keeps, in one spelling.
fn micros<S: Serializer>(at: &DateTime<Utc>, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&at.to_rfc3339_opts(SecondsFormat::Micros, true))
}

impl ChainedLine {
    /// The link of this line: SHA-256 over the link before, as 32 bytes, and the line.
    pub fn hash_after(&self, previous: AuditHash) -> Result<AuditHash, serde_json::Error> {
        let line = serde_json::to_vec(self)?;
        Ok(AuditHash(Sha256::new().chain_update(previous.0).chain_update(line).finalize().into()))
    }
}

/// Where a chain does not hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BrokenChain {
    #[error("the line at position {0} is missing")]
    Missing(i64),
    #[error("the line at position {0}, or its hash, was changed")]
    Changed(i64),
}

/// Goes on with a chain behind a position and its link; the position and the link at the end.
pub fn verify(
    (mut position, mut link): (i64, AuditHash),
    lines: &[(ChainedLine, AuditHash)],
) -> Result<(i64, AuditHash), BrokenChain> {
    for (line, hash) in lines {
        position = position.saturating_add(1);
        if line.position != position {
            return Err(BrokenChain::Missing(position));
        }
        match line.hash_after(link) {
            Ok(computed) if computed == *hash => link = computed,
            Ok(_) | Err(_) => return Err(BrokenChain::Changed(position)),
        }
    }
    Ok((position, link))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn line(position: i64) -> ChainedLine {
        ChainedLine {
            action: "connection.started".to_owned(),
            actor: "spiffe://acme.example/app".to_owned(),
            at: DateTime::from_timestamp_micros(1_795_340_000_000_001).unwrap(),
            connection_id: Some(ConnectionId::from_parts(1, &[1; 10])),
            detail: json!({"reason": "é\"\n\u{7f}", "attempt": null}),
            id: AuditId::from_parts(2, &[2; 10]),
            position,
            request_id: None,
            tenant_id: "acme".parse().unwrap(),
        }
    }

    fn chain(lines: i64) -> Vec<(ChainedLine, AuditHash)> {
        let mut link = AuditHash::START;
        (1..=lines)
            .map(|position| {
                link = line(position).hash_after(link).unwrap();
                (line(position), link)
            })
            .collect()
    }

    /// Computed by another language from the members alone:
    ///
    /// ```python
    /// import hashlib, json
    /// previous = bytes(32)
    /// for position in (1, 2):
    ///     line = {"id": "00000000-0002-7202-8202-020202020202", "position": position, "tenantId": "acme",
    ///             "at": "2026-11-22T09:33:20.000001Z", "action": "connection.started",
    ///             "actor": "spiffe://acme.example/app", "requestId": None,
    ///             "connectionId": "00000000-0001-7101-8101-010101010101",
    ///             "detail": {"reason": "é\"\n\x7f", "attempt": None}}
    ///     text = json.dumps(line, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    ///     previous = hashlib.sha256(previous + text.encode()).digest()
    ///     print(previous.hex())
    /// ```
    #[test]
    fn a_hash_is_what_another_language_computes() {
        let hashes: Vec<String> = chain(2).iter().map(|(_, hash)| hash.to_string()).collect();
        assert_eq!(
            hashes,
            [
                "c8160cedabdb835ca2bf162b9bdcbacc0f717511a6cabe2ea1fbff20d7d38f9f",
                "ae05309acbaf06f1c39809a6d3dca96d8c7197496ff268e69cc6926a78d7fae1",
            ]
        );
    }

    #[test]
    fn a_whole_chain_holds_in_pages_of_any_size() {
        let lines = chain(7);
        for size in 1..=7 {
            let mut at = (0, AuditHash::START);
            for page in lines.chunks(size) {
                at = verify(at, page).unwrap();
            }
            assert_eq!(at, (7, lines[6].1));
        }
        assert_eq!(verify((0, AuditHash::START), &[]), Ok((0, AuditHash::START)));
    }

    #[test]
    fn a_line_that_was_changed_left_out_or_put_in_shows() {
        let start = (0, AuditHash::START);
        let changes: [fn(&mut ChainedLine); 10] = [
            |line| line.action.push('x'),
            |line| line.actor.push('x'),
            |line| line.at += chrono::TimeDelta::microseconds(1),
            |line| line.connection_id = Some(ConnectionId::from_parts(1, &[3; 10])),
            |line| line.connection_id = None,
            |line| line.detail["attempt"] = json!("x"),
            |line| line.id = AuditId::from_parts(2, &[3; 10]),
            |line| line.request_id = Some("r".to_owned()),
            |line| line.tenant_id = "rival".parse().unwrap(),
            |line| line.detail["more"] = json!(null),
        ];
        for change in changes {
            let mut lines = chain(3);
            change(&mut lines[1].0);
            assert_eq!(verify(start, &lines), Err(BrokenChain::Changed(2)));
            // With a hash that is right by itself, its successor's is not.
            lines[1].1 = lines[1].0.hash_after(lines[0].1).unwrap();
            assert_eq!(verify(start, &lines), Err(BrokenChain::Changed(3)));
        }
        let mut left_out = chain(3);
        left_out.remove(1);
        assert_eq!(verify(start, &left_out), Err(BrokenChain::Missing(2)));
        left_out[1].0.position = 2;
        assert_eq!(verify(start, &left_out), Err(BrokenChain::Changed(2)));
        let mut put_in = chain(3);
        put_in.insert(1, put_in[0].clone());
        assert_eq!(verify(start, &put_in), Err(BrokenChain::Missing(2)));
    }
}
