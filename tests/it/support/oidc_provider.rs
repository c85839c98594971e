//! npm `oidc-provider` as a process of its own: an identity provider that nobody here wrote. It is set up by what a test
//! sends (`tests/providers/oidc-provider/server.mjs` says what there is) and ends with the test.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::raw::{self, Answer};

pub struct OidcProvider {
    pub issuer: String,
    process: Child,
    /// Kept, because a process that writes where nobody reads ends.
    _said: BufReader<ChildStdout>,
}

impl OidcProvider {
    /// Starts one with these settings and waits until it serves.
    pub async fn start(settings: Value) -> Self {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/providers/oidc-provider");
        assert!(
            folder.join("node_modules").is_dir(),
            "tests/run installs what the tests start; without it: npm ci in {}",
            folder.display()
        );
        let started = tokio::task::spawn_blocking(move || {
            let mut process = Command::new("node")
                .arg("server.mjs")
                .current_dir(folder)
                .stdin(Stdio::piped())
                .stdout(Stdio::piped())
                .stderr(Stdio::null())
                .spawn()
                .expect("node is installed: tests/run does so");
            writeln!(process.stdin.as_mut().expect("piped"), "{settings}").expect("it reads its settings");
            let mut line = String::new();
            let mut said = BufReader::new(process.stdout.take().expect("piped"));
            said.read_line(&mut line).expect("it says where it is");
            let told: Value = serde_json::from_str(&line).expect("the provider has started");
            Self { issuer: told["issuer"].as_str().expect("an issuer").to_owned(), process, _said: said }
        });
        started.await.expect("it was waited for")
    }

    pub fn address(&self) -> SocketAddr {
        self.issuer.split_once("//").expect("a URL").1.parse().expect("a loopback address")
    }

    /// Posts a form as a client with a secret.
    pub async fn post(&self, path: &str, (client, secret): (&str, &str), form: &[(&str, &str)]) -> Answer {
        let body = url::form_urlencoded::Serializer::new(String::new()).extend_pairs(form).finish();
        let basic = STANDARD.encode(format!("{client}:{secret}"));
        let request = format!(
            "POST {path} HTTP/1.1\r\nHost: {}\r\nAuthorization: Basic {basic}\r\nConnection: close\r\n\
             Content-Type: application/x-www-form-urlencoded\r\nContent-Length: {}\r\n\r\n{body}",
            self.address(),
            body.len()
        );
        raw::request(self.address(), &request).await
    }

    /// An access token for this form at the token endpoint.
    pub async fn token(&self, client: (&str, &str), form: &[(&str, &str)]) -> String {
        let answer = self.post("/token", client, form).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        answer.json()["access_token"].as_str().expect("a token").to_owned()
    }

    pub async fn revoke(&self, client: (&str, &str), token: &str) {
        let answer = self.post("/token/revocation", client, &[("token", token)]).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
    }

    /// How often a path was asked for.
    pub async fn asked(&self, path: &str) -> u64 {
        let counts: BTreeMap<String, u64> =
            serde_json::from_value(raw::get(self.address(), "localhost", "/asked").await.json()).expect("counts");
        counts.get(path).copied().unwrap_or(0)
    }
}

impl Drop for OidcProvider {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// A client that gets tokens for itself, or for people who tell it their password.
pub fn client(id: &str, grants: &[&str], more: &Value) -> Value {
    let mut client = json!({
        "client_id": id, "client_secret": format!("secret of {id}"), "grant_types": grants,
        "redirect_uris": [], "response_types": [],
    });
    let more = more.as_object().expect("an object").clone();
    client.as_object_mut().expect("an object").extend(more);
    client
}
