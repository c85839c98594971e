//! The end of a session: asked for by an application through the browser (OIDC RP-Initiated Logout 1.0), or by the
//! operator. Every client that took part is told, by the back channel ([`super::backchannel`]) and by the front.

use std::sync::Arc;

use super::answer::Answer;
use super::authorize::{SESSION_COOKIE, without_cookie};
use super::backchannel::{self, LogoutCall};
use super::form::{Asked, Form};
use super::jwt::Parsed;
use super::model::Session;
use super::pages;
use super::realm::Realm;
use super::settings::ClientEntry;

/// A request to sign out, as far as it can be believed.
struct Wish {
    client: Option<Arc<ClientEntry>>,
    /// Session that the ID token hint names.
    hinted: Option<String>,
    return_to: Option<String>,
}

pub async fn answer(realm: &Arc<Realm>, asked: &Asked) -> Answer {
    if asked.method != http::Method::GET && asked.method != http::Method::POST {
        return Answer::method_not_allowed("GET, POST");
    }
    let form = asked.parameters();
    let wish = match read(realm, form) {
        Ok(wish) => wish,
        Err(why) => return pages::error(why),
    };
    let cookie = asked.cookie(SESSION_COOKIE).unwrap_or_default();
    let session = realm.state().sessions.look(cookie, realm.now()).cloned();
    let agreed = asked.method == http::Method::POST && form.get("confirm").is_some();
    let vouched = |session: &Session| wish.hinted.as_ref() == Some(&session.id);
    // Section 2: without a fitting hint the person is asked, so that a foreign link signs nobody out.
    if session.as_ref().is_some_and(|session| !vouched(session) && !agreed) {
        return pages::confirm_logout(realm, form.pairs());
    }
    let ended = session.map(|session| session.id).or(wish.hinted);
    let sessions = end_sessions(realm, |session| Some(&session.id) == ended.as_ref());
    backchannel::tell(realm, &sessions).await;
    let frames = front_channel(realm, &sessions);
    let answer = match (&wish.return_to, frames.is_empty()) {
        (Some(target), true) => Answer::see_other(target),
        (target, _) => pages::signed_out(&frames, target.as_deref()),
    };
    let named = wish.client.map(|client| client.client_id.clone());
    tracing::debug!(client = named, sessions = sessions.len(), "signed out at the development provider");
    without_cookie(answer, SESSION_COOKIE)
}

fn read(realm: &Realm, form: &Form) -> Result<Wish, &'static str> {
    let hint = form.get("id_token_hint").map(|token| {
        // An expired hint is as good as a fresh one (section 2).
        let ours =
            |parsed: &Parsed| parsed.signed_by(&realm.published_keys()) && parsed.text("iss") == Some(&realm.issuer);
        Parsed::read(token).filter(ours)
    });
    let hint = match hint {
        Some(None) => return Err("id_token_hint is not an ID token of this provider"),
        known => known.flatten(),
    };
    let hinted_client = hint.as_ref().and_then(|hint| hint.text("azp").or_else(|| hint.text("aud")));
    if let (Some(named), Some(hinted)) = (form.get("client_id"), hinted_client)
        && named != hinted
    {
        return Err("client_id is not that of id_token_hint");
    }
    let client = form.get("client_id").or(hinted_client).and_then(|id| realm.client(id));
    let return_to = match form.get("post_logout_redirect_uri") {
        Some(uri)
            if client
                .as_ref()
                .is_some_and(|client| client.post_logout_redirect_uris.iter().any(|known| known == uri)) =>
        {
            Some(with_state(uri, form.get("state")))
        }
        Some(_) => return Err("post_logout_redirect_uri is not one that this client has registered"),
        None => None,
    };
    Ok(Wish { client, hinted: hint.and_then(|hint| hint.text("sid").map(str::to_owned)), return_to })
}

fn with_state(uri: &str, state: Option<&str>) -> String {
    let Some(state) = state else { return uri.to_owned() };
    let joint = if uri.contains('?') { '&' } else { '?' };
    let pair = url::form_urlencoded::Serializer::new(String::new()).append_pair("state", state).finish();
    format!("{uri}{joint}{pair}")
}

/// Ends the sessions that `which` picks, and their grants, but for those that asked to outlive them
/// (`offline_access`; OIDC Back-Channel Logout section 2.7).
fn end_sessions(realm: &Realm, which: impl Fn(&Session) -> bool) -> Vec<Session> {
    let now = realm.now();
    let mut state = realm.state();
    let picked = state.sessions.iter(now).filter(|(_, session)| which(session));
    let picked: Vec<(String, Session)> = picked.map(|(cookie, session)| (cookie.to_owned(), session.clone())).collect();
    for (cookie, session) in &picked {
        state.sessions.take(cookie, now);
        let refresh = state.refresh_tokens.iter(now).map(|(_, token)| &token.grant);
        let grants = refresh.chain(state.access_tokens.iter(now).map(|(_, token)| &token.grant));
        let theirs = grants.filter(|grant| grant.session.as_ref().is_some_and(|facts| facts.id == session.id));
        let over: Vec<String> =
            theirs.filter(|grant| !grant.has("offline_access")).map(|grant| grant.id.clone()).collect();
        for grant in over {
            state.end_grant(&grant, now);
        }
    }
    picked.into_iter().map(|(_, session)| session).collect()
}

/// Addresses to load in frames (OIDC Front-Channel Logout section 2).
fn front_channel(realm: &Realm, sessions: &[Session]) -> Vec<String> {
    let mut frames = Vec::new();
    for session in sessions {
        for client in session.clients.iter().filter_map(|id| realm.client(id)) {
            let Some(uri) = &client.frontchannel_logout_uri else { continue };
            let joint = if uri.contains('?') { '&' } else { '?' };
            let pairs = [("iss", realm.issuer.as_str()), ("sid", session.id.as_str())];
            let query = url::form_urlencoded::Serializer::new(String::new()).extend_pairs(pairs).finish();
            frames.push(format!("{uri}{joint}{query}"));
        }
    }
    frames
}

/// Signs a user out everywhere, and tells every client; everyone, if nobody is named.
pub async fn log_out(realm: &Realm, user: Option<&str>) -> Vec<LogoutCall> {
    let sessions = end_sessions(realm, |session| user.is_none_or(|user| session.user == user));
    backchannel::tell(realm, &sessions).await
}
