//! What Postern is to an issuer: a client with an identifier, a way to prove itself, and what it asks for at a sign-in.
//! Comes in: settings, already parsed. Goes out: the requests of a client, each by one call: see `token`, `authorize`,
//! `userinfo`, `revoke`.

use std::sync::Arc;
use std::time::Duration;

use http::HeaderMap;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use url::Url;

use super::client_auth::{ClientIdentity, ClientKey, NoCredentials};
use super::fetch::FetchError;
use super::{Issuer, Question, Reply};
use crate::wire::form::Form;

/// How long an endpoint may take for one request of ours.
pub const DEADLINE: Duration = Duration::from_secs(10);

/// When authorization requests are pushed (RFC 9126).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Par {
    /// When the issuer has an endpoint for it.
    #[default]
    Auto,
    Required,
    Off,
}

/// When authorization requests are signed (RFC 9101).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum RequestObject {
    /// When the issuer demands it.
    #[default]
    Auto,
    Signed,
    Off,
}

/// One registration as it was configured.
#[derive(Clone, Debug, PartialEq)]
pub struct RegistrationSettings {
    /// Its name in the configuration.
    pub name: Arc<str>,
    pub identity: ClientIdentity,
    /// What a sign-in asks for, space-separated. Has `openid`.
    pub scope: Box<str>,
    /// Codes are bound to who asked for them (RFC 7636).
    pub pkce: bool,
    pub par: Par,
    pub request_object: RequestObject,
    /// What authorization requests are signed with.
    pub key: Option<ClientKey>,
}

/// A registration with its issuer. Shared by all workers.
#[derive(Debug)]
pub struct Registration {
    settings: RegistrationSettings,
    issuer: Arc<Issuer>,
    visitors: Arc<Semaphore>,
    callers: Arc<Semaphore>,
    sessions: Arc<Semaphore>,
}

/// Requests of one kind to one issuer that are under way: those that any browser can cause (pushed requests, codes), those
/// that any program can cause (passwords), and those on behalf of somebody who is known, Postern itself included (renewals,
/// revocations, exchanges). None takes the place of another.
const MOST_AT_ONCE: usize = 64;

/// How long a request of somebody who is signed in waits for its turn: after an outage many come at once.
const TURN: Duration = Duration::from_secs(5);

/// On whose behalf a request is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Cause {
    /// A browser that nobody knows yet.
    Visitor,
    /// A program that nobody knows yet.
    Caller,
    /// Somebody who is known.
    Session,
}

/// Why an issuer's endpoint gave no answer that says anything.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unanswered {
    /// Neither the configuration nor the metadata names it; or there is no metadata yet.
    #[error("the issuer has no {0} endpoint that is known yet")]
    NoEndpoint(&'static str),
    #[error("{0}")]
    Failed(Box<str>),
    /// As many requests are under way as there may be.
    #[error("too many requests to the issuer are under way")]
    Busy,
}

impl From<FetchError> for Unanswered {
    fn from(error: FetchError) -> Self {
        Self::Failed(error.to_string().into())
    }
}

impl From<NoCredentials> for Unanswered {
    fn from(error: NoCredentials) -> Self {
        Self::Failed(error.to_string().into())
    }
}

impl Registration {
    pub fn new(settings: RegistrationSettings, issuer: Arc<Issuer>) -> Arc<Self> {
        let room = || Arc::new(Semaphore::new(MOST_AT_ONCE));
        Arc::new(Self { settings, issuer, visitors: room(), callers: room(), sessions: room() })
    }

    /// Its name in the configuration.
    pub const fn name(&self) -> &Arc<str> {
        &self.settings.name
    }

    pub const fn client_id(&self) -> &str {
        &self.settings.identity.client_id
    }

    pub const fn settings(&self) -> &RegistrationSettings {
        &self.settings
    }

    pub const fn issuer(&self) -> &Arc<Issuer> {
        &self.issuer
    }

    /// Posts a form as this client. Runs on Control and goes on there when the caller leaves: what was begun with a code
    /// or a refresh token is not to be cut off half-way.
    pub(super) async fn ask(&self, cause: Cause, url: Url, form: Form) -> Result<Reply, Unanswered> {
        self.ask_as(&self.settings.identity, cause, url, form).await
    }

    pub(super) async fn ask_as(
        &self,
        identity: &ClientIdentity,
        cause: Cause,
        url: Url,
        mut form: Form,
    ) -> Result<Reply, Unanswered> {
        let turn = self.turn(cause).await?;
        let (issuer, identity) = (Arc::clone(&self.issuer), identity.clone());
        let asked = async move {
            let mut headers = HeaderMap::new();
            identity.apply(&issuer, &mut form, &mut headers).await?;
            let tls = identity.tls(&issuer);
            let question = Question {
                url: &url,
                form: &form,
                headers: &headers,
                accept: "application/json",
                tls: tls.as_ref(),
                within: DEADLINE,
            };
            let reply = issuer.post(question).await;
            drop(turn);
            Ok::<_, Unanswered>(reply?)
        };
        let ran = self.issuer.control().run(asked).await;
        ran.map_err(|stopped| Unanswered::Failed(stopped.to_string().into()))?
    }

    /// The right to make one more request. Whom nobody knows does not wait: a queue of theirs would be as long as they like.
    async fn turn(&self, cause: Cause) -> Result<OwnedSemaphorePermit, Unanswered> {
        match cause {
            Cause::Visitor => Arc::clone(&self.visitors).try_acquire_owned().map_err(|_| Unanswered::Busy),
            Cause::Caller => Arc::clone(&self.callers).try_acquire_owned().map_err(|_| Unanswered::Busy),
            Cause::Session => tokio::select! {
                turn = Arc::clone(&self.sessions).acquire_owned() => turn.map_err(|_| Unanswered::Busy),
                () = self.issuer.clock().sleep(TURN) => Err(Unanswered::Busy),
            },
        }
    }
}
