//! Whom a tenant's notifications go to, ready to be sent to: the operator's destination, or the tenant's own.

use super::{
    Limits,
    connector::{Connector, Way},
    resolver::Resolver,
    trust::{Roots, Trust},
};
use crate::domain::{
    destination::{self, Destination, Secrets},
    egress::Egress,
    outcome::NoAnswer,
    sealing::Sealer,
    signing::SigningSecret,
};
use contract::id::TenantId;
use http_body_util::Full;
use hyper::{Uri, body::Bytes};
use hyper_util::{
    client::legacy,
    rt::{TokioExecutor, TokioTimer},
};
use std::{sync::Arc, time::Duration};
use url::Url;

/// Shorter than the patience of the servers that are in use: a request on a connection that is just being
/// closed is lost.
const IDLE_MAX: Duration = Duration::from_secs(4);

/// An answer's head is small, or no answer.
const HEAD_BYTES_MAX: usize = 64 << 10;

/// A receiver that notifications can be sent to, again and again.
#[derive(Debug, Clone)]
pub struct Target(pub(super) Arc<Result<Ready, Unready>>);

/// Why nothing can be sent there, by our own fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum Unready {
    #[error("DATA_ENCRYPTION_KEY does not open the destination's secrets")]
    Sealed,
    #[error("the destination's CA cannot be used")]
    Ca,
    #[error("the destination's address cannot be used")]
    Address,
}

impl Unready {
    pub(super) const fn why(self) -> NoAnswer {
        match self {
            Self::Sealed => NoAnswer::OurKeys,
            Self::Ca | Self::Address => NoAnswer::OurIdentity,
        }
    }
}

#[derive(Debug)]
pub(super) struct Ready {
    pub(super) uri: Uri,
    pub(super) secrets: Vec<SigningSecret>,
    pub(super) way: Arc<Way>,
    pub(super) client: legacy::Client<Connector, Full<Bytes>>,
}

/// What all targets share.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) trust: Arc<Trust>,
    pub(super) egress: Arc<Egress>,
    pub(super) sealer: Option<Sealer>,
    pub(super) resolver: Resolver,
    pub(super) limits: Limits,
}

impl Target {
    /// The operator's: he says where it is, and no guard asks him.
    pub(super) fn of_operator(url: &Url, secrets: Vec<SigningSecret>, shared: &Shared) -> Self {
        let trust = Arc::clone(&shared.trust);
        Self(Arc::new(Ready::new(url, (None, None), secrets, (trust, shared))))
    }

    /// Of a tenant whose own destination nobody can read.
    pub fn unreadable() -> Self {
        Self(Arc::new(Err(Unready::Address)))
    }

    pub(super) fn of_tenant(tenant: &TenantId, own: &Destination, shared: &Shared) -> Self {
        Self(Arc::new(ready(tenant, own, shared)))
    }
}

fn ready(tenant: &TenantId, own: &Destination, shared: &Shared) -> Result<Ready, Unready> {
    let sealer = shared.sealer.as_ref().ok_or(Unready::Sealed)?;
    let lines = sealer
        .open(&own.secrets, &destination::owner(tenant))
        .map_err(|_not_ours| Unready::Sealed)?;
    let secrets = Secrets::from_lines(&lines).ok_or(Unready::Sealed)?;
    let trust = match &own.ca {
        None => Arc::clone(&shared.trust),
        Some(pem) => {
            let roots = destination::roots(pem).map_err(|_bad| Unready::Ca)?;
            Arc::new(shared.trust.with_roots(Roots::Own(roots)))
        }
    };
    let guard = Some(Arc::clone(&shared.egress));
    Ready::new(&own.url, (own.server_name.as_deref(), guard), secrets, (trust, shared))
}

impl Ready {
    fn new(
        url: &Url,
        (expected_name, guard): (Option<&str>, Option<Arc<Egress>>),
        secrets: Vec<SigningSecret>,
        (trust, shared): (Arc<Trust>, &Shared),
    ) -> Result<Self, Unready> {
        let uri = url.as_str().parse().map_err(|_unspeakable| Unready::Address)?;
        let by = (shared.resolver.clone(), shared.limits);
        let way = Way::new(url, expected_name, guard, trust, by).ok_or(Unready::Address)?;
        let way = Arc::new(way);
        let client = legacy::Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(IDLE_MAX)
            .http1_max_buf_size(HEAD_BYTES_MAX)
            .build(Connector(Arc::clone(&way)));
        Ok(Self { uri, secrets, way, client })
    }
}
