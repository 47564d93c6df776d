//! Where a tenant's own notifications may go: which addresses, and which ports of them.
//!
//! Whoever names a destination chooses where this service connects to. It must not lead into the networks
//! that only this service can reach.

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use std::{
    collections::BTreeSet,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

/// What the operator allows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Egress {
    networks: Vec<IpNet>,
    ports: BTreeSet<u16>,
}

const fn v4(a: u8, b: u8, c: u8, d: u8, prefix: u8) -> Ipv4Net {
    Ipv4Net::new_assert(Ipv4Addr::new(a, b, c, d), prefix)
}

const fn v6(a: u16, b: u16, prefix: u8) -> Ipv6Net {
    Ipv6Net::new_assert(Ipv6Addr::new(a, b, 0, 0, 0, 0, 0, 0), prefix)
}

/// What IANA's registry of special-purpose addresses keeps from the public, and one cloud's own service.
const NOT_PUBLIC_V4: [Ipv4Net; 16] = [
    v4(0, 0, 0, 0, 8),
    v4(10, 0, 0, 0, 8),
    v4(100, 64, 0, 0, 10),
    v4(127, 0, 0, 0, 8),
    // The metadata services of most clouds are among the link-local ones.
    v4(169, 254, 0, 0, 16),
    // Azure's, at an address that looks public.
    v4(168, 63, 129, 16, 32),
    v4(172, 16, 0, 0, 12),
    v4(192, 0, 0, 0, 24),
    v4(192, 0, 2, 0, 24),
    v4(192, 88, 99, 0, 24),
    v4(192, 168, 0, 0, 16),
    v4(198, 18, 0, 0, 15),
    v4(198, 51, 100, 0, 24),
    v4(203, 0, 113, 0, 24),
    v4(224, 0, 0, 0, 4),
    v4(240, 0, 0, 0, 4),
];

/// The only block that global unicast addresses are given out of. Outside it are loopback, mapped,
/// translated (NAT64), unique-local, link-local, multicast and segment-routing addresses.
const PUBLIC_V6: Ipv6Net = v6(0x2000, 0, 3);

/// What of that block is for protocols (Teredo among them), documentation and 6to4.
const NOT_PUBLIC_V6: [Ipv6Net; 4] =
    [v6(0x2001, 0, 23), v6(0x2001, 0xdb8, 32), v6(0x2002, 0, 16), v6(0x3fff, 0, 20)];

/// Whether anybody may call it, from wherever he is.
pub fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => !NOT_PUBLIC_V4.iter().any(|net| net.contains(&address)),
        IpAddr::V6(address) => {
            PUBLIC_V6.contains(&address) && !NOT_PUBLIC_V6.iter().any(|net| net.contains(&address))
        }
    }
}

impl Egress {
    pub const fn new(networks: Vec<IpNet>, ports: BTreeSet<u16>) -> Self {
        Self { networks, ports }
    }

    /// Reads `10.0.0.0/8,fd00::/8,192.0.2.7`.
    pub fn read_networks(text: &str) -> Option<Vec<IpNet>> {
        let read = |entry: &str| {
            entry.parse::<IpNet>().ok().or_else(|| entry.parse::<IpAddr>().ok().map(IpNet::from))
        };
        entries(text).map(read).collect()
    }

    /// Reads `443,8443`.
    pub fn read_ports(text: &str) -> Option<BTreeSet<u16>> {
        let ports: Option<BTreeSet<u16>> = entries(text).map(|entry| entry.parse().ok()).collect();
        ports.filter(|ports| !ports.contains(&0) && !ports.is_empty())
    }

    /// Whether the operator named a network that has this address, as it is written: a translated address
    /// is none of the network that it leads to.
    pub fn is_named(&self, address: IpAddr) -> bool {
        self.networks.iter().any(|network| network.contains(&address))
    }

    /// Whether a connection may be made. One without TLS goes to named networks only.
    pub fn may_reach(&self, address: IpAddr, is_tls: bool) -> bool {
        self.is_named(address) || (is_tls && is_public(address))
    }

    pub fn may_use(&self, port: u16) -> bool {
        self.ports.contains(&port)
    }

    pub fn names_networks(&self) -> bool {
        !self.networks.is_empty()
    }

    pub fn ports(&self) -> impl Iterator<Item = u16> {
        self.ports.iter().copied()
    }

    /// The named networks that lead to this host itself or to a cloud's metadata.
    pub fn dangerous(&self) -> impl Iterator<Item = &IpNet> {
        let never = [
            IpAddr::V4(Ipv4Addr::LOCALHOST),
            IpAddr::V6(Ipv6Addr::LOCALHOST),
            IpAddr::V4(Ipv4Addr::new(169, 254, 169, 254)),
            IpAddr::V4(Ipv4Addr::new(168, 63, 129, 16)),
            IpAddr::V6(Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254)),
        ];
        self.networks.iter().filter(move |network| never.iter().any(|it| network.contains(it)))
    }
}

fn entries(text: &str) -> impl Iterator<Item = &str> {
    text.split(',').map(str::trim).filter(|entry| !entry.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(addresses: &[&str], expected: bool) {
        for address in addresses {
            assert_eq!(is_public(address.parse().unwrap()), expected, "{address}");
        }
    }

    #[test]
    fn what_anybody_may_call_is_public() {
        check(&["1.1.1.1", "9.255.255.255", "11.0.0.0", "100.63.255.255", "100.128.0.0"], true);
        check(&["172.15.255.255", "172.32.0.0", "192.167.0.1", "223.255.255.255"], true);
        check(&["2606:4700::1111", "2001:200::1", "2a00:1450::1", "2003::1", "3ffe::1"], true);
    }

    #[test]
    fn private_and_loopback_addresses_are_not() {
        check(&["10.0.0.1", "172.16.0.1", "172.31.255.255", "192.168.1.1", "127.0.0.1"], false);
        check(&["127.255.255.254", "0.0.0.0", "0.1.2.3", "::", "::1", "fc00::1", "fd12::1"], false);
    }

    #[test]
    fn link_local_shared_and_metadata_addresses_are_not() {
        check(&["169.254.169.254", "169.254.170.2", "fe80::1", "fec0::1", "fd00:ec2::254"], false);
        check(&["100.64.0.1", "100.100.100.200", "192.0.0.192", "168.63.129.16"], false);
    }

    #[test]
    fn multicast_reserved_and_documentation_addresses_are_not() {
        check(&["224.0.0.1", "239.1.1.1", "240.0.0.1", "255.255.255.255", "ff02::1"], false);
        check(&["192.0.2.1", "198.51.100.1", "203.0.113.1", "198.18.0.1", "198.19.1.1"], false);
        check(&["2001:db8::1", "3fff::1", "100::1", "5f00::1"], false);
    }

    #[test]
    fn an_address_within_another_is_not() {
        // IPv4-mapped and IPv4-compatible.
        check(&["::ffff:127.0.0.1", "::ffff:10.0.0.1", "::ffff:1.1.1.1", "::127.0.0.1"], false);
        // 6to4, Teredo, NAT64.
        check(&["2002:7f00:1::", "2002:a00:1::", "2001:0:4136:e378::1"], false);
        check(&["64:ff9b::7f00:1", "64:ff9b::a9fe:a9fe", "64:ff9b:1::1", "192.88.99.1"], false);
    }

    #[test]
    fn a_named_network_is_allowed_as_it_is_written_and_no_other() {
        let networks = Egress::read_networks("10.1.0.0/16, fd00::/8,192.168.0.7").unwrap();
        let egress = Egress::new(networks, BTreeSet::from([443]));
        let may = |address: &str, is_tls| egress.may_reach(address.parse().unwrap(), is_tls);
        for address in ["10.1.2.3", "fd12::1", "192.168.0.7"] {
            assert!(may(address, true) && may(address, false), "{address}");
        }
        for address in ["10.2.0.1", "192.168.0.8", "::ffff:10.1.2.3", "127.0.0.1"] {
            assert!(!may(address, true) && !may(address, false), "{address}");
        }
        // Without TLS nothing leaves for the public.
        assert!(may("1.1.1.1", true) && !may("1.1.1.1", false));
        assert!(egress.may_use(443) && !egress.may_use(22));
    }

    #[test]
    fn a_list_that_cannot_be_read_is_refused_whole() {
        assert_eq!(Egress::read_networks("10.0.0.0/33"), None);
        assert_eq!(Egress::read_networks("10.0.0.0/8,localhost"), None);
        assert_eq!(Egress::read_ports("443,0"), None);
        assert_eq!(Egress::read_ports("https"), None);
        assert_eq!(Egress::read_ports(","), None);
        assert_eq!(Egress::read_ports("443, 8443"), Some(BTreeSet::from([443, 8443])));
    }

    #[test]
    fn a_network_that_holds_this_host_or_metadata_is_dangerous() {
        let dangerous = |text: &str| {
            let egress = Egress::new(Egress::read_networks(text).unwrap(), BTreeSet::new());
            egress.dangerous().count()
        };
        assert_eq!(dangerous("10.0.0.0/8,192.168.0.0/16,fd12::/16"), 0);
        assert_eq!(dangerous("0.0.0.0/0,127.0.0.1,169.254.0.0/16,::/0,10.0.0.0/8"), 4);
    }
}
