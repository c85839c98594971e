//! The issuers that are trusted: who they are, what their tokens must be like, and their keys. Comes in:
//! [`IssuerSettings`], already parsed. Goes out: an [`Issuer`] that keeps its keys fresh on Control and answers workers
//! without waiting, except for a `kid` it has never seen.

pub mod authorize;
pub mod breaker;
pub mod client_auth;
pub mod discovery;
pub mod fetch;
pub mod front_token;
pub mod id_token;
pub mod introspect;
pub mod keys;
pub mod logout_token;
pub mod registration;
pub mod revoke;
pub mod signed_answer;
pub mod token;
pub mod userinfo;

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use http::HeaderMap;
use url::Url;

pub use crate::jose::{Audiences, TokenType};
pub use client_auth::{AssertionAudience, Certificate, ClientAuth, ClientIdentity, ClientKey};
pub use discovery::{Endpoints, Metadata};
pub use fetch::{Fetch, FetchError, FetchTls, Reply};
pub use keys::{Keys, KeysUnavailable};
pub use registration::{Par, Registration, RegistrationSettings, RequestObject};
pub use token::{Grant, TokenError, TokenSet};

use crate::clock::Clock;
use crate::control::Control;
use crate::jose::{AlgorithmSet, Expected};
use crate::seal::Secret;
use crate::wire::form::Form;
use fetch::kept::Kept;
use fetch::{ANSWER_LIMIT, Asked};
use keys::KeyRing;

/// One issuer as it was configured. Two that are equal may share one [`Issuer`] over a reload.
#[derive(Clone, Debug)]
pub struct IssuerSettings {
    /// Its name in the configuration.
    pub name: Arc<str>,
    /// The issuer identifier, compared byte for byte with `iss`.
    pub issuer: Arc<str>,
    pub audiences: Audiences,
    pub algorithms: AlgorithmSet,
    pub token_type: TokenType,
    pub accept_id_tokens: bool,
    pub clock_skew: Duration,
    pub keys: KeySource,
    /// No keys at all are as good: nothing that this issuer signs is believed.
    pub keys_optional: bool,
    /// Endpoints as they were configured: they win over what discovery finds.
    pub endpoints: Endpoints,
    /// Metadata is looked up for its endpoints, also where the keys come from elsewhere.
    pub discover: bool,
    /// The set is fetched again after this long, or up to a quarter earlier.
    pub refresh: Duration,
    /// Between two fetches that unknown `kid`s cause.
    pub cooldown: Duration,
    /// A set older than this is not relied on.
    pub max_stale: Duration,
    /// Plain http for metadata and keys, beyond loopback addresses.
    pub allow_http: bool,
    pub tls: Option<FetchTls>,
}

/// Where an issuer's keys come from.
#[derive(Clone, Debug)]
pub enum KeySource {
    /// None are needed: nothing that this issuer signs is believed.
    None,
    Discovery,
    Url {
        url: Url,
        token: Option<Secret>,
    },
    File(PathBuf),
}

impl PartialEq for KeySource {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::None, Self::None) | (Self::Discovery, Self::Discovery) => true,
            (Self::Url { url, token }, Self::Url { url: other_url, token: other_token }) => {
                let same_token = match (token, other_token) {
                    (None, None) => true,
                    (Some(one), Some(two)) => one.equals(two.expose().as_bytes()),
                    _ => false,
                };
                url == other_url && same_token
            }
            (Self::File(one), Self::File(two)) => one == two,
            _ => false,
        }
    }
}

impl IssuerSettings {
    /// Whether the metadata document is read.
    pub const fn discovers(&self) -> bool {
        self.discover || matches!(self.keys, KeySource::Discovery)
    }
}

impl PartialEq for IssuerSettings {
    fn eq(&self, other: &Self) -> bool {
        let Self {
            name,
            issuer,
            audiences,
            algorithms,
            token_type,
            accept_id_tokens,
            clock_skew,
            keys,
            keys_optional,
            endpoints,
            discover,
            refresh,
            cooldown,
            max_stale,
            allow_http,
            tls,
        } = self;
        (name, issuer, audiences, keys, tls) == (&other.name, &other.issuer, &other.audiences, &other.keys, &other.tls)
            && (algorithms, token_type, accept_id_tokens, allow_http)
                == (&other.algorithms, &other.token_type, &other.accept_id_tokens, &other.allow_http)
            && (endpoints, discover, keys_optional) == (&other.endpoints, &other.discover, &other.keys_optional)
            && (clock_skew, refresh, cooldown, max_stale)
                == (&other.clock_skew, &other.refresh, &other.cooldown, &other.max_stale)
    }
}

/// How an issuer's keys are. For readiness, status and metrics.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Standing {
    /// Never loaded so far.
    Waiting {
        error: Option<Arc<str>>,
    },
    Ready {
        age: Duration,
        keys: usize,
        skipped: usize,
    },
    /// The last attempt failed; an older set serves, until it is older than `max_stale`.
    Degraded {
        error: Arc<str>,
        age: Duration,
    },
}

/// A trusted issuer, alive. Shared by all workers.
pub struct Issuer {
    settings: Arc<IssuerSettings>,
    id: u64,
    ring: Arc<KeyRing>,
    control: Control,
    fetch: Fetch,
    tally: Tally,
}

/// What one of an issuer's endpoints is asked.
#[derive(Clone, Copy, Debug)]
pub struct Question<'a> {
    pub url: &'a Url,
    pub form: &'a Form,
    /// What goes along, such as the credentials of a client.
    pub headers: &'a HeaderMap,
    /// Media types that are understood.
    pub accept: &'static str,
    /// Who shows which certificate, and trusts whom: see [`ClientIdentity::tls`].
    pub tls: Option<&'a FetchTls>,
    /// The deadline for all of it.
    pub within: Duration,
}

/// How many tokens of this issuer were checked in full, by outcome. Remembered tokens are not among them.
#[derive(Debug, Default)]
pub struct Tally {
    pub accepted: AtomicU64,
    pub refused: AtomicU64,
    pub unavailable: AtomicU64,
}

impl Issuer {
    pub fn new(settings: IssuerSettings, clock: Clock, control: Control, fetch: Fetch) -> Arc<Self> {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        let ring = KeyRing::new(clock, &settings, fetch.deadline());
        let id = NEXT.fetch_add(1, Ordering::Relaxed);
        Arc::new(Self { settings: Arc::new(settings), id, ring, control, fetch, tally: Tally::default() })
    }

    /// Begins to load the keys in the background, and goes on until the issuer is dropped. Call it once.
    pub fn start(self: &Arc<Self>) {
        self.ring.start(Arc::clone(&self.settings), self.fetch.clone(), &self.control);
    }

    /// By which what it issues is judged.
    pub fn clock(&self) -> &Clock {
        self.ring.clock()
    }

    pub fn settings(&self) -> &IssuerSettings {
        &self.settings
    }

    /// Tells this issuer from every other of this process, one that replaced it under the same name included.
    pub const fn id(&self) -> u64 {
        self.id
    }

    pub fn standing(&self) -> Standing {
        self.ring.standing()
    }

    pub const fn tally(&self) -> &Tally {
        &self.tally
    }

    /// Waits until this many attempts to load the keys have ended, well or badly.
    pub async fn attempted(&self, attempts: u64) {
        self.ring.attempted(attempts).await;
    }

    /// The keys to check tokens with now. Never waits.
    ///
    /// # Errors
    /// [`KeysUnavailable`] when they were never loaded, or are older than `max_stale`.
    pub fn keys(&self) -> Result<Arc<Keys>, KeysUnavailable> {
        self.ring.keys()
    }

    /// The keys, after at most one fetch (shared by all who ask, and bounded by a cooldown) when `kid` is not among
    /// them. It may still not be among them then.
    ///
    /// # Errors
    /// [`KeysUnavailable`] when there are no keys to rely on, or that fetch failed.
    pub async fn keys_with(&self, kid: &str) -> Result<Arc<Keys>, KeysUnavailable> {
        self.ring.keys_with(kid).await
    }

    /// Changes whenever a key leaves or changes. `None` while there are no keys to rely on.
    pub fn generation(&self) -> Option<u64> {
        self.ring.generation()
    }

    /// What the configuration and discovery say of its endpoints so far. Never waits; before discovery has succeeded
    /// once, an endpoint that is not configured is `None`.
    pub fn metadata(&self) -> Arc<Metadata> {
        self.ring.metadata()
    }

    /// The background runtime that its requests run on.
    pub const fn control(&self) -> &Control {
        &self.control
    }

    /// Posts a form to one of its endpoints, with the TLS settings and within the deadline given. To be run on Control.
    ///
    /// # Errors
    /// [`FetchError`] when there is no whole answer; one of any status is none.
    pub async fn post(&self, question: Question<'_>) -> Result<Reply, FetchError> {
        self.fetch.clone().within(question.within).post(self.asked(question)).await
    }

    /// The same over a connection that is kept for the next question; over a new one if `fresh`.
    ///
    /// # Errors
    /// As [`Issuer::post`]. A kept connection may break off at once: ask again.
    pub async fn post_kept(&self, question: Question<'_>, kept: &Kept, fresh: bool) -> Result<Reply, FetchError> {
        self.fetch.clone().within(question.within).post_kept(self.asked(question), kept, fresh).await
    }

    fn asked<'a>(&'a self, question: Question<'a>) -> Asked<'a> {
        let Question { url, form, headers, accept, tls, within: _ } = question;
        Asked { url, form, headers, accept, tls, allow_http: self.settings.allow_http, limit: ANSWER_LIMIT }
    }

    /// What its access tokens must be like.
    pub fn expected(&self) -> Expected<'_> {
        let IssuerSettings { issuer, audiences, token_type, accept_id_tokens, clock_skew, .. } = &*self.settings;
        Expected {
            issuer,
            audiences,
            token_type: *token_type,
            accept_id_tokens: *accept_id_tokens,
            clock_skew: *clock_skew,
        }
    }
}

impl std::fmt::Debug for Issuer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Issuer({})", self.settings.name)
    }
}

#[cfg(test)]
pub(crate) mod testing;
