//! Addresses of this host that clients can be told, and the candidates made of them.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};

/// Type preference of host candidates (RFC 8445 section 5.1.2.2).
const HOST_PREFERENCE: u32 = 126;

/// The addresses this host sends from, IPv4 first; loopback if it has no other, or if `loopback` asks for it.
pub fn of_this_host(loopback: bool) -> Vec<IpAddr> {
    // Documentation addresses (RFC 5737, RFC 3849): connecting a UDP socket picks a route and sends nothing.
    let targets: [(SocketAddr, SocketAddr); 2] = [
        (
            (Ipv4Addr::UNSPECIFIED, 0).into(),
            (Ipv4Addr::new(192, 0, 2, 1), 9).into(),
        ),
        (
            (Ipv6Addr::UNSPECIFIED, 0).into(),
            (Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1), 9).into(),
        ),
    ];
    let mut found: Vec<IpAddr> = targets
        .into_iter()
        .filter_map(|(from, to)| source_address(from, to))
        .collect();
    if loopback || found.is_empty() {
        found.push(Ipv4Addr::LOCALHOST.into());
    }
    found
}

fn source_address(from: SocketAddr, to: SocketAddr) -> Option<IpAddr> {
    let socket = UdpSocket::bind(from).ok()?;
    socket.connect(to).ok()?;
    let ip = socket.local_addr().ok()?.ip();
    (!ip.is_unspecified()).then_some(ip)
}

/// Host candidate lines (RFC 8839 section 5.1, without `a=candidate:`) of `addresses` at `port`, in order of preference.
pub fn candidates(addresses: &[IpAddr], port: u16) -> Vec<String> {
    let line = |(index, address): (usize, &IpAddr)| {
        let local_preference = 65_535 - index as u32;
        // RFC 8445 section 5.1.2.1, component 1.
        let priority = (HOST_PREFERENCE << 24) | (local_preference << 8) | 255;
        format!("{} 1 udp {priority} {address} {port} typ host", index + 1)
    };
    addresses.iter().enumerate().map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_is_always_an_address() {
        assert!(!of_this_host(false).is_empty());
        assert!(of_this_host(true).contains(&Ipv4Addr::LOCALHOST.into()));
    }

    #[test]
    fn candidates_are_ordered() {
        let lines = candidates(
            &["192.0.2.7".parse().unwrap(), "::1".parse().unwrap()],
            5000,
        );
        assert_eq!(
            lines,
            [
                "1 1 udp 2130706431 192.0.2.7 5000 typ host",
                "2 1 udp 2130706175 ::1 5000 typ host"
            ]
        );
    }
}
