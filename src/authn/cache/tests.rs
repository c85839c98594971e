use super::*;
use crate::caller::{How, Identity, Kind, ScopeSet};

fn remembered(subject: &str) -> Remembered {
    let caller = Caller::new(Identity {
        issuer: "corp".into(),
        iss: "https://id.example".into(),
        subject: Some(subject.into()),
        client_id: None,
        kind: Kind::User,
        how: How::Jwt,
        scopes: ScopeSet::default(),
        claims: serde_json::Map::from_iter([("sub".to_owned(), subject.into())]),
        expires_at: Time::from_seconds(10),
    });
    let (usable_from, usable_until) = (Time::from_seconds(5), Time::from_seconds(10));
    Remembered { caller: Arc::new(caller), issuer: 1, generation: Some(1), answered: None, usable_from, usable_until }
}

fn put(memory: &TokenMemory, token: &str) {
    memory.remember(memory.digest(token), remembered(token), token.len(), memory.era());
}

fn has(memory: &TokenMemory, token: &str) -> bool {
    memory.recall(&memory.digest(token)).is_some_and(|known| known.caller.subject.as_deref() == Some(token))
}

#[test]
fn each_token_gives_back_its_own_caller() {
    let memory = TokenMemory::new(MemoryLimits::default());
    for number in 0..1000 {
        put(&memory, &format!("token-{number}"));
    }
    assert!((0..1000).all(|number| has(&memory, &format!("token-{number}"))));
    assert!(!has(&memory, "token-1000"));
    let counts = memory.counts();
    assert_eq!((counts.entries, counts.hits, counts.misses), (1000, 1000, 1));
}

#[test]
fn the_memory_is_bounded_in_entries_and_in_bytes() {
    let memory = TokenMemory::new(MemoryLimits { entries: 1280, bytes: usize::MAX });
    for number in 0..20_000 {
        put(&memory, &format!("token-{number}"));
        if number % 1000 == 0 {
            // Asking moves entries between the halves, which must not let them grow either.
            (0..=number).for_each(|number| drop(memory.recall(&memory.digest(&format!("token-{number}")))));
        }
    }
    let counts = memory.counts();
    assert!(counts.entries <= 1280 + SHARDS && counts.entries > 600, "{counts:?}");

    let memory = TokenMemory::new(MemoryLimits { entries: usize::MAX, bytes: 1_000_000 });
    for number in 0..20_000 {
        put(&memory, &format!("token-{number}"));
    }
    let counts = memory.counts();
    assert!(counts.bytes <= 1_000_000 && counts.entries > 500, "{counts:?}");
    memory.remember(memory.digest("huge"), remembered("huge"), 100_000_000, memory.era());
    assert!(!has(&memory, "huge"));
}

#[test]
fn what_is_asked_for_stays_longer_than_what_is_not() {
    let memory = TokenMemory::new(MemoryLimits { entries: 12_800, bytes: usize::MAX });
    put(&memory, "hot");
    for number in 0..50_000 {
        put(&memory, &format!("cold-{number}"));
        assert!(has(&memory, "hot"), "{number}");
    }
    assert!(!has(&memory, "cold-0"));
}

#[test]
fn what_is_taken_back_is_gone() {
    let memory = TokenMemory::new(MemoryLimits::default());
    put(&memory, "token");
    memory.forget(&memory.digest("token"));
    assert!(!has(&memory, "token"));
    assert_eq!((memory.counts().entries, memory.counts().bytes), (0, 0));
    put(&memory, "token");
    put(&memory, "token");
    assert_eq!(memory.counts().entries, 1);
}

#[test]
fn a_verdict_holds_in_its_span() {
    let known = remembered("token");
    let usable = |seconds| known.is_usable(Time::from_seconds(seconds));
    assert!(!usable(4) && usable(5) && usable(9) && !usable(10));
}

#[test]
fn verdicts_are_taken_back_by_who_they_are_about() {
    use crate::authn::forget::{Forget, Tokens};
    let memory = TokenMemory::new(MemoryLimits::default());
    ["alice", "bob"].iter().for_each(|token| put(&memory, token));
    let forget = |tokens: Tokens, issuer: Option<&str>| {
        let mut forgotten = HashSet::new();
        memory.forget_all(&Forget { tokens, issuer: issuer.map(Into::into) }, &mut forgotten);
        forgotten.len()
    };
    assert_eq!(forget(Tokens::Subject("alice".into()), Some("other")), 0);
    assert_eq!(forget(Tokens::Subject("alice".into()), Some("corp")), 1);
    assert!(!has(&memory, "alice") && has(&memory, "bob"));
    assert_eq!(forget(Tokens::Token(crate::seal::Secret::new("bob".to_owned())), Some("https://id.example")), 1);
    assert!(!has(&memory, "bob"));
    assert_eq!((memory.counts().entries, memory.counts().bytes), (0, 0));
}

#[test]
fn verdicts_are_taken_back_by_each_name_of_the_client_and_with_the_answers_they_rest_on() {
    use crate::authn::forget::{Forget, Tokens};
    let memory = TokenMemory::new(MemoryLimits::default());
    let put = |token: &str| {
        let mut known = remembered(token);
        let claims = serde_json::json!({"sub": token, "client_id": "shop", "azp": "app"});
        let Remembered { caller, .. } = &known;
        let identity = Identity {
            issuer: Arc::clone(&caller.issuer),
            iss: Arc::clone(&caller.iss),
            subject: caller.subject.clone(),
            client_id: Some("shop".into()),
            kind: Kind::User,
            how: How::Jwt,
            scopes: ScopeSet::default(),
            claims: claims.as_object().unwrap().clone(),
            expires_at: caller.expires_at,
        };
        known.caller = Arc::new(Caller::new(identity));
        memory.remember(memory.digest(token), known, 5, memory.era());
    };
    for client in ["shop", "app"] {
        put("alice");
        let forget = Forget { tokens: Tokens::ClientId(client.into()), issuer: None };
        memory.forget_all(&forget, &mut HashSet::new());
        assert!(!has(&memory, "alice"), "{client}");
    }
    put("alice");
    let nobody = Forget { tokens: Tokens::Subject("nobody".into()), issuer: None };
    memory.forget_all(&nobody, &mut HashSet::from([memory.digest("alice")]));
    assert!(!has(&memory, "alice"));
}

#[test]
fn what_was_checked_before_something_was_forgotten_is_not_remembered_after() {
    use crate::authn::forget::{Forget, Tokens};
    let memory = TokenMemory::new(MemoryLimits::default());
    let era = memory.era();
    let nobody = Forget { tokens: Tokens::Subject("nobody".into()), issuer: None };
    memory.forget_all(&nobody, &mut HashSet::new());
    memory.remember(memory.digest("alice"), remembered("alice"), 5, era);
    assert!(!has(&memory, "alice"));
    put(&memory, "alice");
    assert!(has(&memory, "alice"));
}
