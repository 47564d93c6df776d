//! Free ports on loopback.

use anyhow::bail;
use std::{
    net::{Ipv4Addr, TcpListener},
    ops::Range,
};

/// Below what Linux takes the ports of outgoing connections from: one of those could be handed out here
/// and be gone again before its owner binds it.
const RANGE: Range<u16> = 20_000..32_000;
const TRIES: usize = 1000;

/// Finds `N` different free ports. Another process may take one before its owner binds it; then that
/// owner says so, and one starts again.
pub fn free<const N: usize>() -> anyhow::Result<[u16; N]> {
    // All are held until all are known, so that none is handed out twice.
    let mut listeners = Vec::with_capacity(N);
    for _ in 0..TRIES {
        if listeners.len() == N {
            break;
        }
        let port = rand::random_range(RANGE);
        listeners.extend(TcpListener::bind((Ipv4Addr::LOCALHOST, port)).ok());
    }
    let ports = listeners.iter().map(|listener| Ok(listener.local_addr()?.port()));
    let ports = ports.collect::<anyhow::Result<Vec<u16>>>()?;
    match ports.try_into() {
        Ok(ports) => Ok(ports),
        Err(found) => bail!("only {} of {N} ports on loopback are free", found.len()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn free_ports_differ_and_are_free() {
        let ports = free::<5>().unwrap();
        let bound: Vec<TcpListener> = ports
            .iter()
            .map(|port| TcpListener::bind((Ipv4Addr::LOCALHOST, *port)).unwrap())
            .collect();
        assert_eq!(bound.len(), 5);
    }
}
