//! What is shown, what comes of it, and what the upstream sees.

use super::*;

#[tokio::test]
async fn a_name_and_a_password_are_the_caller_of_the_token_that_they_are_exchanged_for() {
    let world = World::start().await;
    for _ in 0..3 {
        assert_eq!(world.status("/read/x", ALICE.0, ALICE.1).await, 200);
    }
    assert_eq!(world.asked(), 1);
    assert_eq!(world.status("/policy/x", ALICE.0, ALICE.1).await, 200);
    assert_eq!(world.status("/policy/x", "bob", "builder").await, 403);
    assert_eq!(world.status("/admin/x", ALICE.0, ALICE.1).await, 200);
    assert_eq!(world.status("/admin/x", "bob", "builder").await, 403, "rules are judged for each route");
    for seen in world.upstream.take() {
        assert_eq!(seen.value("x-forwarded-user"), Some("alice"));
        assert_eq!(seen.value("authorization"), None, "the password stays here");
        let head = String::from_utf8_lossy(&seen.head).into_owned();
        assert!(!head.contains(ALICE.1) && !head.contains(&STANDARD.encode("alice:wonderland")), "{head}");
    }
}

#[tokio::test]
async fn a_wrong_one_is_a_401_that_asks_for_a_password_and_says_no_more() {
    let world = World::start().await;
    let mut bodies = Vec::new();
    for (name, password) in [("alice", "looking-glass"), ("nobody", "x"), ("alice", "")] {
        let answer = world.by("/read/x", name, password).await;
        assert_eq!(answer.status, 401, "{name}");
        assert_eq!(answer.values("www-authenticate"), [format!("Basic realm=\"{HOST}\", charset=\"UTF-8\"")]);
        let mut body = answer.json();
        body["request_id"] = "".into();
        bodies.push(body);
    }
    assert!(bodies.windows(2).all(|two| two[0] == two[1]), "the same for every reason");
    let none = world.get("/read/x", "").await;
    assert_eq!((none.status, none.values("www-authenticate").len()), (401, 1));
    assert!(world.upstream.take().is_empty());
    world.gateway.until_metric("postern_refusals_total{route=\"read\",reason=\"basic.refused\"}", 3).await;
}

#[tokio::test]
async fn what_has_no_one_reading_is_refused_before_anybody_is_asked() {
    let world = World::start().await;
    let encoded = |text: &[u8]| STANDARD.encode(text);
    for shown in [
        "Basic".to_owned(),
        "Basic ".to_owned(),
        "Basic alice:wonderland".to_owned(),
        format!("Basic {}", encoded(b"alice")),
        format!("Basic {}", encoded(b":wonderland")),
        format!("Basic {}", encoded(b"alice\0:wonderland")),
        format!("Basic {}", encoded(b"alice:wonder\nland")),
        format!("Basic {}", encoded(b"alice:\xff")),
        format!("Basic {}", encoded(b"alice:wonderland").trim_end_matches('=')),
        format!("Basic {} x", encoded(b"alice:wonderland")),
        format!("Basic  \t{}", encoded(b"alice:wonderland")),
        format!("Basic,{}", encoded(b"alice:wonderland")),
        format!("Basic {}", encoded(format!("alice:{}", "x".repeat(2000)).as_bytes())),
    ] {
        let answer = world.get("/read/x", &format!("Authorization: {shown}\r\n")).await;
        assert_eq!(answer.status, 400, "{shown:.60}");
    }
    let twice = format!("{}{}", basic("alice", "wonderland"), basic("bob", "builder"));
    assert_eq!(world.get("/read/x", &twice).await.status, 400);
    assert_eq!(world.get("/read/x?access_token=x", &basic("alice", "wonderland")).await.status, 400);
    assert_eq!(world.asked(), 0);
    assert!(world.upstream.take().is_empty());
    // The scheme is a word whatever its case (RFC 9110 section 11.1).
    let shown = format!("Authorization: bAsIc {}\r\n", encoded(b"alice:wonderland"));
    assert_eq!(world.get("/read/x", &shown).await.status, 200);
}

#[tokio::test]
async fn what_is_shown_chooses_the_way_and_a_failure_is_final() {
    let world = World::start().await;
    let token = world.provider.mint(&postern::devidp::Mint::user("shop", "bob").audience("orders").scope("write"));
    let bearer = format!("Authorization: Bearer {token}\r\n");
    assert_eq!(world.get("/both/x", &bearer).await.status, 200);
    assert_eq!(world.status("/both/x", ALICE.0, ALICE.1).await, 200, "the scope is the bearer's rule alone");
    assert_eq!(world.get("/both/x", "").await.status, 200, "optional");
    let refused = world.by("/both/x", "alice", "wrong").await;
    assert_eq!(refused.status, 401, "a bad one is still refused");
    let challenges = refused.values("www-authenticate");
    assert!(challenges.len() == 2 && !challenges.concat().contains("invalid_token"), "{challenges:?}");
    assert_eq!(world.get("/read/x", &bearer).await.status, 401, "a token is none where passwords are taken");
    assert_eq!(world.status("/token/x", ALICE.0, ALICE.1).await, 401, "and the other way round");
    let users: Vec<_> =
        world.upstream.take().iter().map(|seen| seen.value("x-forwarded-user").map(str::to_owned)).collect();
    assert_eq!(users, [Some("bob".to_owned()), Some("alice".to_owned()), None]);
}

#[tokio::test]
async fn the_token_goes_up_where_the_app_is_to_have_it() {
    let world = World::start().await;
    assert_eq!(world.status("/relay/x", ALICE.0, ALICE.1).await, 200);
    let seen = world.upstream.take();
    let field = seen[0].value("authorization").expect("a token").to_owned();
    let said = crate::support::tokens::said(field.strip_prefix("Bearer ").expect("a bearer token"));
    assert_eq!((said["sub"].as_str(), said["client_id"].as_str()), (Some("alice"), Some("legacy")));
}

#[tokio::test]
async fn machines_show_their_own_id_and_secret() {
    let world = World::start().await;
    for _ in 0..2 {
        assert_eq!(world.status("/machines/x", "batch", "batch-secret").await, 200);
    }
    assert_eq!(world.asked(), 1);
    assert_eq!(world.upstream.take()[0].value("x-client"), Some("batch"));
    for (name, secret) in
        [("batch", "wrong"), ("legacy", "legacy-secret"), ("alice", "wonderland"), ("gateway", "unused")]
    {
        assert_eq!(world.status("/machines/x", name, secret).await, 401, "{name}");
    }
    assert!(world.upstream.take().is_empty());
}

#[tokio::test]
async fn another_site_cannot_make_a_browser_use_what_it_remembers() {
    let world = World::start().await;
    let post = async |lines: &str| {
        let request = format!(
            "POST /read/x HTTP/1.1\r\nHost: {HOST}\r\nConnection: close\r\nContent-Length: 0\r\n{lines}{}\r\n",
            basic("alice", "wonderland")
        );
        world.send(&request).await.status
    };
    for lines in [
        "Sec-Fetch-Site: cross-site\r\n",
        "Sec-Fetch-Site: same-site\r\n",
        "Origin: https://evil.test\r\n",
        "Origin: null\r\n",
    ] {
        assert_eq!(post(lines).await, 403, "{lines}");
    }
    for lines in ["", "Sec-Fetch-Site: same-origin\r\n", "Sec-Fetch-Site: none\r\n", "Origin: http://gw.test\r\n"] {
        assert_eq!(post(lines).await, 200, "{lines}");
    }
    assert_eq!(world.upstream.take().len(), 4);
}
