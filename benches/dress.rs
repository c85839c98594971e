//! What it costs to take out of a request what must not pass, and to dress it for its upstream: for a caller whose
//! identity fields are made for the first time, and for one whose fields are remembered.
#![allow(clippy::unwrap_used, reason = "a bench that cannot go on should stop")]

mod common;

use std::sync::Arc;

use criterion::{BatchSize, Criterion, criterion_group, criterion_main};
use http::HeaderName;
use http::request::Parts;
use postern::caller::{Caller, How, Identity, Kind, Known, ScopeSet};
use postern::outbound::{Dress, DressSettings, Outgoing, Told, dress};
use postern::policy::Requirement;
use postern::wire::Facts;
use postern::wire::owned::OwnedNames;
use serde_json::json;

fn caller() -> Arc<Caller> {
    let claims = json!({
        "sub": "f3c1a0de-8f3b-4c62-9d50-2f4bb9a3f1c7",
        "email": "alice@example.com",
        "groups": ["staff", "orders", "europe"],
    });
    Arc::new(Caller::new(Identity {
        issuer: "corp".into(),
        iss: "https://login.example.com/realms/corp".into(),
        subject: Some("f3c1a0de-8f3b-4c62-9d50-2f4bb9a3f1c7".into()),
        client_id: Some("shop".into()),
        kind: Kind::User,
        how: How::Jwt,
        scopes: ScopeSet::parse("orders:read"),
        claims: claims.as_object().unwrap().clone(),
        expires_at: common::NOW,
    }))
}

struct World {
    owned: OwnedNames,
    dress: Dress,
    requirement: Requirement,
    facts: Facts,
    told: Told,
}

impl World {
    fn new() -> Self {
        let headers = [("x-forwarded-user", "sub"), ("x-forwarded-email", "email"), ("x-forwarded-groups", "groups")]
            .map(|(name, claim)| (HeaderName::from_static(name), claim.to_owned()));
        let dress = Dress::new(DressSettings { headers: headers.into(), ..DressSettings::default() }).unwrap();
        let names: Vec<_> = dress.names().cloned().collect();
        let owned = OwnedNames::new(&names);
        Self { owned, dress, requirement: Requirement::public(), facts: common::facts(), told: Told::default() }
    }

    fn send(&self, parts: Parts, caller: Arc<Caller>) -> Outgoing {
        let arrival = common::arrive(parts, &self.owned);
        let permit = self.requirement.admit(Known::Caller(caller), &self.facts, &arrival, &[]).unwrap();
        let ready = self.dress.at_hand(&permit, &arrival.headers, self.facts.now).unwrap().unwrap();
        dress(ready, permit, arrival, &self.facts, &self.told).unwrap()
    }
}

fn benches(criterion: &mut Criterion) {
    let world = World::new();
    let honest = common::parts("eyJhbGciOiJFZERTQSJ9.e30.c2lnbmF0dXJl");
    let mut forged = honest.clone();
    for name in ["x-forwarded-user", "x_forwarded_user", "x-forwarded-for", "x-request-id"] {
        forged.headers.insert(HeaderName::from_static(name), http::HeaderValue::from_static("root"));
    }
    let mut group = criterion.benchmark_group("dress");
    group.bench_function("clean", |bencher| {
        let arrive = |parts| common::arrive(parts, &world.owned);
        bencher.iter_batched(|| honest.clone(), arrive, BatchSize::SmallInput);
    });
    group.bench_function("clean, with owned names", |bencher| {
        let arrive = |parts| common::arrive(parts, &world.owned);
        bencher.iter_batched(|| forged.clone(), arrive, BatchSize::SmallInput);
    });
    group.bench_function("clean and dress/new", |bencher| {
        let send = |(parts, caller)| world.send(parts, caller);
        bencher.iter_batched(|| (honest.clone(), caller()), send, BatchSize::SmallInput);
    });
    let known = caller();
    group.bench_function("clean and dress/remembered", |bencher| {
        let send = |(parts, caller)| world.send(parts, caller);
        bencher.iter_batched(|| (honest.clone(), Arc::clone(&known)), send, BatchSize::SmallInput);
    });
    group.finish();
}

criterion_group!(all, benches);
criterion_main!(all);
