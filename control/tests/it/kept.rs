//! A connection to a receiver that is used again: not for ever, and never with a session that was resumed.

use crate::{
    sockets::{notifier, now, own, send_at},
    trust::{BOTH, Ca, Serves, acceptor, loopback},
};
use chrono::TimeDelta;
use control::domain::outcome::Outcome;
use rustls::HandshakeKind;
use std::sync::{Arc, Mutex};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpListener,
};

/// How each connection began.
type Begun = Arc<Mutex<Vec<Option<HandshakeKind>>>>;

/// A receiver that keeps its connections open; each answer says that it takes what came.
async fn receiver(ca: &Ca) -> (u16, Begun) {
    let leaf = ca.leaf("receiver.example", -1, 30);
    let acceptor = acceptor(Serves { leaf, callers_of: None, versions: BOTH });
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let begun = Begun::default();
    let seen = Arc::clone(&begun);
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let mut stream = acceptor.accept(stream).await.unwrap();
            let kind = stream.get_ref().1.handshake_kind();
            seen.lock().unwrap().push(kind);
            tokio::spawn(async move {
                let mut head = Vec::new();
                while let Ok(byte) = stream.read_u8().await {
                    head.push(byte);
                    if head.ends_with(b"\r\n\r\n{}") {
                        head.clear();
                        stream.write_all(b"HTTP/1.1 204 No Content\r\n\r\n").await.unwrap();
                    }
                }
            });
        }
    });
    (port, begun)
}

#[tokio::test]
async fn a_connection_is_used_again_for_a_minute_and_its_session_never() {
    let ca = Ca::new("ca.example");
    let (port, begun) = receiver(&ca).await;
    let notifier = notifier("127.0.0.1", port, None, loopback());
    let own = own(&format!("https://receiver.example:{port}/"), Some(&ca.0.pem()), None);
    // The one at 60 s is its last.
    for (seconds, connections) in
        [(0, 1), (30, 1), (59, 1), (60, 1), (61, 2), (100, 2), (121, 2), (122, 3)]
    {
        let sent = send_at(&notifier, Some(&own), now() + TimeDelta::seconds(seconds)).await;
        assert_eq!(sent.outcome, Outcome::Delivered { status: 204 }, "{sent:?}");
        assert_eq!(begun.lock().unwrap().len(), connections, "after {seconds} s");
    }
    assert_eq!(*begun.lock().unwrap(), [Some(HandshakeKind::Full); 3]);
}
