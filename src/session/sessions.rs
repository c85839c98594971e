//! The sessions of one site. Comes in: the cookies of a request, or a sign-in that went well. Goes out: the session that
//! belongs to it, and what is to become of the cookies.

use std::sync::Arc;
use std::time::Duration;

use super::cookie::{SessionCookie, Unreadable};
use super::opened::{Live, Opened};
use super::refresh::{Renewal, RenewalTally, Renewed};
use super::store::{self, Lifetime, SessionStore, StoreError, Whose};
use super::{Session, codec};
use crate::clock::{Clock, Time};
use crate::control::Control;
use crate::idp::Registration;
use crate::seal::{KeyRing, MasterKeys};
use crate::wire::cookies::{CookieChanges, CookieScope, OwnCookies};

/// How a site keeps its sessions.
#[derive(Clone, Debug)]
pub struct SessionsSettings {
    /// The site's name in the configuration.
    pub site: Arc<str>,
    /// By which people sign in there; a session of any other is none.
    pub registrations: Vec<Arc<Registration>>,
    /// A session that was not used for so long is over.
    pub idle: Duration,
    /// A session is over so long after the sign-in.
    pub absolute: Duration,
    /// The name of the session cookie.
    pub cookie: Box<str>,
    pub scope: CookieScope,
    /// Userinfo is asked again when tokens are renewed, and merged into the claims.
    pub userinfo: bool,
}

/// See the module.
#[derive(Debug)]
pub struct Sessions {
    settings: SessionsSettings,
    cookie: SessionCookie,
    ring: KeyRing,
    store: Arc<SessionStore>,
    opened: Opened,
    renewal: Renewal,
}

/// What a request's cookies led to.
#[derive(Debug, Default)]
pub struct Found {
    pub session: Option<Arc<Live>>,
    /// For whatever answer goes out.
    pub changes: CookieChanges,
}

/// Why it can't be said whether there is a session.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FindError {
    #[error("a session cookie came twice")]
    Repeated,
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The access token is over and nobody can say whether a new one is to be had.
    #[error("the issuer is out of reach, and the session's tokens are over")]
    Issuer { retry_after: Duration },
}

/// A session in a cookie is written anew when it was not for this long, or a twentieth of its idle time: often enough
/// for the idle time to be kept, and seldom enough for most answers to go without a cookie.
const GRAIN: Duration = Duration::from_secs(60);

impl Sessions {
    pub fn new(
        settings: SessionsSettings,
        keys: &MasterKeys,
        store: SessionStore,
        clock: Clock,
        control: Control,
    ) -> Arc<Self> {
        let cookie = SessionCookie::new(&settings.cookie, settings.scope.clone());
        let store = Arc::new(store);
        let renewal = Renewal::new(&settings, Arc::clone(&store), clock, control);
        Arc::new(Self { cookie, ring: keys.ring("session"), store, opened: Opened::new(), renewal, settings })
    }

    pub const fn settings(&self) -> &SessionsSettings {
        &self.settings
    }

    /// How often tokens were renewed, and how that went.
    pub fn renewals(&self) -> &RenewalTally {
        self.renewal.tally()
    }

    /// The registration by which a session came to be; `None` when the site has it no more.
    pub fn registration(&self, session: &Session) -> Option<&Arc<Registration>> {
        self.settings.registrations.iter().find(|registration| {
            **registration.name() == *session.client && *registration.issuer().settings().issuer == *session.issuer
        })
    }

    /// Whether a request shows a session cookie at all.
    pub fn is_shown(&self, cookies: &OwnCookies) -> bool {
        cookies.iter().any(|(name, _)| name == self.cookie.name())
    }

    /// The session of a request, with fresh tokens. A cookie that leads nowhere is taken away.
    ///
    /// # Errors
    /// [`FindError`] when that can't be said now: never "no session".
    pub async fn find(&self, cookies: &OwnCookies, now: Time) -> Result<Found, FindError> {
        let Some((live, is_current)) = self.load(cookies, now).await? else { return Ok(self.nobody(cookies)) };
        match self.renewal.keep_fresh(&live.session, now).await? {
            Renewed::NotNeeded if is_current && !self.is_due_for_writing(&live.session, now) => {
                Ok(Found { session: Some(live), changes: CookieChanges::default() })
            }
            Renewed::NotNeeded => {
                let live = Live::new(Session { seen_at: now, ..live.session.clone() }, true);
                let changes = self.write(&live.session, cookies, now)?;
                Ok(Found { session: Some(live), changes })
            }
            Renewed::Fresh(session) => {
                let changes = match &*self.store {
                    SessionStore::InCookie(_) => self.write(&session, cookies, now)?,
                    SessionStore::Kept(_) => CookieChanges::default(),
                };
                Ok(Found { session: Some(Live::new(Session::clone(&session), true)), changes })
            }
            Renewed::Over => Ok(self.nobody(cookies)),
        }
    }

    /// The session of a request as it is: tokens are not renewed, cookies not touched.
    ///
    /// # Errors
    /// [`FindError`] when that can't be said now.
    pub async fn peek(&self, cookies: &OwnCookies, now: Time) -> Result<Option<Session>, FindError> {
        Ok(self.load(cookies, now).await?.map(|(live, _)| live.session.clone()))
    }

    /// Keeps a new session and hands its cookie to the browser. What the browser held before ends: a session that
    /// somebody else planted there is of no use to them.
    ///
    /// # Errors
    /// [`FindError`] when it can't be kept, or what was there not be told; nothing has changed for the browser then.
    pub async fn begin(&self, session: &Session, cookies: &OwnCookies, now: Time) -> Result<CookieChanges, FindError> {
        if let Some(before) = self.peek(cookies, now).await? {
            self.store.end(&before, self.lifetime(&before, now)).await?;
        }
        let held = self.store.begin(session, self.lifetime(session, now)).await?;
        let changes = self.set(&held, session, cookies, now);
        if changes.is_err() {
            // Nobody can come back to it.
            let _ = self.store.end(session, self.lifetime(session, now)).await;
        }
        Ok(changes?)
    }

    /// Ends the session of a request, if there is one. Goes out: the session, for the provider to be told.
    ///
    /// # Errors
    /// [`FindError`] when the store is out of reach, or the cookie came twice: the session may live, and its cookie is
    /// still there.
    pub async fn end(&self, cookies: &OwnCookies, now: Time) -> Result<(Option<Session>, CookieChanges), FindError> {
        let session = self.peek(cookies, now).await?;
        if let Some(session) = &session {
            self.store.end(session, self.lifetime(session, now)).await?;
        }
        Ok((session, self.cookie.clear(cookies)))
    }

    /// Ends all sessions here of one of the issuer's own sessions, or else of a subject, as the issuer says.
    ///
    /// # Errors
    /// [`StoreError`] when the store is out of reach; some may live then.
    pub async fn end_all(
        &self,
        issuer: &str,
        subject: Option<&str>,
        sid: Option<&str>,
        now: Time,
    ) -> Result<(), StoreError> {
        let whose = Whose { site: &self.settings.site, issuer, subject, sid };
        self.store.end_all(whose, now, self.settings.absolute).await
    }

    /// Ends the sessions of one of the issuer's own sessions that are kept on this side: at the word of a browser, which
    /// proves nothing but that it knows the `sid`.
    ///
    /// # Errors
    /// [`StoreError`] when the store is out of reach; some may live then.
    pub async fn end_known(&self, issuer: &str, sid: &str) -> Result<(), StoreError> {
        let whose = Whose { site: &self.settings.site, issuer, subject: None, sid: Some(sid) };
        self.store.end_known(whose).await
    }

    /// Whether a session that was found a while ago is still one: for what goes on longer than a request.
    ///
    /// # Errors
    /// [`StoreError`] when the store is out of reach.
    pub async fn lives(&self, session: &Session, now: Time) -> Result<bool, StoreError> {
        if now >= session.over_at(self.settings.absolute) {
            return Ok(false);
        }
        self.store.lives(session).await
    }

    /// The session that the cookies of a request hold, or the id in them leads to. Cookies that were not sealed here, for
    /// this very cookie, are as good as none. Goes out beside it: whether they were sealed by the first key.
    async fn load(&self, cookies: &OwnCookies, now: Time) -> Result<Option<(Arc<Live>, bool)>, FindError> {
        let text = match self.cookie.read(cookies) {
            Ok(Some(text)) => text,
            Ok(None) | Err(Unreadable::Incomplete) => return Ok(None),
            Err(Unreadable::Repeated) => return Err(FindError::Repeated),
        };
        let open = || self.ring.open_text(self.cookie.name(), &text).ok();
        match &*self.store {
            SessionStore::InCookie(ended) => {
                let opened = self.opened.find(b"", text.as_bytes(), || {
                    let opened = open()?;
                    Some(Live::new(codec::decode_session(&opened.plain)?, opened.is_current))
                });
                let Some(live) = opened.filter(|live| self.is_ours(&live.session, now)) else { return Ok(None) };
                let has_ended = ended.holds(&live.session).await.map_err(StoreError::from)?;
                let is_current = live.is_current;
                Ok((!has_ended).then_some((live, is_current)))
            }
            SessionStore::Kept(kept) => {
                let handle = open().and_then(|handle| Some((store::id(&handle.plain)?, handle.is_current)));
                let Some((id, is_current)) = handle else { return Ok(None) };
                let Some(record) = kept.record(&id, self.settings.idle).await? else { return Ok(None) };
                let opened =
                    self.opened.find(id.as_bytes(), &record, || Some(Live::new(store::open(&id, &record)?, true)));
                Ok(opened.filter(|live| self.is_ours(&live.session, now)).map(|live| (live, is_current)))
            }
        }
    }

    /// Of this site, by a registration that it still has, and not over for age.
    fn is_ours(&self, session: &Session, now: Time) -> bool {
        *session.site == *self.settings.site
            && self.registration(session).is_some()
            && self.is_within_its_time(session, now)
    }

    fn is_within_its_time(&self, session: &Session, now: Time) -> bool {
        let idle = match &*self.store {
            SessionStore::InCookie(_) => now.since(session.seen_at) < self.settings.idle,
            // The record would be gone.
            SessionStore::Kept(_) => true,
        };
        idle && now < session.over_at(self.settings.absolute)
    }

    /// Only what a cookie holds has to be written for having been seen. Not shortly before tokens are renewed: an
    /// answer that took its time could put the old ones into the browser over the new.
    fn is_due_for_writing(&self, session: &Session, now: Time) -> bool {
        let SessionStore::InCookie(_) = &*self.store else { return false };
        let renewal_is_near = session
            .tokens
            .renew_at
            .is_some_and(|at| session.tokens.refresh.is_some() && at <= now.plus(GRAIN.min(self.settings.idle / 4)));
        now.since(session.seen_at) >= GRAIN.min(self.settings.idle / 20) && !renewal_is_near
    }

    /// The cookie of a session as it is now.
    fn write(&self, session: &Session, cookies: &OwnCookies, now: Time) -> Result<CookieChanges, StoreError> {
        self.set(&SessionStore::held(&self.store, session), session, cookies, now)
    }

    fn set(
        &self,
        held: &[u8],
        session: &Session,
        cookies: &OwnCookies,
        now: Time,
    ) -> Result<CookieChanges, StoreError> {
        let text = self.ring.seal_text(self.cookie.name(), held);
        self.cookie.set(&text, self.lifetime(session, now).absolute, cookies)
    }

    fn nobody(&self, cookies: &OwnCookies) -> Found {
        Found { session: None, changes: self.cookie.clear(cookies) }
    }

    fn lifetime(&self, session: &Session, now: Time) -> Lifetime {
        Lifetime { idle: self.settings.idle, absolute: session.time_left(self.settings.absolute, now) }
    }
}
