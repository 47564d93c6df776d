//! Nothing of a webhook reaches control, not even its head, before its signature is verified.

use crate::{
    load, raw,
    support::{Answer, Edge, Http, SIGNATURE, Sending},
    wire,
};
use reqwest::header::HeaderValue;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

const BODY: &[u8] = br#"{"type":"auth","from":"nango"}"#;

/// The table would prove nothing about trailers if the client dropped them.
#[tokio::test]
async fn trailers_are_really_sent() {
    let edge = Edge::start().await;
    let admin = edge.envoy.addresses.admin;
    let verbose = edge.anybody().post(format!("http://{admin}/logging?http=debug"));
    assert_eq!(verbose.send().await.unwrap().status(), 200);
    let signature = edge.sign(BODY);
    let request = Http::Two
        .client(&edge.pki)
        .post(edge.public("/webhooks/nango"))
        .header("content-type", "application/json")
        .header(SIGNATURE, signature)
        .body(Sending::Trailers.body(BODY));
    assert_eq!(request.send().await.unwrap().status(), 200);
    let log = std::fs::read_to_string(edge.envoy.process().log()).unwrap();
    assert!(log.contains("request trailers complete"), "{log}");
    assert!(log.contains("'x-trailer', '1'"), "{log}");
}

#[tokio::test]
async fn a_webhook_is_not_lost_for_a_header_that_nobody_reads() {
    let edge = Edge::start().await;
    let signature = edge.sign(BODY);
    for http in Http::BOTH {
        let mut request = http
            .client(&edge.pki)
            .post(edge.public("/webhooks/nango"))
            .header("content-type", "application/json")
            .header(SIGNATURE, &signature)
            .header("x-bin", HeaderValue::from_bytes(b"\xff\xfe").unwrap())
            .header("x_underscore", "1")
            .body(BODY);
        // As many as Nango's own HTTP library would take from a stranger.
        for number in 0..2000 {
            request = request.header(format!("x-header-{number}"), "1");
        }
        if http == Http::One {
            request = request.header("upgrade", "h2c");
        }
        let answer = Answer::of(request.send().await.unwrap()).await;
        assert_eq!(answer.status, 200, "{http:?} {answer:?}");
    }
    for recorded in edge.recorder.records() {
        assert!(recorded.headers.len() < 20, "{:?}", recorded.headers);
        assert_eq!(recorded.body.as_deref(), Some(BODY));
    }
}

#[tokio::test]
async fn without_a_usable_key_every_webhook_is_503_and_a_guessed_one_opens_nothing() {
    let edge = Edge::start().await;
    let secrets = edge.envoy.folder.join("secrets");
    let client = edge.anybody();
    // A secret that Envoy does not have is rendered as `-`.
    let guessed = {
        use hmac::{Hmac, KeyInit as _, Mac as _};
        let mac = Hmac::<sha2::Sha256>::new_from_slice(b"-").unwrap().chain_update(BODY);
        hex::encode(mac.finalize().into_bytes())
    };
    let byte_order_mark = format!("\u{feff}{}", edge.webhook_keys);
    for text in
        ["", "-", "short", " \n\t", "whsec_", "whsec_0123456789", "\u{feff}", &byte_order_mark]
    {
        std::fs::write(secrets.join("scratch"), text).unwrap();
        std::fs::rename(secrets.join("scratch"), secrets.join("webhook-keys")).unwrap();
        sandbox::process::wait_for(
            "the key is still in use",
            std::time::Duration::from_secs(10),
            || async {
                let request = client.post(edge.public("/webhooks/nango"));
                let request = request.header("content-type", "application/json");
                let answer = request.header(SIGNATURE, &guessed).body(BODY).send().await?;
                Ok((answer.status() == 503).then_some(()))
            },
        )
        .await
        .unwrap_or_else(|error| panic!("{text:?}: {error}"));
        // Back to a good one, so that the next text is seen to change something.
        std::fs::write(secrets.join("scratch"), &edge.webhook_keys).unwrap();
        std::fs::rename(secrets.join("scratch"), secrets.join("webhook-keys")).unwrap();
        let good = edge.sign(BODY);
        sandbox::process::wait_for(
            "the key is not in use",
            std::time::Duration::from_secs(10),
            || async {
                let request = client.post(edge.public("/webhooks/nango"));
                let request = request.header("content-type", "application/json");
                let answer = request.header(SIGNATURE, &good).body(BODY).send().await?;
                Ok((answer.status() == 200).then_some(()))
            },
        )
        .await
        .unwrap();
    }
}

/// Nango passes a provider's own `transfer-encoding` on, beside the length that it sets itself.
#[tokio::test]
async fn a_webhook_is_not_lost_for_a_length_beside_its_chunks() {
    let edge = Edge::start().await;
    let signature = edge.sign(BODY);
    let length = BODY.len();
    let body = String::from_utf8_lossy(BODY);
    let request = format!(
        "POST /webhooks/nango HTTP/1.1\r\nhost: edge\r\nconnection: close\r\n\
         content-type: application/json\r\n{SIGNATURE}: {signature}\r\n\
         content-length: {length}\r\ntransfer-encoding: chunked\r\n\r\n{length:x}\r\n{body}\r\n0\r\n\r\n"
    );
    let answer = raw::exchange(&edge, edge.envoy.addresses.public, request.as_bytes()).await;
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    let seen = edge.recorder.records();
    assert_eq!(seen.len(), 1);
    assert_eq!(seen[0].body.as_deref(), Some(BODY));
}

#[tokio::test]
async fn a_sender_that_waits_is_told_to_go_on_and_then_judged_by_its_body() {
    let edge = Edge::start().await;
    for (key, status) in [(edge.webhook_keys.as_str(), 200), ("another-key-of-somebody", 401)] {
        let message = load::webhook(key);
        let (_, signature) =
            message.headers.iter().find(|header| header.0 == SIGNATURE).unwrap().clone();
        let (_, body) = message.body.unwrap();
        let public = edge.envoy.addresses.public;
        let mut stream = wire::tls(&edge.pki, public, &[], None).await.unwrap();
        let head = format!(
            "POST /webhooks/nango HTTP/1.1\r\nhost: edge\r\nconnection: close\r\nexpect: 100-continue\r\n\
             content-type: application/json\r\n{SIGNATURE}: {}\r\ncontent-length: {}\r\n\r\n",
            String::from_utf8_lossy(&signature),
            body.len()
        );
        stream.write_all(head.as_bytes()).await.unwrap();
        let mut go_on = [0; 25];
        stream.read_exact(&mut go_on).await.unwrap();
        assert_eq!(go_on, *b"HTTP/1.1 100 Continue\r\n\r\n");
        stream.write_all(&body).await.unwrap();
        let mut answer = Vec::new();
        drop(stream.read_to_end(&mut answer).await);
        let answer = String::from_utf8_lossy(&answer);
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{answer}");
    }
    assert_eq!(edge.recorder.records().len(), 1);
}
