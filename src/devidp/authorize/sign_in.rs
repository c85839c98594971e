//! What the sign-in page sends: name and password for a request that waits. The page belongs to the browser that it was
//! shown to; a sign-in makes a new session, never continues one (no fixation).

use super::{finish, request, respond};
use crate::devidp::answer::{Answer, OAuthError};
use crate::devidp::form::Asked;
use crate::devidp::model::Session;
use crate::devidp::pages;
use crate::devidp::realm::Realm;
use crate::seal::random;

pub const SESSION_COOKIE: &str = "devidp-session";
pub const BROWSER_COOKIE: &str = "devidp-browser";

/// What a sign-in with a password is worth unless the request names something else.
const PASSWORD_ACR: &str = "1";

/// Cookies know no ports: the names keep clear of a gateway on the same host. No `Secure`, for this is http.
pub fn with_cookie(answer: Answer, name: &str, value: &str) -> Answer {
    answer.with(http::header::SET_COOKIE, &format!("{name}={value}; Path=/; HttpOnly; SameSite=Lax"))
}

pub fn without_cookie(answer: Answer, name: &str) -> Answer {
    answer.with(http::header::SET_COOKIE, &format!("{name}=; Path=/; HttpOnly; SameSite=Lax; Max-Age=0"))
}

pub fn answer(realm: &Realm, asked: &Asked) -> Answer {
    let transaction = asked.form.get("transaction").unwrap_or_default();
    let browser = asked.cookie(BROWSER_COOKIE).unwrap_or_default();
    let waiting =
        realm.state().pending.look(transaction, realm.now()).map(|kept| (kept.request.clone(), kept.browser.clone()));
    let Some((form, _)) = waiting.filter(|(_, owner)| owner == browser) else {
        return pages::error("this sign-in page has expired, or belongs to another browser");
    };
    let Ok(request) = request::read(realm, &form) else {
        return pages::error("the client of this sign-in has changed; start again");
    };
    if asked.form.get("cancel").is_some() {
        realm.state().pending.take(transaction, realm.now());
        let refused = OAuthError::new("access_denied", "the person said no");
        return respond::refuse(realm, &request.back, &refused);
    }
    let (name, password) =
        (asked.form.get("username").unwrap_or_default(), asked.form.get("password").unwrap_or_default());
    let Some(user) = realm.sign_in(name, password) else {
        let wrong = Some("Name or password is wrong.");
        let mut page = pages::sign_in(realm, &request.back.client.client_id, transaction, Some(name), wrong);
        page.status = http::StatusCode::FORBIDDEN;
        return page;
    };
    let session = Session {
        id: random::token(),
        user: user.name.clone(),
        signed_in: realm.now(),
        acr: request.acr_values.first().map_or(PASSWORD_ACR, String::as_str).to_owned(),
        clients: Vec::new(),
    };
    let cookie = random::token();
    let until = realm.now().plus(realm.settings.session_lifetime);
    {
        let mut state = realm.state();
        state.pending.take(transaction, realm.now());
        if let Some(old) = asked.cookie(SESSION_COOKIE) {
            state.sessions.take(old, realm.now());
        }
        state.sessions.put(cookie.clone(), session.clone(), until);
    }
    with_cookie(finish(realm, &request, &cookie, &session), SESSION_COOKIE, &cookie)
}
