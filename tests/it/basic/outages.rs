//! The issuer gives no answer, or one that is about us: 503, never a 401 and never a pass.

use postern::devidp::Fault;

use super::*;

#[tokio::test]
async fn an_outage_is_a_503_and_on_nobodys_budget() {
    let world = World::keeping("failures_per_user: 1, failures_per_client: 1").await;
    for (fault, reason) in [
        (Fault::Drop, "basic.unreachable"),
        (Fault::Status(500), "basic.unreachable"),
        (Fault::Status(429), "basic.unreachable"),
        (Fault::Garbage, "basic.unreachable"),
        (Fault::OAuthError("temporarily_unavailable".to_owned()), "basic.unreachable"),
        (Fault::OAuthError("invalid_client".to_owned()), "basic.client"),
        (Fault::OAuthError("unauthorized_client".to_owned()), "basic.client"),
        (Fault::OAuthError("unsupported_grant_type".to_owned()), "basic.client"),
    ] {
        world.provider.set_fault(Endpoint::Token, fault.clone());
        let answer = world.get("/basic/x", &shown("alice", "wonderland")).await;
        assert_eq!(
            (answer.status, answer.value("retry-after"), answer.value("www-authenticate")),
            (503, Some("1"), None),
            "{fault:?} {reason}"
        );
        world.provider.clear_faults();
    }
    world.until_refused("basic", "basic.client", 3).await;
    world.until_refused("basic", "basic.unreachable", 5).await;
    assert!(world.seen().is_empty());
    assert_eq!(world.alice("/basic/x").await, 200);
    // What is at hand serves on.
    world.provider.set_fault(Endpoint::Token, Fault::Drop);
    assert_eq!(world.alice("/basic/x").await, 200);
    world.pass(LIFE);
    assert_eq!(world.alice("/basic/x").await, 503);
}

#[tokio::test]
async fn a_token_that_is_none_here_is_nobodys_fault_and_no_pass() {
    let world = World::start().await;
    let change = |value: serde_json::Value| Fault::Change(value.as_object().expect("an object").clone());
    for token in ["not-a-jwt", "a b", "", "eyJhbGciOiJub25lIn0.e30."] {
        world.provider.set_fault(Endpoint::Token, change(serde_json::json!({ "access_token": token })));
        assert_eq!(world.alice("/basic/x").await, 503, "{token}");
    }
    assert!(world.seen().is_empty());
    let wrong = World::with(Layout { secret: "wrong", ..Layout::default() }).await;
    assert_eq!(wrong.alice("/basic/x").await, 503, "our secret is wrong, not the password");
}

#[tokio::test]
async fn a_renewal_that_gets_no_answer_is_an_outage() {
    let world = World::refreshing().await;
    world.alice("/basic/x").await;
    world.pass(LIFE);
    world.provider.set_fault(Endpoint::Token, Fault::Drop);
    assert_eq!(world.alice("/basic/x").await, 503);
    world.provider.clear_faults();
    assert_eq!(world.alice("/basic/x").await, 200);
}
