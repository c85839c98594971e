//! A provider on a loopback socket that answers what a test tells it to, and counts what it is asked.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use url::Url;

use super::{Audiences, Endpoints, Fetch, Issuer, IssuerSettings, KeySource, TokenType};
use crate::clock::{ManualClock, Time};
use crate::control::Control;
use crate::jose::{AlgorithmSet, SigningKey};

/// 2023-11-14T22:13:20Z
pub(crate) const NOW: u64 = 1_700_000_000;
pub(crate) const DISCOVERY: &str = "/.well-known/openid-configuration";
pub(crate) const KEYS: &str = "/keys";

#[derive(Clone)]
pub(crate) enum Answer {
    /// As JSON.
    Status(u16, Vec<u8>),
    /// Under this media type.
    Typed(u16, &'static str, Vec<u8>),
    /// Bytes that need not be HTTP.
    Raw(&'static [u8]),
    /// Never anything.
    Silence,
    /// The connection is closed without a word.
    Closed,
    /// A head, and then a body without end.
    Endless,
    /// The start of a body, then the connection ends.
    Torn,
}

pub(crate) struct Provider {
    pub(crate) issuer: String,
    answers: Arc<Mutex<HashMap<String, Answer>>>,
    requests: watch::Sender<Vec<String>>,
}

impl Provider {
    /// A provider with metadata and these keys.
    pub(crate) async fn start(keys: &[&SigningKey]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let issuer = format!("http://{}", listener.local_addr().unwrap());
        let (answers, requests) = (Arc::new(Mutex::new(HashMap::new())), watch::Sender::new(Vec::new()));
        let provider = Self { issuer, answers: Arc::clone(&answers), requests: requests.clone() };
        provider.answers_metadata(&provider.issuer);
        provider.publishes(keys);
        Control::current().start(async move {
            while let Ok((stream, _)) = listener.accept().await {
                Control::current().start(serve(stream, Arc::clone(&answers), requests.clone()));
            }
        });
        provider
    }

    pub(crate) fn answers(&self, path: &str, answer: Answer) {
        self.answers.lock().unwrap().insert(path.to_owned(), answer);
    }

    pub(crate) fn answers_json(&self, path: &str, document: &Value) {
        self.answers(path, Answer::Status(200, document.to_string().into_bytes()));
    }

    pub(crate) fn answers_metadata(&self, issuer: &str) {
        self.answers_json(DISCOVERY, &json!({"issuer": issuer, "jwks_uri": format!("{}{KEYS}", self.issuer)}));
    }

    pub(crate) fn publishes(&self, keys: &[&SigningKey]) {
        let keys: Vec<_> = keys.iter().map(|key| key.public_jwk()).collect();
        self.answers_json(KEYS, &json!({ "keys": keys }));
    }

    /// How often the key set was asked for.
    pub(crate) fn key_requests(&self) -> usize {
        self.requests.borrow().iter().filter(|head| head.starts_with(&format!("GET {KEYS} "))).count()
    }

    /// What was asked: heads, and the bodies behind them.
    pub(crate) fn heads(&self) -> Vec<String> {
        self.requests.borrow().clone()
    }

    pub(crate) async fn was_asked(&self, times: usize) {
        self.requests.subscribe().wait_for(|requests| requests.len() >= times).await.unwrap();
    }

    pub(crate) fn settings(&self) -> IssuerSettings {
        IssuerSettings {
            name: "corp".into(),
            issuer: self.issuer.as_str().into(),
            audiences: Audiences::OneOf(["api".into()].into()),
            algorithms: AlgorithmSet::default(),
            token_type: TokenType::Any,
            accept_id_tokens: false,
            clock_skew: Duration::from_secs(30),
            keys: KeySource::Discovery,
            keys_optional: false,
            endpoints: Endpoints::default(),
            discover: false,
            refresh: Duration::from_secs(900),
            cooldown: Duration::from_secs(30),
            max_stale: Duration::from_secs(24 * 3600),
            allow_http: false,
            tls: None,
        }
    }

    pub(crate) fn keys_url(&self) -> Url {
        format!("{}{KEYS}", self.issuer).parse().unwrap()
    }
}

/// A clock to move, at [`NOW`].
pub(crate) fn clock() -> ManualClock {
    ManualClock::at(Time::from_seconds(NOW))
}

/// An issuer that has made its first attempt to load its keys.
pub(crate) async fn started(settings: IssuerSettings, hands: &ManualClock) -> Arc<Issuer> {
    let issuer = Issuer::new(settings, hands.clock(), Control::current(), Fetch::new(hands.clock()));
    issuer.start();
    issuer.attempted(1).await;
    issuer
}

async fn serve(
    mut stream: TcpStream,
    answers: Arc<Mutex<HashMap<String, Answer>>>,
    requests: watch::Sender<Vec<String>>,
) {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        match stream.read_u8().await {
            Ok(byte) => head.push(byte),
            Err(_) => return,
        }
    }
    let mut asked = String::from_utf8(head).unwrap();
    let path = asked.split(' ').nth(1).unwrap().to_owned();
    let length =
        asked.to_lowercase().split("content-length: ").nth(1).and_then(|rest| rest.lines().next()?.parse().ok());
    let mut body = vec![0; length.unwrap_or(0)];
    if stream.read_exact(&mut body).await.is_err() {
        return;
    }
    asked.push_str(std::str::from_utf8(&body).unwrap());
    requests.send_modify(|requests| requests.push(asked));
    let answer = answers.lock().unwrap().get(&path).cloned();
    let json = "application/json; charset=utf-8";
    let answer = match answer.unwrap_or(Answer::Status(404, Vec::new())) {
        Answer::Status(status, body) => Answer::Typed(status, json, body),
        answer => answer,
    };
    let whole = match answer {
        Answer::Status(..) => unreachable!("it is typed"),
        Answer::Typed(status, media_type, body) => {
            let head = format!(
                "HTTP/1.1 {status} x\r\nLocation: /elsewhere\r\nContent-Type: {media_type}\r\n\
                 Content-Length: {}\r\n\r\n",
                body.len()
            );
            [head.as_bytes(), &body].concat()
        }
        Answer::Raw(bytes) => bytes.to_vec(),
        Answer::Closed => return,
        Answer::Silence => return std::future::pending().await,
        Answer::Torn => b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n{\"keys\":[".to_vec(),
        Answer::Endless => {
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n").await;
            while stream
                .write_all(
                    b"400\r\n".iter().chain(&[b' '; 1024]).chain(b"\r\n").copied().collect::<Vec<_>>().as_slice(),
                )
                .await
                .is_ok()
            {}
            return;
        }
    };
    let _ = stream.write_all(&whole).await;
}
