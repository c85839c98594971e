//! What the provider remembers: who is signed in, codes, tokens, and which grants have ended. A grant is one act of
//! consent, a sign-in or a machine's request; its tokens live and die with it.

use std::collections::HashMap;

use super::shelf::Shelf;
use crate::clock::Time;

/// Entries of each kind at most.
const LIMIT: usize = 100_000;
const PENDING_LIMIT: usize = 10_000;

/// A browser that is signed in here.
#[derive(Clone)]
pub struct Session {
    /// `sid`: names the session to clients; the cookie's value stays between us and the browser.
    pub id: String,
    pub user: String,
    pub signed_in: Time,
    pub acr: String,
    /// Clients that got an ID token in this session, for logout.
    pub clients: Vec<String>,
}

/// What was granted, to whom, and for whom: codes and tokens carry it.
#[derive(Clone)]
pub struct Grant {
    /// Names the family of tokens that ends as one.
    pub id: String,
    pub client_id: String,
    /// The user's name; `None` for a machine.
    pub user: Option<String>,
    pub scopes: Vec<String>,
    pub audience: Vec<String>,
    pub session: Option<SessionFacts>,
    pub nonce: Option<String>,
    /// `act` of an exchanged token (RFC 8693 section 4.1).
    pub actor: Option<serde_json::Value>,
}

impl Grant {
    pub fn has(&self, scope: &str) -> bool {
        self.scopes.iter().any(|held| held == scope)
    }

    pub fn scope(&self) -> String {
        self.scopes.join(" ")
    }
}

/// The part of a session that tokens tell about.
#[derive(Clone)]
pub struct SessionFacts {
    pub id: String,
    pub signed_in: Time,
    pub acr: String,
}

impl Session {
    pub fn facts(&self) -> SessionFacts {
        SessionFacts { id: self.id.clone(), signed_in: self.signed_in, acr: self.acr.clone() }
    }
}

pub struct Code {
    pub grant: Grant,
    pub redirect_uri: String,
    /// S256 only.
    pub code_challenge: Option<String>,
    pub expires: Time,
    pub used: bool,
}

#[derive(Clone)]
pub struct AccessToken {
    pub grant: Grant,
    /// What it says, or, if it is opaque, what introspection says of it.
    pub claims: super::jwt::Members,
}

pub struct RefreshToken {
    pub grant: Grant,
    pub expires: Time,
    pub used: bool,
}

/// A request at the authorization endpoint that waits for someone to sign in.
pub struct Pending {
    pub request: super::form::Form,
    /// The browser that it belongs to.
    pub browser: String,
}

pub struct State {
    /// By cookie value.
    pub sessions: Shelf<Session>,
    pub codes: Shelf<Code>,
    /// Opaque ones by themselves, JWTs by their `jti`.
    pub access_tokens: Shelf<AccessToken>,
    pub refresh_tokens: Shelf<RefreshToken>,
    pub ended_grants: Shelf<()>,
    /// `jti` of revoked JWTs.
    pub revoked: Shelf<()>,
    pub pending: Shelf<Pending>,
    /// Pushed authorization requests (RFC 9126): client and parameters.
    pub pushed: Shelf<(String, super::form::Form)>,
    /// `jti` of client assertions that were seen.
    pub assertions: Shelf<()>,
    /// Successful token requests by grant.
    pub grants_served: HashMap<super::settings::GrantType, u64>,
}

impl State {
    pub fn new() -> Self {
        Self {
            sessions: Shelf::new(LIMIT),
            codes: Shelf::new(PENDING_LIMIT),
            access_tokens: Shelf::new(LIMIT),
            refresh_tokens: Shelf::new(LIMIT),
            ended_grants: Shelf::new(LIMIT),
            revoked: Shelf::new(LIMIT),
            pending: Shelf::new(PENDING_LIMIT),
            pushed: Shelf::new(PENDING_LIMIT),
            assertions: Shelf::new(LIMIT),
            grants_served: HashMap::new(),
        }
    }

    /// Ends every token of a grant, and those that are still to come from it.
    pub fn end_grant(&mut self, grant: &str, now: Time) {
        self.ended_grants.put(grant.to_owned(), (), forever(now));
    }

    pub fn has_ended(&self, grant: &str, now: Time) -> bool {
        self.ended_grants.look(grant, now).is_some()
    }
}

/// Longer than anything here lives.
fn forever(now: Time) -> Time {
    now.plus(std::time::Duration::from_secs(400 * 86_400))
}
