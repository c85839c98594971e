//! The way back from the provider, as a walk of types: each step consumes what the one before proved, so that none can be
//! left out or come too early.
//!
//! [`Returned`] (parsed, one reading) → [`Matched`] (this browser began it, with this provider, and it was not used yet)
//! → [`FrontProven`] (the ID token that came through the browser is good, and bound to all that came beside it)
//! → [`Granted`] (the code was exchanged, once) → [`Proven`] (the ID token is good) → a session, and on to the landing
//! address. Redeeming before matching, or before what is in front was proven, does not compile.
//!
//! No step asks which flow it serves: what an answer holds is all that its flow promises (see `response`), and each step
//! takes care of what is there.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderMap, HeaderName};
use http::{Method, Response};

use super::response::{Answer, Call, Front, Returned};
use super::start::redirect;
use super::{Along, Door, LoginError, Site, Visit, pages};
use crate::clock::Time;
use crate::idp::authorize::Verifier;
use crate::idp::id_token::{Companion, IdToken, IdTokenError, Nonce, Wanted};
use crate::idp::token::Grant;
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

/// What came through the browser is the provider's, of this attempt, and belongs together.
struct FrontProven {
    registration: Arc<Registration>,
    attempt: Transaction,
    front: Front,
    /// Whom the provider named through the browser.
    named: Option<IdToken>,
}

/// The code was exchanged; or there was none, and what came through the browser is all there is.
struct Granted {
    registration: Arc<Registration>,
    attempt: Transaction,
    code: Option<Secret>,
    named: Option<IdToken>,
    tokens: Tokens,
}

/// The ID token is good: somebody has signed in.
struct Proven {
    registration: Arc<Registration>,
    attempt: Transaction,
    tokens: Tokens,
    id_token: IdToken,
    ends_at: Option<Time>,
}

impl Site {
    pub(super) async fn callback(
        &self,
        visit: &Visit<'_>,
        body: Body,
        along: &mut Along,
    ) -> Result<Response<Body>, LoginError> {
        let (flow, mode) = (self.settings.flow, self.settings.mode);
        let call = mode.call(visit.method, visit.query).ok_or(LoginError::Carrier)?;
        let Some(parameters) = parameters(call, visit, body).await? else {
            return Ok(pages::fetch_answer(&self.settings.brand, &self.path(Door::Callback), &self.start_again(None)));
        };
        let returned = Returned::read(&parameters, flow, mode)?;
        let matched = self.matched(returned, visit, along).await?;
        let in_front = matched.prove_front().await?;
        let granted = in_front.redeem(&self.address(Door::Callback), visit.facts.now).await?;
        let proven = granted.prove().await?;
        let (return_to, state) = (proven.attempt.return_to.clone(), proven.attempt.state.clone());
        let has_form = proven.attempt.has_form;
        let session = proven.into_session(self, visit.facts.now).await?;
        along.cookies.extend(self.sessions.begin(&session, visit.cookies, visit.facts.now).await?);
        tracing::debug!(site = &*self.settings.name, client = &*session.client, "somebody has signed in");
        if !has_form {
            return Ok(self.land(visit, &return_to));
        }
        Ok(match self.kept_form(&state).await {
            Some(fields) => pages::send_again(&self.settings.brand, &return_to, &fields),
            None => pages::expired(&self.settings.brand, self.landings.find_or_home(Some(&return_to)).as_str()),
        })
    }

    /// Finds the attempt that an answer belongs to, and sees to it that it is answered once.
    async fn matched(&self, returned: Returned, visit: &Visit<'_>, along: &mut Along) -> Result<Matched, LoginError> {
        let Returned { state, issuer, answer, signed } = returned;
        let (attempt, changes) = self.transactions.find(&state, visit.cookies, visit.facts.now)?;
        along.cookies.extend(changes);
        along.return_to = Some(attempt.return_to.clone());
        // The cookie is gone at this browser; whoever kept a copy of it finds the state used.
        let used = Key::new("used-state", &[self.settings.name.as_bytes(), attempt.state.digest().as_bytes()]);
        if !self.kv.put_if_absent(&used, Bytes::from_static(b"1"), LIFETIME).await? {
            return Err(LoginError::Replayed);
        }
        let registration = self.registration(&attempt.client).ok_or(LoginError::OtherIssuer)?;
        self.is_from(registration, issuer.as_deref(), &answer)?;
        if let Some(signed) = signed {
            let (issuer, client_id) = (registration.issuer(), registration.client_id());
            issuer.check_signed_answer(signed.expose(), client_id, issuer.clock().now()).await?;
        }
        match answer {
            Answer::Granted(front) => Ok(Matched { registration: Arc::clone(registration), attempt, front }),
            Answer::Refused(error) => Err(LoginError::Provider(error)),
        }
    }

    /// Whether the answer is that of the provider which was asked (RFC 9207 section 2.4): before its code goes anywhere,
    /// so that no provider gets another's (RFC 9700 section 4.4). A provider that says it names itself must do so; where
    /// a site has several, each must. An ID token beside the code names it as well (RFC 9207 section 2): the next step looks
    /// at its `iss`, before the code is sent.
    fn is_from(&self, registration: &Registration, named: Option<&str>, answer: &Answer) -> Result<(), LoginError> {
        let issuer = registration.issuer();
        let is_named_within = matches!(answer, Answer::Granted(front) if front.id_token.is_some());
        let others = self.settings.registrations.iter().any(|other| other.issuer().id() != issuer.id());
        match named {
            Some(named) if *named == *issuer.settings().issuer => Ok(()),
            None if is_named_within => Ok(()),
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
    /// Checks the ID token that came through the browser, before anything else is done with what came beside it (OpenID
    /// Connect Core section 3.3.2.12): the code and the access token must be those that it names.
    async fn prove_front(self) -> Result<FrontProven, LoginError> {
        let Self { registration, attempt, front } = self;
        let named = match &front.id_token {
            None => None,
            Some(text) => {
                let access = front.access_token.as_ref().map(|access| &access.token);
                let wanted = Wanted {
                    client_id: registration.client_id(),
                    nonce: Nonce::Is(&attempt.nonce),
                    code: Companion::of(front.code.as_ref(), Companion::Bound),
                    access_token: Companion::of(access, Companion::Bound),
                    // Asked of the token that decides, in the last step.
                    acr: &[],
                    max_age: None,
                    now: registration.issuer().clock().now(),
                };
                Some(registration.issuer().check_id_token(text.expose(), &wanted).await?)
            }
        };
        Ok(FrontProven { registration, attempt, front, named })
    }
}

impl FrontProven {
    /// Exchanges the code, if one came. It is sent once: whatever comes of it, this attempt is over (RFC 6749 section
    /// 4.1.2). Tokens that came beside it end here: those of the token endpoint were seen by nobody else.
    async fn redeem(self, redirect_uri: &str, now: Time) -> Result<Granted, LoginError> {
        let Self { registration, attempt, front, named } = self;
        let Front { code, id_token, access_token } = front;
        let tokens = match &code {
            None => Tokens::of_front(id_token, access_token, now),
            Some(code) => {
                let verifier = Verifier::kept(attempt.verifier.clone());
                let verifier = registration.settings().pkce.then_some(&verifier);
                let set = registration.redeem(Grant::Code { code, redirect_uri, verifier }).await?;
                Tokens::received(&set, now, None)
            }
        };
        Ok(Granted { registration, attempt, code, named, tokens })
    }
}

impl Granted {
    /// Checks the ID token that decides against all that the attempt asked for.
    async fn prove(self) -> Result<Proven, LoginError> {
        let Self { registration, attempt, code, named, tokens } = self;
        // Not the time of the visit: the exchange took some, and a token that was issued during it is not of the future.
        let now = registration.issuer().clock().now();
        let text = tokens.id.as_ref().ok_or(LoginError::NoIdToken)?;
        let wanted = Wanted {
            client_id: registration.client_id(),
            nonce: Nonce::Is(&attempt.nonce),
            code: Companion::of(code.as_ref(), Companion::MayBeBound),
            access_token: Companion::of(tokens.access.as_ref(), Companion::MayBeBound),
            acr: &attempt.asked.acr,
            max_age: attempt.asked.max_age.map(Duration::from_secs),
            now,
        };
        let id_token = registration.issuer().check_id_token(text.expose(), &wanted).await?;
        // OpenID Connect Core section 3.3.3.6. Their `iss` is one: that of the issuer, for both.
        if named.is_some_and(|named| named.subject != id_token.subject) {
            return Err(LoginError::Disagree);
        }
        let ends_at = match code {
            Some(_) => None,
            // Nothing of it can be renewed: the session ends with what it came with.
            None => Some(tokens.access_expires_at.unwrap_or(id_token.expires_at).min(id_token.expires_at)),
        };
        if ends_at.is_some_and(|ends_at| ends_at <= now) {
            // Good for the clock's tolerance only; a session would be over before it began, again and again.
            return Err(IdTokenError::Expired.into());
        }
        Ok(Proven { registration, attempt, tokens, id_token, ends_at })
    }
}

impl Proven {
    /// A new session, whatever the browser brought: nobody can have prepared its id.
    async fn into_session(self, site: &Site, now: Time) -> Result<Session, LoginError> {
        let Self { registration, tokens, id_token, ends_at, .. } = self;
        let IdToken { subject, session, mut claims, .. } = id_token;
        if site.settings.userinfo {
            let access = tokens.access.as_ref().ok_or(LoginError::NoAccessToken)?;
            let told = registration.userinfo(access, &subject).await?;
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
            ends_at,
            generation: 0,
            tokens,
            claims,
        })
    }
}

/// What browsers say of where a request comes from (Fetch Metadata).
const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// The parameters of an answer, from the one place where the site's mode puts them; `None` as long as they are in the
/// browser.
async fn parameters(call: Call, visit: &Visit<'_>, body: Body) -> Result<Option<Form>, LoginError> {
    let form = match call {
        Call::Page => return Ok(None),
        Call::Query => Form::parse(visit.query.as_bytes())?,
        Call::Form => taken(visit.headers, body, FORM_LIMIT).await?,
        // What matches it to an attempt is its state; this only keeps others from trying.
        Call::OwnForm if visit.headers.get(SEC_FETCH_SITE).is_some_and(|site| site != "same-origin") => {
            return Err(LoginError::Carrier);
        }
        Call::OwnForm => taken(visit.headers, body, FORM_LIMIT).await?,
    };
    Ok(Some(form))
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
