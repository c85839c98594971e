//! What a client asks of the authorization endpoint, checked in the order that decides where an error may go: until
//! client and redirect URI are known good, it stays here (RFC 6749 section 4.1.2.1).

use std::sync::Arc;

use crate::clock::Time;
use crate::devidp::answer::OAuthError;
use crate::devidp::form::Form;
use crate::devidp::jwt::Parsed;
use crate::devidp::model::Session;
use crate::devidp::realm::Realm;
use crate::devidp::settings::{Authentication, ClientEntry, ResponseType};
use crate::devidp::token::{granted_audience, granted_scopes};

/// How the answer travels (OAuth 2.0 Multiple Response Types section 2.1; Form Post; JARM).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Carrier {
    Query,
    Fragment,
    FormPost,
}

/// The way back to the client.
pub struct Back {
    pub client: Arc<ClientEntry>,
    pub redirect_uri: String,
    pub state: Option<String>,
    pub carrier: Carrier,
    /// As one signed `response` (JARM).
    pub signed: bool,
}

/// A request that can be granted, once someone has signed in.
pub struct Request {
    pub back: Back,
    pub response_type: ResponseType,
    pub scopes: Vec<String>,
    pub audience: Vec<String>,
    pub nonce: Option<String>,
    pub code_challenge: Option<String>,
    pub prompt: Vec<String>,
    pub max_age: Option<u64>,
    pub acr_values: Vec<String>,
    pub login_hint: Option<String>,
    pub id_token_hint: Option<String>,
}

pub enum Refused {
    /// Not a client, or not its redirect URI: shown to the person.
    Here(&'static str),
    AtClient(Box<Back>, OAuthError),
}

impl Request {
    pub fn prompts(&self, word: &str) -> bool {
        self.prompt.iter().any(|prompt| prompt == word)
    }

    /// Whether `session` is not good enough (OIDC Core section 3.1.2.1).
    pub fn wants_sign_in(&self, session: &Session, now: Time) -> bool {
        let too_old = self.max_age.is_some_and(|limit| now.since(session.signed_in).as_secs() > limit || limit == 0);
        let too_weak = !self.acr_values.is_empty() && !self.acr_values.contains(&session.acr);
        self.prompts("login") || self.prompts("select_account") || too_old || too_weak
    }
}

/// Unpacks a pushed request (RFC 9126) or a signed one (RFC 9101): only what it holds counts then.
pub fn resolve(realm: &Realm, form: &Form) -> Result<Form, OAuthError> {
    let client_id = form.get("client_id").ok_or(OAuthError::invalid_request("client_id is missing"))?;
    let form = match form.get("request_uri") {
        Some(uri) => {
            let pushed = realm.state().pushed.take(uri, realm.now()).filter(|(owner, _)| owner == client_id);
            pushed.ok_or(OAuthError::invalid_request("request_uri is unknown, used or expired"))?.1
        }
        None => form.clone(),
    };
    match form.get("request") {
        Some(object) => signed_request(realm, client_id, object),
        None => Ok(form),
    }
}

fn signed_request(realm: &Realm, client_id: &str, object: &str) -> Result<Form, OAuthError> {
    let bad = OAuthError::new("invalid_request_object", "the request object is not a good one of this client");
    let client = realm.client(client_id).ok_or(bad.clone())?;
    let parsed = Parsed::read(object).ok_or(bad.clone())?;
    let with_secret =
        client.secret.as_ref().is_some_and(|secret| parsed.signed_with_secret(secret.expose().as_bytes()));
    let in_time = parsed.seconds("exp").is_none_or(|end| end > realm.now().seconds());
    let named = parsed.text("client_id") == Some(client_id) && parsed.is_for(&realm.issuer);
    if (with_secret || parsed.signed_by(&client.jwks)) && in_time && named {
        Ok(Form::from_json(parsed.claims))
    } else {
        Err(bad)
    }
}

pub fn read(realm: &Realm, form: &Form) -> Result<Request, Refused> {
    let client =
        form.get("client_id").and_then(|id| realm.client(id)).ok_or(Refused::Here("no client has this client_id"))?;
    let redirect_uri = form.get("redirect_uri").ok_or(Refused::Here("redirect_uri is missing"))?.to_owned();
    if !client.redirect_uris.contains(&redirect_uri) {
        return Err(Refused::Here("redirect_uri is not one that this client has registered"));
    }
    let response_type = form.get("response_type").and_then(ResponseType::parse);
    let usual =
        if response_type.is_none_or(|kind| kind == ResponseType::CODE) { Carrier::Query } else { Carrier::Fragment };
    let state = form.get("state").map(str::to_owned);
    let mode = form.get("response_mode").map(|name| carrier(name, usual));
    let (carrier, signed) = mode.flatten().unwrap_or((usual, false));
    let back = Back { client, redirect_uri, state, carrier, signed };
    let refused = match (response_type, mode) {
        (None, _) if form.get("response_type").is_none() => OAuthError::invalid_request("response_type is missing"),
        (None, _) => OAuthError::new("unsupported_response_type", "this response_type is not supported"),
        (_, Some(None)) => OAuthError::invalid_request("response_mode is not supported"),
        (Some(kind), _) => match check(&back, kind, form) {
            Ok(granted) => return Ok(assemble(back, kind, granted, form)),
            Err(refused) => refused,
        },
    };
    Err(Refused::AtClient(Box::new(back), refused))
}

/// What the checks found out.
struct Granted {
    scopes: Vec<String>,
    audience: Vec<String>,
    max_age: Option<u64>,
}

fn check(back: &Back, kind: ResponseType, form: &Form) -> Result<Granted, OAuthError> {
    let client = &back.client;
    if !client.response_types.contains(&kind) || !client.allows(kind.grant()) {
        return Err(OAuthError::new("unauthorized_client", "this response_type is not registered for the client"));
    }
    // OAuth 2.0 Multiple Response Types section 5: tokens never travel in a query.
    if kind != ResponseType::CODE && back.carrier == Carrier::Query {
        return Err(OAuthError::invalid_request("this response_type can't be answered in the query"));
    }
    let scopes = granted_scopes(client, form.words("scope"))?;
    let openid = scopes.iter().any(|scope| scope == "openid");
    if kind.id_token && !openid {
        return Err(OAuthError::new("invalid_scope", "an ID token needs the scope openid"));
    }
    if kind.id_token && form.get("nonce").is_none() {
        return Err(OAuthError::invalid_request("nonce is required when an ID token comes by the browser"));
    }
    check_challenge(client, kind, form)?;
    let prompt = form.words("prompt");
    if prompt.len() > 1 && prompt.iter().any(|word| word == "none") {
        return Err(OAuthError::invalid_request("prompt none stands alone"));
    }
    let max_age = form.get("max_age").map(str::parse).transpose();
    let max_age = max_age.map_err(|_| OAuthError::invalid_request("max_age is not a number of seconds"))?;
    Ok(Granted { scopes, audience: granted_audience(client, form)?, max_age })
}

/// RFC 7636 section 4.3, and RFC 9700 section 2.1.1: `plain` is not spoken here.
fn check_challenge(client: &ClientEntry, kind: ResponseType, form: &Form) -> Result<(), OAuthError> {
    let required = client.require_pkce || client.authentication == Authentication::None;
    match (form.get("code_challenge"), form.get("code_challenge_method")) {
        (Some(challenge), Some("S256")) if challenge.len() == 43 => Ok(()),
        (Some(_), Some("S256")) => Err(OAuthError::invalid_request("code_challenge has not the length of a SHA-256")),
        (Some(_), _) => Err(OAuthError::invalid_request("code_challenge_method must be S256")),
        (None, Some(_)) => Err(OAuthError::invalid_request("code_challenge_method without code_challenge")),
        (None, None) if kind.code && required => Err(OAuthError::invalid_request("this client must use PKCE")),
        (None, None) => Ok(()),
    }
}

fn assemble(back: Back, response_type: ResponseType, granted: Granted, form: &Form) -> Request {
    let text = |name: &str| form.get(name).map(str::to_owned);
    Request {
        back,
        response_type,
        scopes: granted.scopes,
        audience: granted.audience,
        max_age: granted.max_age,
        nonce: text("nonce"),
        code_challenge: text("code_challenge"),
        prompt: form.words("prompt"),
        acr_values: form.words("acr_values"),
        login_hint: text("login_hint"),
        id_token_hint: text("id_token_hint"),
    }
}

fn carrier(name: &str, usual: Carrier) -> Option<(Carrier, bool)> {
    Some(match name {
        "query" => (Carrier::Query, false),
        "fragment" => (Carrier::Fragment, false),
        "form_post" => (Carrier::FormPost, false),
        "jwt" => (usual, true),
        "query.jwt" => (Carrier::Query, true),
        "fragment.jwt" => (Carrier::Fragment, true),
        "form_post.jwt" => (Carrier::FormPost, true),
        _ => return None,
    })
}
