//! An upstream in control's place that writes down everything that the edge lets pass, from the moment
//! that a head arrives.

use crate::pki::Pki;
use axum::{
    Router,
    body::to_bytes,
    extract::{Request, State},
    http::StatusCode,
};
use axum_server::{Handle, tls_rustls::RustlsConfig};
use std::{
    fmt,
    net::{Ipv4Addr, SocketAddr, TcpListener},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::UNIX_EPOCH,
};

/// A request as it arrived.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Recorded {
    pub method: String,
    /// Path and query, byte for byte.
    pub target: String,
    pub headers: Vec<(String, String)>,
    /// Nothing, as long as it has not arrived whole.
    pub body: Option<Vec<u8>>,
    /// When its head arrived, in milliseconds since the epoch: an assertion is good for a while only.
    pub arrived_ms: u64,
}

impl Recorded {
    /// Every value of a header.
    pub fn all(&self, name: &str) -> Vec<&str> {
        let named = self.headers.iter().filter(|header| header.0 == name);
        named.map(|header| header.1.as_str()).collect()
    }
}

type Records = Arc<Mutex<Vec<Recorded>>>;

/// A running recorder. It ends when this is dropped.
pub struct Recorder {
    pub address: SocketAddr,
    records: Records,
    handle: Handle<SocketAddr>,
}

impl fmt::Debug for Recorder {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Recorder({})", self.address)
    }
}

impl Recorder {
    pub fn start(pki: &Pki) -> anyhow::Result<Self> {
        let records = Records::default();
        let router = Router::new().fallback(record).with_state(Arc::clone(&records));
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        let tls = RustlsConfig::from_config(Arc::new(pki.server_tls("control")?));
        let handle = Handle::new();
        let server = axum_server::from_tcp_rustls(listener, tls)?
            .handle(handle.clone())
            .serve(router.into_make_service());
        tokio::spawn(server);
        Ok(Self { address, records, handle })
    }

    /// Everything so far.
    pub fn records(&self) -> Vec<Recorded> {
        lock(&self.records).clone()
    }
}

impl Drop for Recorder {
    fn drop(&mut self) {
        self.handle.shutdown();
    }
}

async fn record(State(records): State<Records>, request: Request) -> StatusCode {
    let (head, body) = request.into_parts();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let headers = head.headers.iter();
    let recorded = Recorded {
        method: head.method.to_string(),
        target: head.uri.path_and_query().map(ToString::to_string).unwrap_or_default(),
        headers: headers.map(|(name, value)| (name.to_string(), text(value.as_bytes()))).collect(),
        body: None,
        arrived_ms: UNIX_EPOCH
            .elapsed()
            .map_or(0, |elapsed| u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX)),
    };
    let index = {
        let mut records = lock(&records);
        records.push(recorded);
        records.len().saturating_sub(1)
    };
    if let Ok(body) = to_bytes(body, usize::MAX).await
        && let Some(recorded) = lock(&records).get_mut(index)
    {
        recorded.body = Some(body.to_vec());
    }
    StatusCode::OK
}

fn lock(records: &Mutex<Vec<Recorded>>) -> MutexGuard<'_, Vec<Recorded>> {
    records.lock().unwrap_or_else(PoisonError::into_inner)
}
