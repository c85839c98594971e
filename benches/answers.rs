//! What introspection answers take: a million of 120 bytes, and large ones under a bound in bytes. Prints, and stops if a
//! promise is broken: 400 MiB for the million, and no more bytes than the bound.
#![allow(clippy::unwrap_used, reason = "a bench that cannot go on should stop")]

use std::time::Duration;

use postern::authn::{AnswerLimits, Answers};
use postern::clock::Tick;
use postern::seal::DigestKey;
use serde_json::{Value, json};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const MIB: u64 = 1024 * 1024;
const LIMITS: AnswerLimits = AnswerLimits {
    ttl: Duration::from_secs(60),
    negative_ttl: Duration::from_secs(10),
    entries: 1_000_000,
    bytes: 1024 * 1024 * 1024,
    obey_no_store: false,
    stale_if_error: Duration::ZERO,
};

/// Of this process.
fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() * 1024
}

fn answer(number: u64) -> Value {
    json!({"active": true, "client_id": "shop", "exp": 1_700_000_300, "scope": "orders:read orders:list",
        "sub": format!("user-{number:06}"), "aud": "orders"})
}

fn a_million() {
    let sample = answer(1).to_string().len();
    assert!((118..=122).contains(&sample), "an answer has {sample} bytes");
    let (answers, key, before) = (Answers::new(LIMITS), DigestKey::random(), resident());
    for number in 0..1_000_000 {
        let digest = key.digest(&u64::to_be_bytes(number));
        answers
            .keep(digest, (answer(number).as_object().unwrap(), &Default::default()), Tick::ZERO, answers.era())
            .unwrap();
    }
    answers.settle();
    let ((entries, bytes, _), taken) = (answers.counts(), resident() - before);
    println!(
        "{entries} answers of {sample} bytes: {} MiB resident, {} bytes each ({} MiB by its own count)",
        taken / MIB,
        taken / entries,
        bytes / MIB
    );
    assert!(entries > 990_000 && taken <= 400 * MIB, "more than 400 MiB");
}

fn large_ones() {
    let limits = AnswerLimits { bytes: 64 * 1024 * 1024, ..LIMITS };
    let (answers, key, before) = (Answers::new(limits), DigestKey::random(), resident());
    let groups = vec!["a group with a name of some length"; 5_000];
    let large = json!({"active": true, "sub": "alice", "groups": groups});
    let size = large.to_string().len() as u64;
    let mut most = 0;
    for number in 0..4_000 {
        let digest = key.digest(&u64::to_be_bytes(number));
        answers.keep(digest, (large.as_object().unwrap(), &Default::default()), Tick::ZERO, answers.era()).unwrap();
        most = most.max(resident().saturating_sub(before));
    }
    answers.settle();
    let (entries, bytes, _) = answers.counts();
    println!(
        "4000 answers of {} KiB into 64 MiB: {entries} kept, {} MiB by its own count, {} MiB resident at most",
        size / 1024,
        bytes / MIB,
        most / MIB
    );
    assert!(bytes <= 64 * MIB, "more than the bound");
}

fn main() {
    a_million();
    large_ones();
}
