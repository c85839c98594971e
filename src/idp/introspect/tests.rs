use serde_json::json;

use super::*;
use crate::clock::ManualClock;
use crate::idp::testing::{Answer, NOW, Provider, clock, started};
use crate::idp::{ClientAuth, Endpoints, IssuerSettings, KeySource};
use crate::jose::{Algorithm, SigningKey};

struct World {
    hands: ManualClock,
    provider: Provider,
    key: SigningKey,
    introspector: Introspector,
}

impl World {
    async fn new(signed: bool) -> Self {
        let (hands, key) = (clock(), SigningKey::generate(Algorithm::Es256, "k1").unwrap());
        let provider = Provider::start(&[&key]).await;
        let endpoints =
            Endpoints { introspection: format!("{}/introspect", provider.issuer).parse().ok(), ..Endpoints::default() };
        let keys = if signed { KeySource::Discovery } else { KeySource::None };
        let settings = IssuerSettings { endpoints, keys, ..provider.settings() };
        let issuer = started(settings, &hands).await;
        let auth = ClientAuth::SecretBasic(Secret::new("s3cret".to_owned()));
        let client = ClientIdentity { client_id: "gateway".into(), auth };
        let settings = IntrospectorSettings { client, signed, timeout: Duration::from_secs(2) };
        let introspector = Introspector::new(issuer, settings, hands.clock());
        Self { hands, provider, key, introspector }
    }

    async fn asks(&self) -> Result<Introspected, IntrospectError> {
        let leave = self.introspector.leave()?;
        self.introspector.ask(leave, &Secret::new("t0ken".to_owned())).await
    }

    fn wrapped(&self) -> Value {
        json!({"iss": self.provider.issuer, "aud": "gateway", "iat": NOW,
            "token_introspection": {"active": true, "sub": "alice"}})
    }

    /// What becomes of an answer that is this token.
    async fn signed(&self, typ: &str, claims: &Value) -> Result<Introspected, IntrospectError> {
        let token = self.key.sign(Some(typ), claims).unwrap();
        self.provider.answers("/introspect", Answer::Typed(200, SIGNED, token.into_bytes()));
        self.asks().await
    }
}

#[tokio::test]
async fn an_issuer_is_asked_without_any_metadata_where_its_endpoint_is_configured() {
    let world = World::new(false).await;
    world.provider.answers_json("/introspect", &json!({"active": true, "sub": "alice"}));
    let Ok(Introspected::Active(members, freshness)) = world.asks().await else { unreachable!("it is active") };
    assert_eq!((members["sub"].as_str(), freshness), (Some("alice"), Freshness::default()));
    world.provider.answers_json("/introspect", &json!({"active": false}));
    assert_eq!(world.asks().await.unwrap(), Introspected::Inactive);
    world.provider.answers_json("/introspect", &json!({"sub": "alice"}));
    assert_eq!(world.asks().await.unwrap(), Introspected::Unclear);
    assert!(world.provider.heads().iter().all(|head| head.starts_with("POST /introspect ")));
    assert!(world.provider.heads()[0].ends_with("\r\n\r\ntoken=t0ken&token_type_hint=access_token"));
}

#[tokio::test]
async fn json_with_two_readings_is_no_answer() {
    let world = World::new(false).await;
    for text in ["", "[]", "null", r#"{"active":true,"active":false}"#, r#"{"active":true} x"#] {
        world.provider.answers("/introspect", Answer::Status(200, text.into()));
        assert!(matches!(world.asks().await, Err(IntrospectError::Json(_) | IntrospectError::LeftAlone(_))), "{text}");
        world.hands.advance(Duration::from_secs(60));
    }
}

#[tokio::test]
async fn a_signed_answer_is_for_this_client_by_this_issuer_and_new() {
    let world = World::new(true).await;
    let good = world.signed("token-introspection+jwt", &world.wrapped()).await.unwrap();
    assert!(matches!(good, Introspected::Active(members, _) if members["sub"] == "alice"));
    let prefixed = world.signed("application/token-introspection+jwt", &world.wrapped()).await.unwrap();
    assert!(matches!(prefixed, Introspected::Active(..)));
    for (member, value) in [
        ("iss", json!("https://elsewhere.example")),
        ("iss", Value::Null),
        ("aud", json!("another")),
        ("aud", json!(["another"])),
        ("aud", Value::Null),
        ("iat", json!(NOW - 91)),
        ("iat", json!(NOW + 31)),
        ("iat", json!("now")),
        ("iat", Value::Null),
        ("token_introspection", Value::Null),
        ("token_introspection", json!("{\"active\":true}")),
    ] {
        let mut claims = world.wrapped();
        claims[member] = value.clone();
        let told = world.signed("token-introspection+jwt", &claims).await;
        assert!(matches!(told, Err(IntrospectError::Signed(_) | IntrospectError::LeftAlone(_))), "{member} {value}");
        // One that was good keeps the breaker closed.
        world.signed("token-introspection+jwt", &world.wrapped()).await.unwrap();
    }
    for typ in ["JWT", "at+jwt", ""] {
        assert!(matches!(world.signed(typ, &world.wrapped()).await, Err(IntrospectError::Signed(_))), "{typ}");
    }
    world.signed("token-introspection+jwt", &world.wrapped()).await.unwrap();
    // By another key under the same name.
    let stranger = SigningKey::generate(Algorithm::Es256, "k1").unwrap();
    let token = stranger.sign(Some("token-introspection+jwt"), &world.wrapped()).unwrap();
    world.provider.answers("/introspect", Answer::Typed(200, SIGNED, token.into_bytes()));
    assert!(matches!(world.asks().await, Err(IntrospectError::Signed("no key of the issuer has signed it"))));
    // The right thing under the wrong name.
    world.provider.answers_json("/introspect", &json!({"active": true}));
    assert!(matches!(world.asks().await, Err(IntrospectError::MediaType(_))));
}

#[test]
fn cache_control_is_read_as_it_is_written() {
    let of = |fields: &[&str]| {
        let mut headers = HeaderMap::new();
        for field in fields {
            headers.append(CACHE_CONTROL, field.parse().unwrap());
        }
        Freshness::of(&headers)
    };
    let aged = |seconds| Some(Duration::from_secs(seconds));
    assert_eq!(of(&[]), Freshness::default());
    assert_eq!(of(&["no-store"]), Freshness { no_store: true, max_age: None });
    assert_eq!(of(&["private, max-age=5", "No-Store"]), Freshness { no_store: true, max_age: aged(5) });
    assert_eq!(of(&["max-age=50, max-age=5"]).max_age, aged(5));
    assert_eq!(of(&["max-age"]).max_age, aged(0));
    assert_eq!(of(&["max-age=1e3"]).max_age, aged(0));
    assert_eq!(of(&["s-maxage=5"]).max_age, None);
}

/// The wait for a key that the answer names is a part of the question.
#[tokio::test]
async fn a_question_ends_in_time_whatever_it_waits_for() {
    let world = World::new(true).await;
    let stranger = SigningKey::generate(Algorithm::Es256, "k2").unwrap();
    let token = stranger.sign(Some("token-introspection+jwt"), &world.wrapped()).unwrap();
    world.provider.answers("/introspect", Answer::Typed(200, SIGNED, token.into_bytes()));
    world.provider.answers(crate::idp::testing::KEYS, Answer::Silence);
    let before = world.provider.heads().len();
    let (told, ()) = tokio::join!(world.asks(), async {
        world.provider.was_asked(before + 2).await;
        world.hands.advance(Duration::from_secs(2));
    });
    assert!(matches!(told, Err(IntrospectError::Deadline(_))), "{told:?}");
}

/// One who shows tokens that make their question fail does not have the endpoint left alone for everybody.
#[tokio::test]
async fn what_is_about_the_token_opens_no_breaker() {
    let world = World::new(false).await;
    let deep = format!("{}1{}", r#"{"a":"#.repeat(100), "}".repeat(100));
    let about_the_token = [
        Answer::Status(400, Vec::new()),
        Answer::Status(403, Vec::new()),
        Answer::Status(414, Vec::new()),
        Answer::Endless,
        Answer::Status(200, br#"{"active":true,"active":true}"#.to_vec()),
        Answer::Status(200, deep.into_bytes()),
    ];
    for answer in about_the_token.iter().cycle().take(30) {
        world.provider.answers("/introspect", answer.clone());
        assert!(world.asks().await.unwrap_err().is_about_the_token());
    }
    assert_eq!(world.introspector.breaker(), BreakerState::Closed);
    let about_the_endpoint = [
        Answer::Status(401, Vec::new()),
        Answer::Status(429, Vec::new()),
        Answer::Status(500, Vec::new()),
        Answer::Status(200, b"garbage".to_vec()),
        Answer::Closed,
    ];
    for answer in about_the_endpoint {
        world.provider.answers("/introspect", answer);
        assert!(!world.asks().await.unwrap_err().is_about_the_token());
    }
    assert_eq!(world.introspector.breaker(), BreakerState::Open);
}
