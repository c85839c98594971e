use std::time::Duration;

use serde_json::json;

use super::*;
use crate::clock::Time;
use crate::idp::testing::{Answer, DISCOVERY, KEYS, NOW, Provider, clock, started};
use crate::jose::{Algorithm, SigningKey};

const SECOND: Duration = Duration::from_secs(1);

fn key(kid: &str) -> SigningKey {
    SigningKey::generate(Algorithm::EdDsa, kid).unwrap()
}

fn error_of(standing: Standing) -> String {
    match standing {
        Standing::Waiting { error: Some(error) } | Standing::Degraded { error, .. } => error.to_string(),
        other => unreachable!("{other:?}"),
    }
}

#[tokio::test]
async fn keys_are_found_by_discovery_and_fetched_before_anybody_asks() {
    let provider = Provider::start(&[&key("a")]).await;
    let issuer = started(provider.settings(), &clock()).await;
    assert!(issuer.keys().unwrap().set.knows("a"));
    assert_eq!(issuer.standing(), Standing::Ready { age: Duration::ZERO, keys: 1, skipped: 0 });
    assert_eq!(issuer.generation(), Some(1));
}

#[tokio::test]
async fn rfc_8414_metadata_serves_where_there_is_no_other() {
    let provider = Provider::start(&[&key("a")]).await;
    provider.answers(DISCOVERY, Answer::Status(404, Vec::new()));
    let metadata = json!({"issuer": provider.issuer, "jwks_uri": provider.keys_url().as_str()});
    provider.answers_json("/.well-known/oauth-authorization-server", &metadata);
    assert!(started(provider.settings(), &clock()).await.keys().is_ok());
}

#[tokio::test]
async fn an_issuer_that_is_down_at_the_start_is_asked_again_until_it_is_up() {
    let provider = Provider::start(&[&key("a")]).await;
    provider.answers(KEYS, Answer::Status(500, Vec::new()));
    let hands = clock();
    let issuer = started(provider.settings(), &hands).await;
    let unavailable = issuer.keys().unwrap_err();
    assert!((SECOND..=LAST_RETRY).contains(&unavailable.retry_after));
    assert_eq!(issuer.generation(), None);
    assert!(issuer.keys_with("a").await.is_err());
    assert!(error_of(issuer.standing()).contains("500"));
    hands.advance(SECOND);
    issuer.attempted(2).await;
    assert!(issuer.keys().is_err());
    provider.publishes(&[&key("a")]);
    hands.advance(SECOND * 2);
    issuer.attempted(3).await;
    assert!(issuer.keys().is_ok());
}

#[tokio::test]
async fn metadata_that_names_another_issuer_keeps_the_issuer_unready() {
    let provider = Provider::start(&[&key("a")]).await;
    provider.answers_metadata(&format!("{}/", provider.issuer));
    let issuer = started(provider.settings(), &clock()).await;
    assert!(issuer.keys().is_err());
    assert!(error_of(issuer.standing()).contains("names the issuer"));
    assert_eq!(provider.key_requests(), 0);
}

#[tokio::test]
async fn a_new_key_is_known_after_one_fetch_and_a_withdrawn_one_is_gone() {
    let provider = Provider::start(&[&key("a")]).await;
    let issuer = started(provider.settings(), &clock()).await;
    let both = [&key("b"), &key("c")];
    provider.publishes(&both);
    let keys = issuer.keys_with("b").await.unwrap();
    assert!(keys.set.knows("b") && !keys.set.knows("a"));
    assert_eq!((keys.generation, issuer.generation()), (2, Some(2)));
    assert_eq!(provider.key_requests(), 2);
    assert_eq!(provider.heads().len(), 3, "metadata was not asked for again");
}

#[tokio::test]
async fn a_set_that_only_grew_leaves_the_generation() {
    let provider = Provider::start(&[]).await;
    let (a, b) = (key("a"), key("b"));
    provider.publishes(&[&a]);
    let hands = clock();
    let issuer = started(provider.settings(), &hands).await;
    provider.publishes(&[&b, &a]);
    hands.advance(issuer.settings().refresh);
    issuer.attempted(2).await;
    assert!(issuer.keys().unwrap().set.knows("b"));
    assert_eq!(issuer.generation(), Some(1));
    provider.publishes(&[&b]);
    hands.advance(issuer.settings().refresh);
    issuer.attempted(3).await;
    assert_eq!(issuer.generation(), Some(2));
}

#[tokio::test]
async fn nothing_unusable_replaces_a_good_set() {
    let provider = Provider::start(&[&key("a")]).await;
    let hands = clock();
    let issuer = started(provider.settings(), &hands).await;
    let many: Vec<_> = (0..10_000).map(|_| json!({"kty": "oct"})).collect();
    let text = |text: &str| Answer::Status(200, text.as_bytes().to_vec());
    let answers = [
        Answer::Status(500, Vec::new()),
        Answer::Status(404, Vec::new()),
        Answer::Status(302, Vec::new()),
        text("<html>maintenance</html>"),
        text(""),
        text("{}"),
        text(r#"{"keys":[]}"#),
        text(r#"{"keys":[{"kty":"EC","#),
        text(r#"{"keys":[{"kty":"oct","k":"AAAA"},{"kty":"AKP"}]}"#),
        text(&json!({ "keys": many }).to_string()),
        text(&format!(r#"{{"keys":{}{}}}"#, "[".repeat(100_000), "]".repeat(100_000))),
        Answer::Status(200, vec![b' '; 2 * DOCUMENT_LIMIT]),
        Answer::Endless,
        Answer::Torn,
    ];
    for (number, answer) in answers.into_iter().enumerate() {
        provider.answers(KEYS, answer);
        hands.advance(issuer.settings().refresh);
        issuer.attempted(number as u64 + 2).await;
        assert!(issuer.keys().unwrap().set.knows("a"), "{number}");
        assert_eq!(issuer.generation(), Some(1), "{number}");
        assert!(matches!(issuer.standing(), Standing::Degraded { .. }), "{number}");
    }
    provider.publishes(&[&key("b")]);
    hands.advance(LAST_RETRY);
    issuer.attempted(16).await;
    assert!(matches!(issuer.standing(), Standing::Ready { .. }));
}

#[tokio::test]
async fn a_flood_of_unknown_kids_causes_one_fetch_a_cooldown() {
    let provider = Provider::start(&[&key("a")]).await;
    let hands = clock();
    let issuer = started(provider.settings(), &hands).await;
    assert_eq!(provider.key_requests(), 1);
    for round in 0..3 {
        for number in 0..10_000 / 3 {
            let keys = issuer.keys_with(&format!("random-{round}-{number}")).await.unwrap();
            assert!(!keys.set.knows("random") && keys.set.knows("a"));
        }
        assert_eq!(provider.key_requests(), 2 + round);
        hands.advance(issuer.settings().cooldown);
    }
}

#[tokio::test]
async fn all_who_ask_share_one_fetch() {
    let provider = Provider::start(&[&key("a")]).await;
    let issuer = started(provider.settings(), &clock()).await;
    provider.publishes(&[&key("a"), &key("b")]);
    let asking = (0..200).map(|_| issuer.keys_with("b"));
    for keys in futures_util::future::join_all(asking).await {
        assert!(keys.unwrap().set.knows("b"));
    }
    assert_eq!(provider.key_requests(), 2);
}

#[tokio::test]
async fn a_known_kid_asks_nobody() {
    let provider = Provider::start(&[&key("a")]).await;
    let issuer = started(provider.settings(), &clock()).await;
    provider.answers(KEYS, Answer::Silence);
    assert!(issuer.keys_with("a").await.is_ok());
    assert_eq!(provider.key_requests(), 1);
}

#[tokio::test]
async fn when_the_needed_fetch_failed_nobody_knows_until_one_succeeds() {
    let provider = Provider::start(&[&key("a")]).await;
    let hands = clock();
    let issuer = started(provider.settings(), &hands).await;
    provider.answers(KEYS, Answer::Status(503, Vec::new()));
    assert!(issuer.keys_with("b").await.is_err());
    assert!(issuer.keys_with("c").await.is_err(), "within the cooldown, too");
    assert_eq!(provider.key_requests(), 2);
    assert!(issuer.keys_with("a").await.is_ok(), "what is known goes on");
    provider.publishes(&[&key("a"), &key("b")]);
    hands.advance(SECOND);
    issuer.attempted(3).await;
    assert!(issuer.keys_with("b").await.unwrap().set.knows("b"));
    assert!(!issuer.keys_with("c").await.unwrap().set.knows("c"));
}

#[tokio::test]
async fn a_slow_issuer_holds_up_only_who_needs_it_and_not_for_long() {
    let provider = Provider::start(&[&key("a")]).await;
    let hands = clock();
    let issuer = started(provider.settings(), &hands).await;
    provider.answers(KEYS, Answer::Silence);
    let (unknown, known) = tokio::join!(issuer.keys_with("b"), async {
        provider.was_asked(3).await;
        let known = issuer.keys_with("a").await;
        hands.advance(Duration::from_secs(10));
        known
    });
    assert!(unknown.is_err() && known.is_ok());
}

#[tokio::test]
async fn who_goes_away_cancels_no_fetch() {
    let provider = Provider::start(&[&key("a")]).await;
    let issuer = started(provider.settings(), &clock()).await;
    provider.publishes(&[&key("a"), &key("b")]);
    {
        let mut asking = Box::pin(issuer.keys_with("b"));
        assert!(futures_util::poll!(&mut asking).is_pending());
    }
    issuer.attempted(2).await;
    assert!(issuer.keys().unwrap().set.knows("b"));
}

#[tokio::test]
async fn keys_older_than_max_stale_are_not_relied_on() {
    let provider = Provider::start(&[&key("a")]).await;
    let hands = clock();
    let issuer = started(provider.settings(), &hands).await;
    provider.answers(KEYS, Answer::Silence);
    hands.advance(issuer.settings().max_stale);
    assert!(issuer.keys().is_ok());
    hands.advance(SECOND);
    assert!(issuer.keys().is_err());
    assert!(issuer.keys_with("a").await.is_err());
    assert_eq!(issuer.generation(), None);
}

#[tokio::test]
async fn steps_of_the_wall_clock_age_nothing_and_fetch_nothing() {
    let provider = Provider::start(&[&key("a")]).await;
    let hands = clock();
    let issuer = started(provider.settings(), &hands).await;
    for seconds in [NOW + 3600, NOW - 3600, NOW + 10 * 365 * 24 * 3600, 0] {
        hands.step_wall(Time::from_seconds(seconds));
        for _ in 0..20 {
            tokio::task::yield_now().await;
        }
        assert_eq!(issuer.standing(), Standing::Ready { age: Duration::ZERO, keys: 1, skipped: 0 });
    }
    assert_eq!(provider.heads().len(), 2);
}

#[tokio::test]
async fn a_key_set_in_a_file_is_read_again() {
    let provider = Provider::start(&[]).await;
    let path = std::env::temp_dir().join(format!("postern-{}.json", random::token()));
    let write = |key: &SigningKey| std::fs::write(&path, json!({"keys": [key.public_jwk()]}).to_string()).unwrap();
    write(&key("a"));
    let hands = clock();
    let settings = IssuerSettings { keys: KeySource::File(path.clone()), ..provider.settings() };
    let issuer = started(settings, &hands).await;
    assert!(issuer.keys().unwrap().set.knows("a"));
    write(&key("b"));
    assert!(issuer.keys_with("b").await.unwrap().set.knows("b"));
    std::fs::remove_file(&path).unwrap();
    hands.advance(issuer.settings().refresh);
    issuer.attempted(3).await;
    assert!(issuer.keys().is_ok());
    assert!(error_of(issuer.standing()).contains("can't be used"));
    assert!(provider.heads().is_empty());
}

#[tokio::test]
async fn a_dropped_issuer_stops_asking() {
    let provider = Provider::start(&[&key("a")]).await;
    let hands = clock();
    let issuer = started(provider.settings(), &hands).await;
    let wake = Arc::clone(&issuer.ring.wake);
    drop(issuer);
    // The task holds the last other handle, until it ends.
    while Arc::strong_count(&wake) > 1 {
        tokio::task::yield_now().await;
    }
    assert_eq!(provider.key_requests(), 1);
}
