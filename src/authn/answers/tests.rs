use serde_json::json;

use super::*;
use crate::authn::Tokens;
use crate::idp::introspect::Freshness;
use crate::seal::{DigestKey, Secret};

const LIMITS: AnswerLimits = AnswerLimits {
    ttl: Duration::from_secs(60),
    negative_ttl: Duration::from_secs(10),
    entries: 1000,
    bytes: 1024 * 1024 * 1024,
    obey_no_store: false,
    stale_if_error: Duration::from_secs(30),
};

fn at(seconds: u64) -> Tick {
    Tick::ZERO.plus(Duration::from_secs(seconds))
}

fn members(subject: &str) -> Claims {
    json!({"active": true, "sub": subject, "scope": "read"}).as_object().unwrap().clone()
}

struct World {
    answers: Answers,
    key: DigestKey,
}

impl World {
    fn with(limits: AnswerLimits) -> Self {
        Self { answers: Answers::new(limits), key: DigestKey::random() }
    }

    fn digest(&self, token: &str) -> TokenDigest {
        self.key.digest(token.as_bytes())
    }

    fn keep(&self, token: &str, subject: &str) -> Option<usize> {
        self.answers.keep(self.digest(token), (&members(subject), &Claims::new()), at(60), self.answers.era())
    }

    fn refuse(&self, token: &str) {
        self.answers.refuse(self.digest(token), Reason::TokenInactive, at(0), self.answers.era());
    }

    fn recall(&self, token: &str, now: Tick) -> Recalled {
        self.answers.recall(&self.digest(token), now)
    }

    fn forget(&self, tokens: Tokens) -> usize {
        let digest = match &tokens {
            Tokens::Token(token) => Some(self.digest(token.expose())),
            _ => None,
        };
        let mut forgotten = HashSet::new();
        self.answers.forget(&Forget { tokens, issuer: None }, digest, &mut forgotten);
        forgotten.len()
    }
}

#[test]
fn an_answer_is_fresh_then_stale_then_only_known_to_have_been_good() {
    let world = World::with(LIMITS);
    world.keep("t", "alice").unwrap();
    assert!(matches!(world.recall("t", at(0)), Recalled::Fresh { members: all, until, .. }
        if all == members("alice") && until == at(60)));
    assert!(matches!(world.recall("t", at(59)), Recalled::Fresh { .. }));
    assert_eq!(world.recall("t", at(60)), Recalled::Stale { members: members("alice"), until: at(90) });
    assert!(matches!(world.recall("t", at(89)), Recalled::Stale { .. }));
    assert_eq!(world.recall("t", at(90)), Recalled::WasGood);
}

#[test]
fn no_ends_yes_and_yes_ends_no() {
    let world = World::with(LIMITS);
    world.keep("t", "alice").unwrap();
    world.refuse("t");
    assert_eq!(world.recall("t", at(0)), Recalled::Refused(Reason::TokenInactive));
    assert_eq!(world.recall("t", at(10)), Recalled::Nothing);
    world.keep("t", "alice").unwrap();
    assert!(matches!(world.recall("t", at(0)), Recalled::Fresh { .. }));
}

#[test]
fn junk_pushes_out_nothing_but_junk() {
    let world = World::with(AnswerLimits { entries: 100, ..LIMITS });
    for number in 0..50 {
        world.keep(&format!("good-{number}"), "alice").unwrap();
    }
    (0..10_000).for_each(|number| world.refuse(&format!("junk-{number}")));
    world.answers.settle();
    let (positive, _, negative) = world.answers.counts();
    assert_eq!((positive, negative), (50, 100));
    assert!((0..50).all(|number| matches!(world.recall(&format!("good-{number}"), at(0)), Recalled::Fresh { .. })));
}

#[test]
fn positive_answers_are_bounded_in_entries_and_in_bytes() {
    let world = World::with(AnswerLimits { entries: 100, ..LIMITS });
    for number in 0..1000 {
        world.keep(&format!("t-{number}"), "alice");
    }
    world.answers.settle();
    let (entries, ..) = world.answers.counts();
    assert!((90..=100).contains(&entries), "{entries}");

    const BYTES: usize = 4 * 1024 * 1024;
    let world = World::with(AnswerLimits { entries: 100_000, bytes: BYTES, ..LIMITS });
    let large = "x".repeat(100_000);
    for number in 0..500 {
        world.keep(&format!("t-{number}"), &large);
        if number % 50 == 0 {
            world.answers.settle();
            let (_, bytes, _) = world.answers.counts();
            assert!(bytes <= BYTES as u64, "{bytes}");
        }
    }
    world.answers.settle();
    let (entries, bytes, _) = world.answers.counts();
    assert!((35..=41).contains(&entries) && bytes <= BYTES as u64, "{entries} entries, {bytes} bytes");
    // One that is larger than all there is room for pushes out nothing.
    world.keep("huge", &"x".repeat(2 * BYTES));
    world.answers.settle();
    assert_eq!(world.recall("huge", at(0)), Recalled::Nothing);
}

#[test]
fn a_life_is_the_least_of_all_that_bound_it() {
    let world = World::with(LIMITS);
    let now = Time::from_seconds(1000);
    let life = |exp: u64, fresh| world.answers.lifetime(Time::from_seconds(exp), now, fresh).as_secs();
    let aged = |seconds| Freshness { max_age: Some(Duration::from_secs(seconds)), no_store: false };
    assert_eq!(life(5000, Freshness::default()), 60);
    assert_eq!(life(1020, Freshness::default()), 20);
    assert_eq!(life(1000, Freshness::default()), 0);
    assert_eq!(life(990, Freshness::default()), 0);
    assert_eq!((life(5000, aged(5)), life(5000, aged(500)), life(1003, aged(5)), life(5000, aged(0))), (5, 60, 3, 0));
    let no_store = Freshness { no_store: true, max_age: None };
    assert_eq!(life(5000, no_store), 60);
    // Written together they mean the one.
    assert_eq!(life(5000, Freshness { max_age: Some(Duration::ZERO), no_store: true }), 60);
    assert_eq!(life(5000, Freshness { max_age: Some(Duration::from_secs(5)), no_store: true }), 5);
    let obedient = World::with(AnswerLimits { obey_no_store: true, ..LIMITS });
    assert_eq!(obedient.answers.lifetime(Time::from_seconds(5000), now, no_store), Duration::ZERO);
}

/// What a token was good for once counts for its budget alone; a no ends it.
#[test]
fn of_an_answer_that_is_not_kept_only_that_it_was_good_is_known() {
    let world = World::with(LIMITS);
    world.keep("t", "alice").unwrap();
    world.answers.note_good(world.digest("t"), world.answers.era());
    assert_eq!(world.recall("t", at(0)), Recalled::WasGood);
    world.refuse("t");
    assert_eq!(world.recall("t", at(0)), Recalled::Refused(Reason::TokenInactive));
    assert_eq!(world.recall("t", at(10)), Recalled::Nothing);
    world.answers.note_good(world.digest("t"), world.answers.era());
    world.forget(Tokens::Token(Secret::new("t".to_owned())));
    assert_eq!(world.recall("t", at(0)), Recalled::Nothing);
}

#[test]
fn answers_are_forgotten_by_what_the_token_says_of_itself() {
    let world = World::with(LIMITS);
    let own = json!({"sub": "al\nice", "azp": "cli", "jti": "one"});
    for tokens in [Tokens::Subject("al\nice".into()), Tokens::ClientId("cli".into()), Tokens::Id("one".into())] {
        let said = (&members("alice"), own.as_object().unwrap());
        world.answers.keep(world.digest("t"), said, at(60), world.answers.era()).unwrap();
        assert!(matches!(world.recall("t", at(0)), Recalled::Fresh { members: all, .. } if all == members("alice")));
        assert_eq!(world.forget(tokens.clone()), 1, "{tokens:?}");
    }
}

#[test]
fn answers_are_forgotten_by_what_they_say_and_not_by_what_looks_like_it() {
    let world = World::with(LIMITS);
    let keep = |token: &str, all: serde_json::Value| {
        let said = (all.as_object().unwrap(), &Claims::new());
        world.answers.keep(world.digest(token), said, at(60), world.answers.era()).unwrap();
    };
    let fill = || {
        keep("a", json!({"sub": "alice", "client_id": "shop", "jti": "1"}));
        keep("b", json!({"sub": "bob", "azp": "shop", "name": "alice"}));
        keep("c", json!({"sub": "1", "client_id": "alice", "groups": ["bob"]}));
    };
    for (tokens, count) in [
        (Tokens::Subject("alice".into()), 1),
        (Tokens::Subject("1".into()), 1),
        (Tokens::ClientId("shop".into()), 2),
        (Tokens::Id("1".into()), 1),
        (Tokens::Subject("ali".into()), 0),
        (Tokens::Token(Secret::new("b".to_owned())), 1),
        (Tokens::Token(Secret::new("alice".to_owned())), 0),
    ] {
        fill();
        assert_eq!(world.forget(tokens.clone()), count, "{tokens:?}");
    }
}

#[test]
fn what_was_asked_before_something_was_forgotten_is_not_kept_after() {
    let world = World::with(LIMITS);
    let asked = world.answers.era();
    world.forget(Tokens::Subject("alice".into()));
    assert_eq!(world.answers.keep(world.digest("t"), (&members("alice"), &Claims::new()), at(60), asked), None);
    world.answers.refuse(world.digest("t"), Reason::TokenInactive, at(0), asked);
    assert_eq!(world.recall("t", at(0)), Recalled::Nothing);
    assert!(world.keep("t", "alice").is_some());
}
