//! `clients`: what Postern is to an issuer, one entry a registration.

use std::fmt;
use std::path::PathBuf;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{Deserializer, Error, SeqAccess, Visitor};
use serde::{Deserialize, Serialize, Serializer};

use super::issuer::Algorithm;
use super::secret::SecretRef;
use super::values::words;

/// What is asked for at a sign-in unless `scopes` says otherwise.
pub const SCOPES: [&str; 3] = ["openid", "profile", "email"];

/// Postern as a client of an issuer.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Client {
    /// The name of an issuer: where Postern is registered.
    #[schemars(required)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub issuer: Option<String>,
    /// The identifier that the issuer gave it.
    #[schemars(required)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client_id: Option<String>,
    /// Its secret, for the methods that show one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client_secret: Option<SecretRef>,
    /// How it shows the issuer who it is (RFC 6749 section 2.3).
    pub authentication: Authentication,
    /// The private key that it signs assertions and authorization requests with: PKCS#8 in PEM.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub private_key: Option<SecretRef>,
    /// What the issuer calls that key; its thumbprint (RFC 7638) unless given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key_id: Option<String>,
    /// How it signs; what the key is for unless given, RS256 with RSA keys.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub signing_algorithm: Option<Algorithm>,
    /// An assertion that somebody else makes and renews, instead of one signed with `private_key`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub assertion: Option<AssertionFile>,
    /// Whom its assertions are for; the issuer unless given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub assertion_audience: Option<AssertionAudience>,
    /// The certificate that it shows (RFC 8705); that of the issuer's `tls` unless given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tls: Option<ClientCertificate>,
    /// The grant types that Postern may use with this registration: a list, or one named set.
    pub allowed_grant_types: GrantTypes,
    /// Whether access tokens may come through the browser.
    pub allow_access_tokens_via_browser: bool,
    /// What is asked for at a sign-in.
    pub scopes: Vec<String>,
    /// Proof Key for Code Exchange (RFC 7636, S256).
    pub pkce: Pkce,
    /// Pushed authorization requests (RFC 9126).
    pub par: Par,
    /// Authorization requests that are signed with `private_key` (RFC 9101).
    pub request_object: RequestObject,
}

/// A token that the platform puts into a file and renews there, such as a projected service account token of Kubernetes.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct AssertionFile {
    /// Where it is, relative to the configuration file.
    #[schemars(required)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub file: Option<PathBuf>,
}

/// A certificate of one client of an issuer.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ClientCertificate {
    /// The certificate chain, in PEM.
    #[schemars(required)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub certificate: Option<PathBuf>,
    /// Its private key.
    #[schemars(required)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub private_key: Option<PathBuf>,
}

impl Default for Client {
    fn default() -> Self {
        Self {
            issuer: None,
            client_id: None,
            client_secret: None,
            authentication: Authentication::default(),
            private_key: None,
            key_id: None,
            signing_algorithm: None,
            assertion: None,
            assertion_audience: None,
            tls: None,
            allowed_grant_types: GrantTypes::default(),
            allow_access_tokens_via_browser: false,
            scopes: SCOPES.map(str::to_owned).to_vec(),
            pkce: Pkce::default(),
            par: Par::default(),
            request_object: RequestObject::default(),
        }
    }
}

words! {
    /// How a client shows the issuer who it is.
    Authentication {
        #[default] SecretBasic = "client_secret_basic", SecretPost = "client_secret_post", SecretJwt = "client_secret_jwt",
        PrivateKeyJwt = "private_key_jwt", Tls = "tls_client_auth", SelfSignedTls = "self_signed_tls_client_auth",
        None = "none",
    }
}
words! {
    /// Whom an assertion names as its audience.
    AssertionAudience { #[default] Issuer = "issuer", TokenEndpoint = "token_endpoint" }
}
words! {
    /// Whether authorization requests are signed; `auto`: when the issuer demands it.
    RequestObject { #[default] Auto = "auto", Signed = "signed", Off = "off" }
}
words! {
    /// Whether codes are bound to who asked for them.
    Pkce { #[default] Required = "required", Off = "off" }
}
words! {
    /// Whether authorization requests are pushed; `auto`: when the issuer takes them.
    Par { #[default] Auto = "auto", Required = "required", Off = "off" }
}
words! {
    /// A way to get tokens (RFC 6749 section 1.3, RFC 8693; `hybrid` is OpenID Connect Core section 3.3).
    GrantType {
        #[default] AuthorizationCode = "authorization_code", Implicit = "implicit", Hybrid = "hybrid",
        ClientCredentials = "client_credentials", Password = "password", RefreshToken = "refresh_token",
        TokenExchange = "urn:ietf:params:oauth:grant-type:token-exchange",
    }
}
words! {
    /// Grant types that go together. Those that sign a user in on the back channel include the refresh of what they got.
    GrantSet {
        #[default] Code = "code", CodeAndClientCredentials = "code_and_client_credentials", Hybrid = "hybrid",
        HybridAndClientCredentials = "hybrid_and_client_credentials", Implicit = "implicit",
        ImplicitAndClientCredentials = "implicit_and_client_credentials", ClientCredentials = "client_credentials",
        ResourceOwnerPassword = "resource_owner_password",
        ResourceOwnerPasswordAndClientCredentials = "resource_owner_password_and_client_credentials",
    }
}

impl GrantSet {
    pub const fn grant_types(self) -> &'static [GrantType] {
        use GrantType::{AuthorizationCode, ClientCredentials, Hybrid, Implicit, Password, RefreshToken};
        match self {
            Self::Code => &[AuthorizationCode, RefreshToken],
            Self::CodeAndClientCredentials => &[AuthorizationCode, RefreshToken, ClientCredentials],
            Self::Hybrid => &[Hybrid, RefreshToken],
            Self::HybridAndClientCredentials => &[Hybrid, RefreshToken, ClientCredentials],
            Self::Implicit => &[Implicit],
            Self::ImplicitAndClientCredentials => &[Implicit, ClientCredentials],
            Self::ClientCredentials => &[ClientCredentials],
            Self::ResourceOwnerPassword => &[Password, RefreshToken],
            Self::ResourceOwnerPasswordAndClientCredentials => &[Password, RefreshToken, ClientCredentials],
        }
    }
}

/// A list of grant types, or one named set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum GrantTypes {
    Each(Vec<GrantType>),
    Set(GrantSet),
}

impl GrantTypes {
    pub fn as_slice(&self) -> &[GrantType] {
        match self {
            Self::Each(list) => list,
            Self::Set(set) => set.grant_types(),
        }
    }
}

impl Default for GrantTypes {
    fn default() -> Self {
        Self::Each(vec![GrantType::AuthorizationCode, GrantType::RefreshToken])
    }
}

struct GrantTypesVisitor;

impl<'de> Visitor<'de> for GrantTypesVisitor {
    type Value = GrantTypes;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of grant types, or one named set such as `code`")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<GrantTypes, E> {
        GrantSet::deserialize(serde::de::value::StrDeserializer::new(text)).map(GrantTypes::Set)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<GrantTypes, A::Error> {
        let mut grant_types = Vec::new();
        while let Some(grant_type) = list.next_element()? {
            grant_types.push(grant_type);
        }
        Ok(GrantTypes::Each(grant_types))
    }
}

impl<'de> Deserialize<'de> for GrantTypes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(GrantTypesVisitor)
    }
}

impl Serialize for GrantTypes {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Each(list) => list.serialize(serializer),
            Self::Set(set) => set.serialize(serializer),
        }
    }
}

impl JsonSchema for GrantTypes {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "GrantTypes".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let (each, set) = (generator.subschema_for::<GrantType>(), generator.subschema_for::<GrantSet>());
        json_schema!({
            "description": "Grant types that may be used, or one named set of them.",
            "anyOf": [{ "type": "array", "items": each }, set],
        })
    }
}
