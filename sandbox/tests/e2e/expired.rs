//! Certificates that end while something lasts that was begun with them: a connection, a session, the hop to control.

use crate::{
    load::call,
    support::{Answer, Http, Prepared},
    wire::{self, Wire},
};
use rustls::{
    ClientConfig, HandshakeKind, SupportedProtocolVersion,
    version::{TLS12, TLS13},
};
use sandbox::{
    envoy::configuration::{filter, listener, replace},
    pki::{APP, Authority, Identity, Name},
    process::wait_for,
};
use serde_json::json;
use std::{
    net::SocketAddr,
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

/// Long enough to open a few connections on a busy machine.
const VALID: Duration = Duration::from_secs(8);

const SOON: Duration = Duration::from_secs(30);

fn now() -> SystemTime {
    UNIX_EPOCH + UNIX_EPOCH.elapsed().unwrap()
}

/// The first second in which a certificate that ends now is over.
async fn wait_until_over(end: SystemTime) {
    wait_for("the certificate is valid still", SOON, || async move {
        let over = end + Duration::from_secs(1);
        Ok((now() > over).then_some(()))
    })
    .await
    .unwrap();
}

/// What a certificate opened while it was valid.
struct Open {
    version: &'static SupportedProtocolVersion,
    http: Http,
    config: Arc<ClientConfig>,
    wire: Wire,
}

fn alpn(http: Http) -> &'static [u8] {
    match http {
        Http::One => b"http/1.1",
        Http::Two => b"h2",
    }
}

async fn connected(address: SocketAddr, config: &Arc<ClientConfig>) -> (HandshakeKind, Wire) {
    let stream = wire::connect(address, config).await.unwrap();
    let kind = stream.get_ref().1.handshake_kind().unwrap();
    let http = if config.alpn_protocols[0] == b"h2" { Http::Two } else { Http::One };
    (kind, Wire::over(stream, http).await.unwrap())
}

fn check_refused(answer: &Answer, what: &str) {
    let told = (answer.status, answer.problem_code());
    assert_eq!(told, (403, "certificate_expired".to_owned()), "{what}");
}

#[tokio::test]
async fn an_expired_certificate_is_refused_on_open_connections_and_on_resumed_sessions() {
    let edge = Prepared::new().await.start().await;
    let address = edge.envoy.addresses.clients;
    let end = now() + VALID;
    let app = edge.pki.clients.issue_until("app", &[Name::Uri(APP)], end).unwrap();
    let mut open = Vec::new();
    for version in [&TLS12, &TLS13] {
        for http in Http::BOTH {
            let config = wire::config(&edge.pki, &[alpn(http)], Some(&app), &[version]).unwrap();
            let config = Arc::new(config);
            let (kind, mut wire) = connected(address, &config).await;
            assert_ne!(kind, HandshakeKind::Resumed);
            assert_eq!(wire.send(&call()).await.unwrap().status, 200, "{version:?} {http:?}");
            // A session is taken up again as long as the certificate is valid.
            let (kind, mut resumed) = connected(address, &config).await;
            assert_eq!(kind, HandshakeKind::Resumed, "{version:?} {http:?}");
            assert_eq!(resumed.send(&call()).await.unwrap().status, 200);
            open.push(Open { version, http, config, wire });
        }
    }
    let forwarded = edge.recorder.records().len();
    wait_until_over(end).await;
    let mut refused = 0;
    for Open { version, http, config, mut wire } in open {
        let what = format!("{version:?} over {http:?}");
        check_refused(&wire.send(&call()).await.unwrap(), &format!("open, {what}"));
        let (kind, mut resumed) = connected(address, &config).await;
        assert_eq!(kind, HandshakeKind::Resumed, "{what}");
        check_refused(&resumed.send(&call()).await.unwrap(), &format!("resumed, {what}"));
        refused += 2;
        // Without a session nothing is opened at all.
        let fresh = wire::config(&edge.pki, &[alpn(http)], Some(&app), &[version]).unwrap();
        let fresh = async {
            let stream = wire::connect(address, &Arc::new(fresh)).await?;
            Wire::over(stream, http).await?.send(&call()).await
        };
        assert!(fresh.await.is_err(), "a full handshake, {what}");
    }
    assert_eq!(edge.recorder.records().len(), forwarded, "control saw an expired caller");
    let log = edge.access_log(forwarded + refused).await;
    let lines = log.iter().filter(|line| line["reason"] == "edge_certificate_expired");
    assert_eq!(lines.clone().count(), refused);
    for line in lines {
        assert_eq!((&line["status"], &line["address"]), (&json!(403), &json!("127.0.0.1")));
    }
}

/// Where the listener does not hand the date on, nobody is believed to be in time.
#[tokio::test]
async fn a_certificate_whose_end_the_filter_does_not_know_is_not_believed() {
    let prepared = Prepared::new().await;
    prepared.adjust(|configuration| {
        let facts = filter(listener(configuration, "clients")?, "facts")?;
        let objects = facts["typed_config"]["on_request_headers"].as_array_mut().unwrap();
        objects.retain(|it| it["object_key"] != "edge.peer_certificate_end");
        Ok(())
    });
    let edge = prepared.start().await;
    let answer = Answer::of(edge.app().get(edge.clients("/health")).send().await.unwrap()).await;
    assert_eq!((answer.status, answer.problem_code().as_str()), (503, "edge_unavailable"));
    assert_eq!(edge.recorder.records(), []);
    let log = edge.access_log(1).await;
    assert_eq!(log[0]["reason"], "edge_certificate_end_unknown");
}

/// A resumed handshake shows no certificate; Envoy, a client there, verifies the one that it remembers.
#[tokio::test]
async fn an_expired_certificate_of_controls_is_refused_though_a_session_could_be_resumed() {
    let mut end = UNIX_EPOCH;
    let prepared = Prepared::with(|pki| {
        end = now() + VALID;
        let names = [Name::Dns("control"), Name::Loopback];
        let short = pki.service.issue_until("control", &names, end).unwrap();
        pki.write_identity("control", &short).unwrap();
    })
    .await;
    prepared.adjust(|configuration| {
        // Each request needs a connection of its own.
        let options = "/static_resources/clusters/0/typed_extension_protocol_options/envoy.extensions.upstreams.http.v3.HttpProtocolOptions/common_http_protocol_options/max_requests_per_connection";
        let (parent, name) = options.rsplit_once('/').unwrap();
        configuration.pointer_mut(parent).unwrap()[name] = json!(1);
        Ok(())
    });
    let edge = prepared.start().await;
    let anybody = edge.anybody();
    let status = async || anybody.get(edge.public("/health")).send().await.unwrap().status();
    for _ in 0..4 {
        assert_eq!(status().await, 200);
    }
    assert!(edge.counted("cluster_ssl_session_reused").await > 0, "no session was resumed");
    wait_until_over(end).await;
    let seen = edge.recorder.records().len();
    for _ in 0..4 {
        assert_eq!(status().await, 503);
    }
    assert_eq!(edge.recorder.records().len(), seen);
}

/// A session is bound to the authorities and the list that its certificate was verified by.
#[tokio::test]
async fn no_session_outlives_the_authority_or_the_list_that_its_certificate_was_verified_by() {
    let prepared = Prepared::new().await;
    let tls = prepared.envoy_folder().join("tls");
    let list = tls.join("clients-ca.crl");
    replace(&list, &prepared.pki.clients.revocation_list(&[]).unwrap()).unwrap();
    let sds = prepared.envoy_folder().join("sds/clients-ca.yaml");
    let line = format!("      crl: {{ filename: {} }}\n", list.display());
    replace(&sds, &format!("{}{line}", std::fs::read_to_string(&sds).unwrap())).unwrap();
    let edge = prepared.start().await;
    let address = edge.envoy.addresses.clients;
    let names = [Name::Uri(APP)];
    let opened = async |app: &Identity, version| {
        let config = wire::config(&edge.pki, &[alpn(Http::One)], Some(app), &[version]).unwrap();
        let config = Arc::new(config);
        for _ in 0..2 {
            let (_, mut wire) = connected(address, &config).await;
            assert_eq!(wire.send(&call()).await.unwrap().status, 200);
        }
        assert_eq!(connected(address, &config).await.0, HandshakeKind::Resumed);
        config
    };
    let is_refused = async |config: &Arc<ClientConfig>| {
        let sent = async {
            let stream = wire::connect(address, config).await?;
            Wire::over(stream, Http::One).await?.send(&call()).await
        };
        anyhow::Ok(sent.await.is_err().then_some(()))
    };
    let revoked = edge.pki.clients.issue("app", &names).unwrap();
    let mut open = Vec::new();
    for version in [&TLS12, &TLS13] {
        open.push(opened(&revoked, version).await);
    }
    replace(&list, &edge.pki.clients.revocation_list(&[&revoked]).unwrap()).unwrap();
    for config in &open {
        wait_for("what is revoked is resumed", SOON, || is_refused(config)).await.unwrap();
    }
    let good = edge.pki.clients.issue("app", &names).unwrap();
    let mut open = Vec::new();
    for version in [&TLS12, &TLS13] {
        open.push(opened(&good, version).await);
    }
    let next = Authority::new("sandbox clients CA 2").unwrap();
    replace(&list, &next.revocation_list(&[]).unwrap()).unwrap();
    replace(&tls.join("clients-ca.crt"), &next.certificate_pem).unwrap();
    for config in &open {
        let refused = wait_for("its authority is gone", SOON, || is_refused(config));
        refused.await.unwrap();
    }
}
