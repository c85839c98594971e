//! The authorization request (RFC 6749 section 4.1.1, OpenID Connect Core section 3.1.2.1): what a browser is sent to the
//! provider with. Comes in: what this attempt asks for. Goes out: its parameters, and the address that carries them;
//! where the provider takes pushed requests (RFC 9126) the address carries a reference only.

use std::borrow::Cow;

use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::StatusCode;
use serde_json::Value;
use url::Url;

use super::Reply;
use super::registration::{Cause, Par, Registration, RequestObject, Unanswered};
use crate::jose::json;
use crate::seal::{Secret, random};
use crate::wire::form::Form;

/// A PKCE code verifier (RFC 7636 section 4.1): 256 random bits, new for each attempt.
#[derive(Clone, Debug)]
pub struct Verifier(Secret);

impl Verifier {
    pub fn random() -> Self {
        Self(Secret::new(random::token()))
    }

    /// One that was kept since the attempt began.
    pub const fn kept(secret: Secret) -> Self {
        Self(secret)
    }

    pub fn expose(&self) -> &str {
        self.0.expose()
    }

    /// The S256 challenge (RFC 7636 section 4.2); `plain` is not offered (RFC 9700 section 2.1.1).
    pub fn challenge(&self) -> String {
        URL_SAFE_NO_PAD.encode(digest(&SHA256, self.0.expose().as_bytes()))
    }
}

/// RFC 9101 section 10.8: no other token of the client can be taken for a request.
const REQUEST_TYPE: &str = "oauth-authz-req+jwt";
/// How long a signed request is good for: a browser carries it at once, a slow one too. Seconds.
const REQUEST_LIFE: u64 = 300;
/// What stands beside a signed request: they must be there and agree with it (OpenID Connect Core section 6.1). Nothing in
/// them is new to whoever sees the address.
const BESIDE_REQUEST: [&str; 3] = ["client_id", "response_type", "scope"];

/// What one attempt asks the provider for.
#[derive(Clone, Copy, Debug)]
pub struct AuthorizationRequest<'a> {
    pub client_id: &'a str,
    pub redirect_uri: &'a str,
    pub response_type: &'a str,
    /// `None` where the response type's own mode is meant.
    pub response_mode: Option<&'a str>,
    pub scope: &'a str,
    pub state: &'a str,
    pub nonce: &'a str,
    /// `None` only where the registration says `pkce: off`, or no code is asked for.
    pub verifier: Option<&'a Verifier>,
    pub wishes: &'a Wishes,
}

/// What the provider is asked to do for the person, passed on as it is (OpenID Connect Core section 3.1.2.1).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Wishes {
    pub prompt: Option<Box<str>>,
    pub login_hint: Option<Box<str>>,
    pub ui_locales: Option<Box<str>>,
    pub acr_values: Option<Box<str>>,
    /// Seconds.
    pub max_age: Option<u64>,
}

/// Parameters by name, each at most once.
pub type Parameters<'a> = Vec<(&'static str, Cow<'a, str>)>;

impl<'a> AuthorizationRequest<'a> {
    /// All parameters of the request.
    pub fn parameters(&self) -> Parameters<'a> {
        let mut parameters: Parameters<'a> = vec![
            ("client_id", self.client_id.into()),
            ("response_type", self.response_type.into()),
            ("redirect_uri", self.redirect_uri.into()),
            ("scope", self.scope.into()),
            ("state", self.state.into()),
            ("nonce", self.nonce.into()),
        ];
        if let Some(mode) = self.response_mode {
            parameters.push(("response_mode", mode.into()));
        }
        if let Some(verifier) = self.verifier {
            parameters.push(("code_challenge", verifier.challenge().into()));
            parameters.push(("code_challenge_method", "S256".into()));
        }
        let Wishes { prompt, login_hint, ui_locales, acr_values, max_age } = self.wishes;
        // OpenID Connect Core section 11: offline access is given after consent, unless the operator wants otherwise.
        let consents = prompt.is_none() && self.scope.split(' ').any(|scope| scope == "offline_access");
        let prompt = prompt.as_deref().or(consents.then_some("consent"));
        let texts = [
            ("prompt", prompt),
            ("login_hint", login_hint.as_deref()),
            ("ui_locales", ui_locales.as_deref()),
            ("acr_values", acr_values.as_deref()),
        ];
        parameters.extend(texts.into_iter().filter_map(|(name, text)| Some((name, text?.into()))));
        parameters.extend(max_age.map(|seconds| ("max_age", seconds.to_string().into())));
        parameters
    }
}

/// Why a browser can't be sent to the provider.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AuthorizeError {
    #[error(transparent)]
    Unanswered(#[from] Unanswered),
    #[error("the provider does not take the pushed request: {0}")]
    NotTaken(Box<str>),
}

impl Registration {
    /// The address to send the browser to. Where requests are pushed (RFC 9126) this asks the provider first.
    ///
    /// # Errors
    /// [`AuthorizeError`] when the provider's endpoints are not known, or a request that must be pushed was not taken.
    pub async fn authorization_address(&self, request: &AuthorizationRequest<'_>) -> Result<Url, AuthorizeError> {
        let metadata = self.issuer().metadata();
        let endpoints = self.settings().identity.endpoints(&metadata);
        let endpoint = metadata.endpoints.authorization.as_ref().ok_or(Unanswered::NoEndpoint("authorization"))?;
        let pushed_to = match self.settings().par {
            Par::Off if !metadata.requires_par => None,
            Par::Auto => endpoints.par.clone(),
            Par::Required | Par::Off => {
                Some(endpoints.par.clone().ok_or(Unanswered::NoEndpoint("pushed authorization request"))?)
            }
        };
        let parameters = self.signed(request.parameters(), metadata.requires_signed_requests).await?;
        let Some(pushed_to) = pushed_to else { return Ok(address(endpoint, &parameters)) };
        // Section 2.1: all parameters of the request, the client id among them, whatever the client's authentication.
        // Section 3: of a signed request, nothing beside it.
        let is_signed = parameters.iter().any(|(name, _)| *name == "request");
        let parameters = parameters.iter().filter(|(name, _)| !is_signed || matches!(*name, "client_id" | "request"));
        let form = parameters.fold(Form::default(), |form, (name, value)| form.with(name, value));
        let reference = reference(&self.ask(Cause::Visitor, pushed_to, form).await?)?;
        Ok(address(endpoint, &[("client_id", request.client_id.into()), ("request_uri", reference.into())]))
    }
}

impl Registration {
    /// The parameters as one signed `request` (RFC 9101) where that is wanted; what OpenID Connect Core section 6.1 wants
    /// to see beside it stays beside it.
    async fn signed<'a>(
        &self,
        parameters: Parameters<'a>,
        is_demanded: bool,
    ) -> Result<Parameters<'a>, AuthorizeError> {
        let key = match (self.settings().request_object, &self.settings().key) {
            (RequestObject::Off, _) => return Ok(parameters),
            (RequestObject::Auto, _) if !is_demanded => return Ok(parameters),
            (_, Some(key)) => key.clone(),
            (_, None) => {
                return Err(AuthorizeError::NotTaken("it demands signed requests, and the client has no key".into()));
            }
        };
        let claims =
            request_claims(&parameters, &self.issuer().settings().issuer, self.issuer().clock().now().seconds());
        let signing = async move { key.0.sign(Some(REQUEST_TYPE), &claims) };
        let signed = self.issuer().control().run(signing).await;
        let signed = signed.map_err(|stopped| Unanswered::Failed(stopped.to_string().into()))?;
        let signed = signed.map_err(|_| Unanswered::Failed("the request can't be signed".into()))?;
        let mut beside: Parameters<'a> =
            parameters.into_iter().filter(|(name, _)| BESIDE_REQUEST.contains(name)).collect();
        beside.push(("request", signed.into()));
        Ok(beside)
    }
}

/// What a signed request says: who asks whom, and every parameter (RFC 9101 section 4).
fn request_claims(parameters: &Parameters<'_>, issuer: &str, now: u64) -> Value {
    let mut claims: serde_json::Map<String, Value> =
        parameters.iter().map(|(name, value)| ((*name).to_owned(), (&**value).into())).collect();
    // Section 4: a number is a number in JSON.
    if let Some(seconds) = claims.get("max_age").and_then(Value::as_str).and_then(|text| text.parse::<u64>().ok()) {
        claims.insert("max_age".to_owned(), seconds.into());
    }
    let client_id = claims.get("client_id").cloned().unwrap_or_default();
    claims.insert("iss".to_owned(), client_id);
    claims.insert("aud".to_owned(), issuer.into());
    claims.insert("jti".to_owned(), random::token().into());
    claims.insert("iat".to_owned(), now.into());
    claims.insert("nbf".to_owned(), now.into());
    claims.insert("exp".to_owned(), (now + REQUEST_LIFE).into());
    Value::Object(claims)
}

/// `request_uri` of the answer (RFC 9126 section 2.2).
fn reference(reply: &Reply) -> Result<String, AuthorizeError> {
    let no = |why: &str| AuthorizeError::NotTaken(why.into());
    if reply.status.is_server_error() {
        return Err(Unanswered::Failed(format!("it answered {}", reply.status).into()).into());
    }
    let members = json::object(&reply.body).map_err(|_| no("its answer is no JSON object"))?;
    if let Some(error) = members.get("error").and_then(Value::as_str) {
        return Err(no(&error.chars().filter(char::is_ascii_graphic).take(60).collect::<String>()));
    }
    let taken = matches!(reply.status, StatusCode::CREATED | StatusCode::OK) && reply.is("application/json");
    let reference = members.get("request_uri").and_then(Value::as_str).filter(|uri| !uri.is_empty() && taken);
    reference.map(str::to_owned).ok_or_else(|| no("its answer has no request_uri"))
}

/// The address that carries these parameters; what the endpoint's own query holds is kept (RFC 6749 section 3.1).
pub fn address(endpoint: &Url, parameters: &[(&str, Cow<'_, str>)]) -> Url {
    let mut address = endpoint.clone();
    address.set_fragment(None);
    address.query_pairs_mut().extend_pairs(parameters);
    address
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request<'a>(scope: &'a str, verifier: Option<&'a Verifier>, wishes: &'a Wishes) -> AuthorizationRequest<'a> {
        AuthorizationRequest {
            client_id: "shop",
            redirect_uri: "https://shop.example/oauth2/callback",
            response_type: "code",
            response_mode: None,
            scope,
            state: "s&1",
            nonce: "n",
            verifier,
            wishes,
        }
    }

    fn value<'p>(parameters: &'p Parameters<'_>, wanted: &str) -> Option<&'p str> {
        let mut found = parameters.iter().filter(|(name, _)| *name == wanted);
        let first = found.next().map(|(_, value)| &**value);
        assert!(found.next().is_none(), "{wanted} comes once");
        first
    }

    #[test]
    fn the_challenge_is_that_of_rfc_7636_appendix_b() {
        let verifier = Verifier::kept(Secret::new("dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk".to_owned()));
        assert_eq!(verifier.challenge(), "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM");
        assert_eq!(format!("{verifier:?}"), "Verifier([redacted])");
        assert_ne!(Verifier::random().expose(), Verifier::random().expose());
    }

    #[test]
    fn a_request_says_all_that_it_must() {
        let (verifier, wishes) = (Verifier::random(), Wishes::default());
        let parameters = request("openid", Some(&verifier), &wishes).parameters();
        for (name, wanted) in [
            ("client_id", "shop"),
            ("response_type", "code"),
            ("redirect_uri", "https://shop.example/oauth2/callback"),
            ("scope", "openid"),
            ("state", "s&1"),
            ("nonce", "n"),
            ("code_challenge_method", "S256"),
        ] {
            assert_eq!(value(&parameters, name), Some(wanted), "{name}");
        }
        assert_eq!(value(&parameters, "code_challenge"), Some(&*verifier.challenge()));
        for absent in ["prompt", "response_mode", "max_age", "login_hint"] {
            assert_eq!(value(&parameters, absent), None, "{absent}");
        }
    }

    #[test]
    fn offline_access_asks_for_consent_unless_the_operator_says_otherwise() {
        let wishes = Wishes::default();
        assert_eq!(value(&request("openid offline_access", None, &wishes).parameters(), "prompt"), Some("consent"));
        assert_eq!(value(&request("openid offline_access_x", None, &wishes).parameters(), "prompt"), None);
        let wishes = Wishes { prompt: Some("login".into()), max_age: Some(0), ..Wishes::default() };
        let parameters = request("openid offline_access", None, &wishes).parameters();
        assert_eq!((value(&parameters, "prompt"), value(&parameters, "max_age")), (Some("login"), Some("0")));
    }

    #[test]
    fn an_endpoint_keeps_its_own_query_and_values_are_escaped() {
        let endpoint = Url::parse("https://id.example/authorize?tenant=a#top").unwrap();
        let address = address(&endpoint, &[("state", "s&1 =".into())]);
        assert_eq!(address.as_str(), "https://id.example/authorize?tenant=a&state=s%261+%3D");
    }
}
