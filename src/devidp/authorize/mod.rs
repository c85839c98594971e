//! The authorization endpoint (RFC 6749 section 3.1, OIDC Core section 3). Comes in: a browser with a request of some
//! client. Goes out: the sign-in page, or the browser on its way back with a code, tokens or an error. The steps, one
//! file each: read the [`request`], see who is signed in ([`sign_in`]), and [`respond`].

pub mod request;
mod respond;
mod sign_in;

pub use sign_in::{SESSION_COOKIE, without_cookie};

use std::sync::Arc;

use super::answer::{Answer, OAuthError};
use super::form::{Asked, Form};
use super::issue::{self, Beside};
use super::jwt::Parsed;
use super::model::{Code, Grant, Pending, Session};
use super::pages;
use super::realm::Realm;
use crate::seal::random;
use request::Request;

/// How long a sign-in page may stay open.
const PAGE_LIFETIME: std::time::Duration = std::time::Duration::from_secs(1800);

pub fn answer(realm: &Realm, asked: &Asked) -> Answer {
    match asked.path.as_str() {
        "/authorize/sign_in" if asked.method == http::Method::POST => sign_in::answer(realm, asked),
        "/authorize/sign_in" => Answer::method_not_allowed("POST"),
        _ if asked.method == http::Method::GET || asked.method == http::Method::POST => begin(realm, asked),
        _ => Answer::method_not_allowed("GET, POST"),
    }
}

fn begin(realm: &Realm, asked: &Asked) -> Answer {
    let form = match request::resolve(realm, asked.parameters()) {
        Ok(form) => form,
        Err(refused) => return pages::error(refused.description),
    };
    let request = match request::read(realm, &form) {
        Ok(request) => request,
        Err(request::Refused::Here(why)) => return pages::error(why),
        Err(request::Refused::AtClient(back, refused)) => return respond::refuse(realm, &back, &refused),
    };
    match signed_in(realm, asked, &request) {
        Some((cookie, session)) if !request.wants_sign_in(&session, realm.now()) => {
            finish(realm, &request, &cookie, &session)
        }
        _ if request.prompts("none") => {
            let refused = OAuthError::new("login_required", "nobody is signed in, or not as the request wants");
            respond::refuse(realm, &request.back, &refused)
        }
        _ => show_page(realm, asked, &request, form),
    }
}

/// The browser's session, unless the request is about someone else.
fn signed_in(realm: &Realm, asked: &Asked, request: &Request) -> Option<(String, Session)> {
    let cookie = asked.cookie(sign_in::SESSION_COOKIE)?;
    let session = realm.state().sessions.look(cookie, realm.now()).cloned()?;
    let subject = realm.user(&session.user)?.subject().to_owned();
    let hinted = request.id_token_hint.as_deref().and_then(Parsed::read);
    let other = hinted.is_some_and(|hint| hint.text("sub").is_some_and(|hinted| hinted != subject));
    (!other).then(|| (cookie.to_owned(), session))
}

fn show_page(realm: &Realm, asked: &Asked, request: &Request, form: Form) -> Answer {
    let browser = asked.cookie(sign_in::BROWSER_COOKIE).map_or_else(random::token, str::to_owned);
    let transaction = random::token();
    let until = realm.now().plus(PAGE_LIFETIME);
    realm.state().pending.put(transaction.clone(), Pending { request: form, browser: browser.clone() }, until);
    let page = pages::sign_in(realm, &request.back.client.client_id, &transaction, request.login_hint.as_deref(), None);
    sign_in::with_cookie(page, sign_in::BROWSER_COOKIE, &browser)
}

/// Hands out what was asked for.
fn finish(realm: &Realm, request: &Request, cookie: &str, session: &Session) -> Answer {
    let client = &request.back.client;
    if let Some(session) = realm.state().sessions.look_mut(cookie, realm.now())
        && !session.clients.contains(&client.client_id)
    {
        session.clients.push(client.client_id.clone());
    }
    let grant = Grant {
        id: random::token(),
        client_id: client.client_id.clone(),
        user: Some(session.user.clone()),
        scopes: request.scopes.clone(),
        audience: request.audience.clone(),
        session: Some(session.facts()),
        nonce: request.nonce.clone(),
        actor: None,
    };
    match hand_out(realm, request, &grant) {
        Ok(answer) => answer,
        Err(refused) => respond::refuse(realm, &request.back, &refused),
    }
}

fn hand_out(realm: &Realm, request: &Request, grant: &Grant) -> Result<Answer, OAuthError> {
    let client = Arc::clone(&request.back.client);
    let fault = realm.faults().answering();
    let mut members: Vec<(&'static str, String)> = Vec::new();
    let code = request.response_type.code.then(|| keep_code(realm, request, grant));
    if let Some(code) = &code {
        members.push(("code", code.clone()));
    }
    let token = request.response_type.token.then(|| issue::access_token(realm, &client, grant)).transpose()?;
    if let Some(token) = &token {
        members.push(("access_token", token.clone()));
        members.push(("token_type", "Bearer".to_owned()));
        members.push(("expires_in", client.access_token_lifetime.as_secs().to_string()));
        members.push(("scope", grant.scope()));
    }
    if request.response_type.id_token {
        let beside = Beside { access_token: token.as_deref(), code: code.as_deref() };
        members.push(("id_token", issue::id_token(realm, &client, grant, beside, fault.as_ref())?));
    }
    Ok(respond::deliver(realm, &request.back, members, fault.as_ref()))
}

fn keep_code(realm: &Realm, request: &Request, grant: &Grant) -> String {
    let code = random::token();
    let kept = Code {
        grant: grant.clone(),
        redirect_uri: request.back.redirect_uri.clone(),
        code_challenge: request.code_challenge.clone(),
        expires: realm.now().plus(realm.settings.code_lifetime),
        used: false,
    };
    // Kept past its end, so that a second use is known for what it is.
    let until = kept.expires.plus(PAGE_LIFETIME);
    realm.state().codes.put(code.clone(), kept, until);
    code
}
