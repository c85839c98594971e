//! What a token costs: its signature alone, the whole check of a token seen for the first time, and the look-up of one
//! that is remembered.
#![allow(clippy::unwrap_used, reason = "a bench that cannot go on should stop")]

mod common;

use std::hint::black_box;
use std::sync::Arc;
use std::time::Duration;

use criterion::{Criterion, criterion_group, criterion_main};
use futures_util::FutureExt as _;
use postern::authn::{
    AnswerLimits, BearerWay, Introspection, IntrospectionSettings, IntrospectionWiring, MemoryLimits, TokenMemory,
    Trusted, Ways, identify,
};
use postern::caller::Known;
use postern::clock::ManualClock;
use postern::control::Control;
use postern::devidp::{ClientEntry, Mint, Provider, Settings};
use postern::idp::introspect::{Introspector, IntrospectorSettings};
use postern::idp::{
    Audiences, ClientAuth, ClientIdentity, Endpoints, Fetch, Issuer, IssuerSettings, KeySource, TokenType,
};
use postern::jose::{Algorithm, AlgorithmSet, Jws, KeySet, SigningKey, verify};
use postern::seal::Secret;
use postern::wire::cookies::OwnCookies;
use postern::wire::owned::OwnedNames;
use serde_json::json;

const ISSUER: &str = "https://login.example.com/realms/corp";
const LIMIT: usize = 16 * 1024;

/// A token of ordinary size for this key.
fn token(key: &SigningKey) -> String {
    let now = common::NOW.seconds();
    let claims = json!({
        "iss": ISSUER,
        "sub": "f3c1a0de-8f3b-4c62-9d50-2f4bb9a3f1c7",
        "aud": ["orders-api", "account"],
        "exp": now + 300,
        "iat": now - 5,
        "jti": "5bd8b6c6-9f0f-4be1-8a0a-f50c4a5c7a3b",
        "client_id": "shop",
        "scope": "openid profile email orders:read orders:write",
        "email": "alice@example.com",
        "groups": ["staff", "orders", "europe"],
    });
    key.sign(Some("at+jwt"), &claims).unwrap()
}

fn key_set(keys: &[SigningKey]) -> String {
    json!({ "keys": keys.iter().map(SigningKey::public_jwk).collect::<Vec<_>>() }).to_string()
}

/// An issuer that has loaded these keys from a file.
fn issuer(keys: &[SigningKey]) -> Arc<Issuer> {
    let file = std::env::temp_dir().join(format!("postern-bench-{}.json", std::process::id()));
    std::fs::write(&file, key_set(keys)).unwrap();
    let settings = IssuerSettings { keys: KeySource::File(file.clone()), ..settings_of(ISSUER) };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let loaded = runtime.block_on(async {
        let clock = ManualClock::at(common::NOW).clock();
        let issuer = Issuer::new(settings, clock.clone(), Control::current(), Fetch::new(clock));
        issuer.start();
        issuer.attempted(1).await;
        issuer
    });
    std::fs::remove_file(file).unwrap();
    loaded
}

fn settings_of(issuer: &str) -> IssuerSettings {
    IssuerSettings {
        name: "corp".into(),
        issuer: issuer.into(),
        audiences: Audiences::OneOf(["orders-api".into()].into()),
        algorithms: AlgorithmSet::default(),
        token_type: TokenType::Any,
        accept_id_tokens: false,
        clock_skew: Duration::from_secs(30),
        keys: KeySource::Discovery,
        keys_optional: false,
        endpoints: Endpoints::default(),
        discover: false,
        refresh: Duration::from_secs(900),
        cooldown: Duration::from_secs(30),
        max_stale: Duration::from_secs(24 * 3600),
        allow_http: false,
        tls: None,
    }
}

fn ways(issuer: &Arc<Issuer>, limits: MemoryLimits) -> Ways {
    let bearer = BearerWay::new(vec![Trusted::signer(Arc::clone(issuer))], Arc::new(TokenMemory::new(limits)));
    Ways { bearer: Some(bearer), session: None, basic: None }
}

/// A route with an issuer of opaque tokens, and one of them.
struct Opaque {
    runtime: tokio::runtime::Runtime,
    _provider: Provider,
    ways: Ways,
    token: String,
}

impl Opaque {
    fn new() -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let clock = ManualClock::at(common::NOW).clock();
        let gateway = ClientEntry { may_introspect: true, ..ClientEntry::confidential("gateway", "secret") };
        let settings = Settings { clients: vec![gateway], ..Settings::default() };
        let local = std::net::SocketAddr::from(([127, 0, 0, 1], 0));
        let provider = runtime.block_on(Provider::start(local, settings, clock.clone())).unwrap();
        let control = Control::new(runtime.handle().clone());
        let fetch = Fetch::new(clock.clone());
        let endpoints = Endpoints {
            introspection: format!("{}/introspect", provider.issuer()).parse().ok(),
            ..Endpoints::default()
        };
        let settings = IssuerSettings { keys: KeySource::None, endpoints, ..settings_of(provider.issuer()) };
        let issuer = Issuer::new(settings, clock.clone(), control.clone(), fetch);
        let auth = ClientAuth::SecretBasic(Secret::new("secret".to_owned()));
        let client = ClientIdentity { client_id: "gateway".into(), auth };
        let asking = IntrospectorSettings { client, signed: false, timeout: Duration::from_secs(2) };
        let introspector = Introspector::new(Arc::clone(&issuer), asking, clock.clone());
        let answers = AnswerLimits {
            ttl: Duration::from_secs(60),
            negative_ttl: Duration::from_secs(10),
            entries: 100_000,
            bytes: 256 * 1024 * 1024,
            obey_no_store: false,
            stale_if_error: Duration::ZERO,
        };
        let settings =
            IntrospectionSettings { answers, needs_audience: true, concurrency: 64, failures_per_client: 60 };
        let memory = Arc::new(TokenMemory::new(MemoryLimits::default()));
        let wiring = IntrospectionWiring { clock, control, memory: Arc::clone(&memory), shared: None };
        let introspection = Introspection::new(introspector, settings, wiring);
        let trusted =
            Trusted { issuer, signs: false, answers: true, confirms: false, introspection: Some(introspection) };
        let ways = Ways { bearer: Some(BearerWay::new(vec![trusted], memory)), session: None, basic: None };
        let token = provider.mint_opaque(&Mint::user("shop", "alice").scope("orders:read").audience("orders-api"));
        Self { runtime, _provider: provider, ways, token }
    }
}

fn benches(criterion: &mut Criterion) {
    let algorithms = [Algorithm::Rs256, Algorithm::Es256, Algorithm::EdDsa];
    let keys = algorithms.map(|algorithm| SigningKey::generate(algorithm, algorithm.name()).unwrap());
    let set = KeySet::parse(key_set(&keys).as_bytes()).unwrap();
    let issuer = issuer(&keys);
    let facts = common::facts();
    let (owned, cookies) = (OwnedNames::new(&[]), OwnCookies::default());
    let mut group = criterion.benchmark_group("token");
    for key in &keys {
        let (name, token) = (key.algorithm().name(), token(key));
        group.bench_function(format!("parse and verify/{name}"), |bencher| {
            bencher.iter(|| verify::verify(&Jws::parse(black_box(&token), LIMIT).unwrap(), &set).unwrap());
        });
        // Room for nothing: each time is the first.
        let cold = ways(&issuer, MemoryLimits { entries: 0, bytes: 0 });
        let warm = ways(&issuer, MemoryLimits::default());
        for (memory, ways) in [("new", cold), ("remembered", warm)] {
            let mut arrival = common::arrive(common::parts(&token), &owned);
            group.bench_function(format!("identify/{memory}/{name}"), |bencher| {
                bencher.iter(|| {
                    let seen = identify(&ways, &facts, black_box(&mut arrival), &cookies).now_or_never();
                    assert!(matches!(seen.unwrap().unwrap().known, Known::Caller(_)));
                });
            });
        }
    }
    let opaque = Opaque::new();
    let mut arrival = common::arrive(common::parts(&opaque.token), &owned);
    // The first time asks the issuer, and is remembered.
    opaque.runtime.block_on(identify(&opaque.ways, &facts, &mut arrival, &cookies)).unwrap();
    group.bench_function("identify/remembered/opaque", |bencher| {
        bencher.iter(|| {
            let seen = identify(&opaque.ways, &facts, black_box(&mut arrival), &cookies).now_or_never();
            assert!(matches!(seen.unwrap().unwrap().known, Known::Caller(_)));
        });
    });
    group.finish();
}

criterion_group!(all, benches);
criterion_main!(all);
