//! Client credentials inward: a machine's id and secret become its token.

use super::*;

#[tokio::test]
async fn a_machine_passes_by_its_own_credentials() {
    let world = World::start().await;
    assert_eq!(world.status("/machine/x", "batch", "batch-secret").await, 200);
    assert_eq!(world.status("/machine/x", "batch", "batch-secret").await, 200);
    assert_eq!(world.asked(), 1);
    let seen = world.seen();
    assert_eq!((seen[0].value("x-forwarded-user"), seen[0].value("authorization")), (Some("batch"), None));
    for (id, secret) in
        [("batch", "wrong"), ("unknown", "batch-secret"), ("legacy", "legacy-secret"), ("alice", "wonderland")]
    {
        let answer = world.get("/machine/x", &shown(id, secret)).await;
        assert_eq!((answer.status, answer.value("www-authenticate")), (401, Some(CHALLENGE)), "{id}");
    }
    assert_eq!(world.status("/machine/x", "narrow", "narrow-secret").await, 403, "it may not have the scope");
    assert!(world.seen().is_empty());
}

/// RFC 7617 takes what follows the first colon as the password, so an id with a colon can't be shown; all else can, and goes
/// to the issuer form-encoded (RFC 6749 section 2.3.1).
#[tokio::test]
async fn an_id_goes_to_the_issuer_in_the_form_that_oauth_wants() {
    let world = World::start().await;
    assert_eq!(world.status("/machine/x", "odd:id", "s%ü:c").await, 401);
    let odd = ClientEntry::confidential("odd id+%ü", "s%ü:c").grants(&[GrantType::ClientCredentials]).scopes("read");
    world.provider.register(odd.audience("orders")).expect("a client");
    assert_eq!(world.status("/machine/x", "odd id+%ü", "s%ü:c").await, 200);
}

#[tokio::test]
async fn a_machine_is_known_until_its_token_ends() {
    let world = World::start().await;
    world.status("/machine/x", "batch", "batch-secret").await;
    world.pass(LIFE - 11);
    assert_eq!((world.status("/machine/x", "batch", "batch-secret").await, world.asked()), (200, 1));
    world.pass(1);
    assert_eq!((world.status("/machine/x", "batch", "batch-secret").await, world.asked()), (200, 2));
}
