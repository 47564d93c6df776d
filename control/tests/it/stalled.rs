//! A receiver that takes connections and never ends a greeting holds none of them for ever.

use crate::{
    sockets::{notifier, own, send},
    trust::{BOTH, Ca, Serves, acceptor, loopback},
};
use control::domain::outcome::Outcome;
use std::time::Duration;
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpListener,
    sync::watch,
};

async fn request(stream: &mut (impl AsyncRead + Unpin)) {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n{}") {
        head.push(stream.read_u8().await.unwrap());
    }
}

/// The client begins a second connection while the first is busy, goes on with the first when that is free,
/// and leaves the second to itself.
#[tokio::test]
async fn a_greeting_that_nobody_waits_for_any_more_ends_in_time_too() {
    let ca = Ca::new("ca.example");
    let leaf = ca.leaf("receiver.example", -1, 30);
    let acceptor = acceptor(Serves { leaf, callers_of: None, versions: BOTH });
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let notifier = notifier("127.0.0.1", listener.local_addr().unwrap().port(), None, loopback());
    let url = format!("https://receiver.example:{}/", listener.local_addr().unwrap().port());
    let own = own(&url, Some(&ca.0.pem()), None);
    let (asked, mut is_asked) = watch::channel(false);
    let receiver = async {
        let (stream, _) = listener.accept().await.unwrap();
        let mut first = acceptor.accept(stream).await.unwrap();
        request(&mut first).await;
        asked.send_replace(true);
        let (mut second, _) = listener.accept().await.unwrap();
        let answer = b"HTTP/1.1 204 No Content\r\n\r\n";
        first.write_all(answer).await.unwrap();
        request(&mut first).await;
        first.write_all(answer).await.unwrap();
        // It says nothing, and reads until the other side has enough of it.
        let mut greeting = Vec::new();
        let ended = second.read_to_end(&mut greeting);
        tokio::time::timeout(Duration::from_secs(10), ended).await.map(drop)
    };
    let both = async {
        let later = async {
            is_asked.wait_for(|is_asked| *is_asked).await.unwrap();
            send(&notifier, Some(&own)).await
        };
        tokio::join!(send(&notifier, Some(&own)), later)
    };
    let ((first, second), ended) = tokio::join!(both, receiver);
    for sent in [first, second] {
        assert_eq!(sent.outcome, Outcome::Delivered { status: 204 }, "{sent:?}");
    }
    assert!(ended.is_ok(), "the second connection is still open");
}
