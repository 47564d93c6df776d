//! Makes connections to one receiver: the address that was checked is the address that is connected to.

use super::{Limits, failed::Failed, resolver::Resolver, trust::Trust};
use crate::domain::{egress::Egress, outcome::NoAnswer};
use chrono::{DateTime, Utc};
use futures::future::BoxFuture;
use hyper::Uri;
use hyper_util::{
    client::legacy::connect::{Connected, Connection},
    rt::TokioIo,
};
use rustls::{ClientConfig, pki_types::ServerName};
use std::{
    fmt,
    net::{IpAddr, SocketAddr},
    sync::{Arc, OnceLock},
    task::{Context, Poll},
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
    time::timeout,
};
use tokio_rustls::{TlsConnector, client::TlsStream};
use url::{Host, Url};

/// A name with more addresses than this has enough of them.
const ADDRESSES_MAX: usize = 4;

/// A connection, with or without TLS.
pub(super) trait Io: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Io for T {}

impl Connection for Box<dyn Io> {
    fn connected(&self) -> Connected {
        Connected::new().extra(FirstUsed::default())
    }
}

/// When the first request went over a connection.
#[derive(Debug, Clone, Default)]
pub(super) struct FirstUsed(Arc<OnceLock<DateTime<Utc>>>);

impl FirstUsed {
    pub(super) fn at_or(&self, now: DateTime<Utc>) -> DateTime<Utc> {
        *self.0.get_or_init(|| now)
    }
}

/// Where one receiver is, and what is asked of the way there.
pub(super) struct Way {
    host: Host<String>,
    port: u16,
    /// Nothing: without TLS.
    server_name: Option<ServerName<'static>>,
    /// Nothing: the operator's own destination, which may be anywhere.
    guard: Option<Arc<Egress>>,
    resolver: Resolver,
    pub(super) trust: Arc<Trust>,
    limits: Limits,
}

impl fmt::Debug for Way {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Way({}:{})", self.host, self.port)
    }
}

impl Way {
    pub(super) fn new(
        url: &Url,
        expected_name: Option<&str>,
        guard: Option<Arc<Egress>>,
        trust: Arc<Trust>,
        (resolver, limits): (Resolver, Limits),
    ) -> Option<Self> {
        let host = url.host()?.to_owned();
        let server_name = if url.scheme() == "https" {
            let name = expected_name.map_or_else(|| bare(&host), str::to_owned);
            Some(ServerName::try_from(name).ok()?)
        } else {
            None
        };
        let port = url.port_or_known_default()?;
        Some(Self { host, port, server_name, guard, resolver, trust, limits })
    }

    /// Nobody but the operator is told where his own destination is, beyond its name.
    pub(super) const fn is_operators(&self) -> bool {
        self.guard.is_none()
    }

    /// As it is told to the tenants whose notifications go this way.
    pub(super) fn told(&self, failed: Failed) -> Failed {
        if !self.is_operators() {
            return failed;
        }
        tracing::debug!(error = failed.said, "the operator's destination was not reached");
        failed.naming(&bare(&self.host))
    }

    pub(super) const fn server_name(&self) -> Option<&ServerName<'static>> {
        self.server_name.as_ref()
    }

    /// A connection, and where it leads.
    pub(super) async fn connect(&self) -> Result<(TcpStream, SocketAddr), Failed> {
        let mut first_failure = None;
        for address in self.addresses().await? {
            let address = SocketAddr::new(address, self.port);
            let failed = match timeout(self.limits.address, TcpStream::connect(address)).await {
                Ok(Ok(stream)) => {
                    // Without it, what is sent in two pieces waits for an acknowledgement. It is a wish.
                    let _refused = stream.set_nodelay(true).is_err();
                    return Ok((stream, address));
                }
                Ok(Err(error)) => Failed::of_connect(address, &error),
                Err(_elapsed) => {
                    Failed::new(NoAnswer::Timeout, format!("{address} does not answer"))
                }
            };
            // The resolver puts the best one first.
            first_failure.get_or_insert(failed);
        }
        Err(first_failure.unwrap_or_else(|| {
            Failed::new(NoAnswer::NoSuchName, format!("{} has no address", self.host))
        }))
    }

    /// The addresses that may be called.
    async fn addresses(&self) -> Result<Vec<IpAddr>, Failed> {
        let found = match &self.host {
            Host::Ipv4(address) => vec![IpAddr::V4(*address)],
            Host::Ipv6(address) => vec![IpAddr::V6(*address)],
            Host::Domain(name) => match self.resolver.look_up(name, self.limits.look_up).await {
                Ok(addresses) => addresses,
                Err(unresolved) => return Err(Failed::of_lookup(name, unresolved)),
            },
        };
        let Some(guard) = &self.guard else {
            return Ok(found.into_iter().take(ADDRESSES_MAX).collect());
        };
        if !guard.may_use(self.port) {
            let said = format!("port {} may not be called", self.port);
            return Err(Failed::new(NoAnswer::Forbidden, said));
        }
        let is_tls = self.server_name.is_some();
        let (may, may_not): (Vec<IpAddr>, Vec<IpAddr>) =
            found.into_iter().partition(|address| guard.may_reach(*address, is_tls));
        match may_not.first() {
            // Nobody is told where a name leads that leads within.
            Some(_) if may.is_empty() => {
                let said = format!("{} leads to an address that may not be called", self.host);
                Err(Failed::new(NoAnswer::Forbidden, said))
            }
            Some(_) | None => Ok(may.into_iter().take(ADDRESSES_MAX).collect()),
        }
    }

    /// Greets the receiver under the name that is expected of it.
    pub(super) async fn secure(
        &self,
        stream: TcpStream,
        name: &ServerName<'static>,
        config: Arc<ClientConfig>,
    ) -> Result<TlsStream<TcpStream>, Failed> {
        let greeting = TlsConnector::from(config).connect(name.clone(), stream);
        greeting.await.map_err(|error| Failed::of_handshake(&error))
    }

    async fn open(&self) -> Result<Box<dyn Io>, Failed> {
        let (stream, _address) = self.connect().await?;
        match &self.server_name {
            None => Ok(Box::new(stream)),
            Some(name) => Ok(Box::new(self.secure(stream, name, self.trust.config()?).await?)),
        }
    }
}

/// A host without the brackets that a URL puts around an IPv6 address.
fn bare(host: &Host<String>) -> String {
    match host {
        Host::Domain(name) => name.clone(),
        Host::Ipv4(address) => address.to_string(),
        Host::Ipv6(address) => address.to_string(),
    }
}

/// What the HTTP client has connections made by. It goes its own way, whatever address it is asked for.
#[derive(Debug, Clone)]
pub(super) struct Connector(pub(super) Arc<Way>);

impl tower::Service<Uri> for Connector {
    type Response = TokioIo<Box<dyn Io>>;
    type Error = Failed;
    type Future = BoxFuture<'static, Result<Self::Response, Failed>>;

    fn poll_ready(&mut self, _context: &mut Context<'_>) -> Poll<Result<(), Failed>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _asked_for: Uri) -> Self::Future {
        let way = Arc::clone(&self.0);
        // A request that finds another connection goes on without this one, which is then finished behind its
        // back and without its bound.
        Box::pin(async move {
            match timeout(way.limits.total, way.open()).await {
                Ok(opened) => opened.map(TokioIo::new),
                Err(_elapsed) => Err(Failed::timeout()),
            }
        })
    }
}
