//! Free ports on loopback.

use anyhow::Context as _;
use std::net::{Ipv4Addr, TcpListener};

/// Finds `N` different free ports. Another process may take one before its owner binds it; then that
/// owner says so, and one starts again.
pub fn free<const N: usize>() -> anyhow::Result<[u16; N]> {
    // All are held until all are known, so that none is handed out twice.
    let mut listeners = Vec::with_capacity(N);
    let mut ports = [0; N];
    for port in &mut ports {
        let listener =
            TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("no free port on loopback")?;
        *port = listener.local_addr()?.port();
        listeners.push(listener);
    }
    Ok(ports)
}
