//! Who the client is and how it came, by what trusted proxies say: `Forwarded` (RFC 7239) or `X-Forwarded-*`. What a
//! client sent is believed from `trusted_proxies` only, which is empty unless the operator names peers.

use std::net::{IpAddr, SocketAddr};

use http::{HeaderMap, HeaderValue};
use ipnet::IpNet;

use super::arrival::Host;
use super::facts::Scheme;

/// Peers whose word is believed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TrustedProxies(Box<[IpNet]>);

impl TrustedProxies {
    pub fn new(nets: Vec<IpNet>) -> Self {
        Self(nets.into())
    }

    pub fn contains(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        self.0.iter().any(|net| net.contains(&address))
    }
}

/// What is known of the way a request came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Way {
    pub client_address: Option<IpAddr>,
    pub scheme: Scheme,
    /// The chain that a trusted peer gave, to be continued with the peer itself.
    pub chain: Option<Box<str>>,
    /// The outside host that a trusted peer gave.
    pub host: Option<HeaderValue>,
    pub trusted_peer: bool,
}

/// Reads the way of a request from its peer and, where that is trusted, from its header fields. To be called before
/// owned names are removed.
pub fn way(peer: Option<SocketAddr>, scheme: Scheme, headers: &HeaderMap, trusted: &TrustedProxies) -> Way {
    let address = peer.map(|peer| peer.ip().to_canonical());
    let believed = address.is_some_and(|address| trusted.contains(address));
    let mut way = Way { client_address: address, scheme, chain: None, host: None, trusted_peer: believed };
    if !believed {
        return way;
    }
    let told = if headers.contains_key("forwarded") { by_forwarded(headers) } else { by_x_forwarded(headers) };
    // From the nearest hop outwards: the first that is not itself trusted is the client.
    for hop in told.hops.iter().rev() {
        let Some(hop) = hop else { break };
        way.client_address = Some(*hop);
        if !trusted.contains(*hop) {
            break;
        }
    }
    let chain: Vec<String> =
        told.hops.iter().map(|hop| hop.map_or("unknown".to_owned(), |hop| hop.to_string())).collect();
    way.chain = (!chain.is_empty()).then(|| chain.join(", ").into());
    way.scheme = told.scheme.unwrap_or(scheme);
    way.host = told.host;
    way
}

/// At most this many hops are looked at, counted from the nearest.
const HOPS: usize = 32;

#[derive(Default)]
struct Told {
    /// From the outermost to the nearest; `None` where a hop does not name an address.
    hops: Vec<Option<IpAddr>>,
    scheme: Option<Scheme>,
    host: Option<HeaderValue>,
}

fn elements<'h>(headers: &'h HeaderMap, name: &str) -> Vec<&'h str> {
    let mut all: Vec<&str> = headers
        .get_all(name)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .map(str::trim)
        .collect();
    let surplus = all.len().saturating_sub(HOPS);
    all.drain(..surplus);
    all
}

fn by_x_forwarded(headers: &HeaderMap) -> Told {
    let last = |name| elements(headers, name).last().copied();
    Told {
        hops: elements(headers, "x-forwarded-for").into_iter().map(node).collect(),
        scheme: last("x-forwarded-proto").and_then(scheme),
        host: last("x-forwarded-host").and_then(host),
    }
}

/// RFC 7239 section 4: comma-separated elements of `name=value` pairs. Quoted commas do not occur in what is read here
/// (addresses, schemes, hosts), so an element that holds one reads as unknown.
fn by_forwarded(headers: &HeaderMap) -> Told {
    let mut told = Told::default();
    for element in elements(headers, "forwarded") {
        let mut hop = None;
        for pair in element.split(';') {
            let Some((name, value)) = pair.split_once('=') else { continue };
            let value = value.trim().trim_matches('"');
            match name.trim().to_ascii_lowercase().as_str() {
                "for" => hop = node(value),
                "proto" => told.scheme = scheme(value).or(told.scheme),
                "host" => told.host = host(value).or(told.host),
                _ => {}
            }
        }
        told.hops.push(hop);
    }
    told
}

/// A proxy passes on what clients send it: what is no host is not told on.
fn host(text: &str) -> Option<HeaderValue> {
    let written = HeaderValue::from_str(text).ok()?;
    Host::parse(&written).map(|host| host.written)
}

fn scheme(text: &str) -> Option<Scheme> {
    match text {
        _ if text.eq_ignore_ascii_case("https") || text.eq_ignore_ascii_case("wss") => Some(Scheme::Https),
        _ if text.eq_ignore_ascii_case("http") || text.eq_ignore_ascii_case("ws") => Some(Scheme::Http),
        _ => None,
    }
}

/// An address with or without port and brackets (RFC 7239 section 6).
fn node(text: &str) -> Option<IpAddr> {
    let address = match text.strip_prefix('[') {
        Some(rest) => rest.split(']').next()?.parse().ok()?,
        None => match text.parse::<IpAddr>() {
            Ok(address) => address,
            Err(_) => text.parse::<SocketAddr>().ok()?.ip(),
        },
    };
    Some(address.to_canonical())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(fields: &[(&'static str, &str)]) -> HeaderMap {
        let mut map = HeaderMap::new();
        for (name, value) in fields {
            map.append(*name, value.parse().unwrap());
        }
        map
    }

    fn seen(peer: &str, fields: &[(&'static str, &str)]) -> Way {
        let trusted = TrustedProxies::new(vec!["10.0.0.0/8".parse().unwrap()]);
        way(Some(peer.parse().unwrap()), Scheme::Http, &headers(fields), &trusted)
    }

    #[test]
    fn a_stranger_is_not_believed() {
        let way = seen("192.0.2.1:5", &[("x-forwarded-for", "1.1.1.1"), ("x-forwarded-proto", "https")]);
        assert_eq!(way.client_address, Some("192.0.2.1".parse().unwrap()));
        assert_eq!((way.scheme, way.chain, way.trusted_peer), (Scheme::Http, None, false));
    }

    #[test]
    fn what_is_no_host_is_not_told_on() {
        for field in ["x-forwarded-host", "forwarded"] {
            for text in ["a b", "a\\", "a/b", "user@a", "\u{e9}"] {
                let value = if field == "forwarded" { format!("host=\"{text}\"") } else { text.to_owned() };
                assert_eq!(seen("10.0.0.1:5", &[(field, &value)]).host, None, "{field}: {value}");
            }
        }
        assert_eq!(seen("10.0.0.1:5", &[("x-forwarded-host", "a, b.example:8443")]).host.unwrap(), "b.example:8443");
    }

    #[test]
    fn the_client_is_the_nearest_hop_that_is_not_a_trusted_proxy() {
        let way = seen("10.0.0.1:5", &[("x-forwarded-for", "6.6.6.6, 1.1.1.1"), ("x-forwarded-for", "10.0.0.9")]);
        assert_eq!(way.client_address, Some("1.1.1.1".parse().unwrap()));
        assert_eq!(way.chain.as_deref(), Some("6.6.6.6, 1.1.1.1, 10.0.0.9"));
    }

    #[test]
    fn forwarded_is_read_as_rfc_7239_writes_it() {
        let way = seen(
            "10.0.0.1:5",
            &[("forwarded", "for=\"[2001:db8::1]:4711\";proto=https;host=shop.example"), ("forwarded", "For=10.0.0.2")],
        );
        assert_eq!(way.client_address, Some("2001:db8::1".parse().unwrap()));
        assert_eq!(way.scheme, Scheme::Https);
        assert_eq!(way.host.unwrap(), "shop.example");
    }
}
