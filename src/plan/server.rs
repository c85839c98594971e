//! `server` and `telemetry`, checked.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use ipnet::IpNet;
use url::Url;

use super::files;
use super::findings::Findings;
use super::settings::{Bind, Limits, ListenerSettings, ServerSettings, TelemetrySettings};
use crate::config::values::{ByteSize, Count, Period};
use crate::config::{ValuePath, server as written};

/// The bounds that a limit must keep, and why not beyond: buffers of this size are taken for every connection.
const TARGET_BYTES: (u64, u64) = (256, 1 << 20);
const HEADER_BYTES: (u64, u64) = (1024, 1 << 20);
const FIELD_BYTES: (u64, u64) = (256, 1 << 20);
const TOKEN_BYTES: (u64, u64) = (256, 1 << 20);
const FIELDS: (u64, u64) = (1, 10_000);
const H2_STREAMS: (u64, u64) = (1, 10_000);

pub(super) fn server(findings: &mut Findings<'_>) -> Option<ServerSettings> {
    let at = ValuePath::root().key("server");
    let server = &findings.loaded.config.server;
    let listeners = listeners(findings, &at.key("listeners"), &server.listeners);
    let public_url = match &server.public_url {
        None => Some(None),
        Some(url) => origin(findings, &at.key("public_url"), url).map(Some),
    };
    let trusted_proxies = trusted_proxies(findings, &at.key("trusted_proxies"), &server.trusted_proxies);
    let auth_prefix = auth_prefix(findings, &at.key("auth_prefix"), &server.auth_prefix);
    let limits = limits(findings, &at.key("limits"), &server.limits);
    Some(ServerSettings {
        listeners: listeners?,
        public_url: public_url?,
        trusted_proxies: trusted_proxies?,
        workers: number(server.workers),
        drain_delay: server.drain_delay.0,
        shutdown_grace: server.shutdown_grace.0,
        limits: limits?,
        takeover: server.takeover,
        auth_prefix: auth_prefix?,
    })
}

pub(super) fn telemetry(findings: &Findings<'_>) -> TelemetrySettings {
    let telemetry = &findings.loaded.config.telemetry;
    TelemetrySettings { level: telemetry.log.level, format: telemetry.log.format, access_log: telemetry.access_log }
}

fn number(count: Count) -> Option<u32> {
    match count {
        Count::Auto => None,
        Count::Number(number) => Some(number),
    }
}

fn listeners(
    findings: &mut Findings<'_>,
    at: &ValuePath,
    written: &[written::Listener],
) -> Option<Vec<ListenerSettings>> {
    if written.is_empty() {
        findings.error_with(at, "there is no listener", "leave `listeners` out for 0.0.0.0:8080");
        return None;
    }
    let mut checked: Vec<ListenerSettings> = Vec::new();
    for (index, one) in written.iter().enumerate() {
        let at = at.index(index);
        if let Some(listener) = listener(findings, &at, one) {
            if checked.iter().any(|other| collide(&other.bind, &listener.bind)) {
                findings.error(&at.key("bind"), format!("`{}` is listened on twice", listener.bind));
            }
            checked.push(listener);
        }
    }
    let tls = checked.iter().any(|listener| !listener.certificates.is_empty());
    for (index, _) in written.iter().enumerate().filter(|(_, listener)| listener.redirect_to_https && !tls) {
        let at = at.index(index).key("redirect_to_https");
        findings.warning(&at, "no listener here speaks TLS", "right only if something in front ends TLS on port 443");
    }
    (checked.len() == written.len()).then_some(checked)
}

/// Port 0 asks the system for any free port, which never collides.
pub(super) fn collide(a: &Bind, b: &Bind) -> bool {
    match (a, b) {
        (Bind::Tcp(a), Bind::Tcp(b)) => a == b && a.port() != 0,
        _ => a == b,
    }
}

fn listener(findings: &mut Findings<'_>, at: &ValuePath, written: &written::Listener) -> Option<ListenerSettings> {
    let bind = match &written.bind {
        Some(text) => bind(findings, &at.key("bind"), text),
        None => {
            findings.missing(at, "bind", "`0.0.0.0:8080`, or `unix:/run/postern/postern.sock`");
            None
        }
    };
    let certificates = match &written.tls {
        None => Some(Vec::new()),
        Some(tls) => certificates(findings, &at.key("tls"), tls),
    };
    if written.redirect_to_https && written.tls.is_some() {
        let hint = "set it on the listener without TLS";
        findings.error_with(&at.key("redirect_to_https"), "this listener speaks https already", hint);
    }
    Some(ListenerSettings { bind: bind?, certificates: certificates?, redirect_to_https: written.redirect_to_https })
}

fn certificates(
    findings: &mut Findings<'_>,
    at: &ValuePath,
    tls: &written::ListenerTls,
) -> Option<Vec<super::settings::CertificateFiles>> {
    if tls.certificates.is_empty() {
        findings.missing(at, "certificates", "a list of `{ certificate: FILE, private_key: FILE }`");
        return None;
    }
    let at = at.key("certificates");
    let checked: Vec<_> = tls
        .certificates
        .iter()
        .enumerate()
        .filter_map(|(index, pair)| {
            files::certificate(findings, &at.index(index), (pair.certificate.as_deref(), pair.private_key.as_deref()))
        })
        .collect();
    (checked.len() == tls.certificates.len()).then_some(checked)
}

pub(super) fn bind(findings: &mut Findings<'_>, at: &ValuePath, text: &str) -> Option<Bind> {
    if let Some(path) = text.strip_prefix("unix:") {
        if path.starts_with('/') {
            return Some(Bind::Unix(path.into()));
        }
        findings.error_with(at, "a Unix socket needs an absolute path", "`unix:/run/postern/postern.sock`");
        return None;
    }
    let local = text.strip_prefix("localhost:").and_then(|port| port.parse().ok());
    let address = text.parse().ok().or(local.map(|port| SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), port)));
    if address.is_none() {
        let hint = "an address and a port, such as `0.0.0.0:8080` or `[::]:8080`, or `unix:/path`";
        findings.error_with(at, format!("`{text}` is no address to listen on"), hint);
    }
    address.map(Bind::Tcp)
}

/// An origin: http or https, a host, perhaps a port, nothing else.
pub(super) fn origin(findings: &mut Findings<'_>, at: &ValuePath, text: &str) -> Option<Url> {
    let url = Url::parse(text).ok().filter(|url| matches!(url.scheme(), "http" | "https"));
    let plain = |url: &Url| {
        let bare = url.username().is_empty() && url.password().is_none();
        bare && url.path() == "/" && url.query().is_none() && url.fragment().is_none()
    };
    if !url.as_ref().is_some_and(plain) {
        findings.error_with(
            at,
            format!("`{text}` is no origin"),
            "scheme, host and port only: `https://api.example.com`",
        );
        return None;
    }
    url
}

fn trusted_proxies(findings: &mut Findings<'_>, at: &ValuePath, written: &[String]) -> Option<Vec<IpNet>> {
    let mut nets = Vec::new();
    for (index, text) in written.iter().enumerate() {
        let at = at.index(index);
        let net = text.parse().ok().or_else(|| text.parse::<IpAddr>().ok().map(IpNet::from));
        match net {
            Some(net) => {
                if net.prefix_len() == 0 {
                    let why = "everybody may then claim any client address";
                    findings.warning(
                        &at,
                        format!("`{text}` trusts every peer: {why}"),
                        "name the proxies' own networks",
                    );
                }
                nets.push(net);
            }
            None => findings.error_with(
                &at,
                format!("`{text}` is no network"),
                "a CIDR such as `10.0.0.0/8`, or one address",
            ),
        }
    }
    (nets.len() == written.len()).then_some(nets)
}

fn auth_prefix(findings: &mut Findings<'_>, at: &ValuePath, text: &str) -> Option<String> {
    let plain = |segment: &str| {
        let known = segment.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte));
        known && !segment.is_empty() && segment != "." && segment != ".."
    };
    if text.strip_prefix('/').is_some_and(|rest| rest.split('/').all(plain)) {
        return Some(text.to_owned());
    }
    findings.error_with(
        at,
        format!("`{text}` is no prefix for paths"),
        "plain segments without a slash at the end: `/oauth2`",
    );
    None
}

fn limits(findings: &mut Findings<'_>, at: &ValuePath, written: &written::Limits) -> Option<Limits> {
    let before = findings.report.errors();
    let mut bounded = |key: &str, value: u64, (least, most): (u64, u64)| {
        if !(least..=most).contains(&value) {
            let range = format!("from {} to {}", ByteSize(least), ByteSize(most));
            findings.error(&at.key(key), format!("{} is out of range: {range}", ByteSize(value)));
        }
    };
    bounded("target_bytes", written.target_bytes.0, TARGET_BYTES);
    bounded("header_bytes", written.header_bytes.0, HEADER_BYTES);
    bounded("field_bytes", written.field_bytes.0, FIELD_BYTES);
    bounded("token_bytes", written.token_bytes.0, TOKEN_BYTES);
    bounded("fields", written.fields.into(), FIELDS);
    bounded("h2_streams", written.h2_streams.into(), H2_STREAMS);
    let waits = [
        ("header_timeout", written.header_timeout),
        ("body_timeout", written.body_timeout),
        ("idle_timeout", written.idle_timeout),
    ];
    for (key, _) in waits.into_iter().filter(|(_, wait)| *wait == Period::ZERO) {
        let hint = "a client that never sends would hold its connection for ever";
        findings.error_with(&at.key(key), "a wait for clients can't be off", hint);
    }
    if written.field_bytes > written.header_bytes {
        let message = "one header field can't be larger than all of them (`header_bytes`)";
        findings.error(&at.key("field_bytes"), message);
    }
    (findings.report.errors() == before).then(|| Limits {
        target_bytes: written.target_bytes.as_usize(),
        header_bytes: written.header_bytes.as_usize(),
        field_bytes: written.field_bytes.as_usize(),
        fields: usize::try_from(written.fields).unwrap_or(usize::MAX),
        token_bytes: written.token_bytes.as_usize(),
        request_body: (written.request_body.0 > 0).then_some(written.request_body.0),
        header_timeout: written.header_timeout.0,
        body_timeout: written.body_timeout.0,
        idle_timeout: written.idle_timeout.0,
        connections: number(written.connections),
        h2_streams: written.h2_streams,
    })
}
