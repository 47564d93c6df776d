//! A demo client application: it calls the edge over mTLS as the workload `app`, and takes notifications
//! over mTLS, each of which it verifies before it looks at it.

use crate::pki::Pki;
use anyhow::Context as _;
use axum::{
    Router,
    body::Bytes,
    extract::State,
    http::{HeaderMap, HeaderValue, StatusCode},
    routing::post,
};
use axum_server::{Handle, tls_rustls::RustlsConfig};
use reqwest::{Certificate, Client, Identity};
use rustls::ServerConfig;
use serde_json::Value;
use std::{
    collections::BTreeMap,
    fmt,
    net::{Ipv4Addr, SocketAddr, TcpListener},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

/// One notification that was taken.
#[derive(Debug, Clone, PartialEq)]
pub struct Notified {
    pub id: String,
    pub body: Value,
}

/// How notifications are answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Mood {
    #[default]
    Takes,
    /// Answers 503.
    Refuses,
    /// Answers 410: it wants nothing more.
    Gone,
}

/// What came, to the byte, whether it was taken or not.
#[derive(Debug, Clone)]
pub struct Received {
    pub headers: BTreeMap<String, String>,
    pub body: String,
}

struct Shared {
    /// One for each secret that a notification may be signed with.
    webhooks: Mutex<Vec<standardwebhooks::Webhook>>,
    mood: Mutex<Mood>,
    taken: Mutex<Vec<Notified>>,
    refused: Mutex<usize>,
    received: Mutex<Vec<Received>>,
}

/// A running client application. It ends when this is dropped.
pub struct ClientApp {
    shared: Arc<Shared>,
    address: SocketAddr,
    handle: Handle<SocketAddr>,
}

impl fmt::Debug for ClientApp {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "ClientApp({})", self.address)
    }
}

impl ClientApp {
    pub fn start(pki: &Pki, signing_secret: &str) -> anyhow::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        Self::start_on(listener, pki.server_tls("receiver")?, signing_secret)
    }

    pub fn start_on(
        listener: TcpListener,
        tls: ServerConfig,
        signing_secret: &str,
    ) -> anyhow::Result<Self> {
        let shared = Arc::new(Shared {
            webhooks: Mutex::new(vec![webhook(signing_secret)?]),
            mood: Mutex::default(),
            taken: Mutex::default(),
            refused: Mutex::default(),
            received: Mutex::default(),
        });
        let router = Router::new()
            .route("/webhooks/connections", post(take))
            .with_state(Arc::clone(&shared));
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        let tls = RustlsConfig::from_config(Arc::new(tls));
        let handle = Handle::new();
        let server = axum_server::from_tcp_rustls(listener, tls)?
            .handle(handle.clone())
            .serve(router.into_make_service());
        tokio::spawn(server);
        Ok(Self { shared, address, handle })
    }

    /// The setting `CLIENT_API_URL`.
    pub fn url(&self) -> String {
        format!("https://{}", self.address)
    }

    /// From now on a notification may be signed with any of these.
    pub fn trust(&self, signing_secrets: &[&str]) -> anyhow::Result<()> {
        let webhooks: anyhow::Result<_> =
            signing_secrets.iter().map(|secret| webhook(secret)).collect();
        *lock(&self.shared.webhooks) = webhooks?;
        Ok(())
    }

    pub fn be(&self, mood: Mood) {
        *lock(&self.shared.mood) = mood;
    }

    pub fn notified(&self) -> Vec<Notified> {
        lock(&self.shared.taken).clone()
    }

    /// Everything that came.
    pub fn received(&self) -> Vec<Received> {
        lock(&self.shared.received).clone()
    }

    /// How many tries were refused.
    pub fn refused(&self) -> usize {
        *lock(&self.shared.refused)
    }
}

impl Drop for ClientApp {
    fn drop(&mut self) {
        self.handle.shutdown();
    }
}

/// A client with the certificate of the workload `app`, which trusts this deployment's server.
pub fn client(pki: &Pki) -> anyhow::Result<Client> {
    let identity = format!("{}{}", pki.read("app.crt")?, pki.read("app.key")?);
    client_as(pki, Some(&identity))
}

/// A client with the identity in `pem`, or without any.
pub fn client_as(pki: &Pki, pem: Option<&str>) -> anyhow::Result<Client> {
    let ca = Certificate::from_pem(pki.service.certificate_pem.as_bytes())?;
    let mut client = Client::builder()
        .tls_certs_only([ca])
        .redirect(reqwest::redirect::Policy::none())
        .no_proxy();
    if let Some(pem) = pem {
        client = client.identity(Identity::from_pem(pem.as_bytes())?);
    }
    client.build().context("cannot make an HTTP client")
}

/// What every receiver should do: verify the signature over the exact bytes, and answer soon.
async fn take(State(shared): State<Arc<Shared>>, headers: HeaderMap, body: Bytes) -> StatusCode {
    let text = |value: &HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
    lock(&shared.received).push(Received {
        headers: headers.iter().map(|(name, value)| (name.to_string(), text(value))).collect(),
        body: String::from_utf8_lossy(&body).into_owned(),
    });
    if !lock(&shared.webhooks).iter().any(|webhook| webhook.verify(&body, &headers).is_ok()) {
        return StatusCode::UNAUTHORIZED;
    }
    let refusal = match *lock(&shared.mood) {
        Mood::Takes => None,
        Mood::Refuses => Some(StatusCode::SERVICE_UNAVAILABLE),
        Mood::Gone => Some(StatusCode::GONE),
    };
    if let Some(refusal) = refusal {
        let mut refused = lock(&shared.refused);
        *refused = refused.saturating_add(1);
        return refusal;
    }
    let id = headers.get("webhook-id").and_then(|value| value.to_str().ok());
    let (Some(id), Ok(body)) = (id, serde_json::from_slice(&body)) else {
        return StatusCode::BAD_REQUEST;
    };
    lock(&shared.taken).push(Notified { id: id.to_owned(), body });
    StatusCode::NO_CONTENT
}

fn webhook(signing_secret: &str) -> anyhow::Result<standardwebhooks::Webhook> {
    standardwebhooks::Webhook::new(signing_secret)
        .map_err(|error| anyhow::anyhow!("the signing secret is unusable: {error}"))
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
