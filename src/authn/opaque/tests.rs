use std::sync::Mutex;

use serde_json::{Value, json};
use tokio::sync::watch;

use super::*;
use crate::authn::cache::MemoryLimits;
use crate::authn::shared::{Doing, SharedAnswer, SharedToken};
use crate::authn::{Memories, presented};
use crate::clock::ManualClock;
use crate::idp::introspect::IntrospectorSettings;
use crate::idp::testing::{Provider, clock, started};
use crate::idp::{ClientAuth, ClientIdentity, Endpoints, IssuerSettings, KeySource};

/// A second level that a test holds back.
#[derive(Debug)]
struct Held {
    /// What lies there of each token, until something is forgotten.
    answer: Mutex<Option<SharedAnswer>>,
    /// How often it was asked, and whether it answers.
    looked: watch::Sender<usize>,
    looks: watch::Sender<bool>,
    forgets: watch::Sender<bool>,
}

impl SharedAnswers for Held {
    fn get<'a>(&'a self, of: SharedToken<'a>) -> Doing<'a, Option<SharedAnswer>> {
        Box::pin(async move {
            self.looked.send_modify(|times| *times += 1);
            if of.token.expose() == "slow" {
                let _ = self.looks.subscribe().wait_for(|answers| *answers).await;
            }
            Ok(self.answer.lock().unwrap().clone())
        })
    }

    fn put<'a>(&'a self, _: SharedToken<'a>, _: &'a SharedAnswer, _: Duration) -> Doing<'a, ()> {
        Box::pin(async { Ok(()) })
    }

    fn forget<'a>(&'a self, _: &'a str, _: &'a Forget) -> Doing<'a, ()> {
        Box::pin(async move {
            self.looked.send_modify(|times| *times += 1);
            let _ = self.forgets.subscribe().wait_for(|does| *does).await;
            *self.answer.lock().unwrap() = None;
            Ok(())
        })
    }
}

struct World {
    hands: ManualClock,
    provider: Provider,
    memory: Arc<TokenMemory>,
    held: Arc<Held>,
    introspection: Arc<Introspection>,
}

impl World {
    /// One question at a time; with a second level or without.
    async fn new(is_shared: bool) -> Self {
        let hands = clock();
        let provider = Provider::start(&[]).await;
        let endpoint = format!("{}/introspect", provider.issuer).parse().ok();
        let endpoints = Endpoints { introspection: endpoint, ..Endpoints::default() };
        let settings = IssuerSettings { endpoints, keys: KeySource::None, ..provider.settings() };
        let issuer = started(settings, &hands).await;
        let client = ClientIdentity { client_id: "gateway".into(), auth: ClientAuth::None };
        let settings = IntrospectorSettings { client, signed: false, timeout: Duration::from_secs(2) };
        let introspector = Introspector::new(issuer, settings, hands.clock());
        let held = Arc::new(Held {
            answer: Mutex::default(),
            looked: watch::Sender::new(0),
            looks: watch::Sender::new(false),
            forgets: watch::Sender::new(false),
        });
        let memory = Arc::new(TokenMemory::new(MemoryLimits::default()));
        let wiring = IntrospectionWiring {
            clock: hands.clock(),
            control: Control::current(),
            memory: Arc::clone(&memory),
            shared: is_shared.then(|| Arc::clone(&held) as Arc<dyn SharedAnswers>),
        };
        let answers = AnswerLimits {
            ttl: Duration::from_secs(60),
            negative_ttl: Duration::from_secs(10),
            entries: 1000,
            bytes: 1 << 20,
            obey_no_store: false,
            stale_if_error: Duration::ZERO,
        };
        let settings = IntrospectionSettings { answers, needs_audience: true, concurrency: 1, failures_per_client: 0 };
        let introspection = Introspection::new(introspector, settings, wiring);
        provider.answers_json("/introspect", &active());
        Self { hands, provider, memory, held, introspection }
    }

    fn shown<'a>(&self, headers: &'a http::HeaderMap) -> Shown<'a> {
        let Ok(presented::Presented::Bearer(token)) = presented::find(headers, None) else { unreachable!("a token") };
        let (digest, now) = (self.memory.digest(token.expose()), self.hands.clock().now());
        Shown { token, digest, now, client: None, era: self.memory.era(), own: None }
    }

    async fn judge(&self, token: &str) -> Verdict {
        self.introspection.judge(self.shown(&bearer(token))).await
    }
}

fn active() -> Value {
    json!({"active": true, "sub": "alice", "aud": "api"})
}

fn bearer(token: &str) -> http::HeaderMap {
    let value = format!("Bearer {token}").parse().unwrap();
    http::HeaderMap::from_iter([(http::header::AUTHORIZATION, value)])
}

/// One of a herd: nothing was known when it looked, and the question has landed since.
#[tokio::test]
async fn who_comes_to_the_board_after_the_landing_asks_nothing() {
    let world = World::new(false).await;
    let (headers, asked) = (bearer("t"), world.introspection.answers.era());
    let shown = world.shown(&headers);
    assert!(world.judge("t").await.is_ok());
    assert!(world.introspection.ask_once(&shown, asked, false).await.is_ok());
    assert_eq!(world.provider.heads().len(), 1);
}

/// The places are for questions to the issuer: one who waits for the second level takes none.
#[tokio::test]
async fn a_slow_second_level_takes_no_place_from_the_issuer() {
    let world = World::new(true).await;
    let (slow, ()) = tokio::join!(world.judge("slow"), async {
        world.held.looked.subscribe().wait_for(|times| *times == 1).await.unwrap();
        assert_eq!(world.introspection.under_way(), 0);
        assert!(world.judge("quick").await.is_ok());
        world.held.looks.send_replace(true);
    });
    assert!(slow.is_ok());
}

/// While the replicas' answers are being forgotten, a request may still read one; it must be forgotten with the rest.
#[tokio::test]
async fn what_is_read_while_it_is_forgotten_is_forgotten_too() {
    let world = World::new(true).await;
    let until = world.hands.clock().now().plus(Duration::from_secs(60));
    let members = active().as_object().unwrap().clone();
    *world.held.answer.lock().unwrap() = Some(SharedAnswer { members, own: Claims::new(), until });
    let memories = Memories::new(Arc::clone(&world.memory), vec![Arc::clone(&world.introspection)]);
    let forget = Forget { tokens: Tokens::Subject("alice".into()), issuer: None };
    let (forgotten, ()) = tokio::join!(memories.forget(&forget), async {
        world.held.looked.subscribe().wait_for(|times| *times == 1).await.unwrap();
        assert!(world.judge("t").await.is_ok());
        assert!(world.provider.heads().is_empty(), "it was shared");
        world.provider.answers_json("/introspect", &json!({"active": false}));
        world.held.forgets.send_replace(true);
    });
    assert_eq!(forgotten, Ok(1));
    assert_eq!(world.judge("t").await.unwrap_err(), AuthnError::Invalid(Reason::TokenInactive));
}
