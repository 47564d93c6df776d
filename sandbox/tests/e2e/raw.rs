//! HTTP/1.1 as bytes, for what no client library would send.

use crate::{support::Edge, wire};
use sandbox::pki::{APP, Name};
use std::net::SocketAddr;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

/// A GET on the public listener, with these header lines besides.
pub async fn get_public(edge: &Edge, target: &str, headers: &str) -> String {
    let head = format!("GET {target} HTTP/1.1\r\nhost: edge\r\nconnection: close\r\n");
    let request = format!("{head}{headers}\r\n");
    exchange(edge, edge.envoy.addresses.public, request.as_bytes()).await
}

/// Sends bytes and reads until the other side closes.
pub async fn exchange(edge: &Edge, address: SocketAddr, request: &[u8]) -> String {
    let app = edge.pki.clients.issue("app", &[Name::Uri(APP)]).unwrap();
    let mut stream = wire::tls(&edge.pki, address, &[], Some(&app)).await.unwrap();
    stream.write_all(request).await.unwrap();
    let mut answer = Vec::new();
    // A peer that closes without a farewell has still said what it said.
    drop(stream.read_to_end(&mut answer).await);
    String::from_utf8_lossy(&answer).into_owned()
}
