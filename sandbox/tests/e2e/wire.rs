//! One connection to the edge, in one version of HTTP and as somebody in particular, for requests that a
//! client library would tidy up.

use crate::support::{Answer, Http, Sending};
use futures::stream;
use http_body_util::{BodyExt as _, Empty, StreamBody, combinators::BoxBody};
use hyper::{
    Request, Response, Uri,
    body::{Bytes, Incoming},
    client::conn::{http1, http2},
};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::{
    ClientConfig, RootCertStore, SupportedProtocolVersion,
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem::PemObject},
};
use sandbox::pki::{Identity, Pki};
use std::{convert::Infallible, net::SocketAddr, sync::Arc};
use tokio::net::TcpStream;
use tokio_rustls::{TlsConnector, client::TlsStream};

type Body = BoxBody<Bytes, Infallible>;

/// An open connection.
pub enum Wire {
    One(http1::SendRequest<Body>),
    Two(http2::SendRequest<Body>),
}

impl Wire {
    /// Connects; a certificate that is not taken is an error here or at the first request.
    pub async fn connect(
        pki: &Pki,
        address: SocketAddr,
        http: Http,
        identity: Option<&Identity>,
    ) -> anyhow::Result<Self> {
        let protocol: &[u8] = match http {
            Http::One => b"http/1.1",
            Http::Two => b"h2",
        };
        Self::over(tls(pki, address, &[protocol], identity).await?, http).await
    }

    /// Speaks this version of HTTP over a connection of bytes.
    pub async fn over(stream: TlsStream<TcpStream>, http: Http) -> anyhow::Result<Self> {
        let stream = TokioIo::new(stream);
        match http {
            Http::One => {
                let (sender, connection) = http1::handshake(stream).await?;
                tokio::spawn(connection);
                Ok(Self::One(sender))
            }
            Http::Two => {
                let (sender, connection) = http2::handshake(TokioExecutor::new(), stream).await?;
                tokio::spawn(connection);
                Ok(Self::Two(sender))
            }
        }
    }

    /// Whether it is of use still.
    pub fn is_open(&self) -> bool {
        match self {
            Self::One(sender) => !sender.is_closed(),
            Self::Two(sender) => !sender.is_closed(),
        }
    }

    /// Sends one request and reads the answer whole.
    pub async fn send(&mut self, message: &Message) -> anyhow::Result<Answer> {
        let response = match self {
            Self::One(sender) => {
                sender.ready().await?;
                sender.send_request(message.request(Http::One)?).await?
            }
            Self::Two(sender) => {
                sender.ready().await?;
                sender.send_request(message.request(Http::Two)?).await?
            }
        };
        read(response).await
    }
}

async fn read(response: Response<Incoming>) -> anyhow::Result<Answer> {
    let (head, body) = response.into_parts();
    let body = body.collect().await?.to_bytes().to_vec();
    let (status, version) = (head.status.as_u16(), head.version);
    Ok(Answer { status, headers: head.headers, body, version })
}

/// A connection of bytes, offering these protocols.
pub async fn tls(
    pki: &Pki,
    address: SocketAddr,
    protocols: &[&[u8]],
    identity: Option<&Identity>,
) -> anyhow::Result<TlsStream<TcpStream>> {
    connect(address, &Arc::new(config(pki, protocols, identity, rustls::ALL_VERSIONS)?)).await
}

/// A connection by a configuration that remembers its sessions.
pub async fn connect(
    address: SocketAddr,
    config: &Arc<ClientConfig>,
) -> anyhow::Result<TlsStream<TcpStream>> {
    let stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    let name = ServerName::try_from("localhost")?;
    Ok(TlsConnector::from(Arc::clone(config)).connect(name, stream).await?)
}

/// A client that trusts the service's authority, with these versions of TLS.
pub fn config(
    pki: &Pki,
    protocols: &[&[u8]],
    identity: Option<&Identity>,
    versions: &[&'static SupportedProtocolVersion],
) -> anyhow::Result<ClientConfig> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(pki.service.certificate_pem.as_bytes())?)?;
    let client =
        ClientConfig::builder_with_protocol_versions(versions).with_root_certificates(roots);
    let mut client = match identity {
        None => client.with_no_client_auth(),
        Some(identity) => {
            let chain = CertificateDer::pem_slice_iter(identity.certificate_pem.as_bytes());
            let chain = chain.collect::<Result<Vec<_>, _>>()?;
            let key = PrivateKeyDer::from_pem_slice(identity.key_pem.as_bytes())?;
            client.with_client_auth_cert(chain, key)?
        }
    };
    client.alpn_protocols = protocols.iter().map(|name| name.to_vec()).collect();
    Ok(client)
}

/// A request as data.
#[derive(Debug, Clone)]
pub struct Message {
    pub method: &'static str,
    /// Path and query, byte for byte.
    pub target: String,
    pub headers: Vec<(&'static str, Vec<u8>)>,
    /// Nothing where the head ends the request.
    pub body: Option<(Sending, Vec<u8>)>,
}

impl Message {
    pub fn new(method: &'static str, target: &str) -> Self {
        Self { method, target: target.to_owned(), headers: Vec::new(), body: None }
    }

    pub fn header(mut self, name: &'static str, value: impl AsRef<[u8]>) -> Self {
        self.headers.push((name, value.as_ref().to_vec()));
        self
    }

    pub fn body(mut self, sending: Sending, bytes: &[u8]) -> Self {
        self.body = Some((sending, bytes.to_vec()));
        self
    }

    /// Whether a client library would send it.
    pub fn is_sendable(&self, http: Http) -> bool {
        self.request(http).is_ok()
    }

    fn request(&self, http: Http) -> anyhow::Result<Request<Body>> {
        let uri = match http {
            Http::One => self.target.parse::<Uri>()?,
            Http::Two => {
                let uri = Uri::builder().scheme("https").authority("edge");
                uri.path_and_query(self.target.as_str()).build()?
            }
        };
        let mut request = Request::builder().method(self.method).uri(uri);
        if http == Http::One && !self.headers.iter().any(|header| header.0 == "host") {
            request = request.header("host", "edge");
        }
        for (name, value) in &self.headers {
            request = request.header(*name, value.as_slice());
        }
        if let Some((Sending::Whole, bytes)) = &self.body {
            request = request.header("content-length", bytes.len());
        }
        if http == Http::One && matches!(self.body, Some((Sending::Trailers, _))) {
            request = request.header("trailer", "x-trailer");
        }
        Ok(request.body(self.frames())?)
    }

    fn frames(&self) -> Body {
        match &self.body {
            None => BoxBody::new(Empty::new()),
            Some((sending, bytes)) => {
                BoxBody::new(StreamBody::new(stream::iter(sending.frames(bytes))))
            }
        }
    }
}
