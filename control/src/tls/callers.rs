//! Whether whoever made a connection may still use it: a handshake judges a certificate once, and a connection lasts.

use super::{Identity, Watched, life};
use chrono::{DateTime, Utc};
use rustls::pki_types::{CertificateDer, UnixTime};
use std::{
    collections::HashMap,
    path::Path,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

/// Of how many callers the verdict is kept. There are as many as edges.
const KNOWN_MAX: usize = 64;

/// A caller's certificates, as the handshake showed them, its own first.
type Chain = Vec<Vec<u8>>;

/// The caller's certificate has expired, or our CA files name its authority no more.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the caller's certificate is not trusted any more: {0}")]
pub struct NotTrusted(String);

/// Judges the callers of open connections, by our CA files as they are now.
#[derive(Debug)]
pub struct Callers {
    identity: Arc<Watched>,
    known: Mutex<Known>,
}

/// Until when whom is trusted, as far as these files say.
#[derive(Debug)]
struct Known {
    by: Arc<Identity>,
    until: HashMap<Chain, DateTime<Utc>>,
}

impl Callers {
    pub fn new(identity: Arc<Watched>) -> Self {
        let known = Mutex::new(Known { by: identity.current(), until: HashMap::new() });
        Self { identity, known }
    }

    /// Judges a caller at this moment. A verdict is kept until the first certificate of the chain ends or our files
    /// change: the signatures of the same certificates need no second proof.
    pub fn check(&self, chain: &[Vec<u8>], at: DateTime<Utc>) -> Result<(), NotTrusted> {
        let by = self.identity.current();
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if !Arc::ptr_eq(&known.by, &by) {
            *known = Known { by, until: HashMap::new() };
        }
        if known.until.get(chain).is_some_and(|until| at <= *until) {
            return Ok(());
        }
        let until = judge(&known.by, chain, at)?;
        if known.until.len() >= KNOWN_MAX {
            known.until.clear();
        }
        known.until.insert(chain.to_vec(), until);
        Ok(())
    }
}

/// Until when the chain is trusted.
fn judge(by: &Identity, chain: &[Vec<u8>], at: DateTime<Utc>) -> Result<DateTime<Utc>, NotTrusted> {
    let not_trusted = |why: &dyn std::fmt::Display| NotTrusted(why.to_string());
    let chain: Vec<CertificateDer<'_>> =
        chain.iter().map(|der| CertificateDer::from(der.as_slice())).collect();
    let (first, others) = chain.split_first().ok_or_else(|| not_trusted(&"it showed none"))?;
    let seconds = u64::try_from(at.timestamp()).unwrap_or_default();
    let now = UnixTime::since_unix_epoch(Duration::from_secs(seconds));
    by.callers().verify_client_cert(first, others, now).map_err(|error| not_trusted(&error))?;
    let ends = chain.iter().map(|der| life(Path::new("the caller's certificate"), der));
    let ends = ends.map(|life| life.map(|life| life.until)).collect::<Result<Vec<_>, _>>();
    let ends = ends.map_err(|error| not_trusted(&error))?;
    Ok(ends.into_iter().min().unwrap_or(at))
}
