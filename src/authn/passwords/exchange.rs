//! A pair that nothing is known of, put to the issuer. Comes in: the pair, and who shows it. Goes out: what it was exchanged
//! for, or that it is none. One question a pair, however many requests wait for it; each is counted against its name and its
//! address before it is asked, and given back unless the issuer said no, so that guesses at once are no more than guesses
//! one after the other.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwapOption;

use super::{Kept, PairGrant, Passwords, SOON, unavailable};
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

/// How long a token serves whose issuer does not say.
const UNSAID_LIFE: Duration = Duration::from_secs(60);

/// A token is put away so long before its end; a short one a tenth earlier.
const MARGIN: Duration = Duration::from_secs(10);

/// How long a pair that is none is remembered as such.
const NO_FOR: Duration = Duration::from_secs(10);

/// A pair for a question that outlives its request.
struct Question {
    name: Box<str>,
    password: Secret,
    digest: TokenDigest,
    user: TokenDigest,
    client: Option<IpAddr>,
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
        if password.is_empty() || self.refused.get(&digest).is_some_and(|until| now < until) {
            return Err(AuthnError::Refused);
        }
        let user = self.key.digest(pair.name().as_bytes());
        let limited = |retry_after| AuthnError::Limited { retry_after };
        self.users.take(Some(user), tick).map_err(limited)?;
        if let Err(retry_after) = self.clients.take(client, tick) {
            self.users.give_back(Some(user));
            return Err(limited(retry_after));
        }
        let question = Question { name: pair.name().into(), password, digest, user, client };
        Ok(Arc::clone(self).ask(question))
    }

    async fn ask(self: Arc<Self>, question: Question) -> Result<Arc<Kept>, AuthnError> {
        let outcome = match self.renewed(&question).await {
            Some(kept) => Ok(kept),
            None => self.granted(&question).await,
        };
        if !matches!(outcome, Err(AuthnError::Refused)) {
            self.users.give_back(Some(question.user));
            self.clients.give_back(question.client);
        }
        match &outcome {
            Ok(kept) => {
                self.seen.saw(&question.name, self.clock.now());
                self.known.insert(question.digest, Arc::clone(kept));
            }
            Err(AuthnError::Refused) => {
                self.known.invalidate(&question.digest);
                self.refused.insert(question.digest, self.clock.now().plus(NO_FOR));
            }
            Err(_) => {}
        }
        outcome
    }

    /// By the refresh token, while the password counts as seen; what comes to nothing is left to the password.
    async fn renewed(&self, question: &Question) -> Option<Arc<Kept>> {
        let asked_at = self.clock.now();
        let kept = self.known.get(&question.digest).filter(|kept| asked_at < kept.seen_until)?;
        let set = self.registration.redeem(Grant::Refresh { token: kept.refresh.as_ref()? }).await.ok()?;
        let refresh = set.refresh_token.clone().or_else(|| kept.refresh.clone());
        self.keep(&set, refresh, (asked_at, kept.seen_until)).ok()
    }

    async fn granted(&self, question: &Question) -> Result<Arc<Kept>, AuthnError> {
        let asked_at = self.clock.now();
        let target = Target { scope: self.settings.scope.as_deref(), ..Target::default() };
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
        let life = set.expires_in.unwrap_or(UNSAID_LIFE);
        let good_until = asked_at.plus(life - MARGIN.min(life / 10));
        Ok(Arc::new(Kept { token, digest, good_until, refresh, seen_until, caller: ArcSwapOption::empty() }))
    }

    /// Whose fault it is: the pair's, ours, or nobody's that can be known now.
    fn refused(&self, error: &TokenError) -> AuthnError {
        let is_pair = match (self.settings.grant, error) {
            (PairGrant::Password, TokenError::Refused(OAuthError::InvalidGrant)) => true,
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
