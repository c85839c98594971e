//! How Postern shows an issuer who it is (RFC 6749 section 2.3, OpenID Connect Core section 9). Comes in: a request's form
//! and header fields. Goes out: the same with the credentials in their one place. An assertion is made for one request and
//! never shown twice. Runs on Control: a signature takes its time, and a file may.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::header::AUTHORIZATION;
use http::{HeaderMap, HeaderValue};
use serde_json::{Value, json};
use url::form_urlencoded;
use zeroize::Zeroizing;

use super::fetch::{FetchError, FetchTls, read};
use super::{Endpoints, Issuer, Metadata};
use crate::jose::SigningKey;
use crate::jose::sign::sign_with_secret;
use crate::seal::{Secret, random};
use crate::wire::form::Form;

/// RFC 7523 section 2.2.
const ASSERTION_TYPE: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";
/// How long an assertion is good for: it is made for a request that is sent at once. Seconds.
const ASSERTION_LIFE: u64 = 60;
/// A token in a file; this much is read. Bytes.
const ASSERTION_LIMIT: usize = 64 * 1024;

/// A client and its credentials. `Debug` shows no secret.
#[derive(Clone, Debug)]
pub struct ClientIdentity {
    pub client_id: Box<str>,
    pub auth: ClientAuth,
}

/// The methods of client authentication.
#[derive(Clone, Debug)]
pub enum ClientAuth {
    /// A public client: its id alone, in the form.
    None,
    /// `client_secret_basic`.
    SecretBasic(Secret),
    /// `client_secret_post`.
    SecretPost(Secret),
    /// `client_secret_jwt`: an assertion signed with the secret (RFC 7523 section 2.2).
    SecretJwt(Secret, AssertionAudience),
    /// `private_key_jwt`: an assertion signed with the client's key.
    PrivateKeyJwt(ClientKey, AssertionAudience),
    /// `private_key_jwt` with an assertion that somebody else signs, and renews in this file.
    AssertionFile(PathBuf),
    /// `tls_client_auth` and `self_signed_tls_client_auth` (RFC 8705 section 2): the connection shows who asks. `None`:
    /// by the certificate of the issuer's own TLS settings.
    Tls(Option<Certificate>),
}

/// Whom an assertion is for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum AssertionAudience {
    /// The issuer identifier, which no two issuers share (draft-ietf-oauth-rfc7523bis section 4).
    #[default]
    Issuer,
    /// The address of the token endpoint, whichever endpoint is asked (RFC 7523 section 3).
    TokenEndpoint,
}

/// A private key of a client.
#[derive(Clone, Debug)]
pub struct ClientKey(pub Arc<SigningKey>);

impl PartialEq for ClientKey {
    /// The public half has the key's name and algorithm.
    fn eq(&self, other: &Self) -> bool {
        self.0.public_jwk() == other.0.public_jwk()
    }
}

/// A certificate of a client, in PEM files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Certificate {
    pub chain: PathBuf,
    pub key: PathBuf,
}

/// Why a client can't show who it is; nothing is asked then.
#[derive(Debug, thiserror::Error)]
pub enum NoCredentials {
    #[error("the client's assertion can't be signed")]
    Unsigned,
    #[error("the client's assertion is for the token endpoint, which is not known yet")]
    NoAudience,
    #[error(transparent)]
    File(#[from] FetchError),
    #[error("{} holds no token", .0.display())]
    NoToken(PathBuf),
}

impl ClientIdentity {
    /// Adds what tells the issuer who asks.
    ///
    /// # Errors
    /// [`NoCredentials`] when there is nothing to show: the request must not be sent.
    pub async fn apply(&self, issuer: &Issuer, form: &mut Form, headers: &mut HeaderMap) -> Result<(), NoCredentials> {
        match &self.auth {
            ClientAuth::None => self.name_itself(form),
            ClientAuth::SecretBasic(secret) => {
                headers.insert(AUTHORIZATION, basic(&self.client_id, secret));
            }
            ClientAuth::SecretPost(secret) => {
                self.name_itself(form);
                form.push("client_secret", secret.expose());
            }
            ClientAuth::SecretJwt(secret, audience) => {
                let claims = self.claims(issuer, *audience)?;
                self.assert(form, &sign_with_secret(secret.expose().as_bytes(), "JWT", &claims));
            }
            ClientAuth::PrivateKeyJwt(ClientKey(key), audience) => {
                let signed = key.sign(Some("JWT"), &self.claims(issuer, *audience)?);
                self.assert(form, &signed.map_err(|_| NoCredentials::Unsigned)?);
            }
            ClientAuth::AssertionFile(file) => {
                self.assert(form, &token(file).await?);
            }
            // RFC 8705 section 2: the id says whose certificate is looked for.
            ClientAuth::Tls(_) => self.name_itself(form),
        }
        Ok(())
    }

    /// RFC 7523 section 3.
    fn claims(&self, issuer: &Issuer, audience: AssertionAudience) -> Result<Value, NoCredentials> {
        let audience = match audience {
            AssertionAudience::Issuer => issuer.settings().issuer.as_ref().to_owned(),
            AssertionAudience::TokenEndpoint => {
                issuer.metadata().endpoints.token.as_ref().ok_or(NoCredentials::NoAudience)?.to_string()
            }
        };
        let now = issuer.clock().now().seconds();
        Ok(json!({
            "iss": &*self.client_id,
            "sub": &*self.client_id,
            "aud": audience,
            "jti": random::token(),
            "iat": now,
            "exp": now + ASSERTION_LIFE,
        }))
    }

    /// The TLS settings of its requests to `issuer`.
    pub fn tls(&self, issuer: &Issuer) -> Option<FetchTls> {
        let of_issuer = issuer.settings().tls.clone();
        match &self.auth {
            ClientAuth::Tls(Some(own)) => Some(FetchTls {
                certificate: Some(own.chain.clone()),
                key: Some(own.key.clone()),
                ..of_issuer.unwrap_or_default()
            }),
            _ => of_issuer,
        }
    }

    /// Where this client asks the issuer: one that shows a certificate may have doors of its own (RFC 8705 section 5).
    pub const fn endpoints<'m>(&self, metadata: &'m Metadata) -> &'m Endpoints {
        match self.auth {
            ClientAuth::Tls(_) => &metadata.mtls_endpoints,
            _ => &metadata.endpoints,
        }
    }

    /// A pushed request holds the client id already (RFC 9126 section 2.1); no parameter may come twice.
    fn name_itself(&self, form: &mut Form) {
        if form.get("client_id").is_none() {
            form.push("client_id", &self.client_id);
        }
    }

    /// RFC 7523 section 2.2. The assertion says itself whose it is; the id beside it is optional there, and some issuers look
    /// the client up by it.
    fn assert(&self, form: &mut Form, assertion: &str) {
        self.name_itself(form);
        form.push("client_assertion_type", ASSERTION_TYPE);
        form.push("client_assertion", assertion);
    }
}

impl PartialEq for ClientIdentity {
    fn eq(&self, other: &Self) -> bool {
        self.client_id == other.client_id
            && match (&self.auth, &other.auth) {
                (ClientAuth::None, ClientAuth::None) => true,
                (ClientAuth::SecretBasic(one), ClientAuth::SecretBasic(two))
                | (ClientAuth::SecretPost(one), ClientAuth::SecretPost(two)) => one.equals(two.expose().as_bytes()),
                (ClientAuth::SecretJwt(one, for_one), ClientAuth::SecretJwt(two, for_two)) => {
                    for_one == for_two && one.equals(two.expose().as_bytes())
                }
                (ClientAuth::PrivateKeyJwt(one, for_one), ClientAuth::PrivateKeyJwt(two, for_two)) => {
                    (one, for_one) == (two, for_two)
                }
                (ClientAuth::AssertionFile(one), ClientAuth::AssertionFile(two)) => one == two,
                (ClientAuth::Tls(one), ClientAuth::Tls(two)) => one == two,
                _ => false,
            }
    }
}

/// The token in a file, as it is now: whoever renews it puts another in its place.
async fn token(file: &Path) -> Result<Zeroizing<String>, NoCredentials> {
    let bytes = Zeroizing::new(read(file, ASSERTION_LIMIT).await?);
    let text = std::str::from_utf8(&bytes).unwrap_or_default().trim_end();
    let is_one = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic());
    if is_one { Ok(Zeroizing::new(text.to_owned())) } else { Err(NoCredentials::NoToken(file.to_owned())) }
}

/// RFC 6749 section 2.3.1: id and secret are form-encoded each, before they are joined and base64-encoded, so that a `:` or
/// a letter beyond ASCII in them has one reading.
fn basic(client_id: &str, secret: &Secret) -> HeaderValue {
    let encoded = |text: &str| Zeroizing::new(form_urlencoded::byte_serialize(text.as_bytes()).collect::<String>());
    let pair = Zeroizing::new(format!("{}:{}", *encoded(client_id), *encoded(secret.expose())));
    let text = Zeroizing::new(format!("Basic {}", STANDARD.encode(pair.as_bytes())));
    // Base64 is always a field value.
    let mut value = HeaderValue::from_str(&text).unwrap_or_else(|_| HeaderValue::from_static("Basic"));
    value.set_sensitive(true);
    value
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::idp::testing::{NOW, Provider, clock, started};
    use crate::jose::{Algorithm, Jws};

    async fn issuer() -> Arc<Issuer> {
        let provider = Provider::start(&[]).await;
        started(provider.settings(), &clock()).await
    }

    async fn shown(client_id: &str, auth: ClientAuth) -> Result<(Form, Option<String>), NoCredentials> {
        shown_to(&*issuer().await, client_id, auth).await
    }

    async fn shown_to(
        issuer: &Issuer,
        client_id: &str,
        auth: ClientAuth,
    ) -> Result<(Form, Option<String>), NoCredentials> {
        let (mut form, mut headers) = (Form::default().with("token", "t"), HeaderMap::new());
        ClientIdentity { client_id: client_id.into(), auth }.apply(issuer, &mut form, &mut headers).await?;
        let field = headers.get(AUTHORIZATION).map(|value| {
            assert!(value.is_sensitive());
            value.to_str().unwrap().to_owned()
        });
        Ok((form, field))
    }

    fn secret(text: &str) -> Secret {
        Secret::new(text.to_owned())
    }

    #[tokio::test]
    async fn basic_encodes_id_and_secret_before_it_joins_them() {
        let (form, field) = shown("shop", ClientAuth::SecretBasic(secret("s3cret"))).await.unwrap();
        assert_eq!((form.encode().as_str(), field.as_deref()), ("token=t", Some("Basic c2hvcDpzM2NyZXQ=")));
        let (_, field) = shown("a:b c", ClientAuth::SecretBasic(secret("p%:+ü"))).await.unwrap();
        let decoded = STANDARD.decode(field.unwrap().strip_prefix("Basic ").unwrap()).unwrap();
        assert_eq!(String::from_utf8(decoded).unwrap(), "a%3Ab+c:p%25%3A%2B%C3%BC");
    }

    #[tokio::test]
    async fn post_and_none_stand_in_the_form_alone() {
        let (form, field) = shown("shop", ClientAuth::SecretPost(secret("a&b=c"))).await.unwrap();
        assert_eq!((form.encode().as_str(), field), ("token=t&client_id=shop&client_secret=a%26b%3Dc", None));
        for auth in [ClientAuth::None, ClientAuth::Tls(None)] {
            let (form, field) = shown("shop", auth).await.unwrap();
            assert_eq!((form.encode().as_str(), field), ("token=t&client_id=shop", None));
        }
    }

    #[tokio::test]
    async fn an_assertion_is_for_the_issuer_short_lived_and_never_the_same() {
        let issuer = issuer().await;
        let key = ClientKey(Arc::new(SigningKey::generate(Algorithm::Es256, "k1").unwrap()));
        let audience = AssertionAudience::Issuer;
        for auth in [ClientAuth::SecretJwt(secret("s3cret"), audience), ClientAuth::PrivateKeyJwt(key, audience)] {
            let mut seen = Vec::new();
            for _ in 0..2 {
                let (form, field) = shown_to(&issuer, "shop", auth.clone()).await.unwrap();
                assert_eq!(field, None);
                assert_eq!(
                    form.names().collect::<Vec<_>>(),
                    ["token", "client_id", "client_assertion_type", "client_assertion"]
                );
                let payload = form.get("client_assertion").unwrap().split('.').nth(1).unwrap();
                let payload = base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(payload).unwrap();
                let claims: Value = serde_json::from_slice(&payload).unwrap();
                assert_eq!((claims["iss"].as_str(), claims["sub"].as_str()), (Some("shop"), Some("shop")));
                assert_eq!(claims["aud"].as_str(), Some(&*issuer.settings().issuer), "one string, no list");
                assert_eq!((claims["iat"].as_u64(), claims["exp"].as_u64()), (Some(NOW), Some(NOW + 60)));
                seen.push(claims["jti"].as_str().unwrap().to_owned());
            }
            assert_ne!(seen[0], seen[1]);
        }
        let auth = ClientAuth::SecretJwt(secret("s3cret"), AssertionAudience::TokenEndpoint);
        assert!(matches!(shown_to(&issuer, "shop", auth).await, Err(NoCredentials::NoAudience)));
    }

    #[tokio::test]
    async fn a_key_says_its_name_and_what_is_signed() {
        let key = ClientKey(Arc::new(SigningKey::generate(Algorithm::Ps256, "k1").unwrap()));
        let (form, _) = shown("shop", ClientAuth::PrivateKeyJwt(key, AssertionAudience::Issuer)).await.unwrap();
        let jws = Jws::parse(form.get("client_assertion").unwrap(), 16_384).unwrap();
        assert_eq!((jws.header.algorithm, jws.header.kid.as_deref()), (Algorithm::Ps256, Some("k1")));
        assert_eq!(jws.header.typ.as_deref(), Some("JWT"));
    }

    #[tokio::test]
    async fn a_token_in_a_file_is_read_for_each_request() {
        let issuer = issuer().await;
        let file = std::env::temp_dir().join(format!("postern-{}", random::token()));
        let auth = ClientAuth::AssertionFile(file.clone());
        assert!(matches!(shown_to(&issuer, "shop", auth.clone()).await, Err(NoCredentials::File(_))));
        for (content, wanted) in [("one.token\n", Some("one.token")), ("another", Some("another")), ("\n", None)] {
            std::fs::write(&file, content).unwrap();
            let shown = shown_to(&issuer, "shop", auth.clone()).await;
            let shown = shown.ok().map(|(form, _)| form.get("client_assertion").unwrap().to_owned());
            assert_eq!(shown.as_deref(), wanted);
        }
        std::fs::remove_file(file).unwrap();
    }

    #[test]
    fn nothing_of_a_secret_is_printed() {
        for auth in
            [ClientAuth::SecretPost(secret("hunter2")), ClientAuth::SecretJwt(secret("hunter2"), Default::default())]
        {
            let client = ClientIdentity { client_id: "shop".into(), auth };
            assert!(!format!("{client:?}").contains("hunter2"));
        }
    }
}
