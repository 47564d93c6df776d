//! What webhooks and callbacks meet at an edge that a mesh makes of our manifests: nothing that answers a webhook
//! with a 4xx before the filter does, for Nango repeats after 5xx only, and no log with a query, for a callback's holds
//! an OAuth code. The listeners are the mesh's defaults with our patches, in the real Envoy.

use crate::{
    edge::{KEYS, prepare},
    meshes::{Made, made_by},
};
use contract::{keys::KeyRing, signature};
use rustls::{
    ClientConfig, RootCertStore,
    pki_types::{CertificateDer, ServerName, pem::PemObject as _},
};
use sandbox::{
    client_app::client_as,
    envoy::{Envoy, configuration},
    pki::{APP, Name, Pki},
    process::wait_for,
};
use serde_json::{Map, Value, json};
use std::{net::SocketAddr, sync::Arc, time::Duration};
use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};
use tokio_rustls::TlsConnector;

const SOON: Duration = Duration::from_secs(10);

/// The names of the two meshes in the messages of a test that fails.
const MESHES: [&str; 2] = ["istio", "gateway"];

/// An edge in the real Envoy, without a control behind it: what is let through is 503, without a code of ours.
struct Edge {
    envoy: Envoy,
    pki: Pki,
    /// Who has grants there.
    principal: &'static str,
    _folder: TempDir,
}

impl Edge {
    async fn start(mesh: &str, change: impl Fn(&mut Made)) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let (tools, pki, addresses) = prepare(folder.path()).await;
        let envoys = folder.path().join("envoy");
        let mut listeners = made_by(mesh).await;
        listeners.iter_mut().for_each(change);
        configuration::adjust(&envoys, |document| {
            for Made { name, manager, buffer_limit } in listeners {
                let found = configuration::listener(document, name)?;
                found["per_connection_buffer_limit_bytes"] = json!(buffer_limit);
                *configuration::manager(found)? = whole(name, manager, &envoys.to_string_lossy());
            }
            Ok(())
        })
        .unwrap();
        let environment = ["CONNECTIONS_ASSERTION_KEYS", "CONNECTIONS_WEBHOOK_KEYS"];
        let environment = environment.map(|key| (key, KEYS.to_owned()));
        let envoy = Envoy::start(&tools.envoy, &envoys, addresses, &environment).await.unwrap();
        let principal = if mesh == "istio" { APP } else { "spiffe://acme.example/app" };
        Self { envoy, pki, principal, _folder: folder }
    }

    /// Bytes over HTTP/1.1, and the answer's, by a client application.
    async fn exchange(&self, address: SocketAddr, request: &[u8]) -> String {
        let mut roots = RootCertStore::empty();
        let ca = self.pki.service.certificate_pem.as_bytes();
        roots.add(CertificateDer::from_pem_slice(ca).unwrap()).unwrap();
        let app = self.pki.clients.issue("app", &[Name::Uri(self.principal)]);
        let app = app.unwrap();
        let chain = CertificateDer::pem_slice_iter(app.certificate_pem.as_bytes());
        let chain = chain.collect::<Result<Vec<_>, _>>().unwrap();
        let key = rustls::pki_types::PrivateKeyDer::from_pem_slice(app.key_pem.as_bytes()).unwrap();
        let client = ClientConfig::builder().with_root_certificates(roots);
        let client = Arc::new(client.with_client_auth_cert(chain, key).unwrap());
        let stream = TcpStream::connect(address).await.unwrap();
        let host = ServerName::try_from("localhost").unwrap();
        let mut stream = TlsConnector::from(client).connect(host, stream).await.unwrap();
        stream.write_all(request).await.unwrap();
        let mut answer = Vec::new();
        let reading = stream.read_to_end(&mut answer);
        // A peer that closes without a farewell has still said what it said.
        drop(tokio::time::timeout(SOON, reading).await.unwrap());
        String::from_utf8_lossy(&answer).into_owned()
    }
}

/// A manager with what it needs to answer at all.
fn whole(name: &str, mut manager: Value, folder: &str) -> Value {
    manager["@type"] = json!(
        "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager"
    );
    let router = json!({"name": "envoy.filters.http.router", "typed_config":
        {"@type": "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router"}});
    manager["http_filters"].as_array_mut().unwrap().push(router);
    let route = json!({"match": {"prefix": "/"}, "route": {"cluster": "control"}});
    let host = json!({"name": "all", "domains": ["*"], "routes": [route]});
    manager["route_config"] = json!({"name": name, "virtual_hosts": [host]});
    serde_json::from_str(&manager.to_string().replace("/etc/envoy", folder)).unwrap()
}

fn signed(body: &[u8]) -> String {
    signature::sign(&KeyRing::parse(KEYS.as_bytes()).unwrap(), body)
}

/// Through the filter, and no further.
const PASSED: (u16, &str) = (503, "");

/// Larger than a window of HTTP/2 by default, and smaller than `maxBodyBytes` of the policy; and more headers than
/// Envoy takes by default, as many as Nango's own HTTP library would take from a stranger.
#[tokio::test]
async fn no_mesh_loses_a_webhook_for_its_size_or_its_headers() {
    let body = "a".repeat(250 * 1024);
    let small = r#"{"type":"auth","from":"nango"}"#.to_owned();
    for mesh in MESHES {
        let edge = Edge::start(mesh, |_| ()).await;
        let at = format!("https://{}/webhooks/nango", edge.envoy.addresses.public);
        for is_http2 in [false, true] {
            let ca = edge.pki.service.certificate_pem.as_bytes();
            let client = reqwest::Client::builder()
                .tls_certs_only([reqwest::Certificate::from_pem(ca).unwrap()])
                .no_proxy();
            let client =
                if is_http2 { client.http2_prior_knowledge() } else { client.http1_only() };
            let client = client.build().unwrap();
            for (body, headers) in [(&body, 0), (&small, 2000)] {
                let mut request = client.post(&at).timeout(SOON);
                request = request
                    .header("content-type", "application/json")
                    .header("x-nango-hmac-sha256", signed(body.as_bytes()))
                    .header("x_underscore", "1")
                    .body(body.clone());
                for number in 0..headers {
                    request = request.header(format!("x-header-{number}"), "1");
                }
                let answer = request.send().await.unwrap();
                let status = answer.status().as_u16();
                let problem: Value =
                    serde_json::from_str(&answer.text().await.unwrap()).unwrap_or_default();
                let code = problem["code"].as_str().unwrap_or_default();
                let bytes = body.len();
                assert_eq!(
                    (status, code),
                    PASSED,
                    "{mesh}, HTTP/2 {is_http2}: {bytes} bytes, {headers} headers"
                );
            }
        }
        // A provider's own `transfer-encoding`, beside the length that Nango sets.
        let length = small.len();
        let signature = signed(small.as_bytes());
        let request = format!(
            "POST /webhooks/nango HTTP/1.1\r\nhost: edge\r\nconnection: close\r\n\
             content-type: application/json\r\nx-nango-hmac-sha256: {signature}\r\n\
             content-length: {length}\r\ntransfer-encoding: chunked\r\n\r\n{length:x}\r\n{small}\r\n0\r\n\r\n"
        );
        let answer = edge.exchange(edge.envoy.addresses.public, request.as_bytes()).await;
        assert!(answer.starts_with("HTTP/1.1 503 "), "{mesh}: {answer}");
        edge.envoy.stop().await.unwrap();
    }
}

/// A slow network between Nango and us: Nango repeats after 503, and not after Envoy's 408.
#[tokio::test]
async fn a_webhook_that_does_not_arrive_in_time_is_503_in_every_mesh() {
    for mesh in MESHES {
        let edge = Edge::start(mesh, |made| {
            let limit = &mut made.manager["request_timeout"];
            assert!(limit.is_string(), "{mesh}: {}: no limit", made.name);
            *limit = json!("0.5s");
        });
        let edge = edge.await;
        for content_type in ["application/json", "application/grpc"] {
            let signature = signed(b"ab");
            let half = format!(
                "POST /webhooks/nango HTTP/1.1\r\nhost: edge\r\ncontent-type: {content_type}\r\n\
                 x-nango-hmac-sha256: {signature}\r\ncontent-length: 2\r\n\r\na"
            );
            let answer = edge.exchange(edge.envoy.addresses.public, half.as_bytes()).await;
            assert!(answer.starts_with("HTTP/1.1 503 "), "{mesh} {content_type}: {answer}");
            assert!(answer.contains("\r\nretry-after: 3\r\n"), "{mesh} {content_type}: {answer}");
            assert!(answer.contains("request timeout"), "{mesh} {content_type}: {answer}");
            assert!(!answer.contains("x-edge-status"), "{mesh} {content_type}: {answer}");
        }
        edge.envoy.stop().await.unwrap();
    }
}

/// Nobody is to be called for what a stranger sends: 5xx is an alert.
#[tokio::test]
async fn a_transfer_encoding_that_envoy_does_not_know_is_400_in_every_mesh() {
    for mesh in MESHES {
        let edge = Edge::start(mesh, |_| ()).await;
        let request = "POST /webhooks/nango HTTP/1.1\r\nhost: edge\r\nconnection: close\r\n\
                       transfer-encoding: gzip\r\n\r\na";
        let answer = edge.exchange(edge.envoy.addresses.public, request.as_bytes()).await;
        assert!(answer.starts_with("HTTP/1.1 400 "), "{mesh}: {answer}");
        edge.envoy.stop().await.unwrap();
    }
}

#[tokio::test]
async fn no_mesh_writes_the_query_of_a_callback_into_its_log() {
    for mesh in MESHES {
        let edge = Edge::start(mesh, |_| ()).await;
        let nobody = client_as(&edge.pki, None).unwrap();
        let callback = "/oauth/callback?code=code-of-somebody&state=state-of-somebody";
        let at = format!("https://{}{callback}", edge.envoy.addresses.public);
        let answer = nobody.get(at).header("x-envoy-original-path", callback).send().await.unwrap();
        let _answered = answer.text().await.unwrap();
        let line = wait_for("there is no line in the log", SOON, || async {
            Ok(edge.envoy.access_log()?.pop())
        });
        let line = line.await.unwrap();
        assert!(!line.to_string().contains("of-somebody"), "{mesh}: {line}");
        assert_eq!(line["path"], "/oauth/callback", "{mesh}: {line}");
        let port = edge.envoy.addresses.public.port().to_string();
        assert_eq!(line["listener"].to_string().trim_matches('"'), port, "{mesh}: {line}");
        edge.envoy.stop().await.unwrap();
    }
}

#[tokio::test]
async fn every_mesh_refuses_a_path_that_has_two_readings() {
    for mesh in MESHES {
        let edge = Edge::start(mesh, |_| ()).await;
        for path in ["/tenants/x/../acme/connections", "/tenants//acme/connections"] {
            let request = format!("GET {path} HTTP/1.1\r\nhost: edge\r\nconnection: close\r\n\r\n");
            let answer = edge.exchange(edge.envoy.addresses.clients, request.as_bytes()).await;
            assert!(answer.starts_with("HTTP/1.1 400 "), "{mesh} {path}: {answer}");
        }
        edge.envoy.stop().await.unwrap();
    }
}

/// What `envoy.yaml` passes over on its public listener, every mesh does.
#[tokio::test]
async fn what_a_webhook_may_bring_along_is_the_same_everywhere() {
    let mut edge = configuration::read_configuration().unwrap();
    let listener = configuration::listener(&mut edge, "public").unwrap();
    let ours = configuration::manager(listener).unwrap().clone();
    let says = |manager: &Value| -> Map<String, Value> {
        let common = &manager["common_http_protocol_options"];
        [
            ("max_headers_count", &common["max_headers_count"]),
            ("headers_with_underscores_action", &common["headers_with_underscores_action"]),
            ("allow_chunked_length", &manager["http_protocol_options"]["allow_chunked_length"]),
            ("path_with_escaped_slashes_action", &manager["path_with_escaped_slashes_action"]),
            ("stat_prefix", &manager["stat_prefix"]),
        ]
        .map(|(field, value)| (field.to_owned(), value.clone()))
        .into_iter()
        .collect()
    };
    for mesh in MESHES {
        let made = made_by(mesh).await;
        assert_eq!(says(&made[1].manager), says(&ours), "{mesh}");
    }
}
