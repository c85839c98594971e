//! `admin.actions`: what changes the state is asked for on a socket of its own, with a token, and reaches what is
//! remembered of tokens.

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::UnixStream;

use crate::support::keys::ring;
use crate::support::raw::{self, PATIENCE};
use crate::support::standard::{Layout, Standard};
use crate::support::tokens::{ISSUER, claims, merged, signed};
use crate::support::{Folder, eventually_async};

const TOKEN: &str = "a token of this test alone";

struct World {
    standard: Standard,
    socket: PathBuf,
    _folder: Folder,
}

impl World {
    async fn start() -> Self {
        let folder = Folder::for_sockets();
        let (socket, token) = (folder.path("actions.sock"), folder.write("token", format!("{}\n", bearer())));
        let admin =
            format!(", actions: {{ bind: \"unix:{}\", token: {{ file: {} }} }}", socket.display(), token.display());
        let standard = Standard::start_with(Layout { admin, ..Layout::default() }).await;
        Self { standard, socket, _folder: folder }
    }

    async fn forget(&self, body: &Value) -> Value {
        let (status, told) = act(&self.socket, "POST", &bearer(), &body.to_string()).await;
        assert_eq!(status, 200, "{told}");
        serde_json::from_str(&told).expect("JSON")
    }

    /// Sends a token twice: it is good, and remembered.
    async fn learn(&self, token: &str) {
        for _ in 0..2 {
            assert_eq!(self.standard.get("/api/x", Some(token)).await.status, 200);
        }
    }

    /// How many tokens were checked in full.
    async fn checks(&self) -> u64 {
        let text = raw::get(self.standard.gateway.admin, "localhost", "/metrics").await.text();
        let line = r#"postern_token_checks_total{issuer="corp",verdict="accepted"} "#;
        text.lines().find_map(|have| have.strip_prefix(line)).map_or(0, |count| count.parse().expect("a number"))
    }

    /// What was forgotten is checked anew; it is as good as before, for a signature is no answer.
    async fn was_forgotten(&self, token: &str) -> bool {
        let before = self.checks().await;
        assert_eq!(self.standard.get("/api/x", Some(token)).await.status, 200);
        self.checks().await > before
    }
}

fn bearer() -> String {
    TOKEN.replace(' ', "-")
}

/// One request on the socket: its status and its body.
async fn act(socket: &Path, method: &str, token: &str, body: &str) -> (u16, String) {
    let mut stream = UnixStream::connect(socket).await.expect("a socket to connect to");
    let request = format!(
        "{method} /cache/forget HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {token}\r\n\
         Content-Type: application/json\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
        body.len()
    );
    stream.write_all(request.as_bytes()).await.expect("it reads");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.expect("it answers");
    let status = answer.split(' ').nth(1).and_then(|status| status.parse().ok()).expect("a status");
    (status, answer.split_once("\r\n\r\n").expect("a head").1.to_owned())
}

fn token(subject: &str, client: &str, id: &str) -> String {
    let changes = json!({ "sub": subject, "client_id": client, "jti": id });
    signed(&ring().rsa, merged(&claims("read"), &changes))
}

#[tokio::test]
async fn what_is_remembered_of_signed_tokens_is_forgotten_by_every_name() {
    let world = World::start().await;
    let alice = [token("alice", "shop", "1"), token("alice", "app", "2")];
    let bob = token("bob", "shop", "3");
    let carol = token("carol", "app", "4");
    for known in alice.iter().chain([&bob, &carol]) {
        world.learn(known).await;
    }
    assert!(!world.was_forgotten(&bob).await);

    assert_eq!(world.forget(&json!({ "token": carol })).await, json!({ "forgotten": 1 }));
    assert!(world.was_forgotten(&carol).await);
    assert_eq!(world.forget(&json!({ "token": "never seen" })).await, json!({ "forgotten": 0 }));

    assert_eq!(world.forget(&json!({ "sub": "alice" })).await, json!({ "forgotten": 2 }));
    assert!(world.was_forgotten(&alice[0]).await && world.was_forgotten(&alice[1]).await);
    assert!(!world.was_forgotten(&bob).await, "others are not concerned");

    assert_eq!(world.forget(&json!({ "client_id": "shop" })).await, json!({ "forgotten": 2 }));
    assert!(world.was_forgotten(&alice[0]).await && world.was_forgotten(&bob).await);
    assert!(!world.was_forgotten(&carol).await);

    assert_eq!(world.forget(&json!({ "jti": "2" })).await, json!({ "forgotten": 1 }));
    assert!(world.was_forgotten(&alice[1]).await && !world.was_forgotten(&alice[0]).await);

    for issuer in ["https://elsewhere.example.com", "partner"] {
        let body = json!({ "sub": "bob", "issuer": issuer }).to_string();
        let (status, told) = act(&world.socket, "POST", &bearer(), &body).await;
        assert_eq!(status, 404, "a revocation that reaches nothing is none: {told}");
    }
    assert_eq!(world.forget(&json!({ "sub": "bob", "issuer": ISSUER })).await, json!({ "forgotten": 1 }));
    world.learn(&bob).await;
    assert_eq!(world.forget(&json!({ "sub": "bob", "issuer": "corp" })).await, json!({ "forgotten": 1 }));
}

#[tokio::test]
async fn the_socket_is_its_owners_and_wants_the_token() {
    let world = World::start().await;
    let mode = std::fs::metadata(&world.socket).expect("a socket").permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let body = r#"{"sub": "alice"}"#;
    assert_eq!(act(&world.socket, "POST", "wrong", body).await.0, 401);
    assert_eq!(act(&world.socket, "GET", &bearer(), "").await.0, 405);
    assert_eq!(act(&world.socket, "POST", &bearer(), "{}").await.0, 400);
    let reading = raw::request(
        world.standard.gateway.admin,
        &format!(
            "POST /cache/forget HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {}\r\nContent-Type: application/json\r\n\
             Content-Length: {}\r\nConnection: close\r\n\r\n{body}",
            bearer(),
            body.len()
        ),
    )
    .await;
    assert_eq!(reading.status, 404, "the listener that reads changes nothing");
    assert!(!world.standard.gateway.log().contains(&bearer()), "the token is in no log");
}

#[tokio::test]
async fn the_socket_is_gone_when_the_gateway_has_drained() {
    let mut world = World::start().await;
    world.standard.gateway.signal("TERM");
    world.standard.gateway.exit(PATIENCE).await;
    eventually_async("the file is removed", PATIENCE, async || (!world.socket.exists()).then_some(())).await;
}
