//! How Postern shows an issuer who it is (RFC 6749 section 2.3, OpenID Connect Core section 9). Comes in: a request's form
//! and header fields. Goes out: the same with the credentials in their one place.

use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::header::AUTHORIZATION;
use http::{HeaderMap, HeaderValue};
use serde_json::json;
use url::{Url, form_urlencoded};
use zeroize::Zeroizing;

use super::fetch::FetchTls;
use crate::clock::Time;
use crate::jose::SigningKey;
use crate::jose::sign::{SignError, sign_with_secret};
use crate::seal::{Secret, random};
use crate::wire::form::Form;

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
    /// `client_secret_jwt`: the secret signs and stays here.
    SecretJwt(Secret, AssertionAudience),
    /// `private_key_jwt`.
    PrivateKeyJwt(Arc<SigningKey>, AssertionAudience),
    /// `private_key_jwt` by somebody else: an assertion that lies in a file and is replaced there before it ends, such as a
    /// projected token of Kubernetes.
    Assertion(PathBuf),
    /// `tls_client_auth` and `self_signed_tls_client_auth` (RFC 8705 section 2): the certificate of the connection.
    Certificate(FetchTls),
}

/// Whom an assertion names as its audience.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum AssertionAudience {
    /// The issuer's identifier, so that no other issuer can use what it was shown (RFC 7523bis section 4).
    #[default]
    Issuer,
    /// The token endpoint's address, at whichever endpoint it is shown (RFC 7523 section 3), for issuers that know no better.
    TokenEndpoint,
}

/// What an assertion has to say of the request that it goes with.
#[derive(Clone, Copy, Debug)]
pub struct Occasion<'a> {
    /// The issuer's identifier.
    pub issuer: &'a str,
    /// Its token endpoint, where it is known.
    pub token_endpoint: Option<&'a Url>,
    pub now: Time,
}

/// Why a client cannot show who it is. The request is not made then.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unproven {
    #[error("the assertion names the token endpoint, which is not known yet")]
    NoTokenEndpoint,
    #[error("the assertion could not be signed: {0}")]
    Unsigned(#[from] SignError),
    #[error("{} holds no assertion: {problem}", path.display())]
    NoAssertion { path: PathBuf, problem: Box<str> },
}

/// The longest assertion that is read from a file. Bytes.
const LONGEST_ASSERTION: u64 = 64 * 1024;

/// An assertion is made anew for each request and used at once.
const ASSERTION_LIFETIME: Duration = Duration::from_secs(60);

/// RFC 7523 section 2.2.
const JWT_BEARER: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";

impl ClientIdentity {
    /// Adds what tells the issuer who asks.
    ///
    /// # Errors
    /// [`Unproven`] when an assertion cannot be made.
    pub fn apply(&self, form: &mut Form, headers: &mut HeaderMap, occasion: &Occasion<'_>) -> Result<(), Unproven> {
        match &self.auth {
            // RFC 8705 section 2.1: the id tells whose certificate it is to be.
            ClientAuth::None | ClientAuth::Certificate(_) => self.name_itself(form),
            ClientAuth::Assertion(path) => self.assert(form, &kept_assertion(path)?),
            ClientAuth::SecretBasic(secret) => {
                headers.insert(AUTHORIZATION, basic(&self.client_id, secret));
            }
            ClientAuth::SecretPost(secret) => {
                self.name_itself(form);
                form.push("client_secret", secret.expose());
            }
            ClientAuth::SecretJwt(secret, audience) => {
                let claims = self.claims(*audience, occasion)?;
                self.assert(form, &Secret::new(sign_with_secret(secret.expose().as_bytes(), "JWT", &claims)));
            }
            ClientAuth::PrivateKeyJwt(key, audience) => {
                let claims = self.claims(*audience, occasion)?;
                self.assert(form, &Secret::new(key.sign(Some("JWT"), &claims)?));
            }
        }
        Ok(())
    }

    /// RFC 7521 section 4.2. The id is optional there; issuers that look the client up by it exist.
    fn assert(&self, form: &mut Form, assertion: &Secret) {
        self.name_itself(form);
        form.push("client_assertion_type", JWT_BEARER);
        form.push("client_assertion", assertion.expose());
    }

    /// RFC 7523 section 3, OpenID Connect Core section 9: one audience, as text, and an identifier that never comes again.
    fn claims(&self, audience: AssertionAudience, occasion: &Occasion<'_>) -> Result<serde_json::Value, Unproven> {
        let audience = match audience {
            AssertionAudience::Issuer => occasion.issuer,
            AssertionAudience::TokenEndpoint => occasion.token_endpoint.ok_or(Unproven::NoTokenEndpoint)?.as_str(),
        };
        Ok(json!({
            "iss": &*self.client_id,
            "sub": &*self.client_id,
            "aud": audience,
            "jti": random::token(),
            "iat": occasion.now.seconds(),
            "exp": occasion.now.plus(ASSERTION_LIFETIME).seconds(),
        }))
    }
}

impl ClientIdentity {
    /// The certificate to show on connections of this client, where that is how it shows who it is.
    pub const fn tls(&self) -> Option<&FetchTls> {
        match &self.auth {
            ClientAuth::Certificate(tls) => Some(tls),
            _ => None,
        }
    }

    /// A pushed request holds the client id already (RFC 9126 section 2.1); no parameter may come twice.
    fn name_itself(&self, form: &mut Form) {
        if form.get("client_id").is_none() {
            form.push("client_id", &self.client_id);
        }
    }
}

impl PartialEq for ClientIdentity {
    fn eq(&self, other: &Self) -> bool {
        self.client_id == other.client_id
            && match (&self.auth, &other.auth) {
                (ClientAuth::None, ClientAuth::None) => true,
                (ClientAuth::Assertion(one), ClientAuth::Assertion(two)) => one == two,
                (ClientAuth::Certificate(one), ClientAuth::Certificate(two)) => one == two,
                (ClientAuth::SecretBasic(one), ClientAuth::SecretBasic(two))
                | (ClientAuth::SecretPost(one), ClientAuth::SecretPost(two)) => one.equals(two.expose().as_bytes()),
                (ClientAuth::SecretJwt(one, here), ClientAuth::SecretJwt(two, there)) => {
                    here == there && one.equals(two.expose().as_bytes())
                }
                // The public half, with algorithm and name in it, tells one key from another.
                (ClientAuth::PrivateKeyJwt(one, here), ClientAuth::PrivateKeyJwt(two, there)) => {
                    here == there && one.public_jwk() == two.public_jwk()
                }
                _ => false,
            }
    }
}

/// The assertion as it lies there now. It is read for every request: whoever renews it replaces the file, and a few KiB of
/// memory-backed files cost less than to watch them.
fn kept_assertion(path: &Path) -> Result<Secret, Unproven> {
    let none = |problem: &str| Unproven::NoAssertion { path: path.to_owned(), problem: problem.into() };
    let mut text = Zeroizing::new(String::new());
    let file = std::fs::File::open(path).map_err(|error| none(&error.to_string()))?;
    let read = file.take(LONGEST_ASSERTION + 1).read_to_string(&mut text).map_err(|error| none(&error.to_string()))?;
    let assertion = text.trim_end_matches(['\r', '\n']);
    if read as u64 > LONGEST_ASSERTION {
        return Err(none("it is too large"));
    }
    if assertion.is_empty() || !assertion.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(none("it is not one line of visible text"));
    }
    Ok(Secret::new(assertion.to_owned()))
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
    use serde_json::Value;

    use super::*;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;

    use crate::jose::{Algorithm, Jws, KeySet, verify};

    const NOW: u64 = 1_800_000_000;

    fn shown(client_id: &str, auth: ClientAuth) -> (String, Option<String>) {
        let (mut form, mut headers) = (Form::default().with("token", "t"), HeaderMap::new());
        ClientIdentity { client_id: client_id.into(), auth }.apply(&mut form, &mut headers, &occasion(None)).unwrap();
        let field = headers.get(AUTHORIZATION).map(|value| {
            assert!(value.is_sensitive());
            value.to_str().unwrap().to_owned()
        });
        (form.encode(), field)
    }

    fn occasion(token_endpoint: Option<&Url>) -> Occasion<'_> {
        Occasion { issuer: "https://login.example.com", token_endpoint, now: Time::from_seconds(NOW) }
    }

    fn secret(text: &str) -> Secret {
        Secret::new(text.to_owned())
    }

    #[test]
    fn basic_encodes_id_and_secret_before_it_joins_them() {
        let (form, field) = shown("shop", ClientAuth::SecretBasic(secret("s3cret")));
        assert_eq!((form.as_str(), field.as_deref()), ("token=t", Some("Basic c2hvcDpzM2NyZXQ=")));
        let (_, field) = shown("a:b c", ClientAuth::SecretBasic(secret("p%:+ü")));
        let decoded = STANDARD.decode(field.unwrap().strip_prefix("Basic ").unwrap()).unwrap();
        assert_eq!(String::from_utf8(decoded).unwrap(), "a%3Ab+c:p%25%3A%2B%C3%BC");
    }

    #[test]
    fn post_and_none_stand_in_the_form_alone() {
        let (form, field) = shown("shop", ClientAuth::SecretPost(secret("a&b=c")));
        assert_eq!((form.as_str(), field), ("token=t&client_id=shop&client_secret=a%26b%3Dc", None));
        let (form, field) = shown("shop", ClientAuth::None);
        assert_eq!((form.as_str(), field), ("token=t&client_id=shop", None));
    }

    /// The assertion that goes along, and what it says.
    fn asserted(auth: &ClientAuth, token_endpoint: Option<&Url>) -> Result<(String, Value), Unproven> {
        let (mut form, mut headers) = (Form::default(), HeaderMap::new());
        let client = ClientIdentity { client_id: "shop".into(), auth: auth.clone() };
        client.apply(&mut form, &mut headers, &occasion(token_endpoint))?;
        assert!(headers.is_empty());
        assert_eq!((form.get("client_id"), form.get("client_secret")), (Some("shop"), None));
        assert_eq!(form.get("client_assertion_type"), Some(JWT_BEARER));
        let assertion = form.get("client_assertion").unwrap().to_owned();
        let payload = URL_SAFE_NO_PAD.decode(assertion.split('.').nth(1).unwrap()).unwrap();
        Ok((assertion, serde_json::from_slice(&payload).unwrap()))
    }

    #[test]
    fn an_assertion_is_for_this_issuer_short_and_never_the_same() {
        let key = Arc::new(SigningKey::generate(Algorithm::Es256, "k1").unwrap());
        let set = KeySet::parse(json!({ "keys": [key.public_jwk()] }).to_string().as_bytes()).unwrap();
        let auth = ClientAuth::PrivateKeyJwt(key, AssertionAudience::Issuer);
        let (one, claims) = asserted(&auth, None).unwrap();
        let jws = Jws::parse(&one, 16_384).unwrap();
        verify::verify(&jws, &set).unwrap();
        assert_eq!((jws.header.kid.as_deref(), jws.header.typ.as_deref()), (Some("k1"), Some("JWT")));
        let (who, aud) = (claims["iss"].as_str(), claims["aud"].as_str());
        assert_eq!((who, claims["sub"].as_str(), aud), (Some("shop"), Some("shop"), Some("https://login.example.com")));
        assert_eq!((claims["iat"].as_u64(), claims["exp"].as_u64()), (Some(NOW), Some(NOW + 60)));
        let (two, again) = asserted(&auth, None).unwrap();
        assert_ne!(one, two);
        assert!(claims["jti"].is_string() && claims["jti"] != again["jti"]);
    }

    #[test]
    fn a_secret_signs_and_stays_here() {
        let auth = ClientAuth::SecretJwt(secret("0123456789abcdef0123456789abcdef"), AssertionAudience::TokenEndpoint);
        assert_eq!(asserted(&auth, None).unwrap_err(), Unproven::NoTokenEndpoint);
        let endpoint = "https://login.example.com/token".parse().unwrap();
        let (assertion, claims) = asserted(&auth, Some(&endpoint)).unwrap();
        assert_eq!(claims["aud"], "https://login.example.com/token");
        let (message, tag) = assertion.rsplit_once('.').unwrap();
        let key = aws_lc_rs::hmac::Key::new(aws_lc_rs::hmac::HMAC_SHA256, b"0123456789abcdef0123456789abcdef");
        aws_lc_rs::hmac::verify(&key, message.as_bytes(), &URL_SAFE_NO_PAD.decode(tag).unwrap()).unwrap();
    }

    #[test]
    fn nothing_of_a_secret_is_printed() {
        let client = ClientIdentity { client_id: "shop".into(), auth: ClientAuth::SecretPost(secret("hunter2")) };
        assert!(!format!("{client:?}").contains("hunter2"));
    }
}
