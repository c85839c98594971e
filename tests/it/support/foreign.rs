//! Identity providers that nobody here wrote, each a process of its own: npm `oidc-provider`, and Django OAuth Toolkit. They
//! are set up by what a test sends (the heads of `tests/providers/*/server.*` say what there is) and end with the test.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::raw::{self, Answer};

pub struct Foreign {
    pub issuer: String,
    paths: Paths,
    process: Child,
    /// Kept, because a process that writes where nobody reads ends.
    _said: BufReader<ChildStdout>,
}

/// Where its endpoints are.
#[derive(Clone, Copy)]
struct Paths {
    token: &'static str,
    revocation: &'static str,
}

impl Foreign {
    /// Starts npm `oidc-provider` with these settings and waits until it serves.
    pub async fn node(settings: Value) -> Self {
        let folder = providers().join("oidc-provider");
        assert!(
            folder.join("node_modules").is_dir(),
            "tests/run installs what the tests start; without it: npm ci in {}",
            folder.display()
        );
        let mut command = Command::new("node");
        command.arg("server.mjs").current_dir(folder);
        let paths = Paths { token: "/token", revocation: "/token/revocation" };
        Self::start(command, settings, paths).await
    }

    /// Starts Django OAuth Toolkit with these settings and waits until it serves.
    pub async fn django(settings: Value) -> Self {
        let python = Path::new(env!("CARGO_TARGET_TMPDIR")).with_file_name("python").join("bin/python");
        assert!(
            python.is_file(),
            "tests/run installs what the tests start; without it: python3 -m venv and pip install into {}",
            python.display()
        );
        let mut command = Command::new(python);
        command.arg("server.py").current_dir(providers().join("django-oauth-toolkit"));
        let paths = Paths { token: "/o/token/", revocation: "/o/revoke_token/" };
        Self::start(command, settings, paths).await
    }

    async fn start(mut command: Command, settings: Value, paths: Paths) -> Self {
        let started = tokio::task::spawn_blocking(move || {
            let mut process = command
                .stdin(Stdio::piped())
                .stdout(Stdio::piped())
                .stderr(Stdio::null())
                .spawn()
                .expect("what it runs on is installed: tests/run does so");
            writeln!(process.stdin.as_mut().expect("piped"), "{settings}").expect("it reads its settings");
            let mut line = String::new();
            let mut said = BufReader::new(process.stdout.take().expect("piped"));
            said.read_line(&mut line).expect("it says where it is");
            let told: Value = serde_json::from_str(&line).expect("the provider has started");
            Self { issuer: told["issuer"].as_str().expect("an issuer").to_owned(), paths, process, _said: said }
        });
        started.await.expect("it was waited for")
    }

    pub fn address(&self) -> SocketAddr {
        let rest = self.issuer.split_once("//").expect("a URL").1;
        rest.split('/').next().and_then(|authority| authority.parse().ok()).expect("a loopback address")
    }

    /// Tells it where an origin is that only the test knows.
    pub fn knows(&mut self, origin: &str, address: SocketAddr) {
        let line = json!({ "knows": { origin: address.to_string() } });
        writeln!(self.process.stdin.as_mut().expect("piped"), "{line}").expect("it reads on");
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
        let answer = self.post(self.paths.token, client, form).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        answer.json()["access_token"].as_str().expect("a token").to_owned()
    }

    pub async fn revoke(&self, client: (&str, &str), token: &str) {
        let answer = self.post(self.paths.revocation, client, &[("token", token)]).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
    }

    /// How often a path was asked for.
    pub async fn asked(&self, path: &str) -> u64 {
        let counts: BTreeMap<String, u64> =
            serde_json::from_value(raw::get(self.address(), "localhost", "/asked").await.json()).expect("counts");
        counts.get(path).copied().unwrap_or(0)
    }
}

impl Drop for Foreign {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn providers() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/providers")
}

/// A client of npm `oidc-provider` that gets tokens for itself, or for people who tell it their password.
pub fn client(id: &str, grants: &[&str], more: &Value) -> Value {
    let mut client = json!({
        "client_id": id, "client_secret": format!("secret of {id}"), "grant_types": grants,
        "redirect_uris": [], "response_types": [],
    });
    let more = more.as_object().expect("an object").clone();
    client.as_object_mut().expect("an object").extend(more);
    client
}
