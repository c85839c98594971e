//! An OAuth 2.0 and OpenID Connect provider for development: what `postern demo` signs people in with, and what tests
//! hold against the gateway. Comes in: [`Settings`] with clients and users. Goes out: a [`Provider`] on a loopback port
//! that works by the book, and, when told to, breaks or lies in one chosen respect ([`Fault`], [`Lie`]).
//!
//! It shares no code with the gateway beyond the ground, so that a mistake on one side shows on the other. Nothing
//! outside `demo` and tests may start it, and it binds nothing but loopback.

mod answer;
mod authorize;
mod backchannel;
mod client_auth;
mod discovery;
mod faults;
mod form;
mod introspect;
mod issue;
mod jwt;
mod keys;
mod lies;
mod logout;
mod mint;
mod misbehave;
mod model;
mod operate;
mod pages;
mod par;
mod realm;
mod revoke;
mod serve;
mod settings;
mod shelf;
mod token;
mod userinfo;

#[cfg(test)]
mod tests;

use std::net::SocketAddr;
use std::sync::Arc;

use tokio::net::TcpListener;
use tokio::sync::watch;

pub use backchannel::LogoutCall;
pub use faults::{Endpoint, Fault};
pub use keys::{Algorithm, KeyError, Withdraw};
pub use lies::Lie;
pub use mint::{Mint, MintKey};
pub use settings::{AccessTokenKind, Authentication, ClientEntry, GrantType, ResponseType, Settings, User};

use crate::clock::Clock;
use realm::Realm;

/// Why the provider did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error("the development identity provider binds loopback addresses only, and {0} is none")]
    NotLoopback(SocketAddr),
    #[error("{addr} could not be bound: {source}")]
    Bind { addr: SocketAddr, source: std::io::Error },
    #[error("the issuer path {0:?} must be empty or begin with `/` and not end with it")]
    IssuerPath(String),
    #[error("client {client_id}: logout calls go to http on loopback only, not to {uri}")]
    LogoutUri { client_id: String, uri: String },
    #[error(transparent)]
    Keys(#[from] KeyError),
}

/// The provider, running. Dropping it closes its socket and its connections.
pub struct Provider {
    realm: Arc<Realm>,
    addr: SocketAddr,
    stop: watch::Sender<bool>,
    accepting: Option<tokio::task::JoinHandle<()>>,
}

impl Provider {
    /// Binds `addr` (port 0 is fine) and serves on the runtime that this is called on.
    ///
    /// # Errors
    /// [`StartError`]; above all [`StartError::NotLoopback`].
    pub async fn start(addr: SocketAddr, settings: Settings, clock: Clock) -> Result<Self, StartError> {
        if !addr.ip().is_loopback() {
            return Err(StartError::NotLoopback(addr));
        }
        for client in &settings.clients {
            check_client(client)?;
        }
        let listener = TcpListener::bind(addr).await.map_err(|source| StartError::Bind { addr, source })?;
        let addr = listener.local_addr().map_err(|source| StartError::Bind { addr, source })?;
        let issuer = settings.issuer.clone().unwrap_or_else(|| format!("http://{addr}{}", settings.issuer_path));
        let path = issuer_path(&issuer)?;
        let keys = tokio::task::spawn_blocking(keys::SigningKeys::generate).await.map_err(|_| KeyError)??;
        let realm = Arc::new(Realm::new(issuer, path, settings, keys, clock));
        let (stop, stopping) = watch::channel(false);
        let work = serve::accept(listener, Arc::clone(&realm), addr, stopping);
        #[expect(clippy::disallowed_methods, reason = "the development provider is a home of spawning")]
        let accepting = Some(tokio::spawn(work));
        Ok(Self { realm, addr, stop, accepting })
    }

    /// `iss`, and the base of every endpoint.
    pub fn issuer(&self) -> &str {
        &self.realm.issuer
    }

    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Stops accepting, cuts connections, and returns when the port is free.
    pub async fn stop(mut self) {
        self.stop.send_replace(true);
        if let Some(accepting) = self.accepting.take() {
            let _ = accepting.await;
        }
    }

    /// Adds a client, or replaces the one of that id: for addresses that are known only once a gateway runs.
    ///
    /// # Errors
    /// [`StartError::LogoutUri`] when it wants to be told of logouts anywhere but on this machine.
    pub fn register(&self, entry: ClientEntry) -> Result<(), StartError> {
        check_client(&entry)?;
        self.realm.register(entry);
        Ok(())
    }

    /// Signs a user out (everyone, if `None`), and tells every client that took part.
    pub async fn log_out(&self, user: Option<&str>) -> Vec<LogoutCall> {
        logout::log_out(&self.realm, user).await
    }

    /// A logout token for a client, good or with a lie in it, for tests that deliver it themselves.
    ///
    /// # Panics
    /// When there is no such client.
    #[expect(clippy::expect_used, reason = "tests have nothing to do instead")]
    pub fn logout_token(
        &self,
        client_id: &str,
        subject: Option<&str>,
        session: Option<&str>,
        lie: Option<Lie>,
    ) -> String {
        let client = self.realm.client(client_id).expect("a client that is registered");
        let fault = lie.map(Fault::Lie);
        let made = backchannel::logout_token(&self.realm, &client, subject, session, fault.as_ref());
        made.expect("a key that was made can sign")
    }

    /// A JWT access token, good or bad. Introspection knows it as long as its key is published.
    ///
    /// # Panics
    /// When the crypto library fails to sign, which it does for no input.
    #[expect(clippy::expect_used, reason = "tests and the demo have nothing to do instead")]
    pub fn mint(&self, mint: &Mint) -> String {
        mint::jwt(&self.realm, mint).expect("a key that was made can sign")
    }

    /// Header and payload signed as they are written: for duplicate members, broken JSON and the like.
    ///
    /// # Panics
    /// As [`mint`](Self::mint).
    #[expect(clippy::expect_used, reason = "tests and the demo have nothing to do instead")]
    pub fn mint_raw(&self, header: &str, payload: &str, algorithm: Algorithm, key: &MintKey) -> String {
        mint::raw(&self.realm, header, payload, algorithm, key).expect("a key that was made can sign")
    }

    /// An opaque access token, known to introspection.
    pub fn mint_opaque(&self, mint: &Mint) -> String {
        mint::opaque(&self.realm, mint)
    }

    /// Ends a token as if its client had revoked it; says whether it was alive.
    pub fn revoke(&self, token: &str) -> bool {
        revoke::revoke(&self.realm, token, None)
    }

    /// Key id of the key in use for `algorithm`.
    pub fn key_id(&self, algorithm: Algorithm) -> String {
        self.realm.keys().kid(algorithm)
    }

    /// New keys for everything that is signed from now on.
    ///
    /// # Errors
    /// [`KeyError`] when no key can be made; the old ones stay.
    pub fn rotate_keys(&self, withdraw: Withdraw) -> Result<(), KeyError> {
        let fresh = keys::SigningKeys::generate()?;
        let now = self.realm.now();
        self.realm.ring().rotate(fresh, withdraw, now);
        Ok(())
    }

    /// Makes an endpoint misbehave until its faults are cleared.
    pub fn set_fault(&self, endpoint: Endpoint, fault: Fault) {
        self.realm.faults().set(endpoint, fault, None);
    }

    /// Makes an endpoint misbehave for the next `calls` requests.
    pub fn set_fault_for(&self, endpoint: Endpoint, fault: Fault, calls: u32) {
        self.realm.faults().set(endpoint, fault, Some(calls));
    }

    pub fn clear_fault(&self, endpoint: Endpoint) {
        self.realm.faults().clear(Some(endpoint));
    }

    pub fn clear_faults(&self) {
        self.realm.faults().clear(None);
    }

    /// Requests that reached an endpoint so far, those that a fault met included.
    pub fn count(&self, endpoint: Endpoint) -> u64 {
        self.realm.faults().count(endpoint)
    }

    /// Token requests of this grant that were served so far.
    pub fn calls(&self, grant: GrantType) -> u64 {
        self.realm.state().grants_served.get(&grant).copied().unwrap_or(0)
    }
}

impl Drop for Provider {
    fn drop(&mut self) {
        self.stop.send_replace(true);
    }
}

fn check_client(client: &ClientEntry) -> Result<(), StartError> {
    match &client.backchannel_logout_uri {
        Some(uri) if backchannel::loopback(uri).is_none() => {
            Err(StartError::LogoutUri { client_id: client.client_id.clone(), uri: uri.clone() })
        }
        _ => Ok(()),
    }
}

fn issuer_path(issuer: &str) -> Result<String, StartError> {
    let rest = issuer.split_once("://").map_or(issuer, |(_, rest)| rest);
    let path = rest.find('/').and_then(|at| rest.get(at..)).unwrap_or_default();
    if path.ends_with('/') { Err(StartError::IssuerPath(path.to_owned())) } else { Ok(path.to_owned()) }
}
