//! Several issuers that are asked: in order, each at most once (T23); while one of them can't say, nobody knows.

use postern::devidp::Fault;

use super::*;

struct Two {
    world: World,
    partner: Provider,
}

/// `/api/**` trusts corp, `/partner/**` partner, `/both/**` both in that order.
async fn two() -> Two {
    let hands = hands();
    let (corp, partner) = (provider(&hands).await, provider(&hands).await);
    let upstream = Upstream::start(|_| Reply::Echo).await;
    let layout = Layout { issuer: "tokens: opaque,", ..Layout::default() };
    let text = config(layout, corp.issuer(), upstream.address)
        .replace(
            "clients: { ",
            &format!(
                "  partner: {{ issuer: \"{}\", audiences: [{AUDIENCE}], tokens: opaque, introspection: {{ client: there }} }}\n\
                 clients: {{ there: {{ issuer: partner, client_id: gateway, client_secret: \"a secret:%\" }}, ",
                partner.issuer()
            ),
        )
        + "  - { name: partner, match: { path: /partner/** }, upstream: echo, access: { bearer: { issuers: [partner], scopes: [read] } } }\n"
        + "  - { name: both, match: { path: /both/** }, upstream: echo, access: { bearer: { issuers: [corp, partner], scopes: [read] } } }\n";
    Two { world: World::run(&text, hands, corp, upstream).await, partner }
}

/// T23: an answer is its issuer's; on another's route it is nothing.
#[tokio::test]
async fn an_answer_of_one_issuer_is_nothing_on_a_route_of_the_other() {
    let Two { world, partner } = two().await;
    let (ours, theirs) = (world.token(), partner.mint_opaque(&Mint { subject: Some("bob".to_owned()), ..mint() }));
    // Twice, so that the second round meets what the first has left in the caches.
    for round in 0..2 {
        for (target, token, status) in [
            ("/api/x", &ours, 200),
            ("/partner/x", &ours, 401),
            ("/both/x", &ours, 200),
            ("/api/x", &theirs, 401),
            ("/partner/x", &theirs, 200),
            ("/both/x", &theirs, 200),
        ] {
            assert_eq!(world.status(target, token).await, status, "{target}, round {round}");
        }
    }
    assert_eq!((world.calls(), partner.count(Endpoint::Introspect)), (2, 2), "each token once at each issuer");
    for seen in world.seen() {
        let user = seen.value("x-forwarded-user");
        assert!(matches!(
            (seen.target.as_str(), user),
            ("/api/x", Some("alice")) | ("/partner/x", Some("bob")) | ("/both/x", _)
        ));
    }
}

#[tokio::test]
async fn they_are_asked_in_order_until_one_knows_the_token() {
    let Two { world, partner } = two().await;
    assert_eq!(world.status("/both/x", &world.token()).await, 200);
    assert_eq!((world.calls(), partner.count(Endpoint::Introspect)), (1, 0));
    assert_eq!(world.status("/both/x", &partner.mint_opaque(&mint())).await, 200);
    assert_eq!((world.calls(), partner.count(Endpoint::Introspect)), (2, 1));
    assert_eq!(world.status("/both/x", "junk").await, 401);
    assert_eq!((world.calls(), partner.count(Endpoint::Introspect)), (3, 2));
}

#[tokio::test]
async fn while_one_can_not_say_the_no_of_the_other_is_not_the_last_word() {
    let Two { world, partner } = two().await;
    world.provider.set_fault(Endpoint::Introspect, Fault::Status(500));
    let theirs = partner.mint_opaque(&mint());
    assert_eq!(world.status("/both/x", &theirs).await, 200, "a yes is a yes");
    let unknown = world.get("/both/x", "junk").await;
    assert_eq!(unknown.status, 503);
    assert!(unknown.value("retry-after").is_some());
    world.provider.clear_faults();
    assert_eq!(world.status("/both/x", "junk").await, 401, "nothing of it was remembered");
    partner.set_fault(Endpoint::Introspect, Fault::Status(500));
    assert_eq!(world.status("/both/x", "other-junk").await, 503);
    assert_eq!(world.status("/both/x", &world.token()).await, 200);
}
