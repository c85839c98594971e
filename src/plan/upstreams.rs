//! `upstreams`, checked: servers that can be connected to, and settings that go together.

use http::HeaderValue;
use url::Url;

use super::files;
use super::findings::Findings;
use super::settings::{HealthCheck, HostRule, ServerAddress, ServerScheme, ServerTarget, TlsFiles, UpstreamSettings};
use crate::config::ValuePath;
use crate::config::upstream::{PRESERVE, Server, UPSTREAM, Upstream, UpstreamTls};
use crate::config::values::Period;

/// More attempts than this only multiply a failure.
const MOST_RETRIES: u32 = 10;

/// Checks all; the entries that are in order come out by name.
pub(super) fn upstreams(findings: &mut Findings<'_>) -> Vec<UpstreamSettings> {
    let at = ValuePath::root().key("upstreams");
    let loaded = findings.loaded;
    loaded.config.upstreams.iter().filter_map(|(name, upstream)| one(findings, &at.key(name), name, upstream)).collect()
}

fn one(findings: &mut Findings<'_>, at: &ValuePath, name: &str, written: &Upstream) -> Option<UpstreamSettings> {
    super::name(findings, at, "an upstream", name);
    let servers = servers(findings, at, &written.servers);
    let host = host(findings, &at.key("host"), &written.host);
    let health_check = match &written.health_check {
        None => Some(None),
        Some(check) => health_check(findings, &at.key("health_check"), check).map(Some),
    };
    if written.retries > MOST_RETRIES {
        findings.error(&at.key("retries"), format!("{} is more than {MOST_RETRIES}", written.retries));
    }
    if written.timeouts.connect == Period::ZERO {
        findings.error_with(
            &at.key("timeouts").key("connect"),
            "must be longer than 0s",
            "a dead server would hold requests for minutes",
        );
    }
    if written.timeouts.pooled_idle == Period::ZERO {
        let hint = "servers close idle connections too: keep this shorter than theirs";
        findings.error_with(&at.key("timeouts").key("pooled_idle"), "must be longer than 0s", hint);
    }
    let tls = tls(findings, &at.key("tls"), written.tls.as_ref());
    let servers = servers?;
    let https =
        |server: &ServerTarget| matches!(server.address, ServerAddress::Tcp { scheme: ServerScheme::Https, .. });
    if written.tls.is_some() && !servers.iter().any(https) {
        findings.warning(
            &at.key("tls"),
            "no server here is https, so this is never used",
            "write `https://` in `servers`",
        );
    }
    Some(UpstreamSettings {
        name: name.into(),
        servers,
        host: host?,
        balance: written.balance,
        health_check: health_check?,
        connect: written.timeouts.connect.0,
        response_header: written.timeouts.response_header.0,
        pooled_idle: written.timeouts.pooled_idle.0,
        stream_idle: written.timeouts.stream_idle.0,
        retries: written.retries,
        connections: written.connections,
        queue: written.queue,
        tls,
    })
}

fn servers(findings: &mut Findings<'_>, at: &ValuePath, written: &[Server]) -> Option<Vec<ServerTarget>> {
    if written.is_empty() {
        findings.missing(at, "servers", "a list of URLs, such as `[http://10.0.0.1:9001]`");
        return None;
    }
    let at = at.key("servers");
    let mut targets: Vec<ServerTarget> = Vec::new();
    for (index, server) in written.iter().enumerate() {
        let at = at.index(index);
        match address(&server.url) {
            Ok(address) => {
                if targets.iter().any(|other| other.address == address) {
                    findings.warning(
                        &at,
                        format!("`{}` is there twice", server.url),
                        "use `{ url, weight }` for a larger share",
                    );
                }
                targets.push(ServerTarget { address, weight: server.weight });
            }
            Err((message, hint)) => findings.error_with(&at, message, hint),
        }
    }
    if targets.len() < written.len() {
        return None;
    }
    if targets.iter().all(|server| server.weight == 0) {
        findings.error_with(&at, "no server has a weight above 0", "weight 0 takes a server out of use");
        return None;
    }
    Some(targets)
}

const SHAPE: &str = "`http://host:port`, `https://host`, `h2c://host:port` or `unix:/path`";

fn address(text: &str) -> Result<ServerAddress, (String, String)> {
    let wrong = |message: String| (message, SHAPE.to_owned());
    if let Some(path) = text.strip_prefix("unix:") {
        let path = path.strip_prefix("//").unwrap_or(path);
        if path.starts_with('/') {
            return Ok(ServerAddress::Unix(path.into()));
        }
        return Err(wrong("a Unix socket needs an absolute path".to_owned()));
    }
    let (scheme, rest) = text.split_once("://").ok_or_else(|| wrong(format!("`{text}` is no server")))?;
    let scheme = match scheme.to_ascii_lowercase().as_str() {
        "http" => ServerScheme::Http,
        "https" => ServerScheme::Https,
        "h2c" | "http2" => ServerScheme::H2c,
        other => return Err(wrong(format!("the scheme `{other}` is not known"))),
    };
    // The url crate knows hosts of http only: IDNA, IPv6 and ports are then read alike for every scheme.
    let url =
        Url::parse(&format!("http://{rest}")).map_err(|error| wrong(format!("`{text}` is no server: {error}")))?;
    if !url.username().is_empty() || url.password().is_some() {
        return Err(wrong("a server's URL holds no user name and no password".to_owned()));
    }
    if url.path() != "/" || url.query().is_some() || url.fragment().is_some() {
        let hint = "put it in front of paths with `forward.add_prefix` on the route".to_owned();
        return Err(("a server has no path".to_owned(), hint));
    }
    let host = url.host_str().unwrap_or_default().trim_matches(['[', ']']).to_owned();
    let authority = rest.split('/').next().unwrap_or_default();
    let default = if scheme == ServerScheme::Https && !authority.ends_with(":80") { 443 } else { 80 };
    let port = url.port().unwrap_or(default);
    if port == 0 {
        return Err(wrong("port 0 can't be connected to".to_owned()));
    }
    Ok(ServerAddress::Tcp { scheme, host, port })
}

fn host(findings: &mut Findings<'_>, at: &ValuePath, text: &str) -> Option<HostRule> {
    match text {
        PRESERVE => Some(HostRule::Preserve),
        UPSTREAM => Some(HostRule::Upstream),
        name => {
            let url = Url::parse(&format!("http://{name}"))
                .ok()
                .filter(|url| url.path() == "/" && !name.contains(['/', '?', '#', '@']) && url.host_str().is_some());
            let named = url.and_then(|_| HeaderValue::from_str(name).ok());
            if named.is_none() {
                findings.error_with(
                    at,
                    format!("`{name}` is no host"),
                    "`preserve`, `upstream`, or a name such as `orders.internal`",
                );
            }
            named.map(HostRule::Named)
        }
    }
}

fn health_check(
    findings: &mut Findings<'_>,
    at: &ValuePath,
    written: &crate::config::upstream::HealthCheck,
) -> Option<HealthCheck> {
    if written.interval < Period::millis(100) {
        findings.error(&at.key("interval"), "servers are asked every 100ms at most");
    }
    let Some(path) = &written.path else {
        findings.missing(at, "path", "what to ask for, such as `/healthz`");
        return None;
    };
    if path.parse::<http::uri::PathAndQuery>().is_err() || !path.starts_with('/') || path.contains('#') {
        findings.error_with(&at.key("path"), format!("`{path}` is no path"), "it starts with `/`");
        return None;
    }
    Some(HealthCheck { path: path.clone(), interval: written.interval.0 })
}

fn tls(findings: &mut Findings<'_>, at: &ValuePath, written: Option<&UpstreamTls>) -> Option<TlsFiles> {
    let UpstreamTls { ca, certificate, private_key, server_name } = written?;
    let ca = ca.as_ref().and_then(|file| files::certificates(findings, &at.key("ca"), file));
    let identity = files::identity(findings, at, (certificate.as_deref(), private_key.as_deref()));
    if let Some(name) = server_name
        && rustls_pki_types::ServerName::try_from(name.as_str()).is_err()
    {
        findings.error(&at.key("server_name"), format!("`{name}` is no name that a certificate could have"));
    }
    Some(TlsFiles { ca, identity, server_name: server_name.clone() })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tcp(scheme: ServerScheme, host: &str, port: u16) -> ServerAddress {
        ServerAddress::Tcp { scheme, host: host.to_owned(), port }
    }

    #[test]
    fn servers_are_read_with_their_scheme_and_port() {
        assert_eq!(address("http://a").unwrap(), tcp(ServerScheme::Http, "a", 80));
        assert_eq!(address("https://a/").unwrap(), tcp(ServerScheme::Https, "a", 443));
        assert_eq!(address("https://a:80").unwrap(), tcp(ServerScheme::Https, "a", 80));
        assert_eq!(address("http2://[::1]:50051").unwrap(), tcp(ServerScheme::H2c, "::1", 50051));
        assert_eq!(address("unix:/run/a.sock").unwrap(), ServerAddress::Unix("/run/a.sock".into()));
        assert_eq!(address("unix:///run/a.sock").unwrap(), ServerAddress::Unix("/run/a.sock".into()));
    }

    #[test]
    fn what_is_no_server_is_refused() {
        for text in [
            "",
            "a:80",
            "ftp://a",
            "http://",
            "http://a/path",
            "http://a?x",
            "http://u:p@a",
            "unix:a",
            "http://a:0",
            "http://a:99999",
        ] {
            assert!(address(text).is_err(), "{text:?}");
        }
    }
}
