//! The contract of the session stores: in cookies (what ended is remembered in memory, or in Redis), in memory, in Redis.

use std::sync::Arc;
use std::time::Duration;

use http::header::{COOKIE, HeaderMap, HeaderValue};
use postern::caller::Claims;
use postern::clock::{Clock, ManualClock, Time};
use postern::control::Control;
use postern::idp::{
    Audiences, ClientAuth, ClientIdentity, Endpoints, Fetch, Issuer, IssuerSettings, KeySource, Par, Registration,
    RegistrationSettings, RequestObject, TokenType,
};
use postern::jose::AlgorithmSet;
use postern::kv::{Kv, MemoryKv, MemoryKvLimits, RedisKv};
use postern::seal::{MasterKey, MasterKeys, Secret};
use postern::session::{Ended, FindError, Kept, Session, SessionId, SessionStore, Sessions, SessionsSettings, Tokens};
use postern::wire::cookies::{CookieChanges, CookieScope, OwnCookieNames, OwnCookies, SameSite};

use crate::support::redis::Redis;

const ISSUER: &str = "https://login.example.com";
const NAME: &str = "__Host-postern-shop";
const START: Time = Time::from_seconds(1_900_000_000);
const MINUTE: Duration = Duration::from_secs(60);

/// A store, and what is needed to make it again for another process or site.
struct Store {
    name: &'static str,
    kv: Kv,
    in_cookie: bool,
    hands: ManualClock,
    _redis: Option<Redis>,
}

impl Store {
    async fn all() -> Vec<Self> {
        let mut all = Vec::new();
        for (name, in_cookie, in_redis) in [
            ("cookie", true, false),
            ("memory", false, false),
            ("cookie beside Redis", true, true),
            ("Redis", false, true),
        ] {
            let hands = ManualClock::at(START);
            let redis = if in_redis { Some(Redis::start().await) } else { None };
            let kv = match &redis {
                None => Kv::Memory(MemoryKv::new(MemoryKvLimits::default(), hands.clock())),
                Some(redis) => {
                    let kv = RedisKv::new(redis.settings(), Clock::system(), Control::current());
                    kv.start();
                    kv.ping().await.expect("Redis is there");
                    Kv::Redis(kv)
                }
            };
            all.push(Self { name, kv, in_cookie, hands, _redis: redis });
        }
        all
    }

    fn sessions(&self, site: &str) -> Arc<Sessions> {
        self.sessions_with(site, &[7])
    }

    /// Master keys by the byte that they are made of; the first seals.
    fn sessions_with(&self, site: &str, keys: &[u8]) -> Arc<Sessions> {
        let store = if self.in_cookie {
            SessionStore::InCookie(Ended::new(self.kv.clone(), self.kv.clone()))
        } else {
            SessionStore::Kept(Kept::new(self.kv.clone(), self.kv.clone()))
        };
        let settings = SessionsSettings {
            site: site.into(),
            registrations: vec![registration(&self.hands)],
            idle: 10 * MINUTE,
            absolute: 60 * MINUTE,
            cookie: NAME.into(),
            scope: CookieScope { same_site: SameSite::Lax, secure: true, domain: None },
            userinfo: false,
        };
        let keys = MasterKeys::new(keys.iter().map(|byte| MasterKey::from_bytes([*byte; 32]))).unwrap();
        Sessions::new(settings, &keys, store, self.hands.clock(), Control::current())
    }

    fn now(&self) -> Time {
        self.hands.clock().now()
    }

    fn session(&self, subject: &str, sid: &str) -> Session {
        Session {
            id: SessionId::random(),
            site: "shop".into(),
            client: "shop-web".into(),
            issuer: ISSUER.into(),
            subject: subject.into(),
            sid: Some(sid.into()),
            signed_in_at: self.now(),
            seen_at: self.now(),
            ends_at: None,
            generation: 0,
            tokens: Tokens { access: Some(Secret::new("access".to_owned())), ..Tokens::default() },
            claims: Claims::from_iter([("sub".to_owned(), subject.into())]),
        }
    }
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
        refresh: MINUTE,
        cooldown: MINUTE,
        max_stale: MINUTE,
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

/// A browser's jar, as far as this needs one.
#[derive(Clone, Default)]
struct Jar(Vec<(String, String)>);

impl Jar {
    fn take(&mut self, changes: &CookieChanges) {
        for field in changes.iter() {
            let (pair, rest) = field.to_str().unwrap().split_once(';').unwrap();
            let (name, value) = pair.split_once('=').unwrap();
            self.0.retain(|(known, _)| known != name);
            if !rest.contains("Max-Age=0;") {
                self.0.push((name.to_owned(), value.to_owned()));
            }
        }
    }

    fn cookies(&self) -> OwnCookies {
        let field = self.0.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join("; ");
        let mut headers = HeaderMap::new();
        headers.insert(COOKIE, HeaderValue::try_from(field).unwrap());
        OwnCookies::take(&mut headers, &OwnCookieNames::new([NAME]))
    }
}

/// Signs somebody in. Goes out: what their browser holds.
async fn begin(store: &Store, sessions: &Sessions, session: &Session, mut jar: Jar) -> Jar {
    let changes = sessions.begin(session, &jar.cookies(), store.now()).await.expect("the store is there");
    jar.take(&changes);
    jar
}

/// Whose session a browser has, if any.
async fn whose(store: &Store, sessions: &Sessions, jar: &mut Jar) -> Option<Box<str>> {
    let found = sessions.find(&jar.cookies(), store.now()).await.expect("the store is there");
    jar.take(&found.changes);
    found.session.map(|live| live.session.subject.clone())
}

#[tokio::test]
async fn a_session_comes_back_as_it_was_to_who_holds_its_cookie() {
    for store in Store::all().await {
        let sessions = store.sessions("shop");
        let session = store.session("alice", "s-1");
        let mut jar = begin(&store, &sessions, &session, Jar::default()).await;
        let found = sessions.peek(&jar.cookies(), store.now()).await.unwrap().unwrap();
        assert_eq!((found.id, &found.claims, found.sid), (session.id, &session.claims, session.sid), "{}", store.name);
        assert!(found.tokens.access.unwrap().equals(b"access"));
        // At another process as well.
        assert_eq!(whose(&store, &store.sessions("shop"), &mut jar).await.as_deref(), Some("alice"), "{}", store.name);
        assert_eq!(whose(&store, &sessions, &mut Jar::default()).await, None);
    }
}

#[tokio::test]
async fn a_session_that_ended_is_over_for_every_copy_of_its_cookie() {
    for store in Store::all().await {
        let sessions = store.sessions("shop");
        let mut jar = begin(&store, &sessions, &store.session("alice", "s-1"), Jar::default()).await;
        let mut copy = jar.clone();
        let (ended, changes) = sessions.end(&jar.cookies(), store.now()).await.unwrap();
        assert_eq!(ended.map(|session| session.subject).as_deref(), Some("alice"));
        jar.take(&changes);
        assert!(jar.0.is_empty(), "{}", store.name);
        assert_eq!(whose(&store, &sessions, &mut copy).await, None, "{}", store.name);
        assert!(copy.0.is_empty(), "{}: a cookie that leads nowhere is taken away", store.name);
    }
}

#[tokio::test]
async fn who_signs_in_again_leaves_no_session_behind() {
    for store in Store::all().await {
        let sessions = store.sessions("shop");
        let mut before = begin(&store, &sessions, &store.session("alice", "s-1"), Jar::default()).await;
        let mut after = begin(&store, &sessions, &store.session("bob", "s-2"), before.clone()).await;
        assert_eq!(whose(&store, &sessions, &mut after).await.as_deref(), Some("bob"), "{}", store.name);
        assert_eq!(whose(&store, &sessions, &mut before).await, None, "{}", store.name);
    }
}

#[tokio::test]
async fn an_issuer_ends_one_sign_in_or_all_of_a_subject_and_nobody_elses() {
    for store in Store::all().await {
        let sessions = store.sessions("shop");
        let mut jars = Vec::new();
        for (subject, sid) in [("alice", "s-1"), ("alice", "s-2"), ("bob", "s-3")] {
            jars.push(begin(&store, &sessions, &store.session(subject, sid), Jar::default()).await);
        }
        let at = async |jars: &mut Vec<Jar>| {
            let mut all = Vec::new();
            for jar in jars {
                // A copy: what is taken away at one look is not what the next looks at.
                all.push(whose(&store, &sessions, &mut jar.clone()).await.is_some());
            }
            all
        };
        store.hands.advance(Duration::from_secs(1));
        // At another process, where there can be one.
        let told = store.sessions("shop");
        let told = if store.in_cookie && matches!(store.kv, Kv::Memory(_)) { Arc::clone(&sessions) } else { told };
        told.end_all("https://other.example.com", Some("alice"), Some("s-1"), store.now()).await.unwrap();
        told.end_all(ISSUER, None, None, store.now()).await.unwrap();
        told.end_all(ISSUER, Some("s-1"), None, store.now()).await.unwrap();
        assert_eq!(at(&mut jars).await, [true; 3], "{}", store.name);
        told.end_all(ISSUER, Some("alice"), Some("s-1"), store.now()).await.unwrap();
        assert_eq!(at(&mut jars).await, [false, true, true], "{}: that sign-in alone", store.name);
        told.end_all(ISSUER, Some("alice"), None, store.now()).await.unwrap();
        assert_eq!(at(&mut jars).await, [false, false, true], "{}: all of hers", store.name);
        // Who signs in afterwards is somebody new.
        store.hands.advance(Duration::from_secs(1));
        let mut again = begin(&store, &sessions, &store.session("alice", "s-4"), Jar::default()).await;
        assert_eq!(whose(&store, &sessions, &mut again).await.as_deref(), Some("alice"), "{}", store.name);
    }
}

#[tokio::test]
async fn a_sign_in_that_the_issuer_gave_no_name_ends_with_any_that_it_names() {
    for store in Store::all().await {
        let sessions = store.sessions("shop");
        let unnamed = Session { sid: None, ..store.session("alice", "") };
        let mut hers = begin(&store, &sessions, &unnamed, Jar::default()).await;
        let mut named = begin(&store, &sessions, &store.session("alice", "s-2"), Jar::default()).await;
        let other = Session { sid: None, ..store.session("bob", "") };
        let mut his = begin(&store, &sessions, &other, Jar::default()).await;
        store.hands.advance(Duration::from_secs(1));
        sessions.end_all(ISSUER, Some("alice"), Some("s-1"), store.now()).await.unwrap();
        assert_eq!(whose(&store, &sessions, &mut hers).await, None, "{}: it may be the one", store.name);
        assert!(whose(&store, &sessions, &mut named).await.is_some(), "{}: it is another", store.name);
        assert!(whose(&store, &sessions, &mut his).await.is_some(), "{}: nobody else's", store.name);
    }
}

/// A browser's word (front-channel logout) proves nothing: what is kept here and bears the name ends; nothing is remembered
/// of names that nobody here has, or anybody could fill the store with them.
#[tokio::test]
async fn at_the_word_of_anybody_nothing_is_remembered() {
    for store in Store::all().await {
        let sessions = store.sessions("shop");
        let mut jar = begin(&store, &sessions, &store.session("alice", "s-1"), Jar::default()).await;
        store.hands.advance(Duration::from_secs(1));
        sessions.end_known(ISSUER, "s-1").await.unwrap();
        assert_eq!(whose(&store, &sessions, &mut jar).await.is_some(), store.in_cookie, "{}", store.name);
        if let Some(redis) = &store._redis {
            redis.cli(&["FLUSHALL"]);
            sessions.end_known(ISSUER, "s-2").await.unwrap();
            assert_eq!(redis.cli(&["--raw", "DBSIZE"]).trim(), "0", "{}", store.name);
        }
    }
}

#[tokio::test]
async fn a_cookie_that_came_twice_is_not_taken_for_none() {
    for store in Store::all().await {
        let sessions = store.sessions("shop");
        let mut jar = begin(&store, &sessions, &store.session("alice", "s-1"), Jar::default()).await;
        jar.0.push(jar.0[0].clone());
        let now = store.now();
        assert_eq!(sessions.end(&jar.cookies(), now).await.err(), Some(FindError::Repeated), "{}", store.name);
        assert_eq!(sessions.peek(&jar.cookies(), now).await.err(), Some(FindError::Repeated), "{}", store.name);
    }
}

#[tokio::test]
async fn a_session_is_none_at_another_site() {
    for store in Store::all().await {
        let mut jar = begin(&store, &store.sessions("shop"), &store.session("alice", "s-1"), Jar::default()).await;
        assert_eq!(whose(&store, &store.sessions("other"), &mut jar).await, None, "{}", store.name);
    }
}

/// `sessions.keys`: a new one in front signs nobody out, and who comes by is given a cookie that it sealed, so that the old
/// one can go. Who did not come by in all that time signs in.
#[tokio::test]
async fn keys_are_rotated_under_sessions_that_live_on() {
    for store in Store::all().await {
        let (before, both, after) =
            (store.sessions("shop"), store.sessions_with("shop", &[8, 7]), store.sessions_with("shop", &[8]));
        let mut hers = begin(&store, &before, &store.session("alice", "s-1"), Jar::default()).await;
        let mut his = begin(&store, &before, &store.session("bob", "s-2"), Jar::default()).await;
        let old = hers.clone();
        assert_eq!(
            whose(&store, &both, &mut hers).await.as_deref(),
            Some("alice"),
            "{}: the old key opens",
            store.name
        );
        assert_ne!(hers.0, old.0, "{}: sealed anew at once", store.name);
        assert_eq!(whose(&store, &both, &mut hers.clone()).await.as_deref(), Some("alice"), "{}", store.name);
        assert_eq!(
            whose(&store, &after, &mut hers).await.as_deref(),
            Some("alice"),
            "{}: the new key suffices",
            store.name
        );
        assert_eq!(whose(&store, &after, &mut his).await, None, "{}: its key is gone", store.name);
        assert!(his.0.is_empty(), "{}: a cookie that nobody can open is taken away", store.name);
        assert_eq!(whose(&store, &before, &mut hers.clone()).await, None, "{}: who lacks the new key", store.name);
    }
}

#[tokio::test]
async fn a_session_is_over_in_time() {
    // Redis counts a session's idle time by its own clock, so that is looked at with a clock that a test holds only.
    for store in Store::all().await.into_iter().filter(|store| store.in_cookie || matches!(store.kv, Kv::Memory(_))) {
        let sessions = store.sessions("shop");
        let mut jar = begin(&store, &sessions, &store.session("alice", "s-1"), Jar::default()).await;
        for _ in 0..6 {
            store.hands.advance(9 * MINUTE);
            assert!(whose(&store, &sessions, &mut jar).await.is_some(), "{}: it is used", store.name);
        }
        store.hands.advance(6 * MINUTE);
        assert_eq!(whose(&store, &sessions, &mut jar).await, None, "{}: an hour is over", store.name);
        let mut jar = begin(&store, &sessions, &store.session("alice", "s-2"), Jar::default()).await;
        store.hands.advance(10 * MINUTE);
        assert_eq!(whose(&store, &sessions, &mut jar).await, None, "{}: nobody has used it", store.name);
    }
}

/// 100,000 sessions with 43-byte tokens and a 600-byte ID token fit into 200 MiB.
#[test]
fn a_hundred_thousand_sessions_fit_into_200_mib() {
    // In a process of its own: what others do at the same time would be counted too.
    let counted = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "contracts::session_store::counted", "--ignored", "--nocapture"])
        .output()
        .unwrap();
    let told = String::from_utf8_lossy(&counted.stdout);
    let bytes = told.split("bytes a session: ").nth(1).and_then(|rest| rest.split_whitespace().next()?.parse().ok());
    let bytes: usize = bytes.unwrap_or_else(|| panic!("{told}"));
    assert!(bytes <= 200 * 1024 * 1024 / COUNTED as usize, "{bytes} bytes a session");
}

/// All of them: tables grow in steps, so that a part would not tell.
const COUNTED: u32 = 100_000;

#[tokio::test]
#[ignore = "run by the test above, in a process of its own"]
async fn counted() {
    let hands = ManualClock::at(START);
    let kv = Kv::Memory(MemoryKv::new(MemoryKvLimits::default(), hands.clock()));
    let store = Store { name: "memory", kv, in_cookie: false, hands, _redis: None };
    let sessions = store.sessions("shop");
    let token = || Some(Secret::new("t".repeat(43)));
    let payload = serde_json::json!({ "sub": "alice", "more": "x".repeat(360) }).to_string();
    use base64::Engine as _;
    let payload = base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(payload);
    let id = format!("{}.{payload}.{}", "h".repeat(24), "s".repeat(43));
    let before = resident();
    for number in 0..COUNTED {
        let session = store.session(&format!("user-{number}"), &format!("sid-{number}"));
        let claims = serde_json::json!({ "sub": "alice", "more": "x".repeat(360) });
        let tokens =
            Tokens { access: token(), refresh: token(), id: Some(Secret::new(id.clone())), ..Tokens::default() };
        let session = Session { tokens, claims: claims.as_object().cloned().unwrap(), ..session };
        begin(&store, &sessions, &session, Jar::default()).await;
    }
    let held = resident() - before;
    println!("bytes a session: {}", held / COUNTED as usize);
}

fn resident() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<usize>().unwrap() * 1024
}
