//! Nothing of a webhook reaches control, not even its head, before its signature is verified.

use crate::{
    raw,
    support::{Answer, Edge, Http, SIGNATURE, Sending},
};
use contract::{keys::KeyRing, signature};
use reqwest::header::HeaderValue;
use sha2::{Digest as _, Sha256};

const BODY: &[u8] = br#"{"type":"auth","from":"nango"}"#;

/// The limit in `envoy/ecds/edge-public.yaml`.
const LIMIT: usize = 1_048_576;

async fn send(
    edge: &Edge,
    (http, sending): (Http, Sending),
    headers: &[(&str, &str)],
    body: &[u8],
) -> Answer {
    let mut request = http
        .client(&edge.pki)
        .post(edge.public("/webhooks/nango"))
        .header("content-type", "application/json")
        .body(sending.body(body));
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let answer = Answer::of(request.send().await.unwrap()).await;
    assert_eq!(answer.version, http.version());
    answer
}

fn every_way() -> impl Iterator<Item = (Http, Sending)> {
    Http::BOTH.into_iter().flat_map(|http| Sending::ALL.map(|sending| (http, sending)))
}

#[tokio::test]
async fn a_signed_webhook_arrives_once_whole_and_vouched_for() {
    let edge = Edge::start().await;
    let signature = edge.sign(BODY);
    for (index, way) in every_way().enumerate() {
        let answer = send(&edge, way, &[(SIGNATURE, &signature)], BODY).await;
        assert_eq!(answer.status, 200, "{way:?}: {answer:?}");
        let records = edge.recorder.records();
        assert_eq!(records.len(), index + 1, "{way:?}");
        let recorded = records.last().unwrap();
        assert_eq!(recorded.body.as_deref(), Some(BODY), "{way:?}");
        assert_eq!(recorded.all("x-connections-webhook-key"), ["1"], "{way:?}");
        assert_eq!(recorded.all("x-connections-assertion").len(), 1, "{way:?}");
    }
}

#[tokio::test]
async fn an_unsigned_webhook_is_401_and_control_sees_nothing_at_all() {
    let edge = Edge::start().await;
    let good = edge.sign(BODY);
    let others = signature::sign(&KeyRing::parse(b"another-key-of-somebody").unwrap(), BODY);
    let another_body = edge.sign(b"{}");
    let legacy = Sha256::new().chain_update(&edge.webhook_keys).chain_update(BODY).finalize();
    let legacy = hex::encode(legacy);
    let cases: &[(&str, &[(&str, &str)])] = &[
        ("missing", &[]),
        ("another key's", &[(SIGNATURE, &others)]),
        ("another body's", &[(SIGNATURE, &another_body)]),
        ("empty", &[(SIGNATURE, "")]),
        ("junk", &[(SIGNATURE, "junk")]),
        ("upper case", &[(SIGNATURE, &good.to_uppercase())]),
        ("the good one twice", &[(SIGNATURE, &good), (SIGNATURE, &good)]),
        ("a good and a bad one", &[(SIGNATURE, &good), (SIGNATURE, &others)]),
        ("the good one joined to itself", &[(SIGNATURE, &format!("{good},{good}"))]),
        ("legacy only", &[("x-nango-signature", &legacy)]),
        ("legacy in the place of the other", &[(SIGNATURE, &legacy)]),
        ("vouched for by itself", &[("x-connections-webhook-key", "1")]),
    ];
    for (what, headers) in cases {
        for way in every_way() {
            let answer = send(&edge, way, headers, BODY).await;
            assert_eq!(answer.status, 401, "{what} by {way:?}");
            assert_eq!(answer.problem_code(), "signature_invalid", "{what} by {way:?}");
        }
    }
    // Without a body no body callback comes.
    for http in Http::BOTH {
        let answer = send(&edge, (http, Sending::Whole), &[(SIGNATURE, &good)], b"").await;
        assert_eq!(answer.status, 401, "no body by {http:?}");
    }
    assert_eq!(edge.recorder.records(), []);
}

/// The other tests here would prove nothing about trailers if the client dropped them.
#[tokio::test]
async fn trailers_are_really_sent() {
    let edge = Edge::start().await;
    let admin = edge.envoy.addresses.admin;
    let verbose = edge.anybody().post(format!("http://{admin}/logging?http=debug"));
    assert_eq!(verbose.send().await.unwrap().status(), 200);
    let signature = edge.sign(BODY);
    let way = (Http::Two, Sending::Trailers);
    assert_eq!(send(&edge, way, &[(SIGNATURE, &signature)], BODY).await.status, 200);
    let log = std::fs::read_to_string(edge.envoy.process().log()).unwrap();
    assert!(log.contains("request trailers complete"), "{log}");
    assert!(log.contains("'x-trailer', '1'"), "{log}");
}

#[tokio::test]
async fn a_signed_empty_body_is_a_signed_body() {
    let edge = Edge::start().await;
    let signature = edge.sign(b"");
    for way in every_way() {
        let answer = send(&edge, way, &[(SIGNATURE, &signature)], b"").await;
        assert_eq!(answer.status, 200, "{way:?}: {answer:?}");
    }
}

#[tokio::test]
async fn a_body_up_to_the_limit_passes_and_one_over_it_is_413() {
    let edge = Edge::start().await;
    let fits = vec![b'a'; LIMIT];
    let signature = edge.sign(&fits);
    for (index, way) in every_way().enumerate() {
        let answer = send(&edge, way, &[(SIGNATURE, &signature)], &fits).await;
        assert_eq!(answer.status, 200, "{way:?}: {answer:?}");
        let records = edge.recorder.records();
        assert_eq!(records.len(), index + 1);
        assert_eq!(records[index].body.as_ref().map(Vec::len), Some(LIMIT), "{way:?}");
    }
    let before = edge.recorder.records().len();
    let large = vec![b'a'; LIMIT + 1];
    let signature = edge.sign(&large);
    for way in every_way() {
        let answer = send(&edge, way, &[(SIGNATURE, &signature)], &large).await;
        assert_eq!(answer.status, 413, "{way:?}");
        assert_eq!(answer.problem_code(), "body_too_large", "{way:?}");
    }
    assert_eq!(edge.recorder.records().len(), before);
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
        for number in 0..300 {
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
async fn a_webhook_is_a_post_of_json_and_no_upgrade() {
    let edge = Edge::start().await;
    let client = edge.anybody();
    let url = edge.public("/webhooks/nango");
    let signature = edge.sign(BODY);
    let get = Answer::of(client.get(&url).send().await.unwrap()).await;
    assert_eq!((get.status, &get.headers["allow"]), (405, &"POST".parse().unwrap()));
    let plain = client.post(&url).header(SIGNATURE, &signature).body(BODY);
    let plain = Answer::of(plain.send().await.unwrap()).await;
    assert_eq!((plain.status, plain.problem_code().as_str()), (415, "unsupported_media_type"));
    let upgrade = format!(
        "POST /webhooks/nango HTTP/1.1\r\nhost: edge\r\nconnection: upgrade\r\nupgrade: websocket\r\n\
         content-type: application/json\r\n{SIGNATURE}: {signature}\r\ncontent-length: {}\r\n\r\n",
        BODY.len()
    );
    let answered = raw::exchange(&edge, edge.envoy.addresses.public, upgrade.as_bytes()).await;
    // Envoy refuses it before the filter does.
    assert!(answered.starts_with("HTTP/1.1 403 "), "{answered}");
    assert_eq!(edge.recorder.records(), []);
}

#[tokio::test]
async fn without_a_usable_key_every_webhook_is_503_and_a_guessed_one_opens_nothing() {
    let edge = Edge::start().await;
    let secrets = edge.envoy.folder.join("secrets");
    let client = edge.anybody();
    // A secret that Envoy does not have is rendered as `-`.
    let guessed = {
        use hmac::{Hmac, KeyInit as _, Mac as _};
        let mac = Hmac::<Sha256>::new_from_slice(b"-").unwrap().chain_update(BODY);
        hex::encode(mac.finalize().into_bytes())
    };
    for text in ["", "-", "short"] {
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
