//! What the provider is set up with: clients, what each may do, and the people who can sign in. [`Settings::demo`] is
//! the cast of `postern demo`.

use std::time::Duration;

use serde_json::{Map, Value, json};

use super::keys::Algorithm;
use crate::seal::Secret;

/// The ways to a token (the names of the metadata, and of Postern's own `allowed_grant_types`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum GrantType {
    AuthorizationCode,
    /// Code and something else from the authorization endpoint; redeemed like a code.
    Hybrid,
    Implicit,
    ClientCredentials,
    Password,
    RefreshToken,
    TokenExchange,
}

impl GrantType {
    pub const ALL: [Self; 7] = [
        Self::AuthorizationCode,
        Self::Hybrid,
        Self::Implicit,
        Self::ClientCredentials,
        Self::Password,
        Self::RefreshToken,
        Self::TokenExchange,
    ];

    pub const fn name(self) -> &'static str {
        match self {
            Self::AuthorizationCode => "authorization_code",
            Self::Hybrid => "hybrid",
            Self::Implicit => "implicit",
            Self::ClientCredentials => "client_credentials",
            Self::Password => "password",
            Self::RefreshToken => "refresh_token",
            Self::TokenExchange => "urn:ietf:params:oauth:grant-type:token-exchange",
        }
    }

    /// The grant behind a `grant_type` parameter; hybrid and implicit are none at the token endpoint.
    pub fn at_token_endpoint(name: &str) -> Option<Self> {
        let known = Self::ALL.into_iter().find(|grant| grant.name() == name);
        known.filter(|grant| !matches!(grant, Self::Hybrid | Self::Implicit))
    }
}

/// A combination of what the authorization endpoint hands out (OAuth 2.0 Multiple Response Types section 5).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct ResponseType {
    pub code: bool,
    pub id_token: bool,
    pub token: bool,
}

impl ResponseType {
    pub const CODE: Self = Self { code: true, id_token: false, token: false };
    pub const ID_TOKEN: Self = Self { code: false, id_token: true, token: false };
    pub const ID_TOKEN_TOKEN: Self = Self { code: false, id_token: true, token: true };
    pub const CODE_ID_TOKEN: Self = Self { code: true, id_token: true, token: false };
    pub const CODE_TOKEN: Self = Self { code: true, id_token: false, token: true };
    pub const CODE_ID_TOKEN_TOKEN: Self = Self { code: true, id_token: true, token: true };
    /// All that are supported; `token` alone is not (RFC 9700 section 2.1.2).
    pub const ALL: [Self; 6] = [
        Self::CODE,
        Self::ID_TOKEN,
        Self::ID_TOKEN_TOKEN,
        Self::CODE_ID_TOKEN,
        Self::CODE_TOKEN,
        Self::CODE_ID_TOKEN_TOKEN,
    ];

    /// The order of the words says nothing (RFC 6749 section 3.1.1).
    pub fn parse(text: &str) -> Option<Self> {
        let mut parsed = Self::default();
        for word in text.split(' ') {
            let flag = match word {
                "code" => &mut parsed.code,
                "id_token" => &mut parsed.id_token,
                "token" => &mut parsed.token,
                _ => return None,
            };
            if std::mem::replace(flag, true) {
                return None;
            }
        }
        Self::ALL.contains(&parsed).then_some(parsed)
    }

    pub fn name(self) -> String {
        let words = [(self.code, "code"), (self.id_token, "id_token"), (self.token, "token")];
        words.iter().filter(|(there, _)| *there).map(|(_, word)| *word).collect::<Vec<_>>().join(" ")
    }

    pub const fn grant(self) -> GrantType {
        match (self.code, self.id_token || self.token) {
            (true, false) => GrantType::AuthorizationCode,
            (true, true) => GrantType::Hybrid,
            (false, _) => GrantType::Implicit,
        }
    }
}

/// How a client proves itself at the token endpoint (OIDC Core section 9).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Authentication {
    /// `client_secret_basic` or `client_secret_post`, whichever it uses.
    Secret,
    SecretBasic,
    SecretPost,
    SecretJwt,
    PrivateKeyJwt,
    /// A public client.
    None,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AccessTokenKind {
    Jwt,
    Opaque,
}

/// One registered client.
#[derive(Clone, Debug)]
pub struct ClientEntry {
    pub client_id: String,
    pub authentication: Authentication,
    pub secret: Option<Secret>,
    /// Public keys of a client that signs its assertions or request objects.
    pub jwks: Vec<Value>,
    pub allowed_grant_types: Vec<GrantType>,
    pub response_types: Vec<ResponseType>,
    /// Compared byte for byte.
    pub redirect_uris: Vec<String>,
    pub post_logout_redirect_uris: Vec<String>,
    /// What it may ask for; what it gets when a machine asks for nothing.
    pub scopes: Vec<String>,
    /// `aud` of its access tokens unless it asks for another.
    pub audience: Vec<String>,
    /// What else it may name in `resource` or `audience`.
    pub further_audiences: Vec<String>,
    pub access_token: AccessTokenKind,
    pub algorithm: Algorithm,
    pub access_token_lifetime: Duration,
    pub refresh_token_lifetime: Duration,
    /// A new refresh token with each use, and the end of the whole grant when an old one is used again.
    pub refresh_rotation: bool,
    pub require_pkce: bool,
    pub may_introspect: bool,
    /// Must be `http` on loopback: the provider sends nothing off this machine.
    pub backchannel_logout_uri: Option<String>,
    pub frontchannel_logout_uri: Option<String>,
    /// Put into its access tokens as they are.
    pub claims: Map<String, Value>,
}

impl ClientEntry {
    pub fn confidential(client_id: &str, secret: &str) -> Self {
        Self {
            authentication: Authentication::Secret,
            secret: Some(Secret::new(secret.to_owned())),
            ..Self::public(client_id)
        }
    }

    /// A client without a secret. It may do nothing until grants are added.
    pub fn public(client_id: &str) -> Self {
        Self {
            client_id: client_id.to_owned(),
            authentication: Authentication::None,
            secret: None,
            jwks: Vec::new(),
            allowed_grant_types: Vec::new(),
            response_types: Vec::new(),
            redirect_uris: Vec::new(),
            post_logout_redirect_uris: Vec::new(),
            scopes: Vec::new(),
            audience: Vec::new(),
            further_audiences: Vec::new(),
            access_token: AccessTokenKind::Jwt,
            algorithm: Algorithm::Rs256,
            access_token_lifetime: Duration::from_secs(300),
            refresh_token_lifetime: Duration::from_secs(8 * 3600),
            refresh_rotation: true,
            require_pkce: false,
            may_introspect: false,
            backchannel_logout_uri: None,
            frontchannel_logout_uri: None,
            claims: Map::new(),
        }
    }

    #[must_use]
    pub fn grants(mut self, grants: &[GrantType]) -> Self {
        self.allowed_grant_types = grants.to_vec();
        self
    }

    #[must_use]
    pub fn responses(mut self, responses: &[ResponseType]) -> Self {
        self.response_types = responses.to_vec();
        self
    }

    #[must_use]
    pub fn scopes(mut self, words: &str) -> Self {
        self.scopes = words.split_whitespace().map(str::to_owned).collect();
        self
    }

    #[must_use]
    pub fn audience(mut self, audience: &str) -> Self {
        self.audience = vec![audience.to_owned()];
        self
    }

    #[must_use]
    pub fn opaque(mut self) -> Self {
        self.access_token = AccessTokenKind::Opaque;
        self
    }

    /// Sets where a gateway at `origin` (as `http://127.0.0.1:8080`) takes answers and logout calls.
    #[must_use]
    pub fn behind(mut self, origin: &str) -> Self {
        self.redirect_uris = vec![format!("{origin}/oauth2/callback")];
        self.post_logout_redirect_uris = vec![format!("{origin}/oauth2/signed_out")];
        self.backchannel_logout_uri = Some(format!("{origin}/oauth2/backchannel_logout"));
        self
    }

    pub fn allows(&self, grant: GrantType) -> bool {
        self.allowed_grant_types.contains(&grant)
    }
}

/// Someone who can sign in.
#[derive(Clone, Debug)]
pub struct User {
    pub name: String,
    pub password: Secret,
    /// Claims about them; `sub` is the name unless it is among these.
    pub claims: Map<String, Value>,
}

impl User {
    /// `claims` that are no object count as none.
    pub fn new(name: &str, password: &str, claims: Value) -> Self {
        let claims = if let Value::Object(claims) = claims { claims } else { Map::new() };
        Self { name: name.to_owned(), password: Secret::new(password.to_owned()), claims }
    }

    pub fn subject(&self) -> &str {
        self.claims.get("sub").and_then(Value::as_str).unwrap_or(&self.name)
    }
}

#[derive(Clone, Debug)]
pub struct Settings {
    pub clients: Vec<ClientEntry>,
    pub users: Vec<User>,
    /// `iss` and the base of every endpoint; the address that was bound unless given.
    pub issuer: Option<String>,
    /// A path below which everything lives, as `/realms/demo`; empty for none. Ignored when `issuer` is given.
    pub issuer_path: String,
    pub code_lifetime: Duration,
    pub id_token_lifetime: Duration,
    /// How long a browser stays signed in at the provider.
    pub session_lifetime: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            clients: Vec::new(),
            users: Vec::new(),
            issuer: None,
            issuer_path: String::new(),
            code_lifetime: Duration::from_secs(60),
            id_token_lifetime: Duration::from_secs(300),
            session_lifetime: Duration::from_secs(8 * 3600),
        }
    }
}

/// Where a gateway stands in the demo unless [`ClientEntry::behind`] says otherwise.
const GATEWAY: &str = "http://127.0.0.1:8080";
const PERSON: &str = "openid profile email groups offline_access orders:read orders:write shop";

impl Settings {
    /// alice and bob, and a client for each grant. The audience of all tokens is `orders`.
    pub fn demo() -> Self {
        use GrantType::{
            AuthorizationCode, ClientCredentials, Hybrid, Implicit, Password, RefreshToken, TokenExchange,
        };
        let client =
            |id: &str| ClientEntry::confidential(id, &format!("{id}-secret")).audience("orders").scopes(PERSON);
        let web = |id: &str| client(id).behind(GATEWAY);
        let machine = |id: &str| client(id).grants(&[ClientCredentials]).scopes("orders:read orders:write");
        let with_token = [ResponseType::CODE_ID_TOKEN, ResponseType::CODE_TOKEN, ResponseType::CODE_ID_TOKEN_TOKEN];
        let clients = vec![
            web("shop").grants(&[AuthorizationCode, RefreshToken]).responses(&[ResponseType::CODE]),
            web("opaque-shop").grants(&[AuthorizationCode, RefreshToken]).responses(&[ResponseType::CODE]).opaque(),
            web("hybrid").grants(&[Hybrid, RefreshToken]).responses(&with_token),
            web("implicit").grants(&[Implicit]).responses(&[ResponseType::ID_TOKEN, ResponseType::ID_TOKEN_TOKEN]),
            machine("batch"),
            machine("opaque").opaque(),
            client("legacy").grants(&[Password, RefreshToken]),
            ClientEntry { further_audiences: vec!["inventory".to_owned()], ..client("exchange") }
                .grants(&[TokenExchange]),
            ClientEntry { may_introspect: true, ..client("gateway") }.grants(&[ClientCredentials, TokenExchange]),
            ClientEntry { require_pkce: true, ..ClientEntry::public("native").behind(GATEWAY) }
                .audience("orders")
                .scopes(PERSON)
                .grants(&[AuthorizationCode, RefreshToken])
                .responses(&[ResponseType::CODE]),
        ];
        Self { clients, users: Self::demo_users(), ..Self::default() }
    }

    fn demo_users() -> Vec<User> {
        let person = |name: &str, given: &str, groups: &[&str]| {
            json!({ "name": format!("{given} Example"), "given_name": given, "family_name": "Example",
                "preferred_username": name, "email": format!("{name}@example.com"), "email_verified": true,
                "groups": groups, "tenant": "acme" })
        };
        vec![
            User::new("alice", "wonderland", person("alice", "Alice", &["staff", "admins"])),
            User::new("bob", "builder", person("bob", "Bob", &["customers"])),
        ]
    }

    /// Puts every browser client of these settings behind the gateway at `origin`.
    #[must_use]
    pub fn behind(mut self, origin: &str) -> Self {
        let move_one =
            |client: ClientEntry| if client.redirect_uris.is_empty() { client } else { client.behind(origin) };
        self.clients = self.clients.into_iter().map(move_one).collect();
        self
    }
}
