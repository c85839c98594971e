//! How Postern shows an issuer who it is (RFC 6749 section 2.3, OpenID Connect Core section 9). Comes in: a request's form
//! and header fields. Goes out: the same with the credentials in their one place.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::header::AUTHORIZATION;
use http::{HeaderMap, HeaderValue};
use url::form_urlencoded;
use zeroize::Zeroizing;

use crate::seal::Secret;
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
}

impl ClientIdentity {
    /// Adds what tells the issuer who asks.
    pub fn apply(&self, form: &mut Form, headers: &mut HeaderMap) {
        match &self.auth {
            ClientAuth::None => self.name_itself(form),
            ClientAuth::SecretBasic(secret) => {
                headers.insert(AUTHORIZATION, basic(&self.client_id, secret));
            }
            ClientAuth::SecretPost(secret) => {
                self.name_itself(form);
                form.push("client_secret", secret.expose());
            }
        }
    }
}

impl ClientIdentity {
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
                (ClientAuth::SecretBasic(one), ClientAuth::SecretBasic(two))
                | (ClientAuth::SecretPost(one), ClientAuth::SecretPost(two)) => one.equals(two.expose().as_bytes()),
                _ => false,
            }
    }
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

    fn shown(client_id: &str, auth: ClientAuth) -> (String, Option<String>) {
        let (mut form, mut headers) = (Form::default().with("token", "t"), HeaderMap::new());
        ClientIdentity { client_id: client_id.into(), auth }.apply(&mut form, &mut headers);
        let field = headers.get(AUTHORIZATION).map(|value| {
            assert!(value.is_sensitive());
            value.to_str().unwrap().to_owned()
        });
        (form.encode(), field)
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

    #[test]
    fn nothing_of_a_secret_is_printed() {
        let client = ClientIdentity { client_id: "shop".into(), auth: ClientAuth::SecretPost(secret("hunter2")) };
        assert!(!format!("{client:?}").contains("hunter2"));
    }
}
