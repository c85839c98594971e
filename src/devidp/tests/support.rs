//! A small HTTP/1.1 client over TCP, a browser with a cookie jar, and a provider to point them at.

use std::collections::HashMap;
use std::net::SocketAddr;

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::clock::{Clock, ManualClock, Time};
use crate::devidp::{Provider, Settings};

pub const CALLBACK: &str = "http://127.0.0.1:8080/oauth2/callback";
pub const LOOPBACK: &str = "127.0.0.1:0";

/// An answer, read to its end.
#[derive(Debug)]
pub struct Reply {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: String,
    /// The connection ended where the head said it would.
    pub complete: bool,
}

impl Reply {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }

    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|_| panic!("no JSON: {self:?}"))
    }

    pub fn text(&self, member: &str) -> String {
        self.json()[member].as_str().unwrap_or_else(|| panic!("no {member}: {self:?}")).to_owned()
    }

    pub fn error(&self) -> String {
        self.text("error")
    }

    pub fn location(&self) -> url::Url {
        url::Url::parse(self.header("location").unwrap_or_else(|| panic!("no location: {self:?}"))).unwrap()
    }
}

/// Sends one request on a connection of its own; `None` if the peer closed without an answer.
pub async fn send(addr: SocketAddr, method: &str, target: &str, fields: &[(&str, &str)], body: &str) -> Option<Reply> {
    let mut stream = TcpStream::connect(addr).await.unwrap();
    let mut head = format!("{method} {target} HTTP/1.1\r\nhost: {addr}\r\nconnection: close\r\n");
    for (name, value) in fields {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    if !body.is_empty() {
        head.push_str(&format!("content-length: {}\r\n", body.len()));
    }
    stream.write_all(format!("{head}\r\n{body}").as_bytes()).await.unwrap();
    let mut bytes = Vec::new();
    // A peer that cuts the connection is seen below, by what is missing.
    let _ = stream.read_to_end(&mut bytes).await;
    parse(&bytes)
}

fn parse(bytes: &[u8]) -> Option<Reply> {
    let end = bytes.windows(4).position(|window| window == b"\r\n\r\n")?;
    let head = String::from_utf8_lossy(&bytes[..end]).into_owned();
    let mut lines = head.split("\r\n");
    let status = lines.next()?.split(' ').nth(1)?.parse().ok()?;
    let pairs = lines.filter_map(|line| line.split_once(": "));
    let headers: Vec<_> = pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
    let mut reply = Reply { status, headers, body: String::new(), complete: true };
    let rest = &bytes[end + 4..];
    if reply.header("transfer-encoding").is_some() {
        (reply.body, reply.complete) = unchunked(rest);
    } else {
        reply.complete = reply.header("content-length").is_none_or(|length| length == rest.len().to_string());
        reply.body = String::from_utf8_lossy(rest).into_owned();
    }
    Some(reply)
}

fn unchunked(mut rest: &[u8]) -> (String, bool) {
    let mut body = Vec::new();
    while let Some(at) = rest.windows(2).position(|window| window == b"\r\n") {
        let size = usize::from_str_radix(&String::from_utf8_lossy(&rest[..at]), 16).unwrap();
        if size == 0 {
            return (String::from_utf8_lossy(&body).into_owned(), true);
        }
        let start = at + 2;
        body.extend_from_slice(&rest[start..(start + size).min(rest.len())]);
        rest = rest.get(start + size + 2..).unwrap_or_default();
    }
    (String::from_utf8_lossy(&body).into_owned(), false)
}

pub fn encode(pairs: &[(&str, &str)]) -> String {
    url::form_urlencoded::Serializer::new(String::new()).extend_pairs(pairs).finish()
}

/// Header and payload of a JWT, unverified.
pub fn decode(token: &str) -> (Value, Value) {
    let parts: Vec<&str> = token.split('.').collect();
    let part = |at: usize| serde_json::from_slice(&URL_SAFE_NO_PAD.decode(parts[at]).unwrap()).unwrap();
    (part(0), part(1))
}

/// A provider with the demo's cast, on a clock that stands still until it is moved.
pub struct World {
    pub provider: Provider,
    pub hands: ManualClock,
}

impl World {
    pub async fn new() -> Self {
        Self::with(Settings::demo()).await
    }

    pub async fn with(settings: Settings) -> Self {
        let hands = ManualClock::at(Time::from_seconds(1_800_000_000));
        Self { provider: start(settings, hands.clock()).await, hands }
    }

    pub fn addr(&self) -> SocketAddr {
        self.provider.addr()
    }

    pub async fn get(&self, target: &str) -> Reply {
        send(self.addr(), "GET", target, &[], "").await.expect("an answer")
    }

    pub async fn post(&self, target: &str, form: &[(&str, &str)], fields: &[(&str, &str)]) -> Reply {
        self.try_post(target, form, fields).await.expect("an answer")
    }

    pub async fn try_post(&self, target: &str, form: &[(&str, &str)], fields: &[(&str, &str)]) -> Option<Reply> {
        let mut fields = fields.to_vec();
        fields.push(("content-type", "application/x-www-form-urlencoded"));
        send(self.addr(), "POST", target, &fields, &encode(form)).await
    }

    /// A post by `client_id`, authenticated by Basic with the demo's secret.
    pub async fn call(&self, target: &str, client_id: &str, form: &[(&str, &str)]) -> Reply {
        let basic = format!("Basic {}", STANDARD.encode(format!("{client_id}:{client_id}-secret")));
        self.post(target, form, &[("authorization", &basic)]).await
    }

    pub async fn machine_token(&self, client_id: &str) -> String {
        self.call("/token", client_id, &[("grant_type", "client_credentials")]).await.text("access_token")
    }

    /// What introspection says about `token`.
    pub async fn introspect(&self, token: &str) -> Value {
        self.call("/introspect", "gateway", &[("token", token)]).await.json()
    }
}

pub async fn start(settings: Settings, clock: Clock) -> Provider {
    Provider::start(LOOPBACK.parse().unwrap(), settings, clock).await.unwrap()
}

/// Keeps cookies, as browsers do.
#[derive(Default)]
pub struct Browser {
    pub cookies: HashMap<String, String>,
}

impl Browser {
    pub async fn get(&mut self, world: &World, target: &str) -> Reply {
        self.send(world, "GET", target, "").await
    }

    pub async fn post(&mut self, world: &World, target: &str, form: &[(&str, &str)]) -> Reply {
        self.send(world, "POST", target, &encode(form)).await
    }

    async fn send(&mut self, world: &World, method: &str, target: &str, body: &str) -> Reply {
        let pairs: Vec<String> = self.cookies.iter().map(|(name, value)| format!("{name}={value}")).collect();
        let jar = pairs.join("; ");
        let mut fields = vec![("content-type", "application/x-www-form-urlencoded")];
        if !jar.is_empty() {
            fields.push(("cookie", &jar));
        }
        let reply = send(world.addr(), method, target, &fields, body).await.expect("an answer");
        for (_, cookie) in reply.headers.iter().filter(|(name, _)| name == "set-cookie") {
            let (name, value) = cookie.split(';').next().unwrap().split_once('=').unwrap();
            if cookie.contains("Max-Age=0") {
                self.cookies.remove(name);
            } else {
                self.cookies.insert(name.to_owned(), value.to_owned());
            }
        }
        reply
    }
}

/// Verifier and challenge of RFC 7636 appendix B.
pub const VERIFIER: &str = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";
pub const CHALLENGE: &str = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM";

/// An authorization request of `client`, with `further` set over the usual parameters; an empty value removes one.
pub fn authorize(client: &str, further: &[(&str, &str)]) -> String {
    let mut pairs = vec![
        ("client_id", client),
        ("redirect_uri", CALLBACK),
        ("response_type", "code"),
        ("scope", "openid profile email"),
        ("state", "st"),
        ("nonce", "no"),
        ("code_challenge", CHALLENGE),
        ("code_challenge_method", "S256"),
    ];
    pairs.retain(|(name, _)| !further.iter().any(|(known, _)| known == name));
    pairs.extend(further.iter().filter(|(_, value)| !value.is_empty()));
    format!("/authorize?{}", encode(&pairs))
}

/// The value of a hidden field of a page.
pub fn hidden(page: &str, name: &str) -> String {
    let marker = format!("name=\"{name}\" value=\"");
    let start = page.find(&marker).unwrap_or_else(|| panic!("no field {name}: {page}")) + marker.len();
    let end = start + page[start..].find('"').unwrap();
    page[start..end].replace("&quot;", "\"").replace("&amp;", "&")
}

impl Browser {
    /// Opens an authorization request and signs in on the page that it meets.
    pub async fn sign_in(&mut self, world: &World, target: &str, name: &str, password: &str) -> Reply {
        let page = self.get(world, target).await;
        assert_eq!(page.status, 200, "{page:?}");
        let transaction = hidden(&page.body, "transaction");
        let form = [("transaction", transaction.as_str()), ("username", name), ("password", password)];
        self.post(world, "/authorize/sign_in", &form).await
    }
}

/// Parameters in the query of a redirect, or in its fragment.
pub fn answered(reply: &Reply) -> HashMap<String, String> {
    assert_eq!(reply.status, 303, "{reply:?}");
    let location = reply.location();
    let text = location.fragment().or(location.query()).unwrap_or_default().to_owned();
    url::form_urlencoded::parse(text.as_bytes()).into_owned().collect()
}

impl World {
    /// Signs alice in at `client`, and gives the parameters that came back.
    pub async fn signed_in(&self, client: &str, further: &[(&str, &str)]) -> HashMap<String, String> {
        answered(&Browser::default().sign_in(self, &authorize(client, further), "alice", "wonderland").await)
    }

    pub async fn redeem(&self, client: &str, code: &str, further: &[(&str, &str)]) -> Reply {
        let mut form = vec![
            ("grant_type", "authorization_code"),
            ("code", code),
            ("redirect_uri", CALLBACK),
            ("code_verifier", VERIFIER),
        ];
        form.retain(|(name, _)| !further.iter().any(|(known, _)| known == name));
        form.extend(further.iter().filter(|(_, value)| !value.is_empty()));
        self.call("/token", client, &form).await
    }

    /// The whole code flow: the token answer.
    pub async fn tokens(&self, client: &str, further: &[(&str, &str)]) -> Reply {
        let back = self.signed_in(client, further).await;
        self.redeem(client, &back["code"], &[]).await
    }

    pub async fn refresh(&self, client: &str, token: &str) -> Reply {
        self.call("/token", client, &[("grant_type", "refresh_token"), ("refresh_token", token)]).await
    }
}
