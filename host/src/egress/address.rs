//! Which addresses the host may connect to. Pure.
//!
//! A plugin or a destination names a URL; what it resolves to must not be the host's own
//! machine, network or cloud. The ranges are those of IANA's special-purpose address
//! registries (RFC 6890, <https://www.iana.org/assignments/iana-ipv4-special-registry>,
//! <https://www.iana.org/assignments/iana-ipv6-special-registry>) that are not meant for a
//! public server. Deliberately absent: the registries' few exceptions inside those ranges,
//! which no webhook receiver uses, and NAT64 prefixes that a network chose for itself.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

/// Refused IPv4 ranges; the first that fits gives the reason.
const REFUSED_V4: [(Ipv4Net, &str); 17] = [
    (v4([0, 0, 0, 0], 8), "address of this network (RFC 791)"),
    (v4([10, 0, 0, 0], 8), "private address (RFC 1918)"),
    (
        v4([100, 64, 0, 0], 10),
        "address of a carrier's network (RFC 6598)",
    ),
    (v4([127, 0, 0, 0], 8), "loopback address (RFC 1122)"),
    // Azure answers its virtual machines on this public address as others do on 169.254.169.254.
    (v4([168, 63, 129, 16], 32), "metadata address of a cloud"),
    (
        v4([169, 254, 0, 0], 16),
        "link-local or metadata address (RFC 3927)",
    ),
    (v4([172, 16, 0, 0], 12), "private address (RFC 1918)"),
    (v4([192, 0, 0, 0], 24), "address of a protocol (RFC 6890)"),
    (v4([192, 0, 2, 0], 24), "documentation address (RFC 5737)"),
    (v4([192, 88, 99, 0], 24), "6to4 relay address (RFC 7526)"),
    (v4([192, 168, 0, 0], 16), "private address (RFC 1918)"),
    (v4([198, 18, 0, 0], 15), "benchmark address (RFC 2544)"),
    (
        v4([198, 51, 100, 0], 24),
        "documentation address (RFC 5737)",
    ),
    (v4([203, 0, 113, 0], 24), "documentation address (RFC 5737)"),
    (v4([224, 0, 0, 0], 4), "multicast address (RFC 1112)"),
    (v4([255, 255, 255, 255], 32), "broadcast address (RFC 919)"),
    (v4([240, 0, 0, 0], 4), "reserved address (RFC 1112)"),
];

/// Refused IPv6 ranges; the first that fits gives the reason.
const REFUSED_V6: [(Ipv6Net, &str); 13] = [
    (
        v6([0, 0, 0, 0, 0, 0, 0, 0], 128),
        "unspecified address (RFC 4291)",
    ),
    (
        v6([0, 0, 0, 0, 0, 0, 0, 1], 128),
        "loopback address (RFC 4291)",
    ),
    (
        v6([0, 0, 0, 0, 0, 0, 0, 0], 96),
        "IPv4-compatible address (RFC 4291)",
    ),
    (
        v6([0x64, 0xff9b, 1, 0, 0, 0, 0, 0], 48),
        "local translation address (RFC 8215)",
    ),
    (
        v6([0x100, 0, 0, 0, 0, 0, 0, 0], 64),
        "discard address (RFC 6666)",
    ),
    (
        v6([0x2001, 0, 0, 0, 0, 0, 0, 0], 23),
        "address of a protocol (RFC 2928)",
    ),
    (
        v6([0x2001, 0xdb8, 0, 0, 0, 0, 0, 0], 32),
        "documentation address (RFC 3849)",
    ),
    (
        v6([0x3fff, 0, 0, 0, 0, 0, 0, 0], 20),
        "documentation address (RFC 9637)",
    ),
    (
        v6([0x5f00, 0, 0, 0, 0, 0, 0, 0], 16),
        "segment routing address (RFC 9602)",
    ),
    (
        v6([0xfc00, 0, 0, 0, 0, 0, 0, 0], 7),
        "unique local address (RFC 4193)",
    ),
    (
        v6([0xfe80, 0, 0, 0, 0, 0, 0, 0], 10),
        "link-local address (RFC 4291)",
    ),
    (
        v6([0xfec0, 0, 0, 0, 0, 0, 0, 0], 10),
        "site-local address (RFC 3879)",
    ),
    (
        v6([0xff00, 0, 0, 0, 0, 0, 0, 0], 8),
        "multicast address (RFC 4291)",
    ),
];

/// All IPv6 addresses of single machines that are routed on the internet (RFC 4291, 2.4).
const GLOBAL_UNICAST_V6: Ipv6Net = v6([0x2000, 0, 0, 0, 0, 0, 0, 0], 3);

/// An address that the host does not connect to.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{host}` is refused: {reason}")]
pub struct Refused {
    /// The host as the URL names it.
    pub host: String,
    /// Which range it is in.
    pub reason: &'static str,
}

/// Why the host must not connect to an address; `None` where it may.
///
/// An address that carries an IPv4 address for a translator or a tunnel is judged by the
/// address it carries, because that is where the packets end up.
pub fn refusal(address: IpAddr, allow: &[IpNet]) -> Option<&'static str> {
    if allow.iter().any(|net| net.contains(&address)) {
        return None;
    }
    match address {
        IpAddr::V4(address) => find(&REFUSED_V4, |net| net.contains(&address)),
        IpAddr::V6(address) => {
            let carried = carried(address);
            if !carried.is_empty() {
                return carried.into_iter().find_map(|it| refusal(it.into(), allow));
            }
            find(&REFUSED_V6, |net| net.contains(&address)).or_else(|| {
                (!GLOBAL_UNICAST_V6.contains(&address)).then_some("not a global unicast address")
            })
        }
    }
}

/// The addresses of a name that the host may connect to; an error if there is none.
pub fn permitted(
    host: &str,
    addresses: Vec<IpAddr>,
    allow: &[IpNet],
) -> Result<Vec<IpAddr>, Refused> {
    let mut good = Vec::with_capacity(addresses.len());
    let mut refused = None;
    for address in addresses {
        match refusal(address, allow) {
            None => good.push(address),
            Some(reason) => refused = refused.or(Some(reason)),
        }
    }
    match refused {
        Some(reason) if good.is_empty() => Err(Refused {
            host: host.to_owned(),
            reason,
        }),
        Some(_) | None => Ok(good),
    }
}

/// The IPv4 addresses inside an IPv6 address of a translator or tunnel.
fn carried(address: Ipv6Addr) -> Vec<Ipv4Addr> {
    match address.segments() {
        // Mapped: the operating system opens an IPv4 connection (RFC 4291, 2.5.5.2).
        [0, 0, 0, 0, 0, 0xffff, high, low] => vec![joined(high, low)],
        // NAT64 (RFC 6052).
        [0x64, 0xff9b, 0, 0, 0, 0, high, low] => vec![joined(high, low)],
        // 6to4 (RFC 3056).
        [0x2002, high, low, ..] => vec![joined(high, low)],
        // Teredo: its server, and the client with all bits flipped (RFC 4380).
        [0x2001, 0, server_high, server_low, _, _, high, low] => {
            vec![joined(server_high, server_low), joined(!high, !low)]
        }
        _ => Vec::new(),
    }
}

fn joined(high: u16, low: u16) -> Ipv4Addr {
    Ipv4Addr::from_bits(u32::from(high) << 16 | u32::from(low))
}

fn find<N>(ranges: &[(N, &'static str)], fits: impl Fn(&N) -> bool) -> Option<&'static str> {
    ranges
        .iter()
        .find(|(net, _)| fits(net))
        .map(|(_, reason)| *reason)
}

const fn v4([a, b, c, d]: [u8; 4], prefix_bits: u8) -> Ipv4Net {
    Ipv4Net::new_assert(Ipv4Addr::new(a, b, c, d), prefix_bits)
}

const fn v6([a, b, c, d, e, f, g, h]: [u16; 8], prefix_bits: u8) -> Ipv6Net {
    Ipv6Net::new_assert(Ipv6Addr::new(a, b, c, d, e, f, g, h), prefix_bits)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[track_caller]
    fn check(address: &str, expected: &str) {
        let reason = refusal(address.parse().unwrap(), &[]);
        match expected {
            "" => assert_eq!(reason, None, "{address}"),
            _ => assert!(
                reason.is_some_and(|it| it.contains(expected)),
                "{address}: {reason:?}"
            ),
        }
    }

    #[test]
    fn public_addresses_are_open() {
        for address in [
            "1.1.1.1",
            "9.255.255.255",
            "11.0.0.0",
            "100.63.255.255",
            "100.128.0.0",
        ] {
            check(address, "");
        }
        for address in [
            "126.255.255.255",
            "128.0.0.0",
            "169.253.255.255",
            "172.15.255.255",
        ] {
            check(address, "");
        }
        for address in [
            "172.32.0.0",
            "192.0.1.0",
            "192.167.255.255",
            "223.255.255.255",
        ] {
            check(address, "");
        }
        for address in [
            "2606:4700::1111",
            "2001:200::1",
            "2a00:1450:4001::1",
            "2620:fe::fe",
        ] {
            check(address, "");
        }
    }

    #[test]
    fn each_special_ipv4_range_is_refused_to_its_ends() {
        for (address, expected) in [
            ("0.0.0.0", "this network"),
            ("0.255.255.255", "this network"),
            ("10.0.0.0", "private"),
            ("10.255.255.255", "private"),
            ("100.64.0.0", "carrier"),
            ("100.127.255.255", "carrier"),
            ("127.0.0.1", "loopback"),
            ("127.255.255.255", "loopback"),
            ("168.63.129.16", "metadata"),
            ("169.254.169.254", "metadata"),
            ("169.254.0.0", "link-local"),
            ("172.16.0.0", "private"),
            ("172.31.255.255", "private"),
            ("192.0.0.192", "protocol"),
            ("192.0.2.1", "documentation"),
            ("192.88.99.1", "6to4"),
            ("192.168.0.1", "private"),
            ("198.18.0.0", "benchmark"),
            ("198.19.255.255", "benchmark"),
            ("198.51.100.7", "documentation"),
            ("203.0.113.7", "documentation"),
            ("224.0.0.1", "multicast"),
            ("239.255.255.255", "multicast"),
            ("240.0.0.1", "reserved"),
            ("255.255.255.255", "broadcast"),
        ] {
            check(address, expected);
        }
    }

    #[test]
    fn each_special_ipv6_range_is_refused() {
        for (address, expected) in [
            ("::", "unspecified"),
            ("::1", "loopback"),
            ("::7f00:1", "IPv4-compatible"),
            ("::8.8.8.8", "IPv4-compatible"),
            ("64:ff9b:1::a00:1", "translation"),
            ("100::1", "discard"),
            ("2001:2::1", "protocol"),
            ("2001:20::1", "protocol"),
            ("2001:db8::1", "documentation"),
            ("3fff:fff::1", "documentation"),
            ("5f00::1", "segment routing"),
            ("fc00::1", "unique local"),
            ("fd00:ec2::254", "unique local"),
            ("fe80::1", "link-local"),
            ("febf::1", "link-local"),
            ("fec0::1", "site-local"),
            ("ff02::1", "multicast"),
            ("::ffff:0:10.0.0.1", "global unicast"),
            ("4000::1", "global unicast"),
        ] {
            check(address, expected);
        }
    }

    #[test]
    fn a_carried_ipv4_address_counts() {
        for (address, expected) in [
            ("::ffff:127.0.0.1", "loopback"),
            ("::ffff:169.254.169.254", "metadata"),
            ("::ffff:8.8.8.8", ""),
            ("64:ff9b::10.0.0.1", "private"),
            ("64:ff9b::8.8.8.8", ""),
            ("2002:7f00:1::1", "loopback"),
            ("2002:a9fe:a9fe::", "metadata"),
            ("2002:808:808::1", ""),
            // Server 10.0.0.1, then client 10.0.0.1 (f5ff:fffe flipped).
            ("2001:0:a00:1::f7f7:f7f7", "private"),
            ("2001:0:808:808::f5ff:fffe", "private"),
            ("2001:0:808:808::f7f7:f7f7", ""),
        ] {
            check(address, expected);
        }
    }

    #[test]
    fn an_allowed_network_opens_its_addresses_and_no_others() {
        let allow = [
            "10.20.0.0/16".parse().unwrap(),
            "fd12::/16".parse().unwrap(),
        ];
        let is_open = |text: &str| refusal(text.parse().unwrap(), &allow).is_none();
        assert!(is_open("10.20.255.1") && is_open("fd12::1"));
        assert!(is_open("::ffff:10.20.0.1") && is_open("64:ff9b::10.20.0.1"));
        assert!(!is_open("10.21.0.1") && !is_open("fd13::1") && !is_open("::ffff:10.21.0.1"));
        assert!(!is_open("127.0.0.1") && !is_open("::1"));
    }

    #[test]
    fn of_a_names_addresses_only_the_good_ones_are_used() {
        let parse = |texts: &[&str]| {
            texts
                .iter()
                .map(|it| it.parse().unwrap())
                .collect::<Vec<_>>()
        };
        let mixed = parse(&["10.0.0.1", "1.1.1.1", "::1"]);
        assert_eq!(permitted("a.test", mixed, &[]), Ok(parse(&["1.1.1.1"])));
        assert_eq!(
            permitted("a.test", parse(&["10.0.0.1", "::1"]), &[]),
            Err(Refused {
                host: "a.test".to_owned(),
                reason: "private address (RFC 1918)"
            })
        );
    }

    /// Any address of the ranges that must never be reached by accident.
    fn inner_v4() -> impl Strategy<Value = Ipv4Addr> {
        let of = |net: &str| {
            let net: Ipv4Net = net.parse().unwrap();
            (u32::from(net.network())..=u32::from(net.broadcast())).prop_map(Ipv4Addr::from_bits)
        };
        prop_oneof![
            of("0.0.0.0/8"),
            of("10.0.0.0/8"),
            of("100.64.0.0/10"),
            of("127.0.0.0/8"),
            of("169.254.0.0/16"),
            of("172.16.0.0/12"),
            of("192.168.0.0/16"),
            of("224.0.0.0/3"),
        ]
    }

    proptest! {
        #[test]
        fn an_inner_address_is_refused_in_every_form_unless_allowed(inner in inner_v4(), rest: u64) {
            let [a, b, c, d] = inner.octets().map(u16::from);
            let (high, low) = (a << 8 | b, c << 8 | d);
            let [.., e, f, g, h] = Ipv6Addr::from_bits(rest.into()).segments();
            let forms: [IpAddr; 7] = [
                inner.into(),
                inner.to_ipv6_mapped().into(),
                Ipv6Addr::new(0, 0, 0, 0, 0, 0, high, low).into(),
                Ipv6Addr::new(0x64, 0xff9b, 0, 0, 0, 0, high, low).into(),
                Ipv6Addr::new(0x2002, high, low, e, e, f, g, h).into(),
                Ipv6Addr::new(0x2001, 0, high, low, e, f, g, h).into(),
                Ipv6Addr::new(0x2001, 0, e, f, g, h, !high, !low).into(),
            ];
            for form in forms {
                prop_assert!(refusal(form, &[]).is_some(), "{}", form);
                prop_assert_eq!(refusal(form, &[IpNet::from(form)]), None);
            }
            let allow = [IpNet::from(IpAddr::from(inner))];
            prop_assert_eq!(refusal(inner.to_ipv6_mapped().into(), &allow), None);
        }

        #[test]
        fn inner_ipv6_addresses_are_refused(bits: u128, prefix in prop_oneof![
            Just((0xfc00u16, 7u32)), Just((0xfe80, 10)), Just((0xfec0, 10)), Just((0xff00, 8)),
        ]) {
            let (head, prefix_bits) = prefix;
            let address = Ipv6Addr::from_bits(u128::from(head) << 112 | bits >> prefix_bits);
            prop_assert!(refusal(address.into(), &[]).is_some(), "{}", address);
        }
    }
}
