//! Where a request came from, through proxies that are trusted. Pure.

use std::net::{IpAddr, SocketAddr};

use axum::http::HeaderMap;
use ipnet::IpNet;

/// In use everywhere, though RFC 7239 defines `Forwarded` in its place.
const FORWARDED_FOR: &str = "x-forwarded-for";

/// The address of whoever asked.
///
/// Every proxy adds the address that it saw to the end of `X-Forwarded-For`, behind whatever it was
/// sent. So the list is believed from its end, and only as far as those who say so are trusted: the
/// first address that is not a trusted proxy's is the answer. An entry that is no address ends the
/// walk at the last one that is known.
pub fn address(peer: IpAddr, headers: &HeaderMap, trusted: &[IpNet]) -> IpAddr {
    let is_trusted = |it: IpAddr| trusted.iter().any(|network| network.contains(&it));
    let mut known = peer.to_canonical();
    let lists = headers.get_all(FORWARDED_FOR).iter();
    // The iterator over a header's values can be walked from its end, which is the newest line.
    for list in lists.rev() {
        // Octets that are not ASCII are in no address; what stands around them is judged all the same.
        for hop in list.as_bytes().rsplit(|it| *it == b',') {
            if !is_trusted(known) {
                return known;
            }
            let Some(before) = std::str::from_utf8(hop).ok().and_then(parse) else {
                return known;
            };
            known = before;
        }
    }
    known
}

/// An address, with or without a port, as proxies write it.
fn parse(hop: &str) -> Option<IpAddr> {
    let hop = hop.trim();
    let bracketed = hop.strip_prefix('[').and_then(|it| it.strip_suffix(']'));
    let address = bracketed
        .unwrap_or(hop)
        .parse()
        .or_else(|_| hop.parse().map(|it: SocketAddr| it.ip()));
    address.ok().map(|it: IpAddr| it.to_canonical())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[track_caller]
    fn check(peer: &str, lists: &[&str], expected: &str) {
        let trusted = ["10.0.0.0/8", "fd00::/8", "203.0.113.7/32"].map(|it| it.parse().unwrap());
        let headers = lists
            .iter()
            .map(|it| {
                let name = axum::http::HeaderName::from_static(FORWARDED_FOR);
                (
                    name,
                    axum::http::HeaderValue::from_bytes(it.as_bytes()).unwrap(),
                )
            })
            .collect();
        let found = address(peer.parse().unwrap(), &headers, &trusted);
        assert_eq!(found.to_string(), expected, "{lists:?}");
    }

    #[test]
    fn a_peer_that_is_not_trusted_says_nothing() {
        check("192.0.2.1", &[], "192.0.2.1");
        check("192.0.2.1", &["198.51.100.9"], "192.0.2.1");
        check("11.0.0.1", &["198.51.100.9, 10.0.0.1"], "11.0.0.1");
    }

    #[test]
    fn a_trusted_proxy_is_believed_about_whom_it_saw() {
        check("10.1.2.3", &["198.51.100.9"], "198.51.100.9");
        check("fd00::1", &["2001:db8::5"], "2001:db8::5");
        check("::ffff:10.1.2.3", &["198.51.100.9"], "198.51.100.9");
    }

    #[test]
    fn what_the_client_put_in_front_is_not_believed() {
        check("10.1.2.3", &["127.0.0.1, 198.51.100.9"], "198.51.100.9");
        check("10.1.2.3", &["127.0.0.1", "198.51.100.9"], "198.51.100.9");
        check(
            "10.1.2.3",
            &["10.9.9.9, 198.51.100.9, 203.0.113.7", "10.0.0.2"],
            "198.51.100.9",
        );
    }

    #[test]
    fn where_everybody_is_trusted_it_is_the_first() {
        check("10.1.2.3", &["10.0.0.3, 10.0.0.2"], "10.0.0.3");
    }

    #[test]
    fn what_is_no_address_ends_the_walk() {
        check("10.1.2.3", &[""], "10.1.2.3");
        check("10.1.2.3", &["unknown"], "10.1.2.3");
        check("10.1.2.3", &["198.51.100.9, _hidden, 10.0.0.2"], "10.0.0.2");
        check("10.1.2.3", &["198.51.100.9,, 10.0.0.2"], "10.0.0.2");
        check(
            "10.1.2.3",
            &["198.51.100.9, \u{e9}", "10.0.0.2"],
            "10.0.0.2",
        );
    }

    #[test]
    fn ports_and_brackets_are_read() {
        check("10.1.2.3", &["198.51.100.9:443"], "198.51.100.9");
        check("10.1.2.3", &["[2001:db8::5]"], "2001:db8::5");
        check("10.1.2.3", &["[2001:db8::5]:443"], "2001:db8::5");
        check("10.1.2.3", &["::ffff:198.51.100.9"], "198.51.100.9");
    }

    proptest! {
        #[test]
        fn nothing_that_a_client_sends_moves_the_answer(
            client in any::<[u8; 4]>(), sent in prop::collection::vec("[ -~]{0,30}", 0..5),
        ) {
            let trusted = ["10.0.0.0/8".parse().unwrap()];
            let client = IpAddr::from(client);
            prop_assume!(client.to_string().split('.').next() != Some("10"));
            let mut headers = HeaderMap::new();
            for it in sent {
                headers.append(FORWARDED_FOR, it.parse().unwrap());
            }
            // Straight to the host.
            prop_assert_eq!(address(client, &headers, &trusted), client);
            // Through a proxy, which adds a line or goes on with the last one.
            let mut added = headers.clone();
            added.append(FORWARDED_FOR, client.to_string().parse().unwrap());
            prop_assert_eq!(address([10, 0, 0, 1].into(), &added, &trusted), client);
            let joined = headers.get_all(FORWARDED_FOR).iter().map(|it| it.to_str().unwrap());
            let joined = joined.chain([client.to_string().as_str()]).collect::<Vec<_>>().join(", ");
            headers.insert(FORWARDED_FOR, joined.parse().unwrap());
            prop_assert_eq!(address([10, 0, 0, 1].into(), &headers, &trusted), client);
        }

        #[test]
        fn the_answer_is_the_peer_or_in_the_list(peer in any::<[u8; 4]>(), hops in prop::collection::vec(any::<[u8; 4]>(), 0..6)) {
            let trusted = ["0.0.0.0/1".parse().unwrap()];
            let (peer, hops) = (IpAddr::from(peer), hops.into_iter().map(IpAddr::from).collect::<Vec<_>>());
            let mut headers = HeaderMap::new();
            for hop in &hops {
                headers.append(FORWARDED_FOR, hop.to_string().parse().unwrap());
            }
            let found = address(peer, &headers, &trusted);
            prop_assert!(found == peer || hops.contains(&found));
        }
    }
}
