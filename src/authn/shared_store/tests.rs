use serde_json::json;

use super::*;
use crate::clock::ManualClock;
use crate::kv::{MemoryKv, MemoryKvLimits};
use crate::seal::{MasterKey, Secret};

const ISSUER: &str = "https://login.example.com";
const TTL: Duration = Duration::from_secs(60);
const TIMEOUT: Duration = Duration::from_secs(90);
const ENDPOINT: &str = "https://login.example.com/introspect";

struct World {
    hands: ManualClock,
    kv: Kv,
    token: Secret,
}

impl World {
    fn new() -> Self {
        let hands = ManualClock::at(Time::from_seconds(1_700_000_000));
        let kv = Kv::Memory(MemoryKv::new(MemoryKvLimits::default(), hands.clock()));
        Self { hands, kv, token: Secret::new("an opaque token".to_owned()) }
    }

    /// One of the replicas.
    fn replica(&self, key: u8) -> StoredAnswers {
        let keys = MasterKeys::new([MasterKey::from_bytes([key; 32])]).unwrap();
        StoredAnswers::new(self.kv.clone(), &keys, (TTL, TIMEOUT), self.hands.clock())
    }

    fn of(&self) -> SharedToken<'_> {
        SharedToken { issuer: ISSUER, client_id: "gateway", endpoint: ENDPOINT, signed: false, token: &self.token }
    }

    fn answer(&self) -> SharedAnswer {
        let members = json!({ "sub": "alice", "client_id": "shop", "jti": "1", "scope": "read" });
        let until = self.hands.clock().now().plus(TTL);
        SharedAnswer { members: members.as_object().unwrap().clone(), own: Claims::new(), until }
    }

    async fn shared(&self) -> StoredAnswers {
        let replica = self.replica(1);
        replica.put(self.of(), &self.answer(), TTL).await.unwrap();
        replica
    }

    async fn finds(&self, replica: &StoredAnswers) -> bool {
        replica.get(self.of()).await.unwrap().is_some()
    }
}

fn forget(tokens: Tokens) -> Forget {
    Forget { tokens, issuer: None }
}

#[tokio::test]
async fn replicas_find_what_one_was_told_until_its_time_is_over() {
    let world = World::new();
    world.shared().await;
    let other = world.replica(1);
    assert_eq!(other.get(world.of()).await.unwrap(), Some(world.answer()));
    world.hands.advance(TTL - Duration::from_secs(1));
    assert!(world.finds(&other).await);
    world.hands.advance(Duration::from_secs(1));
    assert!(!world.finds(&other).await);
}

#[tokio::test]
async fn an_answer_is_for_its_token_its_issuer_and_who_asked_alone() {
    let world = World::new();
    let replica = world.shared().await;
    let token = Secret::new("another token".to_owned());
    for of in [
        SharedToken { token: &token, ..world.of() },
        SharedToken { issuer: "https://login.example.org", ..world.of() },
        SharedToken { client_id: "other", ..world.of() },
        SharedToken { endpoint: "https://login.example.com/other", ..world.of() },
        SharedToken { signed: true, ..world.of() },
        // The parts are told apart by their lengths.
        SharedToken { issuer: "https://login.example.comg", client_id: "ateway", ..world.of() },
    ] {
        assert_eq!(replica.get(of).await.unwrap(), None, "{of:?}");
    }
}

#[tokio::test]
async fn nothing_is_found_or_opened_with_another_key() {
    let world = World::new();
    world.shared().await;
    assert!(!world.finds(&world.replica(2)).await);
}

#[tokio::test]
async fn what_is_not_ours_counts_as_no_answer() {
    let world = World::new();
    let replica = world.shared().await;
    let digest = replica.name_of(world.of());
    let key = Key::keyed(ANSWERS, &digest);
    let sealed = world.kv.get(&key).await.unwrap().unwrap();
    assert!(!sealed.windows(5).any(|part| part == b"alice"), "it is sealed");
    let elsewhere = replica.seal.seal(b"another record", b"{}");
    let nonsense = replica.seal.seal(digest.as_bytes(), b"[]");
    for foreign in [&b""[..], b"foreign", &sealed[..sealed.len() - 1], &elsewhere, &nonsense] {
        world.kv.put(&key, Bytes::copy_from_slice(foreign), TTL).await.unwrap();
        assert!(!world.finds(&replica).await);
    }
}

#[tokio::test]
async fn what_is_forgotten_by_any_name_is_not_found_again() {
    for tokens in [Tokens::Subject("alice".into()), Tokens::ClientId("shop".into()), Tokens::Id("1".into())] {
        let world = World::new();
        let replica = world.shared().await;
        world.hands.advance(Duration::from_secs(10));
        replica.forget(ISSUER, &forget(tokens.clone())).await.unwrap();
        assert!(!world.finds(&world.replica(1)).await, "{tokens:?}");
    }
    for tokens in [Tokens::Subject("bob".into()), Tokens::ClientId("alice".into()), Tokens::Id("shop".into())] {
        let world = World::new();
        let replica = world.shared().await;
        replica.forget(ISSUER, &forget(tokens.clone())).await.unwrap();
        replica.forget("https://login.example.org", &forget(Tokens::Subject("alice".into()))).await.unwrap();
        assert!(world.finds(&world.replica(1)).await, "{tokens:?}: others are not concerned");
    }
    let world = World::new();
    let replica = world.shared().await;
    replica.forget(ISSUER, &forget(Tokens::Token(world.token.clone()))).await.unwrap();
    assert!(!world.finds(&replica).await);
}

/// A replica asked before the token was forgotten, and puts its answer away after.
#[tokio::test]
async fn an_answer_that_was_under_way_does_not_come_back() {
    for is_by_token in [true, false] {
        let world = World::new();
        let replica = world.shared().await;
        if is_by_token {
            replica.forget(ISSUER, &forget(Tokens::Token(world.token.clone()))).await.unwrap();
        } else {
            replica.forget(ISSUER, &forget(Tokens::Subject("alice".into()))).await.unwrap();
        }
        // Nearly as late as the clocks and the longest question allow.
        world.hands.advance(SKEW + TIMEOUT - Duration::from_secs(5));
        let late = world.replica(1);
        late.put(world.of(), &world.answer(), TTL).await.unwrap();
        assert!(!world.finds(&late).await);
        world.hands.advance(Duration::from_secs(10));
        late.put(world.of(), &world.answer(), TTL).await.unwrap();
        assert!(world.finds(&late).await, "what was asked for since is believed");
    }
}

#[tokio::test]
async fn an_answer_that_is_too_large_is_not_shared() {
    let world = World::new();
    let replica = world.replica(1);
    let mut answer = world.answer();
    answer.members.insert("groups".to_owned(), "x".repeat(MAX_BYTES).into());
    replica.put(world.of(), &answer, TTL).await.unwrap();
    assert!(!world.finds(&replica).await);
}

/// Replicas may ask elsewhere, or as somebody else: the mark of a token is for all of them.
#[tokio::test]
async fn a_token_is_forgotten_whoever_asked_about_it() {
    let world = World::new();
    let replica = world.replica(1);
    let others = [
        world.of(),
        SharedToken { client_id: "other", ..world.of() },
        SharedToken { endpoint: "https://login.example.com/other", signed: true, ..world.of() },
    ];
    for of in others {
        replica.put(of, &world.answer(), TTL).await.unwrap();
        assert!(replica.get(of).await.unwrap().is_some());
    }
    replica.forget(ISSUER, &forget(Tokens::Token(world.token.clone()))).await.unwrap();
    for of in others {
        assert_eq!(replica.get(of).await.unwrap(), None, "{of:?}");
    }
}

#[tokio::test]
async fn an_answer_is_forgotten_by_what_the_token_says_of_itself() {
    for tokens in [Tokens::Subject("al".into()), Tokens::ClientId("cli".into()), Tokens::Id("one".into())] {
        let world = World::new();
        let replica = world.replica(1);
        let own = json!({ "sub": "al", "azp": "cli", "jti": "one" }).as_object().unwrap().clone();
        replica.put(world.of(), &SharedAnswer { own, ..world.answer() }, TTL).await.unwrap();
        assert!(world.finds(&replica).await);
        replica.forget(ISSUER, &forget(tokens.clone())).await.unwrap();
        assert!(!world.finds(&replica).await, "{tokens:?}");
    }
}
