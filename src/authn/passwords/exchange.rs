//! A pair that nothing is known of, put to the issuer. Comes in: the pair, and who shows it. Goes out: what it was exchanged
//! for, or that it is none. One question a pair, however many requests wait for it; each is counted against its name and its
//! address before it is asked, and given back unless the issuer said no, so that guesses at once are no more than guesses
//! one after the other. What was good is no guess: nobody is locked out by others who try the same name.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use arc_swap::ArcSwapOption;

use super::{Kept, PairGrant, PasswordSettings, Passwords, SOON, unavailable};
use crate::authn::AuthnError;
use crate::authn::basic::Pair;
use crate::authn::budget::network;
use crate::authn::presented::Token;
use crate::clock::Time;
use crate::flight::FlightError;
use crate::idp::token::{Grant, OAuthError, Target};
use crate::idp::{ClientAuth, ClientIdentity, TokenError, TokenSet};
use crate::reason::Reason;
use crate::seal::{Secret, TokenDigest};

/// How long a pair that is none is remembered as such.
const NO_FOR: Duration = Duration::from_secs(10);

/// A pair for a question that outlives its request.
struct Question {
    name: Box<str>,
    password: Secret,
    digest: TokenDigest,
    /// Against whom it was counted.
    user: Option<TokenDigest>,
    client: Option<IpAddr>,
    /// When it began, as forgetting counts.
    era: u64,
}

impl Passwords {
    pub(super) async fn exchanged(
        self: &Arc<Self>,
        pair: &Pair,
        digest: TokenDigest,
        client: Option<IpAddr>,
    ) -> Result<Arc<Kept>, AuthnError> {
        match self.flight.join(digest, || self.begin(pair, digest, client)).await {
            Ok(outcome) => outcome,
            Err(FlightError::Refused(error)) => Err(error),
            Err(FlightError::Full | FlightError::Lost) => Err(unavailable(Reason::BasicUnavailable)),
        }
    }

    fn begin(
        self: &Arc<Self>,
        pair: &Pair,
        digest: TokenDigest,
        client: Option<IpAddr>,
    ) -> Result<impl Future<Output = Result<Arc<Kept>, AuthnError>> + Send + use<>, AuthnError> {
        let client = client.map(network);
        let (now, tick) = (self.clock.now(), self.clock.tick());
        let password = pair.password();
        // Directories take an empty password for nobody in particular, and let it in (RFC 4513 section 5.1.2).
        if password.is_empty() {
            return Err(AuthnError::Refused);
        }
        if let Some((error, _)) = self.refused.get(&digest).filter(|(_, until)| now < *until) {
            return Err(error);
        }
        let known = self.known.get(&digest).filter(|kept| now < kept.seen_until);
        let landed = known.clone().filter(|kept| now < kept.good_until);
        let (user, client) = match &known {
            Some(_) => (None, None),
            None => (Some(self.key.digest(pair.name().as_bytes())), client),
        };
        let limited = |retry_after| AuthnError::Limited { retry_after };
        self.users.take(user, tick).map_err(limited)?;
        if let Err(retry_after) = self.clients.take(client, tick) {
            self.users.give_back(user);
            return Err(limited(retry_after));
        }
        let era = self.era.load(Ordering::SeqCst);
        let question = Question { name: pair.name().into(), password, digest, user, client, era };
        let passwords = Arc::clone(self);
        Ok(async move {
            match landed {
                // Since the look before this one.
                Some(kept) => Ok(kept),
                None => passwords.ask(question).await,
            }
        })
    }

    async fn ask(self: Arc<Self>, question: Question) -> Result<Arc<Kept>, AuthnError> {
        let outcome = match self.renewed(&question).await {
            Some(kept) => Ok(kept),
            None => self.granted(&question).await,
        };
        if !matches!(outcome, Err(AuthnError::Refused)) {
            self.users.give_back(question.user);
            self.clients.give_back(question.client);
        }
        match &outcome {
            Ok(kept) => {
                self.seen.saw(&question.name, self.clock.now());
                self.known.insert(question.digest, Arc::clone(kept));
                if self.era.load(Ordering::SeqCst) != question.era {
                    self.known.invalidate(&question.digest);
                }
            }
            Err(error @ (AuthnError::Refused | AuthnError::NotGranted)) => {
                self.known.invalidate(&question.digest);
                self.refused.insert(question.digest, (*error, self.clock.now().plus(NO_FOR)));
            }
            Err(_) => {}
        }
        outcome
    }

    /// By the refresh token, while the password counts as seen; what comes to nothing is left to the password.
    async fn renewed(&self, question: &Question) -> Option<Arc<Kept>> {
        let asked_at = self.clock.now();
        if !self.settings.refreshes {
            return None;
        }
        let kept = self.known.get(&question.digest).filter(|kept| asked_at < kept.seen_until)?;
        let set = self.registration.redeem(Grant::Refresh { token: kept.refresh.as_ref()? }).await.ok()?;
        let refresh = set.refresh_token.clone().or_else(|| kept.refresh.clone());
        self.keep(&set, refresh, (asked_at, kept.seen_until)).ok()
    }

    async fn granted(&self, question: &Question) -> Result<Arc<Kept>, AuthnError> {
        let asked_at = self.clock.now();
        let PasswordSettings { scope, audience, resource, .. } = &self.settings;
        let target = Target { scope: scope.as_deref(), audience: audience.as_deref(), resource: resource.as_deref() };
        let answered = match self.settings.grant {
            PairGrant::Password => {
                let Question { name, password, .. } = question;
                self.registration.redeem(Grant::Password { username: name, password, target }).await
            }
            PairGrant::ClientCredentials => {
                let auth = ClientAuth::SecretBasic(question.password.clone());
                let identity = ClientIdentity { client_id: question.name.clone(), auth };
                self.registration.redeem_as(&identity, Grant::ClientCredentials(target)).await
            }
        };
        let set = answered.map_err(|error| self.refused(&error))?;
        self.keep(&set, set.refresh_token.clone(), (asked_at, asked_at.plus(self.settings.ttl)))
    }

    fn keep(
        &self,
        set: &TokenSet,
        refresh: Option<Secret>,
        (asked_at, seen_until): (Time, Time),
    ) -> Result<Arc<Kept>, AuthnError> {
        let token = set.access_token.clone();
        let shown = Token::of(token.expose()).ok_or(unavailable(Reason::BasicToken))?;
        let digest = self.bearer.digest(shown).map_err(|_| unavailable(Reason::BasicToken))?;
        let good_until = set.good_until(asked_at);
        let refresh = refresh.filter(|_| self.settings.refreshes);
        Ok(Arc::new(Kept { token, digest, good_until, refresh, seen_until, caller: ArcSwapOption::empty() }))
    }

    /// Whose fault it is: the pair's, ours, or nobody's that can be known now.
    fn refused(&self, error: &TokenError) -> AuthnError {
        // It knows who this is, and grants less than is asked for.
        if matches!(error, TokenError::Refused(OAuthError::InvalidScope)) {
            return AuthnError::NotGranted;
        }
        let is_pair = match (self.settings.grant, error) {
            // Words of an issuer's own are about the person (locked, a second factor needed), and count as a guess: they
            // must not tell more than `invalid_grant` does.
            (PairGrant::Password, TokenError::Refused(OAuthError::InvalidGrant)) => true,
            // RFC 8707 section 2: about what the configuration asks for.
            (PairGrant::Password, TokenError::Refused(OAuthError::Other(word))) => **word != *"invalid_target",
            // The client that asks is the caller: whatever the issuer has against it.
            (PairGrant::ClientCredentials, TokenError::Refused(refused)) => {
                !matches!(refused, OAuthError::UnsupportedGrantType)
            }
            _ => false,
        };
        if is_pair {
            return AuthnError::Refused;
        }
        let reason =
            if matches!(error, TokenError::Refused(_)) { Reason::BasicClient } else { Reason::BasicUnavailable };
        tracing::warn!(client = self.client(), reason = reason.code(), %error, "a password could not be exchanged");
        AuthnError::Unavailable { reason, retry_after: SOON }
    }
}
