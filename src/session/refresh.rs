//! Keeps a session's tokens fresh. Comes in: a loaded session. Goes out: that nothing needed doing, the session with new
//! tokens, or that it is over.
//!
//! A refresh token may be of use once (RFC 9700 section 4.14.2), so one renewal is under way at a time: in this process by
//! a [`Flight`], across processes by a [`Lease`]. It runs on Control and outlives whoever caused it. Where the session
//! lies in its cookie, the result is remembered for a while under the digest of the *old* refresh token: a tab that still
//! has the old cookie must get the same new tokens, for the issuer would take a second use of the old one for theft.
//!
//! Only the issuer's word (`invalid_grant`) ends a session. While it is out of reach a session lives as long as its access
//! token does.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use zeroize::Zeroizing;

use super::sessions::{FindError, SessionsSettings};
use super::store::{self, Lifetime, SessionStore};
use super::{Session, SessionId, Tokens, codec, digest_of};
use crate::caller::Claims;
use crate::clock::{Clock, Tick, Time};
use crate::control::Control;
use crate::flight::Flight;
use crate::idp::fetch::DEADLINE;
use crate::idp::id_token::{Companion, IdTokenError, Nonce, Wanted};
use crate::idp::userinfo::{self, UserinfoError};
use crate::idp::{Grant, Registration, TokenError};
use crate::kv::{Key, Kv, KvError, Lease, Leased};
use crate::seal::{KeyRing, MasterKey, Secret};

/// How long the result of a renewal is remembered for who still has the old cookie: a person whose tab was closed meanwhile
/// comes back with it. Not longer than the idle time.
const REMEMBERED: Duration = Duration::from_secs(600);

/// How long the right to renew lasts: longer than all that is done under it may take (the token request, keys and userinfo
/// 10 s each, and writing).
const LEASE: Duration = Duration::from_secs(45);
const _: () = assert!(LEASE.as_secs() > 3 * DEADLINE.as_secs(), "a lease must outlive what is done under it");

/// How often another process's renewal is looked for.
const POLL: Duration = Duration::from_millis(50);

/// A request whose access token still lives waits so long for a newer one, and then goes on with what it has.
const PATIENCE: Duration = Duration::from_secs(2);

/// A request whose access token is over waits so long; so does one that has to bring the new tokens to its browser, for the
/// old ones in the cookie are spent then. The token request ends before.
const LONGEST_WAIT: Duration = Duration::from_secs(20);

/// After a failure nothing is tried for that session for so long.
const COOLDOWN: Duration = Duration::from_secs(5);

/// Renewals that a tab may have missed and catches up with in one request.
const MOST_LINKS: usize = 8;

/// Sessions of one site that are renewed at once, and failures that are remembered.
const MOST_AT_ONCE: usize = 1000;

/// What became of a session's tokens.
#[derive(Debug)]
pub enum Renewed {
    /// They are good, or nothing better is to be had right now.
    NotNeeded,
    Fresh(Arc<Session>),
    Over,
}

/// How often renewals went how. For metrics.
#[derive(Debug, Default)]
pub struct RenewalTally {
    pub renewed: AtomicU64,
    pub over: AtomicU64,
    pub failed: AtomicU64,
}

/// Renews the sessions of one site.
pub struct Renewal {
    room: Arc<Room>,
    flight: Flight<Box<str>, Outcome>,
    /// What failed lately, and until when it is left alone.
    cooling: Arc<Mutex<HashMap<Box<str>, Tick>>>,
}

impl std::fmt::Debug for Renewal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Renewal({} under way)", self.flight.under_way())
    }
}

/// What the work itself needs.
struct Room {
    registrations: Vec<Arc<Registration>>,
    userinfo: bool,
    idle: Duration,
    absolute: Duration,
    store: Arc<SessionStore>,
    clock: Clock,
    tally: RenewalTally,
}

#[derive(Clone)]
enum Outcome {
    Fresh(Arc<Session>),
    Over,
    Outage(Duration),
}

/// Why there are no new tokens.
enum Failed {
    /// Never again with this refresh token.
    Over(&'static str),
    /// Perhaps later.
    Outage(String),
}

/// It failed a moment ago.
struct Cooling;

impl Renewal {
    pub(super) fn new(settings: &SessionsSettings, store: Arc<SessionStore>, clock: Clock, control: Control) -> Self {
        let room = Room {
            registrations: settings.registrations.clone(),
            userinfo: settings.userinfo,
            idle: settings.idle,
            absolute: settings.absolute,
            store,
            clock,
            tally: RenewalTally::default(),
        };
        Self { room: Arc::new(room), flight: Flight::new(control, MOST_AT_ONCE), cooling: Arc::default() }
    }

    pub fn tally(&self) -> &RenewalTally {
        &self.room.tally
    }

    /// Sees to it that the session's tokens are good.
    ///
    /// # Errors
    /// [`FindError::Issuer`] when they are over and nobody can say whether there are new ones.
    pub(super) async fn keep_fresh(&self, session: &Session, now: Time) -> Result<Renewed, FindError> {
        let mut renewed = self.next(session, now).await?;
        // Who comes late may get what was brought a while ago, and is over too by now: link by link.
        for _ in 0..MOST_LINKS {
            let Renewed::Fresh(fresh) = &renewed else { break };
            match self.next(fresh, now).await? {
                Renewed::NotNeeded => break,
                further => renewed = further,
            }
        }
        Ok(renewed)
    }

    async fn next(&self, session: &Session, now: Time) -> Result<Renewed, FindError> {
        let tokens = &session.tokens;
        let (Some(refresh), Some(renew_at)) = (&tokens.refresh, tokens.renew_at) else { return Ok(Renewed::NotNeeded) };
        if now < renew_at {
            return Ok(Renewed::NotNeeded);
        }
        let lives = tokens.access_expires_at.is_none_or(|at| now < at);
        let wait = match &*self.room.store {
            SessionStore::Kept(_) if lives => PATIENCE,
            SessionStore::Kept(_) | SessionStore::InCookie(_) => LONGEST_WAIT,
        };
        let outcome = tokio::select! {
            outcome = self.renewed(session, refresh) => outcome,
            () = self.room.clock.sleep(wait) => Outcome::Outage(COOLDOWN),
        };
        match outcome {
            Outcome::Fresh(session) => Ok(Renewed::Fresh(session)),
            Outcome::Over => Ok(Renewed::Over),
            Outcome::Outage(_) if lives => Ok(Renewed::NotNeeded),
            Outcome::Outage(retry_after) => Err(FindError::Issuer { retry_after }),
        }
    }

    async fn renewed(&self, session: &Session, refresh: &Secret) -> Outcome {
        let key: Box<str> = match &*self.room.store {
            SessionStore::InCookie(_) => digest_of(&[b"refresh", refresh.expose().as_bytes()]).into(),
            SessionStore::Kept(_) => session.id.digest().into(),
        };
        let begin = || {
            if self.is_cooling(&key) {
                return Err(Cooling);
            }
            let (room, session, refresh) = (Arc::clone(&self.room), session.clone(), refresh.clone());
            let (cooling, key) = (Arc::clone(&self.cooling), key.clone());
            Ok(async move {
                let outcome = room.renew(session, &refresh).await;
                if let Outcome::Outage(_) = &outcome {
                    note(&cooling, key, room.clock.tick());
                }
                outcome
            })
        };
        self.flight.join(key.clone(), begin).await.unwrap_or(Outcome::Outage(COOLDOWN))
    }

    fn is_cooling(&self, key: &str) -> bool {
        let cooling = self.cooling.lock().unwrap_or_else(PoisonError::into_inner);
        cooling.get(key).is_some_and(|until| self.room.clock.tick() < *until)
    }
}

/// Remembers a failure. When there are too many, those that are over go, and then all: they only spare work.
fn note(cooling: &Mutex<HashMap<Box<str>, Tick>>, key: Box<str>, now: Tick) {
    let mut cooling = cooling.lock().unwrap_or_else(PoisonError::into_inner);
    if cooling.len() >= MOST_AT_ONCE {
        cooling.retain(|_, until| now < *until);
    }
    if cooling.len() >= MOST_AT_ONCE {
        cooling.clear();
    }
    cooling.insert(key, now.plus(COOLDOWN));
}

impl Room {
    async fn renew(&self, session: Session, refresh: &Secret) -> Outcome {
        let place = Place::new(&self.store, &session, refresh);
        let outcome = self.renew_at(&place, session).await.unwrap_or_else(|error| {
            tracing::warn!(%error, "a session could not be renewed: the store gives no answer");
            Outcome::Outage(error.retry_after())
        });
        let tally = &self.tally;
        match &outcome {
            Outcome::Fresh(_) => &tally.renewed,
            Outcome::Over => &tally.over,
            Outcome::Outage(_) => &tally.failed,
        }
        .fetch_add(1, Ordering::Relaxed);
        outcome
    }

    async fn renew_at(&self, place: &Place, session: Session) -> Result<Outcome, KvError> {
        // Before the lease: most late tabs find what they need here.
        if let Some(outcome) = place.look().await? {
            return Ok(outcome);
        }
        let lease = match self.lease(place).await? {
            Ok(lease) => lease,
            Err(outcome) => return Ok(outcome),
        };
        // And under it: who had the lease before us may have written since.
        let outcome = match place.look().await? {
            Some(outcome) => outcome,
            None => self.renew_under(&lease, place, session).await?,
        };
        if let Err(error) = lease.release().await {
            tracing::debug!(%error, "a lease was left to end by itself");
        }
        Ok(outcome)
    }

    async fn renew_under(&self, lease: &Lease, place: &Place, session: Session) -> Result<Outcome, KvError> {
        match self.redeem(&session).await {
            Ok(fresh) if self.write(lease, place, &fresh).await? => Ok(Outcome::Fresh(Arc::new(fresh))),
            // Ended meanwhile, or renewed by who had the lease after us: what lies there is true. Neither: that one is
            // still at it, and a lease that was lost is not the issuer's word.
            Ok(_) => Ok(place.look().await?.unwrap_or(Outcome::Outage(COOLDOWN))),
            Err(Failed::Over(why)) => {
                tracing::info!(client = &*session.client, why, "a session is over");
                // Somebody whose lease came after ours may have had better luck.
                if let Some(outcome) = place.look().await? {
                    return Ok(outcome);
                }
                match place.form {
                    Form::Record => drop(place.kv.delete(&place.key).await?),
                    // The cookie is still somewhere: the issuer need not be asked again, and what it opened ends.
                    Form::Result(_) => {
                        let lifetime = self.lifetime(&session).absolute;
                        place.kv.put(&place.key, Bytes::from_static(OVER), lifetime).await?;
                        if let SessionStore::InCookie(ended) = &*self.store {
                            ended.outlived(&session, lifetime).await?;
                        }
                    }
                }
                Ok(Outcome::Over)
            }
            Err(Failed::Outage(error)) => {
                tracing::warn!(client = &*session.client, error, "a session could not be renewed");
                Ok(Outcome::Outage(COOLDOWN))
            }
        }
    }

    /// Writes the result, a few times if it has to: the old refresh token is spent, so these tokens must not be lost. The
    /// lease guards against a write that comes too late.
    async fn write(&self, lease: &Lease, place: &Place, fresh: &Session) -> Result<bool, KvError> {
        match self.write_stubbornly(lease, place, fresh).await {
            // The cookie carries them in any case; only a late tab will miss them.
            Err(error) if matches!(place.form, Form::Result(_)) => {
                tracing::warn!(%error, "renewed tokens could not be kept for other tabs and replicas");
                Ok(true)
            }
            written => written,
        }
    }

    async fn write_stubbornly(&self, lease: &Lease, place: &Place, fresh: &Session) -> Result<bool, KvError> {
        const TRIES: u32 = 5;
        for tries in 1..TRIES {
            match self.write_once(lease, place, fresh).await {
                Err(error) => tracing::warn!(%error, tries, "renewed tokens could not be kept yet"),
                written => return written,
            }
            self.clock.sleep(Duration::from_millis(500) * tries).await;
        }
        self.write_once(lease, place, fresh).await
    }

    async fn write_once(&self, lease: &Lease, place: &Place, fresh: &Session) -> Result<bool, KvError> {
        match &place.form {
            Form::Record => {
                let written = lease.put(store::seal(fresh), self.lifetime(fresh).shorter()).await?;
                if let (true, SessionStore::Kept(kept)) = (written, &*self.store) {
                    kept.renewed(fresh, self.lifetime(fresh)).await?;
                }
                Ok(written)
            }
            Form::Result(ring) => {
                let plain = Zeroizing::new(codec::encode_session(fresh));
                let lifetime = REMEMBERED.min(self.idle);
                place.kv.put(&place.key, ring.seal(RESULT, &plain).into(), lifetime).await.map(|()| true)
            }
        }
    }

    /// The right to renew; or what came of it where another had it.
    async fn lease(&self, place: &Place) -> Result<Result<Lease, Outcome>, KvError> {
        let patience = self.clock.tick().plus(LONGEST_WAIT);
        while self.clock.tick() <= patience {
            match Lease::take(&place.kv, &place.key, LEASE).await? {
                Leased::Granted(lease) => return Ok(Ok(lease)),
                Leased::Held(left) => self.clock.sleep(left.min(POLL)).await,
            }
            if let Some(outcome) = place.look().await? {
                return Ok(Err(outcome));
            }
        }
        Ok(Err(Outcome::Outage(COOLDOWN)))
    }

    fn lifetime(&self, session: &Session) -> Lifetime {
        Lifetime { idle: self.idle, absolute: session.time_left(self.absolute, self.clock.now()) }
    }

    /// New tokens for a session: one request, and what it says of the person.
    async fn redeem(&self, session: &Session) -> Result<Session, Failed> {
        let registration = self.registrations.iter().find(|one| **one.name() == *session.client);
        let registration = registration.ok_or(Failed::Over("its client is no more"))?;
        let refresh = session.tokens.refresh.as_ref().ok_or(Failed::Over("it has no refresh token"))?;
        let set = registration.redeem(Grant::Refresh { token: refresh }).await.map_err(|error| failed(&error))?;
        let now = self.clock.now();
        let mut tokens = Tokens::received(&set, now, Some(&session.tokens));
        let mut claims = self.claims(registration, session, &mut tokens, now).await?;
        if let Some(kept) = session.claims.get("auth_time").filter(|_| !claims.contains_key("auth_time")) {
            // The person has not authenticated again (OIDC Core section 12.2): when they did is still true.
            claims.insert("auth_time".to_owned(), kept.clone());
        }
        Ok(Session {
            tokens,
            claims,
            seen_at: now,
            generation: session.generation.saturating_add(1),
            ..session.clone()
        })
    }

    /// Who it is, as the issuer says now (OIDC Core section 12.2). What it does not say stays as it was.
    async fn claims(
        &self,
        registration: &Registration,
        session: &Session,
        tokens: &mut Tokens,
        now: Time,
    ) -> Result<Claims, Failed> {
        let id_token = tokens.id.clone().filter(|_| tokens.id_is_new(&session.tokens));
        let mut claims = None;
        if let Some(text) = id_token {
            let access =
                tokens.access.as_ref().map_or(Companion::None, |access| Companion::MayBeBound(access.expose()));
            let wanted = Wanted {
                client_id: registration.client_id(),
                nonce: Nonce::NotLookedAt,
                code: Companion::None,
                access_token: access,
                acr: &[],
                max_age: None,
                now,
            };
            match registration.issuer().check_id_token(text.expose(), &wanted).await {
                Ok(token) if token.subject == session.subject => claims = Some(token.claims),
                Ok(_) => return Err(Failed::Over("the refreshed ID token is about another subject")),
                // The tokens are there and the old ones spent: who it is was known before.
                Err(IdTokenError::Keys(_)) => tokens.id.clone_from(&session.tokens.id),
                Err(error) => {
                    tracing::warn!(client = &*session.client, %error, "a refreshed ID token is not good");
                    return Err(Failed::Over("the refreshed ID token is not good"));
                }
            }
        }
        if !self.userinfo {
            return Ok(claims.unwrap_or_else(|| session.claims.clone()));
        }
        let access = tokens.access.as_ref().ok_or(Failed::Over("there is no access token"))?;
        match registration.userinfo(access, &session.subject).await {
            Ok(said) => {
                let signed = || tokens.id.as_ref().and_then(codec::claims_of).unwrap_or_default();
                let mut claims = claims.unwrap_or_else(signed);
                userinfo::merge(&mut claims, said);
                Ok(claims)
            }
            Err(UserinfoError::Subject) => Err(Failed::Over("userinfo is about another subject")),
            Err(error) => {
                tracing::warn!(client = &*session.client, %error, "userinfo was not to be had; what it said before counts");
                let mut before = session.claims.clone();
                before.extend(claims.into_iter().flatten());
                Ok(before)
            }
        }
    }
}

/// Where the result of a renewal lies.
struct Place {
    kv: Kv,
    key: Key,
    form: Form,
    id: SessionId,
    /// Of the session that is to be renewed.
    generation: u32,
}

enum Form {
    /// In the session's own record.
    Record,
    /// Beside the cookies, sealed with a key that only a holder of the old token can make.
    Result(KeyRing),
}

const RESULT: &[u8] = b"renewed";

/// Instead of a result: there will be none.
const OVER: &[u8] = b"over";

impl Place {
    fn new(store: &SessionStore, session: &Session, refresh: &Secret) -> Self {
        let (kv, key, form) = match store {
            SessionStore::Kept(kept) => (kept.kv(), store::key(&session.id), Form::Record),
            SessionStore::InCookie(ended) => {
                (ended.renewed(), Key::new("renewed", &[refresh.expose().as_bytes()]), Form::Result(ring_of(refresh)))
            }
        };
        Self { kv: kv.clone(), key, form, id: session.id, generation: session.generation }
    }

    /// Whether the session was renewed, or ended, by somebody else.
    async fn look(&self) -> Result<Option<Outcome>, KvError> {
        let record = self.kv.get(&self.key).await?;
        let (found, is_gone) = match &self.form {
            Form::Record => {
                let found = record.and_then(|record| store::open(&self.id, &record));
                let is_gone = found.is_none();
                (found, is_gone)
            }
            Form::Result(_) if record.as_deref() == Some(OVER) => (None, true),
            Form::Result(ring) => {
                let opened = record.and_then(|record| ring.open(RESULT, &record).ok());
                let found = opened.and_then(|opened| codec::decode_session(&opened.plain));
                (found.filter(|found| found.id == self.id), false)
            }
        };
        Ok(match found {
            Some(found) if found.generation > self.generation => Some(Outcome::Fresh(Arc::new(found))),
            Some(_) => None,
            None => is_gone.then_some(Outcome::Over),
        })
    }
}

fn failed(error: &TokenError) -> Failed {
    if error.is_spent() { Failed::Over("its refresh token is good no more") } else { Failed::Outage(error.to_string()) }
}

/// A key that who has the old refresh token can make, and nobody else.
fn ring_of(refresh: &Secret) -> KeyRing {
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, refresh.expose().as_bytes());
    let mut key = [0; 32];
    key.copy_from_slice(digest.as_ref());
    MasterKey::from_bytes(key).ring("renewed session")
}
