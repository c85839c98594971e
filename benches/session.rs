//! What a session costs a request: a cookie that was opened before, one that comes for the first time, and, to compare, a
//! token that is remembered (`benches/token.rs`).
#![allow(clippy::unwrap_used, reason = "a bench that cannot go on should stop")]

use std::hint::black_box;
use std::sync::Arc;
use std::time::Duration;

use criterion::{Criterion, criterion_group, criterion_main};
use futures_util::FutureExt as _;
use http::header::{COOKIE, HeaderMap, HeaderValue};
use postern::authn::{CrossSite, SessionWay, Ways, identify};
use postern::caller::{Claims, Known};
use postern::clock::{ManualClock, Time};
use postern::control::Control;
use postern::idp::{
    Audiences, ClientAuth, ClientIdentity, Endpoints, Fetch, Issuer, IssuerSettings, KeySource, Par, Registration,
    RegistrationSettings, RequestObject, TokenType,
};
use postern::jose::AlgorithmSet;
use postern::kv::{Kv, MemoryKv, MemoryKvLimits};
use postern::seal::{MasterKey, MasterKeys, Secret};
use postern::session::{Ended, Kept, Session, SessionId, SessionStore, Sessions, SessionsSettings, Tokens};
use postern::wire::cookies::{CookieScope, OwnCookieNames, OwnCookies, SameSite};
use postern::wire::owned::OwnedNames;

mod common;

const ISSUER: &str = "https://login.example.com";
const NAME: &str = "__Host-postern-shop";

fn sessions(hands: &ManualClock, in_cookie: bool) -> Arc<Sessions> {
    let kv = Kv::Memory(MemoryKv::new(MemoryKvLimits::default(), hands.clock()));
    let store = if in_cookie {
        SessionStore::InCookie(Ended::new(kv.clone(), kv))
    } else {
        SessionStore::Kept(Kept::new(kv.clone(), kv))
    };
    let settings = SessionsSettings {
        site: "shop".into(),
        registrations: vec![registration(hands)],
        idle: Duration::from_secs(3600),
        absolute: Duration::from_secs(12 * 3600),
        cookie: NAME.into(),
        scope: CookieScope { same_site: SameSite::Lax, secure: true, domain: None },
        userinfo: false,
    };
    let keys = MasterKeys::new([MasterKey::from_bytes([7; 32])]).unwrap();
    Sessions::new(settings, &keys, store, hands.clock(), Control::current())
}

fn registration(hands: &ManualClock) -> Arc<Registration> {
    let issuer = IssuerSettings {
        name: "corp".into(),
        issuer: ISSUER.into(),
        audiences: Audiences::Any,
        algorithms: AlgorithmSet::parse(["ES256"]).unwrap(),
        token_type: TokenType::Any,
        accept_id_tokens: false,
        clock_skew: Duration::ZERO,
        keys: KeySource::Discovery,
        endpoints: Endpoints::default(),
        discover: false,
        keys_optional: false,
        refresh: Duration::from_secs(900),
        cooldown: Duration::from_secs(30),
        max_stale: Duration::from_secs(900),
        allow_http: false,
        tls: None,
    };
    let issuer = Issuer::new(issuer, hands.clock(), Control::current(), Fetch::new(hands.clock()));
    let identity = ClientIdentity { client_id: "shop".into(), auth: ClientAuth::None };
    let settings = RegistrationSettings {
        name: "shop-web".into(),
        identity,
        scope: "openid".into(),
        pkce: true,
        par: Par::Off,
        request_object: RequestObject::Off,
        key: None,
    };
    Registration::new(settings, issuer)
}

fn session(now: Time, number: u32) -> Session {
    let claims = serde_json::json!({ "sub": "alice", "email": "alice@example.com", "groups": ["staff", "admins"] });
    Session {
        id: SessionId::random(),
        site: "shop".into(),
        client: "shop-web".into(),
        issuer: ISSUER.into(),
        subject: "alice".into(),
        sid: Some(format!("sid-{number}").into()),
        signed_in_at: now,
        seen_at: now,
        ends_at: None,
        generation: 0,
        tokens: Tokens {
            access: Some(Secret::new("a".repeat(43))),
            refresh: Some(Secret::new("r".repeat(43))),
            id: Some(Secret::new("i".repeat(600))),
            ..Tokens::default()
        },
        claims: claims.as_object().cloned().unwrap_or_else(Claims::new),
    }
}

/// What the browser of a new session sends.
fn cookies(sessions: &Sessions, now: Time, number: u32) -> OwnCookies {
    let changes = sessions.begin(&session(now, number), &OwnCookies::default(), now).now_or_never();
    let changes = changes.unwrap().unwrap();
    let field = changes.iter().next().unwrap().to_str().unwrap().split(';').next().unwrap().to_owned();
    let mut headers = HeaderMap::new();
    headers.insert(COOKIE, HeaderValue::try_from(field).unwrap());
    OwnCookies::take(&mut headers, &OwnCookieNames::new([NAME]))
}

fn benches(criterion: &mut Criterion) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let _entered = runtime.enter();
    let facts = common::facts();
    let hands = ManualClock::at(facts.now);
    let mut arrival = common::arrive(common::parts("none"), &OwnedNames::new(&[]));
    arrival.headers.remove(http::header::AUTHORIZATION);
    let mut group = criterion.benchmark_group("session");
    for (name, in_cookie) in [("cookie", true), ("memory", false)] {
        let sessions = sessions(&hands, in_cookie);
        let ways = Ways {
            session: Some(SessionWay::new(Arc::clone(&sessions), CrossSite::default(), true)),
            ..Ways::default()
        };
        let known = cookies(&sessions, facts.now, 0);
        group.bench_function(format!("identify/opened/{name}"), |bencher| {
            bencher.iter(|| {
                let seen = identify(&ways, &facts, black_box(&mut arrival), &known).now_or_never();
                assert!(matches!(seen.unwrap().unwrap().known, Known::Caller(_)));
            });
        });
        let mut number = 0;
        group.bench_function(format!("identify/new/{name}"), |bencher| {
            bencher.iter_batched(
                || {
                    number += 1;
                    cookies(&sessions, facts.now, number)
                },
                |fresh| {
                    let seen = identify(&ways, &facts, black_box(&mut arrival), &fresh).now_or_never();
                    assert!(matches!(seen.unwrap().unwrap().known, Known::Caller(_)));
                },
                criterion::BatchSize::SmallInput,
            );
        });
    }
    group.finish();
}

criterion_group!(all, benches);
criterion_main!(all);
