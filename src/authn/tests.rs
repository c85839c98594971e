use std::sync::Arc;

use http::HeaderValue;
use http::header::AUTHORIZATION;
use serde_json::{Value, json};

use super::*;
use crate::caller::{Caller, Kind};
use crate::clock::ManualClock;
use crate::idp::testing::{Answer, KEYS, NOW, Provider, clock, started};
use crate::idp::{Issuer, IssuerSettings};
use crate::jose::{Algorithm, AlgorithmSet, SigningKey};

/// One issuer with one key, and a route that takes its tokens.
struct World {
    hands: ManualClock,
    provider: Provider,
    key: SigningKey,
    issuer: Arc<Issuer>,
    memory: Arc<TokenMemory>,
    ways: Ways,
}

fn key(kid: &str) -> SigningKey {
    SigningKey::generate(Algorithm::Es256, kid).unwrap()
}

fn ways(issuers: &[&Arc<Issuer>], memory: &Arc<TokenMemory>) -> Ways {
    let issuers = issuers.iter().map(|issuer| Trusted::signer(Arc::clone(issuer))).collect();
    Ways { bearer: Some(BearerWay::new(issuers, Arc::clone(memory))), session: None, basic: None }
}

fn bearer(token: &str) -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert(AUTHORIZATION, HeaderValue::from_str(&format!("Bearer {token}")).unwrap());
    headers
}

impl World {
    async fn new() -> Self {
        Self::with(|settings| settings).await
    }

    async fn with(change: impl FnOnce(IssuerSettings) -> IssuerSettings) -> Self {
        let (hands, key) = (clock(), key("k1"));
        let provider = Provider::start(&[&key]).await;
        let issuer = started(change(provider.settings()), &hands).await;
        let memory = Arc::new(TokenMemory::new(MemoryLimits::default()));
        let ways = ways(&[&issuer], &memory);
        Self { hands, provider, key, issuer, memory, ways }
    }

    fn claims(&self) -> Value {
        json!({"iss": self.provider.issuer, "aud": "api", "sub": "alice", "client_id": "shop", "exp": NOW + 300, "scope": "read"})
    }

    fn token(&self) -> String {
        self.key.sign(Some("at+jwt"), &self.claims()).unwrap()
    }

    async fn shows(&self, token: &str) -> Result<Arc<Caller>, AuthnError> {
        self.shows_to(&self.ways, token).await
    }

    async fn shows_to(&self, ways: &Ways, token: &str) -> Result<Arc<Caller>, AuthnError> {
        match judge(ways, by(self.hands.clock().now()), &bearer(token), None).await? {
            Known::Caller(caller) => Ok(caller),
            Known::Nobody => unreachable!("a token was shown"),
        }
    }

    #[track_caller]
    fn is_refused(shown: Result<Arc<Caller>, AuthnError>, reason: Reason) {
        assert_eq!(shown.unwrap_err(), AuthnError::Invalid(reason));
    }
}

#[tokio::test]
async fn a_good_token_names_its_caller() {
    let world = World::new().await;
    let caller = world.shows(&world.token()).await.unwrap();
    assert_eq!((&*caller.issuer, &*caller.iss), ("corp", &*world.provider.issuer));
    assert_eq!((caller.subject.as_deref(), caller.client_id.as_deref()), (Some("alice"), Some("shop")));
    assert_eq!((caller.kind, caller.expires_at), (Kind::User, Time::from_seconds(NOW + 300)));
    assert!(caller.scopes.contains("read"));
    assert_eq!(Value::Object(caller.claims.clone()), world.claims());
}

#[tokio::test]
async fn a_token_is_checked_once_and_remembered() {
    let world = World::new().await;
    let token = world.token();
    let first = world.shows(&token).await.unwrap();
    let second = world.shows(&token).await.unwrap();
    assert!(Arc::ptr_eq(&first, &second));
    assert_eq!((world.memory.counts().hits, world.memory.counts().misses), (1, 1));
    assert_eq!(world.issuer.tally().accepted.load(std::sync::atomic::Ordering::Relaxed), 1);
    let other = world
        .key
        .sign(None, &json!({"iss": world.provider.issuer, "aud": "api", "sub": "bob", "exp": NOW + 9}))
        .unwrap();
    assert_eq!(world.shows(&other).await.unwrap().subject.as_deref(), Some("bob"));
}

#[tokio::test]
async fn who_shows_nothing_is_nobody() {
    let world = World::new().await;
    let nobody = |known| matches!(known, Ok(Known::Nobody));
    let now = Time::from_seconds(NOW);
    assert!(nobody(judge(&world.ways, by(now), &HeaderMap::new(), None).await));
    assert!(nobody(
        judge(&world.ways, by(now), &HeaderMap::new(), Some(&format!("access_token={}", world.token()))).await
    ));
    assert!(nobody(judge(&Ways::default(), by(now), &bearer("x"), None).await), "a public route looks at no token");
    let mut two = bearer("x");
    two.append(AUTHORIZATION, HeaderValue::from_static("Bearer y"));
    assert_eq!(judge(&Ways::default(), by(now), &two, None).await.unwrap_err(), AuthnError::Repeated);
    let mut bound = HeaderMap::new();
    bound.insert(AUTHORIZATION, HeaderValue::from_str(&format!("DPoP {}", world.token())).unwrap());
    assert_eq!(judge(&world.ways, by(now), &bound, None).await.unwrap_err(), AuthnError::Invalid(Reason::TokenBound));
}

#[tokio::test]
async fn a_remembered_token_ends_when_it_ends() {
    let world = World::new().await;
    let token = world.token();
    world.shows(&token).await.unwrap();
    world.hands.step_wall(Time::from_seconds(NOW + 329));
    world.shows(&token).await.unwrap();
    world.hands.step_wall(Time::from_seconds(NOW + 330));
    World::is_refused(world.shows(&token).await, Reason::TokenExpired);
    assert_eq!(world.memory.counts().entries, 0);
}

#[tokio::test]
async fn a_wall_clock_that_steps_back_makes_a_token_early_again() {
    let world = World::new().await;
    let mut claims = world.claims();
    claims["nbf"] = json!(NOW);
    let token = world.key.sign(None, &claims).unwrap();
    world.shows(&token).await.unwrap();
    world.hands.step_wall(Time::from_seconds(NOW - 3600));
    World::is_refused(world.shows(&token).await, Reason::TokenNotYetValid);
}

#[tokio::test]
async fn a_token_is_forgotten_with_its_key() {
    let world = World::new().await;
    let (token, newer) = (world.token(), key("k2"));
    world.shows(&token).await.unwrap();
    world.provider.publishes(&[&newer]);
    world.hands.advance(world.issuer.settings().refresh);
    world.issuer.attempted(2).await;
    world.hands.step_wall(Time::from_seconds(NOW));
    World::is_refused(world.shows(&token).await, Reason::TokenKey);
    let fresh = newer.sign(None, &world.claims()).unwrap();
    world.shows(&fresh).await.unwrap();
}

#[tokio::test]
async fn a_token_signed_with_a_new_key_passes_after_one_fetch() {
    let world = World::new().await;
    let newer = key("k2");
    world.provider.publishes(&[&world.key, &newer]);
    let fresh = newer.sign(None, &world.claims()).unwrap();
    world.shows(&fresh).await.unwrap();
    world.shows(&world.token()).await.unwrap();
    assert_eq!(world.provider.key_requests(), 2);
}

#[tokio::test]
async fn a_token_is_good_only_where_its_issuer_is_asked_for() {
    let (one, other) = (World::new().await, World::new().await);
    let theirs = ways(&[&other.issuer], &one.memory);
    let both = ways(&[&other.issuer, &one.issuer], &one.memory);
    let token = one.token();
    World::is_refused(one.shows_to(&theirs, &token).await, Reason::TokenIssuer);
    one.shows(&token).await.unwrap();
    World::is_refused(one.shows_to(&theirs, &token).await, Reason::TokenIssuer);
    one.shows_to(&both, &token).await.unwrap();
    one.shows(&token).await.unwrap();
    let by_the_other_key = other.key.sign(None, &one.claims()).unwrap();
    World::is_refused(one.shows_to(&both, &by_the_other_key).await, Reason::TokenSignature);
}

#[tokio::test]
async fn an_issuer_that_was_configured_anew_trusts_no_old_verdict() {
    let world = World::new().await;
    let token = world.token();
    world.shows(&token).await.unwrap();
    let stricter = IssuerSettings {
        audiences: crate::idp::Audiences::OneOf(["other".into()].into()),
        ..world.provider.settings()
    };
    let stricter = started(stricter, &world.hands).await;
    World::is_refused(world.shows_to(&ways(&[&stricter], &world.memory), &token).await, Reason::TokenAudience);
}

#[tokio::test]
async fn what_can_be_refused_without_a_key_causes_no_fetch() {
    let world =
        World::with(|settings| IssuerSettings { algorithms: AlgorithmSet::parse(["ES256"]).unwrap(), ..settings })
            .await;
    let unknown = key("unknown");
    let mut expired = world.claims();
    expired["exp"] = json!(NOW - 300);
    let mut bound = world.claims();
    bound["cnf"] = json!({"jkt": "x"});
    let claims = world.claims().to_string();
    let header = |alg: &str| json!({"alg": alg, "kid": "unknown"}).to_string();
    let raw = |header: &str, payload: &str| unknown.sign_parts(header.as_bytes(), payload.as_bytes()).unwrap();
    let cases = [
        (raw(&header("EdDSA"), &claims), Reason::TokenAlgorithm),
        (raw(&header("none"), &claims), Reason::TokenAlgorithm),
        (raw(&header("HS256"), &claims), Reason::TokenAlgorithm),
        (unknown.sign(None, &expired).unwrap(), Reason::TokenExpired),
        (unknown.sign(None, &bound).unwrap(), Reason::TokenBound),
        (unknown.sign(Some("logout+jwt"), &world.claims()).unwrap(), Reason::TokenType),
        (unknown.sign(None, &json!({"iss": "https://elsewhere.example"})).unwrap(), Reason::TokenIssuer),
        (unknown.sign(None, &json!({})).unwrap(), Reason::TokenIssuer),
        (unknown.sign(None, &json!([])).unwrap(), Reason::TokenMalformed),
        (raw(&header("ES256"), &format!("{{\"scope\":\"read\",{}", &claims[1..])), Reason::TokenMalformed),
        (raw(&header("ES256"), &format!("{claims} x")), Reason::TokenMalformed),
        ("garbage".to_owned(), Reason::TokenMalformed),
        ("a.b.c".to_owned(), Reason::TokenMalformed),
        (format!("{}.x", world.token()), Reason::TokenMalformed),
        ("a".repeat(1024 * 1024), Reason::TokenMalformed),
    ];
    for (token, reason) in cases {
        World::is_refused(world.shows(&token).await, reason);
    }
    assert_eq!(world.provider.key_requests(), 1);
    World::is_refused(world.shows(&unknown.sign(None, &world.claims()).unwrap()).await, Reason::TokenKey);
    assert_eq!(world.provider.key_requests(), 2);
}

#[tokio::test]
async fn a_flood_of_unknown_kids_leaves_good_tokens_alone() {
    let world = World::new().await;
    let token = world.token();
    world.shows(&token).await.unwrap();
    for number in 0..300 {
        let junk = world.key.sign_parts(
            json!({"alg": "ES256", "kid": format!("k-{number}")}).to_string().as_bytes(),
            world.claims().to_string().as_bytes(),
        );
        World::is_refused(world.shows(&junk.unwrap()).await, Reason::TokenKey);
    }
    assert_eq!(world.provider.key_requests(), 2);
    world.shows(&token).await.unwrap();
}

#[tokio::test]
async fn without_keys_nobody_can_say() {
    let world = World::new().await;
    let provider = Provider::start(&[]).await;
    let down = started(provider.settings(), &world.hands).await;
    let mut claims = world.claims();
    claims["iss"] = json!(provider.issuer);
    let token = world.key.sign(None, &claims).unwrap();
    let shown = world.shows_to(&ways(&[&down], &world.memory), &token).await;
    assert!(
        matches!(shown, Err(AuthnError::Unavailable { reason: Reason::IssuerUnreachable, retry_after }) if !retry_after.is_zero())
    );
    assert_eq!(shown.unwrap_err().reason(), Reason::IssuerUnreachable);
}

#[tokio::test]
async fn an_unknown_kid_while_the_issuer_is_down_is_not_called_invalid() {
    let world = World::new().await;
    world.provider.answers(KEYS, Answer::Status(500, Vec::new()));
    let fresh = key("k2").sign(None, &world.claims()).unwrap();
    assert!(matches!(world.shows(&fresh).await, Err(AuthnError::Unavailable { .. })));
    world.shows(&world.token()).await.unwrap();
}

#[tokio::test]
async fn keys_past_max_stale_vouch_for_nothing_not_even_for_what_is_remembered() {
    let world = World::new().await;
    let token = world.token();
    world.shows(&token).await.unwrap();
    world.provider.answers(KEYS, Answer::Silence);
    world.hands.advance(world.issuer.settings().max_stale + Duration::from_secs(1));
    world.hands.step_wall(Time::from_seconds(NOW));
    assert!(matches!(world.shows(&token).await, Err(AuthnError::Unavailable { .. })));
}

#[tokio::test]
async fn the_walk_can_carry_an_identification_between_threads() {
    fn is_send(_: impl Send) {}
    let world = World::new().await;
    let headers = bearer("x");
    is_send(judge(&world.ways, by(Time::from_seconds(NOW)), &headers, None));
    let _ = |ways: &'static Ways,
             facts: &'static Facts,
             arrival: &'static mut Arrival,
             cookies: &'static OwnCookies| { is_send(identify(ways, facts, arrival, cookies)) };
}

fn by(now: Time) -> By {
    By { now, client: None, is_forged: false }
}
