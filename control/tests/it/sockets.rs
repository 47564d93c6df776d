//! Receivers that hang, reset, drip, never end or lead elsewhere, on real sockets; and names that lead within.

use chrono::{DateTime, Utc};
use contract::{id::EventId, keys::KeyRing};
use control::{
    config::NotificationConfig,
    domain::{
        destination::{Destination, Secrets, owner},
        egress::Egress,
        outcome::{NoAnswer, Outcome},
        sealing::Sealer,
    },
    notifier::{Limits, Notifier, Resolver, Sent, Unresolved},
    tls::Watched,
};
use std::{
    net::IpAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
};

pub const LIMITS: Limits = Limits {
    total: Duration::from_millis(700),
    look_up: Duration::from_millis(300),
    address: Duration::from_millis(400),
    body: Duration::from_millis(200),
};

pub fn now() -> DateTime<Utc> {
    DateTime::from_timestamp(1_795_340_000, 0).unwrap()
}

fn sealer() -> Sealer {
    Sealer::new(&KeyRing::parse(b"d:0123456789abcdef0123456789abcdef").unwrap()).unwrap()
}

/// A notifier that lets tenants into `networks`, at one port.
pub fn notifier(
    networks: &str,
    port: u16,
    identity: Option<Arc<Watched>>,
    resolver: Resolver,
) -> Notifier {
    let config = NotificationConfig {
        destination: format!("http://127.0.0.1:{port}/default").parse().unwrap(),
        secrets: Vec::new(),
        egress: Egress::new(Egress::read_networks(networks).unwrap(), [port].into()),
        sealer: Some(sealer()),
    };
    Notifier::with(config, identity, (resolver, LIMITS))
}

/// A destination of tenant acme's own.
pub fn own(url: &str, ca: Option<&str>, server_name: Option<&str>) -> Destination {
    let lines = Secrets::generate([7; 32]).expose().join("\n");
    let tenant = "acme".parse().unwrap();
    Destination {
        url: url.parse().unwrap(),
        event_types: None,
        return_origins: None,
        ca: ca.map(str::to_owned),
        server_name: server_name.map(str::to_owned),
        secrets: sealer().seal(&lines, &owner(&tenant), [1; 12]).unwrap(),
        version: 1,
        updated_at: now(),
    }
}

pub async fn send_at(notifier: &Notifier, own: Option<&Destination>, at: DateTime<Utc>) -> Sent {
    let target = notifier.target(&"acme".parse().unwrap(), own);
    notifier.send(&target, EventId::from_parts(1, &[1; 10]), "{}", at).await
}

pub async fn send(notifier: &Notifier, own: Option<&Destination>) -> Sent {
    send_at(notifier, own, now()).await
}

/// How a receiver treats who connects.
#[derive(Debug, Clone, Copy)]
enum Manner {
    /// Takes the connection, and says nothing.
    Hangs,
    /// Ends the connection once it has read something.
    Closes,
    /// Ends it with what it was sent unread, which makes the system reset it.
    Resets,
    /// Says this once it has read something, and nothing more.
    Says(&'static str),
    /// Goes on for as long as somebody reads.
    NeverEnds,
}

async fn treat(mut stream: TcpStream, manner: Manner) {
    let mut request = [0; 4096];
    match manner {
        Manner::Hangs => {}
        Manner::Closes => {
            assert!(stream.read(&mut request).await.unwrap() > 0);
            return;
        }
        Manner::Resets => {
            stream.readable().await.unwrap();
            return;
        }
        Manner::Says(words) => {
            assert!(stream.read(&mut request).await.unwrap() > 0);
            stream.write_all(words.as_bytes()).await.unwrap();
        }
        Manner::NeverEnds => {
            assert!(stream.read(&mut request).await.unwrap() > 0);
            let head = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n";
            stream.write_all(head.as_bytes()).await.unwrap();
            while stream.write_all(b"400\r\n").await.is_ok()
                && stream.write_all(&[b'x'; 1024]).await.is_ok()
                && stream.write_all(b"\r\n").await.is_ok()
            {}
        }
    }
    // The connection stays until the other side ends it.
    while stream.read(&mut request).await.is_ok_and(|read| read > 0) {}
}

async fn receiver(manner: Manner) -> (u16, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let count = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&count);
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            counted.fetch_add(1, Ordering::Relaxed);
            tokio::spawn(treat(stream, manner));
        }
    });
    (port, count)
}

async fn sent_to(manner: Manner) -> Sent {
    let (port, _) = receiver(manner).await;
    let notifier = notifier("", port, None, Resolver::system());
    send(&notifier, None).await
}

#[tokio::test]
async fn no_answer_is_told_by_how_it_did_not_come() {
    for (manner, expected) in [
        (Manner::Hangs, NoAnswer::Timeout),
        (Manner::Closes, NoAnswer::Broken),
        (Manner::Resets, NoAnswer::Broken),
        (Manner::Says("HTTP/1.1 20"), NoAnswer::Timeout),
        (Manner::Says("HTTP/1.1 100 Continue\r\n\r\n"), NoAnswer::Timeout),
        (Manner::Says("SSH-2.0-OpenSSH_9.2\r\n\r\n"), NoAnswer::Broken),
    ] {
        let sent = sent_to(manner).await;
        assert_eq!(sent.outcome, Outcome::NoAnswer(expected), "{manner:?} {sent:?}");
        assert!(sent.detail.is_some() && sent.answer.is_none(), "{manner:?}");
    }
}

#[tokio::test]
async fn nobody_at_the_address_is_no_connection() {
    let (port, _) = receiver(Manner::Hangs).await;
    let nobody = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let free = nobody.local_addr().unwrap().port();
    drop(nobody);
    let notifier = notifier("127.0.0.1", free, None, Resolver::system());
    assert_ne!(port, free);
    assert_eq!(send(&notifier, None).await.outcome, Outcome::NoAnswer(NoAnswer::Connect));
}

#[tokio::test]
async fn an_answer_that_never_ends_is_cut_and_its_status_counts() {
    let sent = sent_to(Manner::NeverEnds).await;
    assert_eq!(sent.outcome, Outcome::Delivered { status: 200 });
    assert_eq!(sent.answer.unwrap(), "x".repeat(4096));
    let dripping = "HTTP/1.1 500 No\r\ncontent-length: 1000000\r\n\r\nwhy";
    let sent = sent_to(Manner::Says(dripping)).await;
    assert_eq!(sent.outcome, Outcome::Refused { status: 500, retry_after: None });
    assert_eq!(sent.answer.as_deref(), Some("why"));
}

#[tokio::test]
async fn a_receiver_says_when_to_come_back() {
    let retry_after = Some(Duration::from_mins(2));
    let seconds = "HTTP/1.1 429 Slow\r\nretry-after: 120\r\ncontent-length: 0\r\n\r\n";
    assert_eq!(
        sent_to(Manner::Says(seconds)).await.outcome,
        Outcome::Refused { status: 429, retry_after }
    );
    // Two minutes after the moment of the try.
    let date = "HTTP/1.1 503 No\r\nretry-after: Sun, 22 Nov 2026 09:35:20 GMT\r\ncontent-length: 0\r\n\r\n";
    assert_eq!(now().to_rfc2822(), "Sun, 22 Nov 2026 09:33:20 +0000");
    assert_eq!(
        sent_to(Manner::Says(date)).await.outcome,
        Outcome::Refused { status: 503, retry_after }
    );
}

#[tokio::test]
async fn a_redirect_is_an_answer_and_is_not_followed() {
    let (elsewhere, followed) = receiver(Manner::Hangs).await;
    for status in [301, 302, 307, 308] {
        let answer: &'static str = format!(
            "HTTP/1.1 {status} There\r\nlocation: http://127.0.0.1:{elsewhere}/\r\ncontent-length: 0\r\n\r\n"
        )
        .leak();
        let sent = sent_to(Manner::Says(answer)).await;
        assert_eq!(sent.outcome, Outcome::Refused { status, retry_after: None });
    }
    assert_eq!(followed.load(Ordering::Relaxed), 0);
}

const TAKES: Manner = Manner::Says("HTTP/1.1 204 No Content\r\n\r\n");

fn table(addresses: &'static [&'static str]) -> Resolver {
    Resolver::table(move |_name| {
        Ok(addresses.iter().map(|it| it.parse::<IpAddr>().unwrap()).collect())
    })
}

#[tokio::test]
async fn a_tenants_name_that_leads_within_is_not_called() {
    let (port, called) = receiver(TAKES).await;
    let own = own(&format!("https://rebound.example:{port}/"), None, None);
    for addresses in [
        &["127.0.0.1"][..],
        &["10.0.0.1", "169.254.169.254"],
        &["::1", "::ffff:127.0.0.1"],
        &["64:ff9b::7f00:1", "2002:7f00:1::"],
        &["0.0.0.0"],
    ] {
        let sent = send(&notifier("", port, None, table(addresses)), Some(&own)).await;
        assert_eq!(sent.outcome, Outcome::NoAnswer(NoAnswer::Forbidden), "{addresses:?}");
        let told = sent.detail.unwrap();
        assert!(addresses.iter().all(|address| !told.contains(address)), "{told}");
    }
    assert_eq!(called.load(Ordering::Relaxed), 0);
}

#[tokio::test]
async fn a_literal_that_came_past_the_form_is_not_called_either() {
    let (port, called) = receiver(TAKES).await;
    for host in ["127.0.0.1", "2130706433", "0x7f.1", "[::1]", "[::ffff:7f00:1]", "127.0.0.1."] {
        let own = own(&format!("https://{host}:{port}/"), None, None);
        let sent = send(&notifier("", port, None, Resolver::system()), Some(&own)).await;
        assert_eq!(sent.outcome, Outcome::NoAnswer(NoAnswer::Forbidden), "{host}");
    }
    assert_eq!(called.load(Ordering::Relaxed), 0);
}

/// A name that leads elsewhere the second time is asked once: what was checked is what is called.
#[tokio::test]
async fn the_address_that_is_checked_is_the_one_that_is_called() {
    let (port, called) = receiver(TAKES).await;
    let asked = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&asked);
    let resolver = Resolver::table(move |_name| {
        let address = match counted.fetch_add(1, Ordering::Relaxed) {
            0 => "127.0.0.1",
            _ => "10.0.0.1",
        };
        Ok(vec![address.parse().unwrap()])
    });
    let own = own(&format!("http://rebound.example:{port}/"), None, None);
    let sent = send(&notifier("127.0.0.1", port, None, resolver), Some(&own)).await;
    assert_eq!(sent.outcome, Outcome::Delivered { status: 204 });
    assert_eq!((asked.load(Ordering::Relaxed), called.load(Ordering::Relaxed)), (1, 1));
}

#[tokio::test]
async fn what_is_forbidden_of_several_addresses_is_passed_over() {
    let (port, _) = receiver(TAKES).await;
    let own = own(&format!("http://several.example:{port}/"), None, None);
    let resolver = table(&["10.0.0.1", "127.0.0.1"]);
    let sent = send(&notifier("127.0.0.1", port, None, resolver), Some(&own)).await;
    assert_eq!(sent.outcome, Outcome::Delivered { status: 204 });
}

#[tokio::test]
async fn a_port_that_is_not_allowed_is_not_called() {
    let (port, called) = receiver(TAKES).await;
    let other = own(&format!("http://127.0.0.1:{port}/"), None, None);
    let notifier = notifier("127.0.0.1", 443, None, Resolver::system());
    assert_eq!(send(&notifier, Some(&other)).await.outcome, Outcome::NoAnswer(NoAnswer::Forbidden));
    assert_eq!(called.load(Ordering::Relaxed), 0);
}

/// `CLIENT_API_URL` may be anywhere; a tenant that names the same address may not.
#[tokio::test]
async fn only_the_operators_own_destination_is_exempt() {
    let (port, _) = receiver(TAKES).await;
    let notifier = notifier("", port, None, Resolver::system());
    assert_eq!(send(&notifier, None).await.outcome, Outcome::Delivered { status: 204 });
    let same = own(&format!("http://127.0.0.1:{port}/default"), None, None);
    assert_eq!(send(&notifier, Some(&same)).await.outcome, Outcome::NoAnswer(NoAnswer::Forbidden));
}

/// The operator's name is shown to its tenants, and what it leads to within his network is not.
#[tokio::test]
async fn nobody_is_told_where_the_operators_own_destination_leads() {
    let free = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().port();
    let url = format!("http://app.internal:{free}/");
    let own = own(&url, None, None);
    let config = NotificationConfig {
        destination: url.parse().unwrap(),
        secrets: Vec::new(),
        egress: Egress::new(Egress::read_networks("127.0.0.1").unwrap(), [free].into()),
        sealer: Some(sealer()),
    };
    let notifier = Notifier::with(config, None, (table(&["127.0.0.1"]), LIMITS));
    let sent = send(&notifier, None).await;
    assert_eq!(sent.outcome, Outcome::NoAnswer(NoAnswer::Connect));
    let told = sent.detail.unwrap();
    assert!(told.starts_with("app.internal: ") && !told.contains("127"), "{told}");
    // A tenant sees where its own leads.
    let told = send(&notifier, Some(&own)).await.detail.unwrap();
    assert!(told.starts_with(&format!("127.0.0.1:{free}: ")), "{told}");
}

#[tokio::test]
async fn a_name_without_address_is_theirs_and_a_silent_resolver_ours() {
    for (unresolved, expected) in [
        (Unresolved::NoSuchName, NoAnswer::NoSuchName),
        (Unresolved::Trouble("try again".to_owned()), NoAnswer::OurResolver),
        (Unresolved::Limits("no memory".to_owned()), NoAnswer::OurLimits),
    ] {
        let resolver = Resolver::table(move |_name| Err(unresolved.clone()));
        let notifier = notifier("", 443, None, resolver);
        let sent = send(&notifier, Some(&own("https://app.example/", None, None))).await;
        assert_eq!(sent.outcome, Outcome::NoAnswer(expected), "{sent:?}");
    }
}

/// One more than may ask at once: who waits for a place has done nothing either.
#[tokio::test]
async fn a_resolver_that_hangs_is_our_fault_and_not_a_receiver_that_is_slow() {
    let (hangs, held) = std::sync::mpsc::channel::<()>();
    let held = std::sync::Mutex::new(held);
    let resolver = Resolver::table(move |_name| {
        // Until the test is over.
        let _ended = held.lock().unwrap().recv();
        Err(Unresolved::NoSuchName)
    });
    let notifier = notifier("", 443, None, resolver);
    let names = (0..33).map(|nth| own(&format!("https://app{nth}.example/"), None, None));
    let sent = names.map(|own| {
        let notifier = &notifier;
        async move { send(notifier, Some(&own)).await }
    });
    for sent in futures::future::join_all(sent).await {
        assert_eq!(sent.outcome, Outcome::NoAnswer(NoAnswer::OurResolver), "{sent:?}");
    }
    drop(hangs);
}
