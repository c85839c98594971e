//! The way back from the provider, as a walk of types: each step consumes what the one before proved, so that none can be
//! left out or come too early.
//!
//! [`Returned`] (parsed, one reading) → [`Matched`] (this browser began it, with this provider, and it was not used yet)
//! → [`Granted`] (the code was exchanged, once) → [`Proven`] (the ID token is good) → a session, and on to the landing
//! address. Redeeming before matching does not compile.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderMap};
use http::{Method, Response};

use super::response::{Answer, Front, Returned};
use super::start::redirect;
use super::{Along, Door, LoginError, Mode, Site, Visit, pages};
use crate::clock::Time;
use crate::idp::authorize::Verifier;
use crate::idp::id_token::{Companion, IdToken, Nonce, Wanted};
use crate::idp::token::{Grant, TokenSet};
use crate::idp::{Registration, userinfo};
use crate::kv::Key;
use crate::seal::Secret;
use crate::session::transaction::LIFETIME;
use crate::session::{Session, SessionId, Tokens, Transaction};
use crate::wire::Body;
use crate::wire::body::capped;
use crate::wire::cookies::SameSite;
use crate::wire::form::{self, Form};

/// The largest form that a provider's page posts: a few tokens. Bytes.
const FORM_LIMIT: usize = 128 * 1024;

/// An answer to an attempt that this browser began, and that nobody has answered yet.
struct Matched {
    registration: Arc<Registration>,
    attempt: Transaction,
    front: Front,
}

/// The code was exchanged.
struct Granted {
    registration: Arc<Registration>,
    attempt: Transaction,
    code: Secret,
    tokens: TokenSet,
}

/// The ID token is good: somebody has signed in.
struct Proven {
    registration: Arc<Registration>,
    attempt: Transaction,
    tokens: TokenSet,
    id_token: IdToken,
}

impl Site {
    pub(super) async fn callback(
        &self,
        visit: &Visit<'_>,
        body: Body,
        along: &mut Along,
    ) -> Result<Response<Body>, LoginError> {
        let parameters = parameters(self.settings.mode, visit, body).await?;
        let returned = Returned::read(&parameters, self.settings.flow)?;
        let matched = self.matched(returned, visit, along).await?;
        let granted = matched.redeem(&self.address(Door::Callback)).await?;
        let proven = granted.prove().await?;
        let (return_to, state) = (proven.attempt.return_to.clone(), proven.attempt.state.clone());
        let session = proven.into_session(self, visit.facts.now).await?;
        along.cookies.extend(self.sessions.begin(&session, visit.cookies, visit.facts.now).await?);
        tracing::debug!(site = &*self.settings.name, client = &*session.client, "somebody has signed in");
        match self.kept_form(&state).await {
            Some(fields) => Ok(pages::send_again(&self.settings.brand, &return_to, &fields)),
            None => Ok(self.land(visit, &return_to)),
        }
    }

    /// Finds the attempt that an answer belongs to, and sees to it that it is answered once.
    async fn matched(&self, returned: Returned, visit: &Visit<'_>, along: &mut Along) -> Result<Matched, LoginError> {
        let Returned { state, issuer, answer } = returned;
        let (attempt, changes) = self.transactions.find(&state, visit.cookies, visit.facts.now)?;
        along.cookies.extend(changes);
        along.return_to = Some(attempt.return_to.clone());
        // The cookie is gone at this browser; whoever kept a copy of it finds the state used.
        let used = Key::new("used-state", &[self.settings.name.as_bytes(), attempt.state.digest().as_bytes()]);
        if !self.kv.put_if_absent(&used, Bytes::from_static(b"1"), LIFETIME).await? {
            return Err(LoginError::Replayed);
        }
        let registration = self.registration(&attempt.client).ok_or(LoginError::OtherIssuer)?;
        self.is_from(registration, issuer.as_deref())?;
        match answer {
            Answer::Granted(front) => Ok(Matched { registration: Arc::clone(registration), attempt, front }),
            Answer::Refused(error) => Err(LoginError::Provider(error)),
        }
    }

    /// Whether the answer is that of the provider which was asked (RFC 9207 section 2.4): before its code goes anywhere,
    /// so that no provider gets another's (RFC 9700 section 4.4). A provider that says it names itself must do so; where
    /// a site has several, each must.
    fn is_from(&self, registration: &Registration, named: Option<&str>) -> Result<(), LoginError> {
        let issuer = registration.issuer();
        let others = self.settings.registrations.iter().any(|other| other.issuer().id() != issuer.id());
        match named {
            Some(named) if *named == *issuer.settings().issuer => Ok(()),
            None if !others && !issuer.metadata().names_itself_in_answers => Ok(()),
            _ => Err(LoginError::OtherIssuer),
        }
    }

    /// Goes on to where the person wanted to be.
    fn land(&self, visit: &Visit<'_>, return_to: &str) -> Response<Body> {
        // Judged when the attempt began, and again: the configuration may have changed meanwhile.
        let landing = self.landings.find_or_home(Some(return_to));
        if self.settings.cookie_scope.same_site == SameSite::Strict {
            return pages::go_on(&self.settings.brand, landing.as_str());
        }
        redirect(&if *visit.method == Method::GET { Method::GET } else { Method::POST }, landing.as_str())
    }
}

impl Matched {
    /// Exchanges the code. It is sent once: whatever comes of it, this attempt is over (RFC 6749 section 4.1.2).
    async fn redeem(self, redirect_uri: &str) -> Result<Granted, LoginError> {
        let Self { registration, attempt, front } = self;
        let code = front.code.ok_or(super::response::ResponseError::Missing("code"))?;
        let verifier = Verifier::kept(attempt.verifier.clone());
        let verifier = registration.settings().pkce.then_some(&verifier);
        let tokens = registration.redeem(Grant::Code { code: &code, redirect_uri, verifier }).await?;
        Ok(Granted { registration, attempt, code, tokens })
    }
}

impl Granted {
    /// Checks the ID token against what the attempt asked for.
    async fn prove(self) -> Result<Proven, LoginError> {
        let Self { registration, attempt, code, tokens } = self;
        // Not the time of the visit: the exchange took some, and a token that was issued during it is not of the future.
        let now = registration.issuer().clock().now();
        let text = tokens.id_token.as_ref().ok_or(LoginError::NoIdToken)?;
        let wanted = Wanted {
            client_id: registration.client_id(),
            nonce: Nonce::Is(&attempt.nonce),
            code: Companion::MayBeBound(code.expose()),
            access_token: Companion::MayBeBound(tokens.access_token.expose()),
            acr: &attempt.asked.acr,
            max_age: attempt.asked.max_age.map(Duration::from_secs),
            now,
        };
        let id_token = registration.issuer().check_id_token(text.expose(), &wanted).await?;
        Ok(Proven { registration, attempt, tokens, id_token })
    }
}

impl Proven {
    /// A new session, whatever the browser brought: nobody can have prepared its id.
    async fn into_session(self, site: &Site, now: Time) -> Result<Session, LoginError> {
        let Self { registration, tokens, id_token, .. } = self;
        let IdToken { subject, session, mut claims, .. } = id_token;
        if site.settings.userinfo {
            let told = registration.userinfo(&tokens.access_token, &subject).await?;
            userinfo::merge(&mut claims, told);
        }
        Ok(Session {
            id: SessionId::random(),
            site: (&*site.settings.name).into(),
            client: (&**registration.name()).into(),
            issuer: (&*registration.issuer().settings().issuer).into(),
            subject,
            sid: session,
            signed_in_at: now,
            seen_at: now,
            generation: 0,
            tokens: Tokens::received(&tokens, now, None),
            claims,
        })
    }
}

/// The parameters of an answer, from the one place where the site's mode puts them.
async fn parameters(mode: Mode, visit: &Visit<'_>, body: Body) -> Result<Form, LoginError> {
    if *visit.method != mode.method() {
        return Err(LoginError::Carrier);
    }
    match mode {
        Mode::Query => Ok(Form::parse(visit.query.as_bytes())?),
        Mode::FormPost if visit.query.is_empty() => taken(visit.headers, body, FORM_LIMIT).await,
        Mode::FormPost => Err(LoginError::Carrier),
    }
}

/// A form from a body, if it says that it is one.
pub(super) async fn taken(headers: &HeaderMap, body: Body, limit: usize) -> Result<Form, LoginError> {
    let content_type = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let media_type = content_type.split(';').next().unwrap_or_default().trim();
    if !media_type.eq_ignore_ascii_case(form::MEDIA_TYPE) {
        return Err(LoginError::Carrier);
    }
    Ok(Form::parse(&capped(body, limit).await?)?)
}
