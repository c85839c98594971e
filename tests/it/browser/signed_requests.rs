//! Signed authorization requests (RFC 9101), in the address and pushed (RFC 9126).

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::Value;

use super::{SITE, Setup, World, parameter};
use crate::support::keys::ClientKey;
use crate::support::tokens::said;

fn setup(lines: &str, key: &ClientKey, known: &ClientKey) -> Setup {
    let client = format!("    {}\n    request_object: signed\n{lines}", key.line());
    Setup { client, keys: vec![known.public.clone()], ..Setup::default() }
}

/// Where a browser without a session is sent.
async fn location(world: &World) -> (u16, Option<String>) {
    let hop = world.browser().step(&format!("{SITE}/orders")).await;
    (hop.answer.status, hop.answer.value("location").map(str::to_owned))
}

#[tokio::test]
async fn the_address_carries_a_signed_request_and_nothing_that_could_be_changed() {
    let key = ClientKey::new();
    let world = World::start(setup("    par: off\n", &key, &key)).await;
    let (_, address) = location(&world).await;
    let address = address.expect("the provider");
    let url = url::Url::parse(&address).expect("an address");
    let mut names: Vec<_> = url.query_pairs().map(|(name, _)| name.into_owned()).collect();
    names.sort_unstable();
    assert_eq!(names, ["client_id", "request", "response_type", "scope"]);
    let request = parameter(&address, "request").expect("a request");
    let header = URL_SAFE_NO_PAD.decode(request.split('.').next().expect("a header")).expect("base64url");
    let header: Value = serde_json::from_slice(&header).expect("JSON");
    assert_eq!(header["typ"], "oauth-authz-req+jwt");
    assert_eq!(header["kid"], key.public["kid"]);
    let claims = said(&request);
    assert_eq!((claims["iss"].as_str(), claims["client_id"].as_str()), (Some("shop"), Some("shop")));
    assert_eq!(claims["aud"].as_str(), Some(world.provider.issuer()));
    assert_eq!(claims["redirect_uri"], format!("{SITE}/oauth2/callback"));
    assert_eq!(
        (claims["response_type"].as_str(), claims["code_challenge_method"].as_str()),
        (Some("code"), Some("S256"))
    );
    for name in ["state", "nonce", "code_challenge", "jti", "scope"] {
        assert!(claims[name].as_str().is_some_and(|text| !text.is_empty()), "{name}");
    }
    let life = claims["exp"].as_u64().expect("exp") - claims["iat"].as_u64().expect("iat");
    assert!(life <= 300, "{life}");
    let (_, page) = world.alice().await;
    assert_eq!(page.url.as_str(), "https://shop.test/orders?page=2");
    assert_eq!(world.seen()[0].value("x-forwarded-user"), Some("alice"));
}

#[tokio::test]
async fn a_pushed_request_is_signed_as_well() {
    let key = ClientKey::new();
    let world = World::start(setup("    par: required\n", &key, &key)).await;
    let (_, address) = location(&world).await;
    let address = address.expect("the provider");
    assert!(parameter(&address, "request_uri").is_some() && parameter(&address, "request").is_none(), "{address}");
    world.alice().await;
    assert_eq!(world.seen()[0].value("x-forwarded-user"), Some("alice"));
}

#[tokio::test]
async fn what_another_key_signed_starts_no_sign_in() {
    let (key, other) = (ClientKey::new(), ClientKey::new());
    let world = World::start(setup("    par: required\n", &key, &other)).await;
    let (status, address) = location(&world).await;
    assert_eq!((status, address), (400, None));
    assert!(world.seen().is_empty());
}
