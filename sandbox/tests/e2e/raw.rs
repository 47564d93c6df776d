//! HTTP/1.1 as bytes, for what no client library would send.

use crate::support::Edge;
use rustls::{
    ClientConfig, RootCertStore,
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem::PemObject},
};
use std::{net::SocketAddr, sync::Arc};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};
use tokio_rustls::TlsConnector;

/// A GET on the clients listener, as the demo application.
pub async fn get(edge: &Edge, target: &str) -> String {
    let request = format!("GET {target} HTTP/1.1\r\nhost: edge\r\nconnection: close\r\n\r\n");
    exchange(edge, edge.envoy.addresses.clients, request.as_bytes()).await
}

/// A GET on the public listener, with these header lines besides.
pub async fn get_public(edge: &Edge, target: &str, headers: &str) -> String {
    let head = format!("GET {target} HTTP/1.1\r\nhost: edge\r\nconnection: close\r\n");
    let request = format!("{head}{headers}\r\n");
    exchange(edge, edge.envoy.addresses.public, request.as_bytes()).await
}

/// Sends bytes and reads until the other side closes.
pub async fn exchange(edge: &Edge, address: SocketAddr, request: &[u8]) -> String {
    let mut roots = RootCertStore::empty();
    let ca = edge.pki.service.certificate_pem.as_bytes();
    roots.add(CertificateDer::from_pem_slice(ca).unwrap()).unwrap();
    let chain = CertificateDer::pem_file_iter(edge.pki.path("app.crt")).unwrap();
    let chain = chain.collect::<Result<Vec<_>, _>>().unwrap();
    let key = PrivateKeyDer::from_pem_file(edge.pki.path("app.key")).unwrap();
    let client = ClientConfig::builder().with_root_certificates(roots);
    let client = client.with_client_auth_cert(chain, key).unwrap();
    let stream = TcpStream::connect(address).await.unwrap();
    let name = ServerName::try_from("localhost").unwrap();
    let mut stream = TlsConnector::from(Arc::new(client)).connect(name, stream).await.unwrap();
    stream.write_all(request).await.unwrap();
    let mut answer = Vec::new();
    // A peer that closes without a farewell has still said what it said.
    drop(stream.read_to_end(&mut answer).await);
    String::from_utf8_lossy(&answer).into_owned()
}
