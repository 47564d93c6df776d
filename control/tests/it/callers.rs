//! Whoever calls us over TLS: each connection is judged anew, and goes on only while its certificate is good.

use crate::{
    support::{ASSERTION_KEYS, TestApp, nobody},
    trust::Ca,
};
use chrono::TimeDelta;
use contract::{
    assertion::{self, Target},
    header,
    keys::KeyRing,
};
use control::{
    clock::Clock,
    config::MtlsFiles,
    http::{AppState, router},
    tls::{Callers, Look, Watched},
};
use rustls::{
    ClientConfig, HandshakeKind, RootCertStore, SupportedProtocolVersion,
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem::PemObject as _},
};
use sqlx::PgPool;
use std::{fs, net::SocketAddr, path::PathBuf, sync::Arc, time::Duration};
use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::timeout,
};
use tokio_rustls::{TlsConnector, client::TlsStream};

/// Whatever takes longer never ends.
const EVER: Duration = Duration::from_secs(20);

/// A service behind TLS, and the files that it reads.
struct Served {
    app: TestApp,
    address: SocketAddr,
    identity: Arc<Watched>,
    /// That of certificates and of connections.
    clock: Clock,
    folder: TempDir,
    handle: axum_server::Handle<SocketAddr>,
}

impl Served {
    async fn by(ca: &Ca, pool: PgPool) -> Self {
        let app = TestApp::start(pool).await;
        let folder = TempDir::new().unwrap();
        let path = |name: &str| -> PathBuf { folder.path().join(name) };
        let (certificate, key) = ca.leaf("control.example", -1, 30);
        fs::write(path("control.crt"), certificate).unwrap();
        fs::write(path("control.key"), key).unwrap();
        fs::write(path("ca.crt"), ca.0.pem()).unwrap();
        let files = MtlsFiles {
            certificate: path("control.crt"),
            key: path("control.key"),
            ca: path("ca.crt"),
        };
        let identity = Arc::new(Watched::open(files).unwrap());
        let clock = Clock::manual(Clock::system().now());
        let callers = Some(Arc::new(Callers::new(Arc::clone(&identity))));
        let state = AppState { callers, clock: clock.clone(), ..app.state.clone() };
        let tls = axum_server::tls_rustls::RustlsConfig::from_config(identity.server());
        let handle = axum_server::Handle::new();
        let served = axum_server::bind_rustls("127.0.0.1:0".parse().unwrap(), tls)
            .handle(handle.clone())
            .serve(router(state).into_make_service());
        tokio::spawn(served);
        let address = handle.listening().await.unwrap();
        Self { app, address, identity, clock, folder, handle }
    }

    async fn connect(&self, client: &Arc<ClientConfig>) -> Caller {
        let stream = TcpStream::connect(self.address).await.unwrap();
        let name = ServerName::try_from("control.example").unwrap();
        let tls = TlsConnector::from(Arc::clone(client)).connect(name, stream).await.unwrap();
        Caller { tls, clock: self.clock.clone() }
    }

    async fn end(self) {
        self.handle.shutdown();
        self.app.finish().await;
    }
}

/// The edge, with a certificate that is good for so many days.
fn edge(ca: &Ca, days: i64, versions: &[&'static SupportedProtocolVersion]) -> Arc<ClientConfig> {
    let (certificate, key) = ca.leaf("edge.example", -1, days);
    let mut roots = RootCertStore::empty();
    roots.add(ca.0.der().clone()).unwrap();
    let chain = vec![CertificateDer::from_pem_slice(certificate.as_bytes()).unwrap()];
    let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap();
    let client = ClientConfig::builder_with_protocol_versions(versions)
        .with_root_certificates(roots)
        .with_client_auth_cert(chain, key);
    Arc::new(client.unwrap())
}

struct Caller {
    tls: TlsStream<TcpStream>,
    clock: Clock,
}

impl Caller {
    /// Asks whether the service stands; the whole answer.
    async fn ask(&mut self) -> String {
        self.ask_with(ASSERTION_KEYS).await
    }

    /// The same, with an assertion that another key signed.
    async fn ask_with(&mut self, keys: &str) -> String {
        let keys = KeyRing::parse(keys.as_bytes()).unwrap();
        let now_ms = u64::try_from(self.clock.now().timestamp_millis()).unwrap();
        let target = Target { method: "GET", path: "/health" };
        let assertion = assertion::sign(&keys, target, &nobody(), now_ms);
        let request = format!(
            "GET /health HTTP/1.1\r\nhost: control\r\n{}: {assertion}\r\n{}: r-1\r\n\r\n",
            header::ASSERTION,
            header::REQUEST_ID,
        );
        self.tls.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        while !answer.ends_with('}') {
            let mut piece = [0; 4096];
            let read = timeout(EVER, self.tls.read(&mut piece)).await.unwrap().unwrap();
            assert!(read > 0, "the connection ended within {answer:?}");
            answer.push_str(std::str::from_utf8(&piece[..read]).unwrap());
        }
        answer
    }

    async fn is_taken(&mut self) {
        let answer = self.ask().await;
        assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    }

    /// It is refused so that the edge comes again, and the connection ends.
    async fn is_refused(&mut self) {
        let answer = self.ask().await;
        assert!(answer.starts_with("HTTP/1.1 503 "), "{answer}");
        assert!(answer.contains("\"code\":\"edge_out_of_step\""), "{answer}");
        for header in ["connection: close\r\n", "retry-after: "] {
            assert!(answer.contains(header), "{header} in {answer}");
        }
        let rest = timeout(EVER, self.tls.read(&mut [0; 1])).await.unwrap();
        assert!(rest.is_ok_and(|read| read == 0), "the connection goes on");
    }
}

/// A session that is resumed is one whose certificate nobody looks at.
#[sqlx::test(migrator = "control::store::MIGRATIONS")]
async fn no_session_is_resumed_over_either_version(pool: PgPool) {
    let ca = Ca::new("ca.example");
    let served = Served::by(&ca, pool).await;
    for version in [&rustls::version::TLS12, &rustls::version::TLS13] {
        let client = edge(&ca, 30, &[version]);
        for time in 0..3 {
            let mut caller = served.connect(&client).await;
            // What a server gives for a resumption comes before its first answer.
            caller.is_taken().await;
            let kind = caller.tls.get_ref().1.handshake_kind();
            assert_eq!(kind, Some(HandshakeKind::Full), "{version:?}, connection {time}");
        }
    }
    Box::pin(served.end()).await;
}

#[sqlx::test(migrator = "control::store::MIGRATIONS")]
async fn a_connection_ends_with_its_certificate_and_not_before(pool: PgPool) {
    let ca = Ca::new("ca.example");
    let served = Served::by(&ca, pool).await;
    let both = crate::trust::BOTH;
    let (mut short, mut long) =
        (served.connect(&edge(&ca, 2, both)).await, served.connect(&edge(&ca, 30, both)).await);
    short.is_taken().await;
    long.is_taken().await;
    served.clock.advance(TimeDelta::days(1));
    short.is_taken().await;
    served.clock.advance(TimeDelta::days(2));
    short.is_refused().await;
    long.is_taken().await;
    Box::pin(served.end()).await;
}

#[sqlx::test(migrator = "control::store::MIGRATIONS")]
async fn a_connection_ends_when_its_authority_is_taken_out(pool: PgPool) {
    let (old, new) = (Ca::new("old.example"), Ca::new("new.example"));
    let served = Served::by(&old, pool).await;
    let path = served.folder.path().join("ca.crt");
    let mut caller = served.connect(&edge(&old, 30, crate::trust::BOTH)).await;
    caller.is_taken().await;
    // While both are trusted, nothing changes for it.
    fs::write(&path, format!("{}{}", new.0.pem(), old.0.pem())).unwrap();
    assert!(matches!(served.identity.look(), Look::Renewed));
    caller.is_taken().await;
    fs::write(&path, new.0.pem()).unwrap();
    assert!(matches!(served.identity.look(), Look::Renewed));
    caller.is_refused().await;
    Box::pin(served.end()).await;
}

/// Who has a certificate of our CA is the edge: another key under the same id is a mistake of an operator's, and a 4xx
/// would make Nango drop its webhook for good.
#[sqlx::test(migrator = "control::store::MIGRATIONS")]
async fn another_assertion_key_under_the_same_id_is_out_of_step_and_no_stranger(pool: PgPool) {
    let ca = Ca::new("ca.example");
    let served = Served::by(&ca, pool).await;
    let mut caller = served.connect(&edge(&ca, 30, crate::trust::BOTH)).await;
    let answer = caller.ask_with("a:fedcba9876543210fedcba9876543210").await;
    assert!(answer.starts_with("HTTP/1.1 503 "), "{answer}");
    assert!(answer.contains("\"code\":\"edge_out_of_step\""), "{answer}");
    caller.is_taken().await;
    Box::pin(served.end()).await;
}
