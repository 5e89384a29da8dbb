//! Which addresses a probe may connect to. An endpoint's name may resolve to anything; the
//! metadata services of clouds hand out credentials to whoever asks from the host.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// An address that no probe connects to.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{address} is {kind}: give the service an ordinary address")]
pub struct Forbidden {
    /// The address.
    pub address: IpAddr,
    /// What it is.
    pub kind: &'static str,
}

/// Metadata and host services of clouds that aren't link-local: Alibaba, Azure, Oracle.
const METADATA_V4: [Ipv4Addr; 3] = [
    Ipv4Addr::new(100, 100, 100, 200),
    Ipv4Addr::new(168, 63, 129, 16),
    Ipv4Addr::new(192, 0, 0, 192),
];

/// Metadata services over IPv6: AWS, Google.
const METADATA_V6: [Ipv6Addr; 2] = [
    Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254),
    Ipv6Addr::new(0xfd20, 0xce, 0, 0, 0, 0, 0, 0x254),
];

/// Refuses link-local, metadata, multicast and unspecified addresses, also where an IPv6 address
/// carries them: IPv4-mapped and -compatible (RFC 4291), NAT64 (RFC 6052, RFC 8215), 6to4
/// (RFC 3056).
///
/// # Errors
/// [`Forbidden`] names the address as it was given and what it stands for.
pub fn vet(address: IpAddr) -> Result<(), Forbidden> {
    let kind = match address {
        IpAddr::V4(v4) => forbidden_v4(v4),
        IpAddr::V6(v6) => forbidden_v6(v6),
    };
    kind.map_or(Ok(()), |kind| Err(Forbidden { address, kind }))
}

fn forbidden_v4(v4: Ipv4Addr) -> Option<&'static str> {
    if v4.octets()[0] == 0 {
        Some("unspecified")
    } else if v4.is_link_local() {
        Some("link-local")
    } else if METADATA_V4.contains(&v4) {
        Some("a metadata service")
    } else if v4.is_multicast() || v4.is_broadcast() {
        Some("multicast or broadcast")
    } else {
        None
    }
}

fn forbidden_v6(v6: Ipv6Addr) -> Option<&'static str> {
    if v6 == Ipv6Addr::LOCALHOST {
        return None;
    }
    if v6.is_unspecified() {
        return Some("unspecified");
    }
    if v6.is_unicast_link_local() {
        return Some("link-local");
    }
    if METADATA_V6.contains(&v6) {
        return Some("a metadata service");
    }
    if v6.is_multicast() {
        return Some("multicast or broadcast");
    }
    // Its prefix length is a site's own choice, so the embedded address can't be found.
    if v6.segments()[..3] == [0x64, 0xff9b, 1] {
        return Some("behind a local NAT64 prefix");
    }
    embedded(v6).and_then(forbidden_v4)
}

/// The IPv4 address that packets to this IPv6 address end at.
fn embedded(v6: Ipv6Addr) -> Option<Ipv4Addr> {
    let s = v6.segments();
    let join = |high: u16, low: u16| Ipv4Addr::from(u32::from(high) << 16 | u32::from(low));
    match s {
        [0, 0, 0, 0, 0, 0 | 0xffff, high, low] => Some(join(high, low)),
        [0x64, 0xff9b, 0, 0, 0, 0, high, low] => Some(join(high, low)),
        [0x2002, high, low, ..] => Some(join(high, low)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kind(address: &str) -> Option<&'static str> {
        vet(address.parse().expect("an address")).err().map(|f| f.kind)
    }

    #[test]
    fn ordinary_addresses_pass() {
        for address in
            ["127.0.0.1", "172.17.0.2", "10.0.0.1", "192.168.1.5", "93.184.216.34", "::1"]
        {
            assert_eq!(kind(address), None, "{address}");
        }
        for address in ["fd12:3456::1", "2001:db8::1", "::ffff:172.17.0.2", "64:ff9b::a00:1"] {
            assert_eq!(kind(address), None, "{address}");
        }
    }

    #[test]
    fn metadata_and_link_local_are_refused_in_every_form() {
        for address in [
            "169.254.169.254",
            "169.254.0.1",
            "fe80::1",
            "::ffff:169.254.169.254",
            "::169.254.169.254",
            "64:ff9b::169.254.169.254",
            "2002:a9fe:a9fe::1",
        ] {
            assert_eq!(kind(address), Some("link-local"), "{address}");
        }
        for address in [
            "100.100.100.200",
            "168.63.129.16",
            "192.0.0.192",
            "fd00:ec2::254",
            "fd20:ce::254",
            "::ffff:100.100.100.200",
        ] {
            assert_eq!(kind(address), Some("a metadata service"), "{address}");
        }
        assert_eq!(kind("64:ff9b:1::a9fe:a9fe"), Some("behind a local NAT64 prefix"));
    }

    #[test]
    fn addresses_of_nobody_are_refused() {
        for address in
            ["0.0.0.0", "::", "224.0.0.1", "255.255.255.255", "ff02::1", "::ffff:0.0.0.0"]
        {
            assert!(kind(address).is_some(), "{address}");
        }
    }
}
