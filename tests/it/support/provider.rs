//! An identity provider as a script: discovery and a key set over HTTP, counted, and faulty on demand.

use std::sync::{Arc, Mutex};

use serde_json::{Value, json};

use super::upstream::{Reply, Upstream, answer};

const METADATA: &str = "/.well-known/openid-configuration";
const KEYS: &str = "/jwks";

struct Script {
    metadata: Reply,
    keys: Reply,
}

pub struct Provider {
    server: Upstream,
    script: Arc<Mutex<Script>>,
}

impl Provider {
    /// A provider in good health with this key set.
    pub async fn start(keys: &Value) -> Self {
        let nothing = || answer(503, "text/plain", "not yet");
        let script = Arc::new(Mutex::new(Script { metadata: nothing(), keys: nothing() }));
        let told = Arc::clone(&script);
        let server = Upstream::start(move |seen| {
            let script = told.lock().unwrap();
            match seen.target.as_str() {
                METADATA => script.metadata.clone(),
                KEYS => script.keys.clone(),
                _ => answer(404, "text/plain", "no such page"),
            }
        })
        .await;
        let provider = Self { server, script };
        provider.metadata_answers(provider.metadata());
        provider.serve_keys(keys);
        provider
    }

    pub fn issuer(&self) -> String {
        format!("http://{}", self.server.address)
    }

    pub fn keys_address(&self) -> String {
        format!("{}{KEYS}", self.issuer())
    }

    /// The metadata of a provider in good health.
    pub fn metadata(&self) -> Reply {
        self.metadata_of(&self.issuer())
    }

    /// Metadata that names this issuer.
    pub fn metadata_of(&self, issuer: &str) -> Reply {
        let own = self.issuer();
        let document = json!({
            "issuer": issuer,
            "authorization_endpoint": format!("{own}/authorize"),
            "token_endpoint": format!("{own}/token"),
            "jwks_uri": self.keys_address(),
            "response_types_supported": ["code"],
            "subject_types_supported": ["public"],
            "id_token_signing_alg_values_supported": ["RS256"],
        });
        answer(200, "application/json", document.to_string())
    }

    pub fn metadata_answers(&self, reply: Reply) {
        self.script.lock().unwrap().metadata = reply;
    }

    pub fn keys_answer(&self, reply: Reply) {
        self.script.lock().unwrap().keys = reply;
    }

    pub fn serve_keys(&self, keys: &Value) {
        self.keys_answer(answer(200, "application/json", keys.to_string()));
    }

    /// How often the key set was asked for.
    pub fn key_fetches(&self) -> usize {
        self.server.count(KEYS)
    }

    pub fn metadata_fetches(&self) -> usize {
        self.server.count(METADATA)
    }

    /// Every target that was asked for.
    pub fn targets(&self) -> Vec<String> {
        self.server.seen().into_iter().map(|seen| seen.target).collect()
    }

    pub async fn go_down(&mut self) {
        self.server.go_down().await;
    }

    pub async fn come_back(&mut self) {
        self.server.come_back().await;
    }
}
