//! Receivers with certificates: right ones, wrong ones, and such as want ours, which changes while we run.

use crate::sockets::{notifier, now, own, send, send_at};
use chrono::TimeDelta;
use contract::id::EventId;
use control::{
    config::MtlsFiles,
    domain::outcome::{NoAnswer, Outcome},
    notifier::{Resolver, Sent},
    tls::{Look, Watched},
};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair, SanType};
use rustls::{
    RootCertStore, ServerConfig, SupportedProtocolVersion,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _},
    server::WebPkiClientVerifier,
};
use std::{
    fs,
    net::IpAddr,
    sync::{Arc, Mutex},
};
use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpListener,
};
use tokio_rustls::TlsAcceptor;

pub struct Ca(pub CertifiedIssuer<'static, KeyPair>);

fn params(name: &str, from: i64, until: i64) -> CertificateParams {
    let mut params = CertificateParams::new([name.to_owned()]).unwrap();
    let day = |days| {
        // The verifier of the library reads the system's clock.
        let seconds = (control::clock::Clock::system().now() + TimeDelta::days(days)).timestamp();
        let since = std::time::Duration::from_secs(seconds.try_into().unwrap());
        (std::time::UNIX_EPOCH + since).into()
    };
    (params.not_before, params.not_after) = (day(from), day(until));
    params
}

impl Ca {
    pub fn new(name: &str) -> Self {
        let mut params = params(name, -10, 80);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    /// PEM of a certificate, and of its key.
    pub fn leaf(&self, name: &str, from: i64, until: i64) -> (String, String) {
        self.sign(params(name, from, until))
    }

    fn sign(&self, params: CertificateParams) -> (String, String) {
        let key = KeyPair::generate().unwrap();
        let leaf = params.signed_by(&key, &self.0).unwrap();
        (leaf.pem(), key.serialize_pem())
    }
}

/// What a receiver is, and whom it wants to see.
pub struct Serves<'a> {
    pub leaf: (String, String),
    pub callers_of: Option<&'a Ca>,
    pub versions: &'static [&'static SupportedProtocolVersion],
}

/// The certificates of those who called, the newest last; 0 bytes for none.
type Callers = Arc<Mutex<Vec<Vec<u8>>>>;

pub fn acceptor(serves: Serves<'_>) -> TlsAcceptor {
    let Serves { leaf: (certificate, key), callers_of, versions } = serves;
    let config = ServerConfig::builder_with_protocol_versions(versions);
    let config = match callers_of {
        None => config.with_no_client_auth(),
        Some(ca) => {
            let mut roots = RootCertStore::empty();
            roots.add(ca.0.der().clone()).unwrap();
            config.with_client_cert_verifier(
                WebPkiClientVerifier::builder(Arc::new(roots)).build().unwrap(),
            )
        }
    };
    let chain = vec![CertificateDer::from_pem_slice(certificate.as_bytes()).unwrap()];
    let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap();
    let config = config.with_single_cert(chain, key).unwrap();
    TlsAcceptor::from(Arc::new(config))
}

async fn serve(serves: Serves<'_>) -> (u16, Callers) {
    let acceptor = acceptor(serves);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let callers = Callers::default();
    let seen = Arc::clone(&callers);
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let (acceptor, seen) = (acceptor.clone(), Arc::clone(&seen));
            tokio::spawn(async move {
                let Ok(mut stream) = acceptor.accept(stream).await else { return };
                let shown = stream.get_ref().1.peer_certificates().and_then(<[_]>::first);
                let shown = shown.map(|der| der.to_vec()).unwrap_or_default();
                seen.lock().unwrap().push(shown);
                let mut request = [0; 4096];
                if stream.read(&mut request).await.is_ok_and(|read| read > 0) {
                    // Each on a connection of its own, so that each shows the certificate of its time.
                    let answer = b"HTTP/1.1 204 No Content\r\nconnection: close\r\n\r\n";
                    stream.write_all(answer).await.unwrap();
                }
                stream.shutdown().await.ok();
            });
        }
    });
    (port, callers)
}

pub const BOTH: &[&SupportedProtocolVersion] = &[&rustls::version::TLS12, &rustls::version::TLS13];

pub fn loopback() -> Resolver {
    Resolver::table(|_name| Ok(vec![IpAddr::from([127, 0, 0, 1])]))
}

/// What comes of a try at `receiver.example`, whose certificate is `leaf`, by a tenant that trusts `trusted`.
async fn sent_to(leaf: (String, String), trusted: Option<&Ca>, server_name: Option<&str>) -> Sent {
    let (port, _) = serve(Serves { leaf, callers_of: None, versions: BOTH }).await;
    let notifier = notifier("127.0.0.1", port, None, loopback());
    let ca = trusted.map(|ca| ca.0.pem());
    let own = own(&format!("https://receiver.example:{port}/"), ca.as_deref(), server_name);
    send(&notifier, Some(&own)).await
}

#[tokio::test]
async fn a_receiver_is_believed_for_its_name_its_time_and_its_ca() {
    let (ca, stranger) = (Ca::new("ca.example"), Ca::new("stranger.example"));
    let delivered = Outcome::Delivered { status: 204 };
    let refused = Outcome::NoAnswer(NoAnswer::Handshake);
    let good = || ca.leaf("receiver.example", -1, 30);
    assert_eq!(sent_to(good(), Some(&ca), None).await.outcome, delivered);
    assert_eq!(sent_to(good(), None, None).await.outcome, refused, "an unknown CA");
    assert_eq!(sent_to(good(), Some(&stranger), None).await.outcome, refused, "another's CA");
    let other = || ca.leaf("other.example", -1, 30);
    assert_eq!(sent_to(other(), Some(&ca), None).await.outcome, refused, "a wrong name");
    let expected = Some("other.example");
    assert_eq!(sent_to(other(), Some(&ca), expected).await.outcome, delivered, "the expected name");
    assert_eq!(
        sent_to(good(), Some(&ca), expected).await.outcome,
        refused,
        "not the expected name"
    );
    let expired = ca.leaf("receiver.example", -30, -1);
    assert_eq!(sent_to(expired, Some(&ca), None).await.outcome, refused, "an expired certificate");
    let early = ca.leaf("receiver.example", 1, 30);
    assert_eq!(sent_to(early, Some(&ca), None).await.outcome, refused, "one of tomorrow");
}

#[tokio::test]
async fn why_a_certificate_is_refused_is_said_in_words() {
    let ca = Ca::new("ca.example");
    let leaf = |name, from, until| ca.leaf(name, from, until);
    for (leaf, trusted, said) in [
        (leaf("receiver.example", -1, 30), None, "is not signed by an authority that is trusted"),
        (
            leaf("other.example", -1, 30),
            Some(&ca),
            "is not valid for receiver.example; have it issued for that name. It is valid for other.example",
        ),
        (leaf("receiver.example", -30, -1), Some(&ca), "the certificate expired on 20"),
        (leaf("receiver.example", 1, 30), Some(&ca), "the certificate is not valid before 20"),
    ] {
        let detail = sent_to(leaf, trusted, None).await.detail.unwrap();
        assert!(detail.contains(said), "{detail}");
        for name in ["UnknownIssuer", "DnsName", "Context", "(UNIX)", "invalid peer certificate"] {
            assert!(!detail.contains(name), "{detail}");
        }
    }
}

/// What is wrong with a certificate is told with the names that it has, and those are the receiver's words.
#[tokio::test]
async fn what_a_wrong_certificate_says_is_kept_short_and_harms_nobody() {
    let ca = Ca::new("ca.example");
    let mut params = params("other.example", -1, 30);
    let name = |text: String| SanType::DnsName(text.try_into().unwrap());
    params.subject_alt_names.push(name("a\0b\x1b[2Jc.example".to_owned()));
    params.subject_alt_names.extend((0..1000).map(|nth| name(format!("name-{nth}.example"))));
    let sent = sent_to(ca.sign(params), Some(&ca), None).await;
    assert_eq!(sent.outcome, Outcome::NoAnswer(NoAnswer::Handshake));
    let detail = sent.detail.unwrap();
    assert!(detail.contains("other.example") && !detail.contains(char::is_control), "{detail:?}");
    assert!(detail.len() <= 512, "{} bytes", detail.len());
}

#[tokio::test]
async fn a_receiver_without_tls_is_a_failed_handshake() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await.unwrap();
    });
    let notifier = notifier("127.0.0.1", port, None, loopback());
    let own = own(&format!("https://receiver.example:{port}/"), None, None);
    let sent = send(&notifier, Some(&own)).await;
    assert_eq!(sent.outcome, Outcome::NoAnswer(NoAnswer::Handshake));
    assert!(sent.detail.unwrap().contains("the server does not speak TLS at this port"));
}

#[tokio::test]
async fn a_receiver_that_wants_a_certificate_which_we_lack_refuses_the_handshake() {
    let ca = Ca::new("ca.example");
    for versions in [&BOTH[..1], &BOTH[1..]] {
        let leaf = ca.leaf("receiver.example", -1, 30);
        let (port, callers) = serve(Serves { leaf, callers_of: Some(&ca), versions }).await;
        let notifier = notifier("127.0.0.1", port, None, loopback());
        let url = format!("https://receiver.example:{port}/");
        let own = own(&url, Some(&ca.0.pem()), None);
        let sent = send(&notifier, Some(&own)).await;
        assert_eq!(sent.outcome, Outcome::NoAnswer(NoAnswer::Handshake), "{sent:?}");
        let detail = sent.detail.unwrap();
        // TLS 1.2 has no alert of its own for it.
        let is_said = ["requires a client certificate", "alert \"handshake failure\""];
        assert!(is_said.iter().any(|said| detail.contains(said)), "{detail}");
        assert!(callers.lock().unwrap().is_empty());
    }
}

/// Our files.
pub struct Files {
    folder: TempDir,
    pub files: MtlsFiles,
}

impl Files {
    pub fn new() -> Self {
        let folder = TempDir::new().unwrap();
        let path = |name: &str| folder.path().join(name);
        let files =
            MtlsFiles { certificate: path("our.crt"), key: path("our.key"), ca: path("ca.crt") };
        Self { folder, files }
    }

    /// Writes a certificate, and gives what it is to a receiver.
    pub fn write(&self, ca: &Ca, (certificate, key): &(String, String)) -> Vec<u8> {
        for (name, text) in [("our.crt", certificate), ("our.key", key), ("ca.crt", &ca.0.pem())] {
            fs::write(self.folder.path().join(name), text).unwrap();
        }
        CertificateDer::from_pem_slice(certificate.as_bytes()).unwrap().to_vec()
    }
}

#[tokio::test]
async fn our_certificate_is_shown_and_a_new_one_is_taken_over_without_a_restart() {
    let ca = Ca::new("ca.example");
    let files = Files::new();
    let first = files.write(&ca, &ca.leaf("control.example", -1, 30));
    let identity = Arc::new(Watched::open(files.files.clone()).unwrap());
    let leaf = ca.leaf("receiver.example", -1, 30);
    let (port, callers) = serve(Serves { leaf, callers_of: Some(&ca), versions: BOTH }).await;
    let notifier = notifier("127.0.0.1", port, Some(Arc::clone(&identity)), loopback());
    // Our CA is trusted where the destination has none of its own.
    let own = own(&format!("https://receiver.example:{port}/"), None, None);
    let delivered = Outcome::Delivered { status: 204 };
    assert_eq!(send(&notifier, Some(&own)).await.outcome, delivered);
    assert!(matches!(identity.look(), Look::Same));
    let second = files.write(&ca, &ca.leaf("control.example", -1, 60));
    assert_ne!(first, second);
    assert!(matches!(identity.look(), Look::Renewed));
    assert_eq!(send(&notifier, Some(&own)).await.outcome, delivered);
    assert_eq!(*callers.lock().unwrap(), [first, second]);
    let today = control::clock::Clock::system().now();
    assert_eq!(identity.days_left(today), 59);
}

#[tokio::test]
async fn files_that_are_broken_change_nothing_and_are_told_once() {
    let ca = Ca::new("ca.example");
    let files = Files::new();
    let kept = ca.leaf("control.example", -1, 30);
    let first = files.write(&ca, &kept);
    let identity = Arc::new(Watched::open(files.files.clone()).unwrap());
    let leaf = ca.leaf("receiver.example", -1, 30);
    let (port, callers) = serve(Serves { leaf, callers_of: Some(&ca), versions: BOTH }).await;
    let notifier = notifier("127.0.0.1", port, Some(Arc::clone(&identity)), loopback());
    let own = own(&format!("https://receiver.example:{port}/"), None, None);
    let another_key = ca.leaf("control.example", -1, 60).1;
    let breaks: [&dyn Fn(); 4] = [
        &|| fs::write(&files.files.key, &another_key).unwrap(),
        &|| fs::write(&files.files.certificate, "half a fi").unwrap(),
        &|| fs::remove_file(&files.files.certificate).unwrap(),
        &|| fs::write(&files.files.certificate, "").unwrap(),
    ];
    for break_it in breaks {
        break_it();
        assert!(matches!(identity.look(), Look::Broken(_)));
        assert!(matches!(identity.look(), Look::Same), "it is told once");
        assert!(identity.state().trouble.is_some());
        assert_eq!(send(&notifier, Some(&own)).await.outcome, Outcome::Delivered { status: 204 });
    }
    assert_eq!(*callers.lock().unwrap(), vec![first; 4]);
    files.write(&ca, &kept);
    assert!(matches!(identity.look(), Look::Renewed));
    assert_eq!(identity.state().trouble, None);
}

/// Only when what we have is no good any more is it our fault that nobody takes it.
#[tokio::test]
async fn an_expired_certificate_of_ours_is_our_own_fault_and_a_strange_one_is_not() {
    let (ca, theirs) = (Ca::new("ca.example"), Ca::new("theirs.example"));
    let files = Files::new();
    files.write(&ca, &ca.leaf("control.example", -1, 30));
    let identity = Arc::new(Watched::open(files.files.clone()).unwrap());
    for versions in [&BOTH[..1], &BOTH[1..]] {
        let leaf = ca.leaf("receiver.example", -1, 30);
        let (port, _) = serve(Serves { leaf, callers_of: Some(&theirs), versions }).await;
        let notifier = notifier("127.0.0.1", port, Some(Arc::clone(&identity)), loopback());
        let own = own(&format!("https://receiver.example:{port}/"), None, None);
        let today = control::clock::Clock::system().now();
        let sent = send_at(&notifier, Some(&own), today).await;
        assert_eq!(sent.outcome, Outcome::NoAnswer(NoAnswer::Handshake), "{sent:?}");
        let sent = send_at(&notifier, Some(&own), today + TimeDelta::days(31)).await;
        assert_eq!(sent.outcome, Outcome::NoAnswer(NoAnswer::OurIdentity), "{sent:?}");
    }
}

#[tokio::test]
async fn a_rehearsal_shows_the_handshake_even_where_it_fails() {
    let ca = Ca::new("ca.example");
    let files = Files::new();
    files.write(&ca, &ca.leaf("control.example", -1, 30));
    let identity = Arc::new(Watched::open(files.files.clone()).unwrap());
    let rehearse = async |name: &str, callers_of| {
        let leaf = ca.leaf(name, -1, 30);
        let (port, _) = serve(Serves { leaf, callers_of, versions: BOTH }).await;
        let notifier = notifier("127.0.0.1", port, Some(Arc::clone(&identity)), loopback());
        let own = own(&format!("https://receiver.example:{port}/"), None, None);
        let target = notifier.target(&"acme".parse().unwrap(), Some(&own));
        notifier.rehearse(&target, EventId::from_parts(1, &[1; 10]), "{}", now()).await
    };
    let good = rehearse("receiver.example", Some(&ca)).await;
    assert_eq!(good.sent.outcome, Outcome::Delivered { status: 204 }, "{:?}", good.sent);
    assert!(good.address.unwrap().ip().is_loopback());
    let handshake = good.handshake.unwrap();
    assert_eq!(handshake.tls_version.as_deref(), Some("1.3"));
    assert_eq!(handshake.server_name, "receiver.example");
    assert_eq!(handshake.chain[0].names, ["receiver.example"]);
    assert!(handshake.asked_for_our_certificate && handshake.showed_our_certificate);
    let wrong = rehearse("other.example", None).await;
    assert_eq!(wrong.sent.outcome, Outcome::NoAnswer(NoAnswer::Handshake));
    let handshake = wrong.handshake.unwrap();
    assert_eq!(handshake.chain[0].names, ["other.example"]);
    assert!(!handshake.asked_for_our_certificate && handshake.tls_version.is_none());
}
